/**
 * Has the items of one entry done, as long as the branch of the entry says that they are at it. The record of the job says which parts of
 * them may be open; what has become of each item is in its part (`item-book.ts`); its attempts are in `item-attempts.ts`.
 *
 * Example: 1,000 items, ten at a time. A commit of the job opens part 0. Its first ten items are sent; each result makes room for the next
 * item, and is written with others after 10 ms. When 64 items are left in the part, a commit opens part 1. When all items of part 0 are
 * stored as ended, the next commit counts them, and part 0 leaves memory.
 *
 * RUNNER-1  An item begins only when the record that names its part as open is stored. So whoever has the job next finds all that was begun.
 * RUNNER-2  Items begin in their order, at most `concurrency` are under way. Parts are opened ahead so that there are always some to begin.
 * RUNNER-3  The entry ends, or is said to have stopped, when all that is known of its items is stored.
 * RUNNER-4  What was in flight when the job changed its owner begins again with a higher number, as its outcome is not known; where it can be
 *     undone it may have been done. Starts are not recorded: what may have been in flight are the items that follow the last known one, as
 *     many as are under way at a time; all of an open part may have been done.
 * RUNNER-5  Nothing is in flight when the entry is said to wait for something (`rested`); before anything begins after that, it is said that
 *     it does not any more.
 * RUNNER-6  Where children are told to end, the job may leave memory until they have: they need room themselves to undo what they have done.
 * RUNNER-7  While new jobs are refused, as the bucket fills up, no item begins whose result would have to be kept: what is left is for what is
 *     live, and it can be cancelled.
 */
import { branchIn } from "../job/branches.ts";
import type { Failure } from "../job/failure.ts";
import { type FunctionState, kindOf } from "../job/function-state.ts";
import { trialFunction, withPart } from "../job/item-part.ts";
import { partCount, sizeOfPart } from "../job/items.ts";
import { type ItemsState, PART_ITEMS } from "../job/items-state.ts";
import type { Outcome } from "../job/outcome.ts";
import type { Plan } from "../job/plan.ts";
import { DEFAULT_CONCURRENCY } from "../job/schema.ts";
import { type Branch, functionAt, type Graph, isGraph } from "../job/state.ts";
import type { ItemsReport } from "../job/transition.ts";
import type { GraphHost } from "./actor-context.ts";
import { type BookOwner, ItemBook, type Page } from "./item-book.ts";
import { adoptChildren } from "./item-children.ts";
import { endOfItems, failedOf, failureOf } from "./item-end.ts";
import { baseOf, partOf } from "./item-inputs.ts";
import { ItemListing, type ListingOwner } from "./item-listing.ts";
import { ItemOutcomes } from "./item-outcomes.ts";
import { ItemQueue } from "./item-queue.ts";
import {
  type Crew,
  type CrewWait,
  type ItemsAtWork,
  type ItemsMode,
  type ItemsOfEntry,
  type ItemsOwner,
  waitOfBoth,
} from "./item-work.ts";
import { RoomForResults } from "./room-for-results.ts";

/** Parts that are opened, or read, at a time. */
const PARTS_AT_A_TIME = 16;
/** What has changed is said in the record after this time, if nothing else has to be said before. */
const COUNT_MS = 1_000;

/** Nothing begins while results of so many bytes wait to be stored. */
const MAX_UNSTORED_BYTES = 512 * 1024;
const AT_WORK = { wait: { type: "items" } } as const;

/** What is said at the end. */
type Last = Pick<ItemsReport, "end" | "stopped">;

