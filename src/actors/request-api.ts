/**
 * The request API of supervisors: JSON in and out, a NATS service named `async`, answered by whichever supervisor is
 * free. It only reads the store, so any supervisor can answer for any job.
 */
import type { Msg, Subscription } from "nats";
import type { Bus } from "../bus/connection.ts";
import { ERROR_CODE_HEADER, ERROR_HEADER } from "../bus/invocation.ts";
import { formatCursor, type JobList, parseCursor, type Waiting } from "../bus/job-list.ts";
import type { JobStore } from "../bus/job-store.ts";
import { leave } from "../bus/leave.ts";
import { headersOf } from "../bus/raw-headers.ts";
import { Service, type ServiceEndpoint } from "../bus/service.ts";
import { API_QUEUE, afterPrefix, GET_PREFIX, LIST, submitSubject } from "../bus/subjects.ts";
import { AsyncError, type ErrorCode, isAsyncError, messageOf } from "../job/errors.ts";
import { requireJobId, sequenceOf } from "../job/names.ts";
import { isRecord } from "../job/schema.ts";
import { type JobState, STATE_NAMES, type StateName } from "../job/state.ts";
import { type JobView, viewOf } from "../job/view.ts";
import { VERSION } from "../version.ts";
import { readSubmission } from "./submission.ts";

/** Body of a request to `job.list`; empty for the first page of all jobs. */
export interface PageRequest {
  state?: StateName;
  /** Most jobs in the answer, 1 to 1,000. Default 100. */
  limit?: number;
  /** `next` of the page before. */
  cursor?: string;
}

export interface ListReply {
  jobs: JobView[];
  /** Where to go on; absent when there is no more. */
  next?: string;
}

const DEFAULT_PAGE_LIMIT = 100;
export const MAX_PAGE_LIMIT = 1_000;
/** One answer looks at no more jobs than this, whatever the filter: the caller goes on with `next`. */
const MAX_SCANNED = 5_000;
const BATCH = 500;
/** Beyond this an answer ends early, well below the server's limit of a message (1 MiB by default). */
const MAX_REPLY_BYTES = 512 * 1024;

export class RequestApi {
  readonly #store: JobStore;
  readonly #list: JobList;
  readonly #service: Service;
  readonly #subscriptions: Subscription[];

