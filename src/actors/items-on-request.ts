/**
 * Answers to `job.items.<id>`: pages of the items of an entry, as far as their parts say what has become of them. Any supervisor can
 * answer for any job, live or ended. Who has the job sees to its items with `item-runner.ts`.
 *
 * PAGES-1  A page has a limit in items, in bytes and in time, and at most `MAX_PAGES` are made at a time. Who wants more goes on with `next`.
 * PAGES-2  Each page gets on: an item that fits into no answer is shown without its result.
 */
import { formatItemCursor, type ItemsReply, type ItemsRequest, parseItemCursor } from "../api/items.ts";
import { DEFAULT_PAGE_LIMIT } from "../api/requests.ts";
import { outcomesIn } from "../bus/store/item-parts.ts";
import { ItemStore, readItems } from "../bus/store/item-store.ts";
import type { JobStore } from "../bus/store/job-store.ts";
import { withoutFolders } from "../job/answer.ts";
import { childIdOf, childOrigin } from "../job/children.ts";
import { AsyncError } from "../job/errors.ts";
import type { OpenItems } from "../job/explanation.ts";
import { kindOf } from "../job/function-state.ts";
import { FAILED, OPEN, OUTCOME } from "../job/item-part.ts";
import type { ItemView } from "../job/item-view.ts";
import { toJsonValue } from "../job/plain.ts";
import { functionAt, isEnded, isGraph, type JobState } from "../job/state.ts";
import type { JobView } from "../job/view.ts";
import { Limiter } from "../util/limiter.ts";
import { indexOfEntry } from "./results-on-request.ts";

const MAX_PAGES = 4;
const PAGE_MS = 500;
/** Beyond this an answer ends early, well below the server's limit of a message (1 MiB by default). */
const MAX_REPLY_BYTES = 512 * 1024;
/** What an answer has besides its items. */
const ENVELOPE_BYTES = 1_024;
/** Most open parts of an entry that are read to say how far their items are. */
const MAX_PARTS_LOOKED_AT = 8;

export class ItemsOnRequest {
  readonly #store: JobStore;
  readonly #maxPayload: () => number;
  readonly #pages = new Limiter(() => MAX_PAGES);

  constructor(store: JobStore, bus: { readonly maxPayload: number }) {
    this.#store = store;
    this.#maxPayload = () => bus.maxPayload;
  }

  /**
   * The answer as JSON (`ItemsReply`).
   *
   * @throws AsyncError `no_entry`, `invalid_request` (the entry has no `for_each`, or it is no cursor), `bus_overloaded`, or what the bus throws
   */
  async page(job: JobState, request: ItemsRequest): Promise<string> {
    const why = `this supervisor reads the items of ${MAX_PAGES} jobs already; try again`;
    return this.#pages.runNow(
      () => this.#page(job, request),
      () => new AsyncError("bus_overloaded", why),
    );
  }

  async #page(job: JobState, { entry, state, limit = DEFAULT_PAGE_LIMIT, cursor }: ItemsRequest): Promise<string> {
    const index = indexOfEntry(job, entry);
    const { id, for_each, items: progress } = functionAt(job, index);
    if (for_each === undefined) {
      const message = `entry ${entry} of job ${job.job_id} has no items, as it has no for_each`;
      throw new AsyncError("invalid_request", message);
    }
    const from = cursor === undefined ? 0 : parseItemCursor(cursor);
    const mostForOne = this.#maxPayload() - ENVELOPE_BYTES;
    const most = Math.min(MAX_REPLY_BYTES, mostForOne);
    const end = performance.now() + PAGE_MS;
    const isTime = () => performance.now() >= end;
    const found = await readItems(this.#store, job, index, { from, limit, state, maxBytes: most / 2, isTime });
    const texts: string[] = [];
    let { next } = found;
    let bytes = 0;
    for (const view of found.items) {
      const text = textOf(shown(job, index, view), mostForOne);
      bytes += Buffer.byteLength(text) + 1;
      if (texts.length > 0 && bytes > most) {
        next = view.item;
        break;
      }
      texts.push(text);
    }
    const head: Omit<ItemsReply, "items"> = {
      job_id: job.job_id,
      index,
      ...(id !== undefined && { id }),
      count: progress?.count ?? null,
    };
    const more = next === undefined ? "" : `,"next":"${formatItemCursor(next)}"`;
    return `${JSON.stringify(head).slice(0, -1)},"items":[${texts.join(",")}]${more}}`;
  }

  /** What is stored of the items of an entry that the record does not count yet. @throws AsyncError of the bus */
  async open(job: JobState, index: number, now: number): Promise<OpenItems> {
    const fn = functionAt(job, index);
    const reader = new ItemStore(this.#store, job, index, fn);
    const numbers = fn.items?.open.slice(0, MAX_PARTS_LOOKED_AT) ?? [];
    const found: OpenItems = { done: 0, failed: 0, backoff: 0, until: Number.POSITIVE_INFINITY };
    for (const { stored } of await Promise.all(numbers.map((number) => reader.readStored(number)))) {
      // What failed in an earlier run is done again by this one.
      const isOfThisRun = stored?.run === fn.items?.run;
      for (const { state } of stored ? outcomesIn(stored) : []) {
        const outcome = state & OUTCOME;
        if (outcome === FAILED) found.failed += isOfThisRun ? 1 : 0;
        else if (outcome !== OPEN) found.done += 1;
      }
      for (const [, { due_at }] of stored?.trials ?? []) {
        if (due_at === undefined || due_at <= now) continue;
        found.backoff += 1;
        found.until = Math.min(found.until, due_at);
      }
    }
    return found;
  }

  /** Counts those in a view as well: a part of the items ends with its last one only. @throws AsyncError of the bus */
  async countOpen(job: JobState, view: JobView): Promise<void> {
    if (isEnded(job) || !isGraph(job)) return;
    let index = 0;
    for (const { items } of job.functions) {
      const shown = items && items.open.length > 0 ? view.functions[index]?.items : undefined;
      if (shown) {
        const { done, failed } = await this.open(job, index, Date.now());
        shown.done += done;
        shown.failed += failed;
      }
      index += 1;
    }
  }
}

/** As it is told: in JSON, and with the id of its job. */
function shown(job: JobState, index: number, view: ItemView): ItemView {
  const told = { ...view };
  if (view.result !== undefined) told.result = toJsonValue(view.result, job.encoding);
  if (view.error) told.error = withoutFolders(view.error);
  const isOfChild = kindOf(functionAt(job, index)) === "job" && view.retry_count > 0;
  if (isOfChild) told.child = childIdOf(childOrigin(job, index, view.item));
  return told;
}

/** PAGES-2 */
function textOf(view: ItemView, most: number): string {
  const text = JSON.stringify(view);
  if (Buffer.byteLength(text) <= most) return text;
  const { result: _result, ...rest } = view;
  return JSON.stringify({ ...rest, result_omitted: true } satisfies ItemView);
}
