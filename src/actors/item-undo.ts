/**
 * Undoes the items of one entry, as long as the branch of its undo says so: from the last part to the first, in each from the last item to the
 * first, at most `concurrency` at a time. Which items are to be undone is in their parts; what becomes of that, too (`item-book.ts`).
 *
 * Example: 300 items are done. Part 2 is read, and its items are undone from 299 on; then part 1 is read. When all of part 2 is stored as
 * undone it leaves memory; the record says so each 64 parts (`unwound`), so that the next owner does not read these again.
 *
 * UNWIND-1  An item is undone once, or counted as one that could not be: what its part says of that stays for as long as this undo lasts.
 * UNWIND-2  The end is said when all that is known of it is stored.
 * UNWIND-3  What could not be undone is tried again by another undo, after a retry by hand (`retries`).
 */
import { branchIn } from "../job/branches.ts";
import type { Failure } from "../job/failure.ts";
import { type FunctionState, kindOf } from "../job/function-state.ts";
import { trialFunction, trialOfItem, UNDO_FAILED, UNDONE } from "../job/item-part.ts";
import { type ItemsState, PART_ITEMS, partsReached } from "../job/items-state.ts";
import type { Outcome } from "../job/outcome.ts";
import { DEFAULT_CONCURRENCY } from "../job/schema.ts";
import { type Branch, functionAt, type Graph, isGraph } from "../job/state.ts";
import type { ItemsReport } from "../job/transition.ts";
import type { GraphHost } from "./actor-context.ts";
import { type BookOwner, ItemBook, type Page } from "./item-book.ts";
import { baseOf, partOf } from "./item-inputs.ts";
import type { Crew, ItemsAtWork, ItemsMode, ItemsOfEntry, ItemsOwner } from "./item-work.ts";

/** Parts that are in memory at a time. */
const MAX_PAGES = 8;
/** After so many parts the record says how far it is. */
const PARTS_PER_REPORT = 64;

export class ItemUndo implements ItemsAtWork, BookOwner, ItemsOwner {
  readonly book: ItemBook;
  readonly #given: ItemsOfEntry;
  readonly #host: GraphHost;
  readonly #crew: Crew;
  readonly #fn: FunctionState;
  readonly #base: FunctionState;
  readonly #attempt: number;
  readonly #concurrency: number;
  /** Which undo it is (UNWIND-3). */
  readonly #retries: number;
  #mode: ItemsMode = "loading";
  #items: ItemsState;
  #posted: ItemsState | undefined;
  /** How often something was known of an item when it was said last that they rest: what comes after that wakes them. */
  #touches = 0;
  /** Parts from this number on have been opened. */
  #next: number;
  #isReading = false;
  /** In the order in which they are undone. */
  readonly #pages: Page[] = [];
  /** Whose items begin: the first of them of which some have not begun. */
  #at = 0;
  /** Where in it, downwards. */
  #offset = PART_ITEMS - 1;
  #isDrawing = false;
  #isDraining = false;
  /** Parts from this number on are through, but for so many items that could not be undone. */
  #through: number;
  #failed: number;
  #lastError: Failure | undefined;

  constructor(given: ItemsOfEntry, job: Graph, branch: Branch) {
    const { context, host, index, store } = given;
    this.#given = given;
    this.#host = host;
    this.#fn = functionAt(job, index);
    this.#base = baseOf(this.#fn.undoing ?? this.#fn);
    this.#attempt = branch.attempt;
    this.#items = this.#fn.items as ItemsState;
    this.#concurrency = this.#fn.concurrency ?? DEFAULT_CONCURRENCY;
    this.#retries = job.retries ?? 0;
    const { unwound } = this.#items;
    const isBegun = unwound?.retries === this.#retries;
    this.#through = isBegun ? unwound.from : partsReached(this.#items);
    this.#failed = isBegun ? unwound.failed : 0;
    this.#next = this.#through;
    this.book = new ItemBook(context.bus, store, host, this);
    this.#crew = given.crewFor(this);
    this.#load(job).catch((error) => this.#host.onFault(error));
  }

