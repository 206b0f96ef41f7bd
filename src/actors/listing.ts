/**
 * Answers to `job.list`: pages of jobs, filtered or not. It reads and decodes what anybody asks for, beside the jobs that this
 * supervisor runs, so everything about it has a limit; who wants more goes on with `next`.
 *
 * LISTING-1  One answer looks at `MAX_SCANNED` jobs at most and takes `PAGE_MS` at most, or less where its asker waits for less.
 *     Between batches others have their turn. At most `MAX_PAGES` are made at a time.
 * LISTING-2  Each page gets on: a job that fits into no answer is shown without its payloads.
 */
import { type Cursor, cursorAfter, FIRST_PAGE, formatCursor, NEWEST_PAGE, parseCursor } from "../api/cursor.ts";
import { DEFAULT_PAGE_LIMIT, type ListedJob, type PageRequest } from "../api/requests.ts";
import type { Bus } from "../bus/connection.ts";
import type { Definitions } from "../bus/store/definitions.ts";
import { FamilyFilter } from "../bus/store/family-filter.ts";
import type { JobList, Listed, Wanted } from "../bus/store/job-list.ts";
import { TagFilter } from "../bus/store/tag-filter.ts";
import { answerOf } from "../job/answer.ts";
import { AsyncError } from "../job/errors.ts";
import { type JobState, withoutPayloads } from "../job/state.ts";
import { Limiter } from "../util/limiter.ts";
import { untakenJob } from "./submission.ts";

const MAX_SCANNED = 2_000;
const BATCH = 100;
const PAGE_MS = 500;
const MAX_PAGES = 2;
/** Where more than this is looked at, it pauses between the batches, for about twice as long as one takes. */
const SCANNED_AT_ONCE = 300;
const PAUSE_MS = 10;
/** Beyond this an answer ends early, well below the server's limit of a message (1 MiB by default). */
const MAX_REPLY_BYTES = 512 * 1024;
/** What an answer has besides its jobs. */
const ENVELOPE_BYTES = 1_024;

export class Listing {
  readonly #bus: Bus;
  readonly #list: JobList;
  readonly #glance: Definitions["glance"];
  readonly #pages = new Limiter(() => MAX_PAGES);

  /** @param glance at the definition of a submission that names one */
  constructor(bus: Bus, list: JobList, glance: Definitions["glance"]) {
    this.#bus = bus;
    this.#list = list;
    this.#glance = glance;
  }

  /**
   * The answer as JSON (`ListReply`).
   *
   * @throws AsyncError `bus_overloaded` if too many are made already, `invalid_request`, or what the bus throws
   */
  async page(request: PageRequest): Promise<string> {
    const why = `this supervisor answers ${MAX_PAGES} lists already; try again`;
    return this.#pages.runNow(
      () => this.#page(request),
      () => new AsyncError("bus_overloaded", why),
    );
  }

  async #page({
    state,
    limit = DEFAULT_PAGE_LIMIT,
    cursor,
    order,
    tags,
    timeout_ms = PAGE_MS,
    children = false,
    parent,
  }: PageRequest): Promise<string> {
    const end = performance.now() + Math.min(PAGE_MS, timeout_ms);
    const page = new PageText(this.#bus.maxPayload);
    const first = order === "newest" ? NEWEST_PAGE : FIRST_PAGE;
    const family = children && parent === undefined ? undefined : new FamilyFilter(parent);
    const wanted: Wanted = { state, tags: tags && new TagFilter(tags), family };
    /** Most of what is read is not wanted. */
    let isFiltered = (state ?? tags ?? parent) !== undefined;
    let next: Cursor | undefined = cursor === undefined ? first : parseCursor(cursor);
    for (let scanned = 0; scanned < MAX_SCANNED && performance.now() < end; scanned += BATCH) {
      if (scanned >= SCANNED_AT_ONCE) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      const batch = isFiltered ? BATCH : Math.min(BATCH, limit - page.count);
      const found = await this.#list.page(next, batch, wanted);
      for (const entry of found.entries) {
        const job = answerTo(entry, await this.#stateOf(entry), wanted);
        if (job && !page.add(job)) return page.end(next);
        next = cursorAfter(next, entry.sequence);
        if (page.count === limit) return page.end(next);
      }
      isFiltered ||= found.entries.length < batch;
      next = found.next;
      if (!next) return page.end(undefined);
    }
    return page.end(next);
  }

  #stateOf(entry: Listed): JobState | undefined | Promise<JobState | undefined> {
    return entry.type === "job" ? entry.state : untakenJob(entry.submission, this.#glance);
  }
}

/** Undefined if it is no job, or not what is asked for. */
function answerTo(
  entry: Listed,
  state: JobState | undefined,
  wanted: Wanted,
): { state: JobState; view: ListedJob } | undefined {
  if (!state || wanted.tags?.matches(state) === false) return undefined;
  if (wanted.family?.matches(state) === false) return undefined;
  const isTaken = entry.type === "job" || entry.isTaken;
  const view: ListedJob = answerOf(state, Date.now(), isTaken);
  return wanted.state === undefined || view.state === wanted.state ? { state, view } : undefined;
}

/** The text of an answer, as far as there is room for it. */
class PageText {
  readonly #jobs: string[] = [];
  #bytes = 0;
  readonly #most: number;
  readonly #mostForOne: number;

  constructor(maxPayload: number) {
    this.#mostForOne = maxPayload - ENVELOPE_BYTES;
    this.#most = Math.min(MAX_REPLY_BYTES, this.#mostForOne);
  }

  get count(): number {
    return this.#jobs.length;
  }

  /** False if there is no room for it any more. */
  add({ state, view }: { state: JobState; view: ListedJob }): boolean {
    let text = JSON.stringify(view);
    if (Buffer.byteLength(text) > this.#mostForOne) text = JSON.stringify(this.#truncated(state, view));
    const bytes = Buffer.byteLength(text) + 1;
    if (this.#jobs.length > 0 && this.#bytes + bytes > this.#most) return false;
    this.#jobs.push(text);
    this.#bytes += bytes;
    return true;
  }

  end(next: Cursor | undefined): string {
    const more = next === undefined ? "" : `,"next":${JSON.stringify(formatCursor(next))}`;
    return `{"jobs":[${this.#jobs.join(",")}]${more}}`;
  }

  /** LISTING-2 */
  #truncated(state: JobState, shown: ListedJob): ListedJob {
    const { functions, error: failure } = answerOf(withoutPayloads(state), Date.now());
    const { result: _, ...rest } = shown;
    const job: ListedJob = { ...rest, data: null, functions, truncated: true };
    if (Buffer.byteLength(JSON.stringify(job)) <= this.#mostForOne) return job;
    const error = failure && { code: failure.code, name: failure.name, message: failure.message.slice(0, 1_000) };
    return { ...job, functions: [], ...(error && { error }) };
  }
}