  constructor(bus: Bus, store: JobStore, list: JobList) {
    this.#store = store;
    this.#list = list;
    const endpoint = (name: string, subject: string): ServiceEndpoint => ({
      name,
      subject,
      queue_group: API_QUEUE,
      metadata: {},
    });
    this.#service = new Service(bus, {
      name: "async",
      version: VERSION,
      description: "async: jobs",
      metadata: () => ({}),
      endpoints: () => [endpoint("get", `${GET_PREFIX}.*`), endpoint("list", LIST)],
    });
    const serve = (name: string, subject: string, answer: (message: Msg) => Promise<unknown>) =>
      bus.nc.subscribe(subject, {
        queue: API_QUEUE,
        callback: (_, message) => void this.#serve(name, message, answer),
      });
    this.#subscriptions = [
      serve("get", `${GET_PREFIX}.*`, (message) => this.#get(afterPrefix(message.subject, GET_PREFIX) ?? "")),
      serve("list", LIST, (message) => this.#page(parsePageRequest(message.data))),
    ];
  }

  /** Requests under way are still taken. */
  async close(): Promise<void> {
    this.#service.close();
    await leave(this.#subscriptions);
  }

  async #serve(name: string, message: Msg, answer: (message: Msg) => Promise<unknown>): Promise<void> {
    const begun = performance.now();
    let failure: string | undefined;
    try {
      message.respond(JSON.stringify(await answer(message)));
    } catch (error) {
      failure = messageOf(error);
      respondError(message, error, failure);
    }
    this.#service.count(name, performance.now() - begun, failure);
  }

  async #get(jobId: string): Promise<JobView> {
    requireJobId(jobId);
    const state =
      (await this.#store.get(jobId))?.state ??
      (await this.#waiting(jobId)) ??
      // It may have been claimed between the two looks.
      (await this.#store.get(jobId))?.state;
    if (!state)
      throw new AsyncError("job_not_found", `there is no job ${jobId}, or it ended so long ago that it was removed`);
    return viewOf(state);
  }

  /** The job that a submission will become when a supervisor has room for it. */
  async #waiting(jobId: string): Promise<JobState | undefined> {
    const sequence = sequenceOf(jobId);
    const submission = await this.#list.submission(sequence === undefined ? submitSubject(jobId) : sequence);
    const job = submission && pendingJob(submission);
    return job?.job_id === jobId ? job : undefined;
  }

  async #page({ state, limit = DEFAULT_PAGE_LIMIT, cursor }: PageRequest): Promise<ListReply> {
    const jobs: JobView[] = [];
    let next = cursor === undefined ? { stream: "kv" as const, sequence: 1 } : parseCursor(cursor);
    let bytes = 0;
    for (let scanned = 0; scanned < MAX_SCANNED && bytes < MAX_REPLY_BYTES && jobs.length < limit; scanned += BATCH) {
      const page = await this.#list.page(next, Math.min(BATCH, state ? BATCH : limit - jobs.length));
      for (const entry of page.entries) {
        const job = entry.type === "job" ? entry.state : pendingJob(entry.submission);
        next = { stream: next.stream, sequence: entry.sequence + 1 };
        if (!job || (state !== undefined && job.state !== state)) continue;
        const view = viewOf(job);
        jobs.push(view);
        bytes += JSON.stringify(view).length;
        if (jobs.length === limit || bytes >= MAX_REPLY_BYTES) return { jobs, next: formatCursor(next) };
      }
      if (!page.next) return { jobs };
      next = page.next;
    }
    return { jobs, next: formatCursor(next) };
  }
}

function pendingJob(submission: Waiting): JobState | undefined {
  const read = readSubmission(submission);
  return read.type === "job" ? read.first(Date.now()).state : undefined;
}

function parsePageRequest(data: Uint8Array): PageRequest {
  let body: unknown;
  try {
    body = data.length === 0 ? {} : JSON.parse(Buffer.from(data).toString());
  } catch (cause) {
    throw new AsyncError("invalid_request", "the request is not JSON", { cause });
  }
  if (!isRecord(body)) throw new AsyncError("invalid_request", "the request must be an object");
  const { state, limit, cursor } = body;
  if (state !== undefined && !STATE_NAMES.includes(state as StateName)) {
    throw new AsyncError("invalid_request", `state must be one of ${STATE_NAMES.join(", ")}`);
  }
  if (
    limit !== undefined &&
    !(Number.isInteger(limit) && (limit as number) >= 1 && (limit as number) <= MAX_PAGE_LIMIT)
  ) {
    throw new AsyncError("invalid_request", `limit must be an integer from 1 to ${MAX_PAGE_LIMIT}`);
  }
  if (cursor !== undefined && typeof cursor !== "string")
    throw new AsyncError("invalid_request", "cursor must be a string");
  return body as PageRequest;
}

/** The service error code of each of our errors; the ones of HTTP, as is the custom of NATS services. */
export const STATUS: Partial<Record<ErrorCode, number>> = {
  invalid_job_id: 400,
  invalid_request: 400,
  job_not_found: 404,
  payload_too_large: 413,
  jetstream_unavailable: 503,
  not_connected: 503,
  bus_timeout: 503,
};

function respondError(message: Msg, error: unknown, text: string): void {
  const code = isAsyncError(error) ? error.code : "internal";
  const status = isAsyncError(error) ? (STATUS[error.code] ?? 500) : 500;
  const headers = headersOf({ [ERROR_CODE_HEADER]: String(status), [ERROR_HEADER]: text.replaceAll(/[\r\n]+/g, " ") });
  message.respond(JSON.stringify({ code, message: text }), { headers });
}
