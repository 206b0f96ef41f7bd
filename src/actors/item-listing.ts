/**
 * Has the items of one entry listed by the function that its `for_each` names: page after page, as far ahead as items are wanted. Each page is
 * stored in the parts of its items; then the record says that these are listed, and with which cursor the function is called next.
 *
 * LISTING-1  One call is under way at a time, and the next one begins when the page before is in the record.
 * LISTING-2  A page that is stored, but not in the record, is listed again by whoever has the job next. None of its items has begun.
 */

import type { Failure } from "../job/failure.ts";
import type { FunctionState } from "../job/function-state.ts";
import { newFunction } from "../job/function-state.ts";
import { invalidItems, readPage } from "../job/items.ts";
import { type ItemsState, PART_ITEMS } from "../job/items-state.ts";
import type { Outcome } from "../job/outcome.ts";
import type { Plan } from "../job/plan.ts";
import type { CallEntry } from "../job/schema.ts";
import { isGraph } from "../job/state.ts";
import { ItemAttempts } from "./item-attempts.ts";
import type { ItemBook, Page } from "./item-book.ts";
import { partOf } from "./item-inputs.ts";
import { type CrewOwner, type CrewWait, type ItemsOfEntry, LISTING } from "./item-work.ts";

export interface ListingOwner {
  readonly book: ItemBook;
  /** So many are listed, and stored in their parts; to be said in the record. */
  onListed(change: Partial<ItemsState>): void;
  /** They cannot be listed. */
  onUnlisted(error: Failure): void;
  onChange(): void;
}

export class ItemListing implements CrewOwner {
  readonly #given: ItemsOfEntry;
  readonly #owner: ListingOwner;
  readonly #call: CallEntry;
  readonly #slice: number | undefined;
  readonly #crew: ItemAttempts;
  #state: "idle" | "calling" | "storing" | "closed" = "idle";
  #fn: FunctionState;
  /** As the call that is under way was made. */
  #cursor: unknown;
  #listed = 0;

  constructor(given: ItemsOfEntry, plan: Plan, entry: FunctionState, owner: ListingOwner) {
    const { context, host, index } = given;
    this.#given = given;
    this.#owner = owner;
    this.#call = entry.for_each as CallEntry;
    this.#slice = entry.slice;
    this.#fn = { ...this.#base(), ...entry.items?.listing };
    this.#crew = new ItemAttempts(context, host, plan, { index }, this);
  }

  #base(): FunctionState {
    const { name, retry_options, timeout_ms } = this.#call;
    return newFunction({
      name,
      ...(retry_options !== undefined && { retry_options }),
      ...(timeout_ms !== undefined && { timeout_ms }),
    });
  }

  get size(): number {
    return this.#crew.size;
  }

  get isStoring(): boolean {
    return this.#state === "storing";
  }

  get inFlight(): boolean {
    return this.#crew.inFlight || this.isStoring;
  }

  get heldBack(): boolean {
    return this.#crew.heldBack;
  }

  /** What is known of attempts that have come to nothing; undefined if there were none. */
  get trial(): ItemsState["listing"] {
    const { retry_count, failures, lost } = this.#fn;
    if (retry_count === 0) return undefined;
    return { retry_count, ...(failures !== undefined && { failures }), ...(lost !== undefined && { lost }) };
  }

  /** More items are wanted than are listed. LISTING-1 */
  want({ cursor, listed = 0 }: ItemsState): void {
    if (this.#state !== "idle") return;
    this.#state = "calling";
    this.#cursor = cursor;
    this.#listed = listed;
    this.#crew.begin(LISTING, this.#fn);
  }

  given(_item: number, fn: FunctionState) {
    const { job } = this.#given.host;
    if (!isGraph(job)) throw new TypeError(`job ${job.job_id} is no graph: it has no items`);
    return this.#given.inputs.givenForListing(job, fn, this.#cursor, this.#listed);
  }

  onDone(_item: number, _attempt: number, result: unknown): void {
    this.#fn = this.#base();
    const page = readPage(result, this.#slice, this.#cursor ?? null, this.#listed);
    if ("problem" in page) {
      this.#owner.onUnlisted(invalidItems(this.#call.name, page.problem));
      return;
    }
    this.#state = "storing";
    this.#store(page.items, page.cursor).catch((error) => this.#given.host.onFault(error));
  }

  async #store(items: unknown[], cursor: unknown): Promise<void> {
    const { book } = this.#owner;
    const from = this.#listed;
    const to = from + items.length;
    const pages: Page[] = [];
    for (let number = partOf(from); number * PART_ITEMS < to; number++) {
      const page = await this.#pageOf(number);
      if (!page || this.#state !== "storing") return; // the job has left
      const { part } = page;
      part.items ??= [];
      part.packedItems = undefined;
      for (let item = Math.max(from, part.first); item < Math.min(to, part.first + PART_ITEMS); item++) {
        part.items[item - part.first] = items[item - from];
        part.itemsApart.delete(item - part.first);
      }
      page.areItemsFit = false;
      book.touch(page);
      pages.push(page);
    }
    book.flush();
    await Promise.all(pages.map((page) => book.whenWritten(page)));
    if (this.#state !== "storing") return;
    for (const page of pages.slice(PAGES_KEPT)) book.drop(page);
    this.#owner.onListed(cursor === undefined ? { listed: to, count: to, cursor } : { listed: to, cursor });
  }

  /** A part in which nothing can be stored is not read. */
  async #pageOf(number: number): Promise<Page | undefined> {
    const { book } = this.#owner;
    const { run = 1 } = this.#given.host.job.functions.at(this.#given.index)?.items ?? {};
    return this.#listed <= number * PART_ITEMS && !book.pages.has(number)
      ? book.openNew(number, run)
      : book.open(number, run);
  }

  /** The page is in the record. */
  onStored(): void {
    if (this.#state === "storing") this.#state = "idle";
  }

  onTried(_item: number, { fn }: Outcome): void {
    this.#fn = fn;
  }

  onFailed(_item: number, { error }: Outcome): void {
    this.#owner.onUnlisted(error);
  }

  onUnheard(): void {
    // It lists, and changes nothing that would have to be undone.
  }

  onChange(): void {
    this.#owner.onChange();
  }

  waitOf(now: number): CrewWait {
    return this.#crew.waitOf(now);
  }

  pause(): void {
    this.#crew.pause();
  }

  release(): void {
    this.#crew.release();
  }

  drain(): void {
    this.#crew.drain();
  }

  close(): void {
    this.#state = "closed";
    this.#crew.close();
  }
}

/** Parts of a page that are kept in memory, as their items begin soon. */
const PAGES_KEPT = 4;