  /** Finds out which items there are; those that cannot be had any more are undone without. */
  async #load(job: Graph): Promise<void> {
    this.#lastError = await this.#given.inputs.prepareAtLast(job);
    if (this.#mode !== "loading") return;
    this.#mode = this.#items.rested ? "resting" : "on";
    const { job: now } = this.#host;
    if (this.#mode === "resting" && isGraph(now)) {
      const branch = branchIn(now.live, this.#given.index);
      if (branch?.wait === "items" || branch?.wait === "child") this.#wake();
    }
    this.onChange();
  }

  tend(job: Graph, branch: Branch): void {
    if (this.#mode === "over") return;
    if (this.#posted !== undefined && functionAt(job, this.#given.index).items === this.#posted) {
      this.#posted = undefined;
      if (this.#mode === "leaving") this.#mode = "resting";
      else if (this.#mode === "waking") this.#goOn();
    }
    if (job.outcome?.skip) this.#crew.skipUndo();
    if (this.#mode === "resting" && branch.wait === "items") this.#wake();
    if (this.heldBack && this.#host.lease.valid && this.#mode === "on") this.#crew.release();
    this.onChange();
  }

  get inFlight(): boolean {
    return this.#crew.inFlight || (this.#mode !== "over" && !this.book.isClean);
  }

  get heldBack(): boolean {
    return this.#crew.heldBack;
  }

  drain(): void {
    this.#isDraining = true;
    this.#crew.drain();
    this.book.flush();
  }

  close(): void {
    this.#mode = "over";
    this.#crew.close();
    this.book.close();
  }

  #report(report: Omit<ItemsReport, "items">, change: Partial<ItemsState> = {}): void {
    const { rested: _rested, ...items } = this.#items;
    const unwound = { retries: this.#retries, from: this.#through, failed: this.#failed };
    this.#items = this.#posted = { ...items, unwound, ...change };
    const { index } = this.#given;
    this.#host.post({
      ...{ type: "items", index, attempt: this.#attempt, undo: true },
      report: { items: this.#posted, ...report },
    });
  }

  // --- one item after the other

  pageOf(item: number): Page | undefined {
    return this.book.pages.get(partOf(item));
  }

  given(item: number, fn: FunctionState) {
    const { job } = this.#host;
    if (!isGraph(job)) throw new TypeError(`job ${job.job_id} is no graph: it has no items`);
    return this.#given.inputs.givenForUndo(job, (this.pageOf(item) as Page).part, item, fn);
  }

  onChange(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    while (this.#mode === "on" && !this.#isDraining && this.#crew.size < this.#concurrency && this.#drawNext());
    this.#isDrawing = false;
    if (this.#isDraining) this.book.flush();
    else if (this.#mode === "on") this.#follow();
    else if (this.#mode === "leaving") this.#leaveWhenStored();
    else if (this.#mode === "resting" && this.book.touches > this.#touches) this.#wake();
  }

  #drawNext(): boolean {
    for (let page = this.#pages[this.#at]; page; page = this.#pages[this.#at]) {
      const { part } = page;
      while (this.#offset >= 0) {
        const offset = this.#offset--;
        if (!part.isToBeUndone(offset)) continue;
        const trial = part.trials.get(offset);
        this.#crew.begin(part.first + offset, trialFunction(this.#base, trial), trial?.due_at);
        return true;
      }
      this.#at += 1;
      this.#offset = PART_ITEMS - 1;
      this.#dropThrough();
    }
    return false;
  }

  #follow(): void {
    if (this.#posted !== undefined || this.#mode !== "on") return;
    this.#dropThrough();
    if (this.#next > 0 && !this.#isReading && this.#pages.length - this.#at < 2 && this.#pages.length < MAX_PAGES) {
      this.#isReading = true;
      this.#read(this.#next - 1).catch((error) => this.#host.onFault(error));
    }
    if (this.#crew.size === 0 && this.#at >= this.#pages.length) this.book.flush();
    if (this.#through === 0) this.#end();
    else if (this.#crew.size >= this.#concurrency || (this.#at >= this.#pages.length && this.#next === 0)) this.#rest();
  }

  async #read(number: number): Promise<void> {
    const page = await this.book.open(number, this.#items.run);
    if (!page || this.#mode === "over") return;
    page.part.beginUndo(this.#retries, kindOf(this.#fn) === "job");
    this.#pages.push(page);
    this.#next = number;
    this.#isReading = false;
    this.onChange();
  }

  /** Those at the front of which all is undone, and stored, leave memory. */
  #dropThrough(): void {
    for (let page = this.#pages[0]; page && this.#at > 0 && this.#isThrough(page); page = this.#pages[0]) {
      this.book.drop(page);
      this.#pages.shift();
      this.#at -= 1;
      this.#through = page.part.number;
      for (let offset = 0; offset < PART_ITEMS; offset++) if (page.part.has(offset, UNDO_FAILED)) this.#failed += 1;
    }
    const { unwound } = this.#items;
    const said = unwound?.retries === this.#retries ? unwound.from : partsReached(this.#items);
    const isFar = said - this.#through >= PARTS_PER_REPORT && this.#through > 0;
    if (isFar && this.#posted === undefined && this.#mode === "on") this.#report({});
  }

  #isThrough({ part, isDirty, isWriting }: Page): boolean {
    if (isDirty || isWriting) return false;
    for (let offset = 0; offset < PART_ITEMS; offset++) if (part.isToBeUndone(offset)) return false;
    return true;
  }

  onWritten(): void {
    this.onChange();
  }

  onTaken({ part }: Page, offsets: readonly number[]): void {
    for (const offset of offsets) this.#crew.cancel(part.first + offset);
  }

  // --- outcomes

  onDone(item: number, attempt: number): void {
    const page = this.pageOf(item);
    if (!page) return;
    const { part } = page;
    const offset = item - part.first;
    part.mark(offset, UNDONE);
    const trial = part.trials.get(offset);
    if (kindOf(this.#fn) === "job" || trial?.again !== undefined)
      part.setTried(offset, { retry_count: attempt, ...(trial?.again !== undefined && { again: trial.again }) });
    else part.trials.delete(offset);
    this.book.touch(page);
  }

  onTried(item: number, { fn, retryAt }: Outcome): void {
    const page = this.pageOf(item);
    if (!page) return;
    const offset = item - page.part.first;
    page.part.setTried(offset, trialOfItem(fn, page.part.trials.get(offset), retryAt));
    this.book.touch(page);
  }

  onFailed(item: number, { fn, error }: Outcome): void {
    const page = this.pageOf(item);
    if (!page) return;
    const offset = item - page.part.first;
    page.part.setTried(offset, trialOfItem(fn, page.part.trials.get(offset)));
    page.part.mark(offset, UNDO_FAILED);
    this.#lastError = error;
    this.book.touch(page);
  }

  onUnheard(): void {
    // An undo is not told to stop.
  }

  // --- waits, as those of a runner

  #rest(): void {
    if (!this.#crew.waitOf(Date.now())) return;
    this.#mode = "leaving";
    this.#crew.pause();
    this.#leaveWhenStored();
  }

  #leaveWhenStored(): void {
    if (this.#posted !== undefined) return;
    const wait = this.#crew.waitOf(Date.now());
    if (!wait) {
      this.#goOn();
      this.onChange();
      return;
    }
    this.book.flush();
    this.#touches = this.book.touches;
    if (this.book.isClean) this.#report({ wait }, { rested: true });
  }

  #goOn(): void {
    this.#mode = "on";
    this.#crew.release();
  }

  #wake(): void {
    if (this.#posted !== undefined) return;
    this.#mode = "waking";
    this.#report({ wait: { type: "items" } });
  }

  /** UNWIND-2 */
  #end(): void {
    if (this.#crew.size > 0 || !this.book.isClean) return;
    this.#mode = "over";
    const error = this.#lastError ? { error: this.#lastError } : {};
    this.#report({ undone: { failed: this.#failed, ...error } });
  }
}