export class ItemRunner implements ItemsAtWork, BookOwner, ItemsOwner, ListingOwner {
  readonly book: ItemBook;
  readonly #given: ItemsOfEntry;
  readonly #host: GraphHost;
  readonly #crew: Crew;
  /** Where a function lists the items. */
  readonly #listing: ItemListing | undefined;
  readonly #fn: FunctionState;
  readonly #base: FunctionState;
  readonly #attempt: number;
  readonly #concurrency: number;
  #mode: ItemsMode = "loading";
  /** As it was said last, or will be. */
  #items: ItemsState;
  /** As it is stored. */
  #stored: ItemsState;
  /** What has been said, and is not stored yet. */
  #posted: ItemsState | undefined;
  /** How often something was known of an item when it was said last that they rest: what comes after that wakes them. */
  #touches = 0;
  /** Parts whose items may begin. */
  readonly #queue = new ItemQueue();
  /** By number. */
  readonly #open = new Map<number, Page>();
  /** Parts that are about to be opened; `#isOpening` while they are read. */
  #opening: Page[] = [];
  #isOpening = false;
  #isDrawing = false;
  #isDraining = false;
  readonly #outcomes: ItemOutcomes;
  readonly #storage: RoomForResults;
  #last: Last | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(given: ItemsOfEntry, plan: Plan, job: Graph, branch: Branch) {
    const { context, host, index, store } = given;
    this.#given = given;
    this.#host = host;
    this.#fn = functionAt(job, index);
    this.#base = baseOf(this.#fn);
    this.#attempt = branch.attempt;
    this.#items = this.#stored = this.#fn.items as ItemsState;
    this.#concurrency = this.#fn.concurrency ?? DEFAULT_CONCURRENCY;
    this.book = new ItemBook(context.bus, store, host, this);
    this.#outcomes = new ItemOutcomes(this, this.#fn, () => context.bus.maxPayload);
    this.#storage = new RoomForResults(context.store, this.book, host, () => this.onChange());
    this.#crew = given.crewFor(this);
    if (this.#items.count === undefined) this.#listing = new ItemListing(given, plan, this.#fn, this);
    this.#load(job).catch((error) => this.#host.onFault(error));
  }

  // --- the job

