/**
 * The request API of supervisors: JSON in and out, a NATS service named `async`, answered by whichever supervisor is
 * free. What it answers with is in the store, so any supervisor can answer for any job.
 */
import type { Msg, Subscription } from "nats";
import { decode } from "../bus/codec.ts";
import type { Bus } from "../bus/connection.ts";
import { ERROR_CODE_HEADER, ERROR_HEADER } from "../bus/invocation.ts";
import { type Cursor, FIRST_PAGE, formatCursor, type JobList, parseCursor } from "../bus/job-list.ts";
import { leave } from "../bus/leave.ts";
import { headersOf } from "../bus/raw-headers.ts";
import { Service, type ServiceEndpoint } from "../bus/service.ts";
import { API_QUEUE, afterPrefix, CANCEL_PREFIX, GET_PREFIX, LIST, RETRY_PREFIX } from "../bus/subjects.ts";
import { AsyncError, type ErrorCode, isAsyncError, messageOf } from "../job/errors.ts";
import type { RetryPatch } from "../job/machine.ts";
import { isRecord } from "../job/schema.ts";
import { type JobState, STATE_NAMES, type StateName } from "../job/state.ts";
import { type JobView, viewOf } from "../job/view.ts";
import { VERSION } from "../version.ts";
import type { JobControl } from "./job-control.ts";
import { untakenJob } from "./submission.ts";

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
  readonly #list: JobList;
  readonly #service: Service;
  readonly #subscriptions: Subscription[];

  constructor(bus: Bus, list: JobList, control: JobControl) {
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
      endpoints: () => endpoints.map(({ name, subject }) => endpoint(name, subject)),
    });
    const ofJob = (name: string, prefix: string, answer: (jobId: string, body: Uint8Array) => Promise<JobState>) => ({
      name,
      subject: `${prefix}.*`,
      answer: async ({ subject, data }: Msg) => viewOf(await answer(afterPrefix(subject, prefix) ?? "", data)),
    });
    const endpoints: { name: string; subject: string; answer: (message: Msg) => Promise<unknown> }[] = [
      ofJob("get", GET_PREFIX, async (jobId) => (await control.find(jobId)).state),
      ofJob("cancel", CANCEL_PREFIX, (jobId) => control.cancel(jobId)),
      ofJob("retry", RETRY_PREFIX, (jobId, body) => control.retry(jobId, parseRetryPatch(body))),
      { name: "list", subject: LIST, answer: (message) => this.#page(parsePageRequest(message.data)) },
    ];
    this.#subscriptions = endpoints.map(({ name, subject, answer }) =>
      bus.nc.subscribe(subject, {
        queue: API_QUEUE,
        callback: (_, message) => void this.#serve(name, message, answer),
      }),
    );
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
      respond(message, JSON.stringify(await answer(message)));
    } catch (error) {
      failure = messageOf(error);
      respondError(message, error, failure);
    }
    this.#service.count(name, performance.now() - begun, failure);
  }

  async #page({ state, limit = DEFAULT_PAGE_LIMIT, cursor }: PageRequest): Promise<ListReply> {
    const jobs: JobView[] = [];
    let next: Cursor = cursor === undefined ? FIRST_PAGE : parseCursor(cursor);
    let bytes = 0;
    for (let scanned = 0; scanned < MAX_SCANNED && bytes < MAX_REPLY_BYTES && jobs.length < limit; scanned += BATCH) {
      const page = await this.#list.page(next, Math.min(BATCH, state ? BATCH : limit - jobs.length));
      for (const entry of page.entries) {
        const job = entry.type === "job" ? entry.state : untakenJob(entry.submission);
        next = { ...next, sequence: entry.sequence + 1 };
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

/** Body of a request to `job.retry.<id>`; empty to change nothing. */
function parseRetryPatch(data: Uint8Array): RetryPatch {
  const { data: jobData, args, ...unknown } = parseBody(data);
  const [first] = Object.keys(unknown);
  if (first !== undefined)
    throw new AsyncError("invalid_request", `${first} is not a known field; there are data and args`);
  return { ...(jobData !== undefined && { data: jobData }), ...(args !== undefined && { args }) };
}

/** A request is a JSON object or empty. It may not be deeper than what can be stored. */
function parseBody(data: Uint8Array): Record<string, unknown> {
  let body: unknown;
  try {
    body = data.length === 0 ? {} : decode(data, "json");
  } catch (cause) {
    throw new AsyncError("invalid_request", `the request cannot be read: ${messageOf(cause)}`, { cause });
  }
  if (!isRecord(body)) throw new AsyncError("invalid_request", "the request must be an object");
  return body;
}

function parsePageRequest(data: Uint8Array): PageRequest {
  const body = parseBody(data);
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
  job_ended: 409,
  job_not_ended: 409,
  payload_too_large: 413,
  jetstream_unavailable: 503,
  not_connected: 503,
  bus_timeout: 503,
};

/** @throws AsyncError `payload_too_large` */
function respond(message: Msg, body: string): void {
  try {
    message.respond(body);
  } catch (cause) {
    const next = "read its state from the bucket `jobs`, or raise the server's max_payload";
    throw new AsyncError("payload_too_large", `the answer does not fit into a message; ${next}`, { cause });
  }
}

function respondError(message: Msg, error: unknown, text: string): void {
  const code = isAsyncError(error) ? error.code : "internal";
  const status = isAsyncError(error) ? (STATUS[error.code] ?? 500) : 500;
  const headers = headersOf({ [ERROR_CODE_HEADER]: String(status), [ERROR_HEADER]: text.replaceAll(/[\r\n]+/g, " ") });
  message.respond(JSON.stringify({ code, message: text }), { headers });
}