  tend(job: Graph, branch: Branch): void {
    if (this.#mode === "over") {
      this.#confirm(branch);
      return;
    }
    if (this.#posted !== undefined && functionAt(job, this.#given.index).items === this.#posted) this.#onStored();
    if (job.outcome?.skip) this.#crew.skipUndo();
    if (branch.wait === "stopping") this.#stop();
    else if (this.#mode === "resting" && branch.wait === "items") this.#wake();
    if (this.heldBack && this.#host.lease.valid && this.#mode === "on") this.#release();
    this.onChange();
  }

  get inFlight(): boolean {
    return this.#crew.inFlight || (this.#listing?.inFlight ?? false) || (this.#mode !== "over" && !this.book.isClean);
  }

  get heldBack(): boolean {
    return this.#crew.heldBack || (this.#listing?.heldBack ?? false);
  }

  drain(): void {
    this.#isDraining = true;
    this.#crew.drain();
    this.#listing?.drain();
    this.book.flush();
  }

  close(): void {
    this.#mode = "over";
    clearTimeout(this.#timer);
    this.#crew.close();
    this.#listing?.close();
    this.#storage.close();
    this.book.close();
  }

  get #job(): Graph {
    const { job } = this.#host;
    if (!isGraph(job)) throw new TypeError(`job ${job.job_id} is no graph: it has no items`);
    return job;
  }

  /** Says how far the items have come. */
  #report(report: Omit<ItemsReport, "items">, change?: Partial<ItemsState>): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { rested: _rested, ...items } = this.#items;
    const open = [...this.#open.keys(), ...this.#opening.map(({ part }) => part.number)];
    this.#items = this.#posted = { ...items, open: open.sort((a, b) => a - b), ...change };
    const { index } = this.#given;
    const told = this.#outcomes.takeUntold();
    this.#host.post({
      type: "items",
      index,
      attempt: this.#attempt,
      report: { items: this.#posted, ...told, ...report },
    });
  }

  /** What was said is stored. */
  #onStored(): void {
    const before = this.#stored;
    if (this.#posted) this.#stored = this.#posted;
    this.#posted = undefined;
    this.#grow(before);
    const opened = this.#opening;
    this.#opening = [];
    for (const page of opened) this.#begin(page); // RUNNER-1
    if (this.#mode === "leaving") this.#mode = "resting";
    else if (this.#mode === "waking") {
      this.#mode = "on";
      this.#release();
    }
  }

  #release(): void {
    this.#crew.release();
    this.#listing?.release();
  }

  // --- at the beginning

  async #load(job: Graph): Promise<void> {
    const { open, run, rested } = this.#items;
    const failure = await this.#given.inputs.prepareAtLast(job);
    for (let at = 0; at < open.length; at += PARTS_AT_A_TIME) {
      await Promise.all(open.slice(at, at + PARTS_AT_A_TIME).map((number) => this.book.open(number, run)));
    }
    if (this.#isOver()) return;
    for (const number of open) {
      const page = this.book.pages.get(number);
      if (!page) return; // the job has left
      if (page.part.beginRun(run)) this.book.touch(page);
      if (!rested) this.#inherit(page);
      this.#begin(page);
    }
    this.#mode = rested ? "resting" : "on";
    const { job: now } = this.#host;
    const branch = isGraph(now) ? branchIn(now.live, this.#given.index) : undefined;
    if (failure) this.#windDown({ end: { error: failure } });
    this.#checkFailures();
    if (branch?.wait === "stopping") this.#stop();
    else if (rested && this.#mode === "resting") this.#wake();
    this.onChange();
  }

  #isOver(): boolean {
    return this.#mode === "over" || this.#host.isGone;
  }

  /** RUNNER-4. Of children it is known which have begun. */
  #inherit(page: Page): void {
    const { part } = page;
    if (kindOf(this.#fn) === "job") return;
    part.inherit(this.#sizeOf(part.number), this.#concurrency, this.#fn.undo !== undefined, Date.now());
    if (this.#fn.undo !== undefined) this.book.touch(page);
  }

  /** Its items may begin. */
  #begin(page: Page): void {
    this.#open.set(page.part.number, page);
    this.#queue.push(page, this.#sizeOf(page.part.number));
    if (page.part.failed > 0) this.#checkFailures();
    if (!page.isDirty && !page.isWriting && this.#isComplete(page)) this.#count(page);
  }

  /** How many items there are, as far as that is stored. */
  get #known(): number {
    return this.#stored.count ?? this.#stored.listed ?? 0;
  }

  /** How many of them a part has. */
  #sizeOf(number: number): number {
    return sizeOfPart(this.#stored, number);
  }

  // --- one item after the other

  pageOf(item: number): Page | undefined {
    return this.#open.get(partOf(item));
  }

  given(item: number, fn: FunctionState) {
    return this.#given.inputs.given(this.#job, (this.pageOf(item) as Page).part, item, fn);
  }

  /** Begins what may begin, and does what follows from that (RUNNER-2). */
  onChange(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    while (this.#mayBegin() && this.#drawNext());
    this.#isDrawing = false;
    if (this.#isDraining) this.book.flush();
    else if (this.#mode === "on") this.#goOn();
    else if (this.#mode === "ending") this.#endWhenStored();
    else if (this.#mode === "leaving") this.#leaveWhenStored();
    else if (this.#mode === "resting" && this.book.touches > this.#touches) this.#wake(); // a child has ended
  }

  #mayBegin(): boolean {
    if (this.#mode !== "on" || this.#isDraining || this.#crew.size >= this.#concurrency) return false;
    if (this.book.unstoredBytes > MAX_UNSTORED_BYTES) return false;
    return this.#fn.results === "none" || !this.#storage.isFull;
  }

  #drawNext(): boolean {
    const next = this.#queue.next((number) => this.#sizeOf(number), this.#stored.count === undefined);
    if (!next) return false;
    const { offset, page } = next;
    const { part } = page;
    const trial = part.trials.size === 0 ? undefined : part.trials.get(offset);
    this.#crew.begin(part.first + offset, trialFunction(this.#base, trial), trial?.due_at);
    return true;
  }

  /** While it is on: opens more, ends, or waits. */
  #goOn(): void {
    if (this.#posted !== undefined) return;
    const { next } = this.#items;
    const { count } = this.#stored;
    const { ahead } = this.#queue;
    if (ahead < Math.max(PART_ITEMS / 2, this.#concurrency) && next < partCount(this.#known)) this.#openMore();
    if (count === undefined) {
      const left = ahead + Math.max(0, this.#known - next * PART_ITEMS);
      if (left < Math.max(2 * PART_ITEMS, this.#concurrency)) this.#listing?.want(this.#items);
    }
    if (this.#posted !== undefined || this.#isOpening) return;
    if (this.#crew.size === 0 && ahead === 0 && count !== undefined && next >= partCount(count)) {
      this.book.flush();
      if (this.#open.size === 0) this.#finish().catch((error) => this.#host.onFault(error));
    } else this.#restIfLong();
    if (this.#posted === undefined && this.#outcomes.hasUntold) this.#reportSoon();
  }

  #reportSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#mode === "on" && this.#posted === undefined) this.#report({});
    }, COUNT_MS);
  }

  /** Opens as many parts as it takes to have items to begin. */
  #openMore(): void {
    if (this.#isOpening) return;
    const { next, run, list } = this.#items;
    const wanted = Math.max(PART_ITEMS / 2, this.#concurrency) + PART_ITEMS / 2 - this.#queue.ahead;
    const most = Math.min(PARTS_AT_A_TIME, partCount(wanted), partCount(this.#known) - next);
    const numbers = Array.from({ length: most }, (_, at) => next + at);
    // In the first run nothing can be stored of a part that has not been opened, but what a function has listed.
    if (run === list && typeof this.#fn.for_each !== "object") {
      this.#opening = numbers.map((number) => this.book.openNew(number, run));
      this.#report({}, { next: next + numbers.length });
      return;
    }
    this.#isOpening = true;
    this.#readParts(numbers, run).catch((error) => this.#host.onFault(error));
  }

  async #readParts(numbers: readonly number[], run: number): Promise<void> {
    const pages = await Promise.all(numbers.map((number) => this.book.open(number, run)));
    this.#isOpening = false;
    if (this.#isOver() || this.#mode !== "on") return;
    const next = this.#items.next + numbers.length;
    for (const page of pages) {
      if (!page) return; // the job has left
      const isChanged = page.part.beginRun(run);
      if (isChanged) this.book.touch(page);
      if (!isChanged && this.#isComplete(page)) this.#count(page);
      else this.#opening.push(page);
    }
    this.#report({}, { next });
  }

  #isComplete({ part }: Page): boolean {
    const size = this.#sizeOf(part.number);
    return part.ended >= size && (size === PART_ITEMS || this.#stored.count !== undefined);
  }

  /** All items of the part have ended, and that is stored. */
  #count(page: Page): void {
    const { part } = page;
    this.#open.delete(part.number);
    this.book.drop(page);
    this.#items = withPart(this.#items, part, this.#fn.results !== "none");
  }

  onWritten(page: Page): void {
    if (this.#open.has(page.part.number) && this.#isComplete(page)) {
      this.#count(page);
      if (this.#mode === "on") this.#reportSoon();
    }
    this.onChange();
  }

  onTaken(page: Page, offsets: readonly number[]): void {
    for (const offset of offsets) this.#crew.cancel(page.part.first + offset);
    this.#checkFailures();
  }

  // --- outcomes

  onDone(item: number, attempt: number, result: unknown): void {
    if (this.#outcomes.done(item, attempt, result, this.#base)) this.#checkFailures();
  }

  onTried(item: number, outcome: Outcome): void {
    this.#outcomes.tried(item, outcome);
  }

  onFailed(item: number, outcome: Outcome): void {
    this.#outcomes.failed(item, outcome);
    this.#checkFailures();
  }

  onUnheard(item: number, attempt: number): void {
    this.#outcomes.unheard(item, attempt);
  }

  #checkFailures(): void {
    if (this.#mode === "loading" || this.#mode === "ending" || this.#mode === "over") return;
    const failed = failedOf(this.#items, this.#open.values());
    const error = failureOf(failed, this.#fn, this.#stored.count, this.#outcomes.lastError);
    if (error) this.#windDown({ end: { error } });
  }

  // --- waits

  /** So many are listed, and stored in their parts. */
  onListed(change: Partial<ItemsState>): void {
    if (this.#mode !== "ending" && this.#mode !== "over") this.#report({}, change);
  }

  /** It is stored that more of them are listed: these may begin. */
  #grow(before: ItemsState): void {
    const { count, listed = 0, cursor } = this.#stored;
    const [from, to] = [before.count ?? before.listed ?? 0, count ?? listed];
    // A page may have no items, and lead to the next.
    if (from === to && before.count === count && before.cursor === cursor) return;
    this.#queue.grow(from, to);
    for (const page of [...this.#open.values()])
      if (!page.isDirty && !page.isWriting && this.#isComplete(page)) this.#count(page);
    this.#listing?.onStored();
    this.#checkFailures();
  }

  /** They cannot be listed. */
  onUnlisted(error: Failure): void {
    this.#windDown({ end: { error } });
    this.onChange();
  }

  #waits(): CrewWait {
    return waitOfBoth(this.#crew, this.#listing, Date.now());
  }

  /** RUNNER-5 */
  #restIfLong(): void {
    const isFull = this.#crew.size >= this.#concurrency || this.#queue.ahead === 0;
    if (!isFull || this.#listing?.isStoring || !this.#waits()) return;
    this.#mode = "leaving";
    this.#crew.pause();
    this.#listing?.pause();
    this.#leaveWhenStored();
  }

  #leaveWhenStored(): void {
    if (this.#posted !== undefined) return;
    const wait = this.#waits();
    if (!wait) {
      this.#mode = "on"; // it has been quicker
      this.#release();
      return;
    }
    this.book.flush();
    const listing = this.#listing?.trial;
    this.#touches = this.book.touches;
    if (this.book.isClean) this.#report({ wait }, { rested: true, ...(listing && { listing }) });
  }

  #wake(): void {
    if (this.#posted !== undefined) return;
    this.#mode = "waking";
    this.#report(AT_WORK);
  }

  // --- at the end

  #stop(): void {
    if (this.#mode === "loading" || this.#last?.stopped) return;
    this.#windDown({ stopped: true });
  }

  /** The entry has failed, and so has its job, which has told it to stop: it has already. */
  #confirm({ wait }: Branch): void {
    if (wait !== "stopping" || this.#last?.stopped) return;
    this.#last = { stopped: true };
    this.#report(this.#last);
  }

  /** Nothing more begins: what is under way is told to stop. */
  #windDown(last: Last): void {
    const { rested: _rested, ...items } = this.#items;
    this.#items = items;
    this.#last = last;
    this.#mode = "ending";
    this.#listing?.close();
    if (kindOf(this.#fn) === "job") adoptChildren(this.#open.values(), this.#crew, this.#base);
    this.#crew.stop(this.#fn.undo !== undefined || kindOf(this.#fn) === "job");
  }

  /** RUNNER-3 */
  #endWhenStored(): void {
    if (this.#posted !== undefined) return;
    if (this.#crew.size > 0) {
      this.#restBeforeEnd();
      return;
    }
    this.book.flush();
    if (!this.book.isClean || !this.#last) return;
    const last = this.#last;
    this.#mode = "over";
    for (const page of [...this.#open.values()]) this.#count(page); // whoever looks at an entry that has ended looks at its record
    this.#report(last);
  }

  /** RUNNER-6. Of attempts the end is waited for in memory: that is 10 s at most. */
  #restBeforeEnd(): void {
    if (this.#items.rested) {
      if (this.book.touches > this.#touches) this.#report(AT_WORK); // a child has ended
      return;
    }
    const wait = kindOf(this.#fn) === "job" ? this.#crew.waitOf(Date.now()) : undefined;
    if (!wait) return;
    this.book.flush();
    this.#touches = this.book.touches;
    if (this.book.isClean) this.#report({ wait }, { rested: true });
  }

  async #finish(): Promise<void> {
    this.#mode = "ending";
    const end = await endOfItems(this.#given, this.#job, this.#items, this.#outcomes.lastError);
    if (!end || this.#isOver()) return;
    this.#last ??= { end };
    this.onChange();
  }
}
