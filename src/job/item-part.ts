/**
 * What is known of the items of one part of a `for_each`: what has become of each, and what of its attempts has to be known to go on. It is
 * kept in memory while items of it are under way, and stored under a key of its own (`bus/store/item-parts.ts`). Results are kept encoded, as
 * each is stored two or three times.
 *
 * PART-1  An item that has ended stays as it is in this run. By a new run, one that has failed begins anew, and so does one that was undone.
 * PART-2  What is stored counts: where it says that an item has ended, that is how it has, whatever was found out since (`absorb`).
 */
import type { Failure } from "./failure.ts";
import type { FunctionState } from "./function-state.ts";
import { shortError } from "./items.ts";
import { type ItemsState, PART_ITEMS } from "./items-state.ts";

/** Whose items they are: those of another job with that id, or of another list of the entry, are none. */
export interface PartOwner {
  created_at: number;
  /** Of the entry. */
  runs: number;
  /** In which run of the items they were counted. */
  list: number;
}

/** What has become of an item: the lowest three bits of its state. */
export const OPEN = 0;
/** Done, and its result is null; is in the part; is stored under a key of its own. */
export const DONE_NULL = 1;
export const DONE = 2;
export const DONE_APART = 3;
export const FAILED = 4;
export const OUTCOME = 7;
/** The others are flags: an attempt of it has ended unanswered, and none has completed; it was undone; or could not be. */
export const UNCERTAIN = 8;
export const UNDONE = 16;
export const UNDO_FAILED = 32;

/** What is known of attempts of an item that came to nothing. */
export interface ItemTrial {
  retry_count: number;
  failures?: number;
  lost?: number;
  interrupted?: number;
  tried_at?: number;
  /** When the next attempt is due. */
  due_at?: number;
  error?: Failure;
  last_progress?: unknown;
  /** The run in which it began anew after it had been undone. */
  again?: number;
  /** It is a child, which was begun in this run; or which was told in this undo to undo itself. */
  begun?: true;
}

const SHORT_LENGTH = 100;

/** A result: encoded, or how many bytes it has where it is stored by itself. Undefined is null. */
export type KeptResult = Uint8Array | number | undefined;

export class ItemPart {
  readonly number: number;
  /** The run in which it was changed last. */
  run: number;
  /** After how many retries by hand the undo began that its trials are of; undefined: they are of the items themselves. */
  unwind: number | undefined;
  readonly states = new Uint8Array(PART_ITEMS);
  readonly results: KeptResult[] = [];
  readonly trials = new Map<number, ItemTrial>();
  /** What a function has listed, by offset; undefined in the places of those that are apart and have not been read. */
  items: unknown[] | undefined;
  /** Those of them that are stored under keys of their own. */
  readonly itemsApart = new Set<number>();
  /** What was listed as it is stored, once that is known: it does not change with what becomes of the items. */
  packedItems: Uint8Array | undefined;
  #done = 0;
  #failed = 0;

  constructor(number: number, run: number) {
    this.number = number;
    this.run = run;
  }

  /** The number of its first item. */
  get first(): number {
    return this.number * PART_ITEMS;
  }

  get done(): number {
    return this.#done;
  }

  get failed(): number {
    return this.#failed;
  }

  get ended(): number {
    return this.#done + this.#failed;
  }

  /** Bytes of all results, where null has one. */
  get resultBytes(): number {
    let bytes = 0;
    for (let offset = 0; offset < PART_ITEMS; offset++) {
      if (!this.isDone(offset)) continue;
      const result = this.results[offset];
      bytes += typeof result === "number" ? result : (result?.length ?? 1);
    }
    return bytes;
  }

  isDone(offset: number): boolean {
    const outcome = (this.states[offset] ?? 0) & OUTCOME;
    return outcome !== OPEN && outcome !== FAILED;
  }

  hasFailed(offset: number): boolean {
    return ((this.states[offset] ?? 0) & OUTCOME) === FAILED;
  }

  isOpen(offset: number): boolean {
    return ((this.states[offset] ?? 0) & OUTCOME) === OPEN;
  }

  has(offset: number, flag: number): boolean {
    return ((this.states[offset] ?? 0) & flag) !== 0;
  }

  setDone(offset: number, result: KeptResult, attempt: number): void {
    const kind = result === undefined ? DONE_NULL : typeof result === "number" ? DONE_APART : DONE;
    this.#setOutcome(offset, kind);
    this.results[offset] = result;
    this.states[offset] = (this.states[offset] ?? 0) & ~UNCERTAIN;
    const { again } = this.trials.get(offset) ?? {};
    if (attempt === 1 && again === undefined) this.trials.delete(offset);
    else this.trials.set(offset, again === undefined ? { retry_count: attempt } : { retry_count: attempt, again });
  }

  setFailed(offset: number, trial: ItemTrial): void {
    this.#setOutcome(offset, FAILED);
    this.trials.set(offset, trial);
  }

  setTried(offset: number, trial: ItemTrial): void {
    this.trials.set(offset, trial);
  }

  /** @param flag UNCERTAIN, UNDONE or UNDO_FAILED */
  mark(offset: number, flag: number): void {
    this.states[offset] = (this.states[offset] ?? 0) | flag;
  }

  /** Its result is stored under a key of its own now. */
  setApart(offset: number, bytes: number): void {
    this.results[offset] = bytes;
    this.#setOutcome(offset, DONE_APART);
  }

  /** As it was read. Counts what has ended. */
  restore(offset: number, state: number, result: KeptResult): void {
    this.#setOutcome(offset, state & OUTCOME);
    this.states[offset] = state;
    this.results[offset] = result;
  }

  /** What has to be known of the item that may have done something: it is to be undone. */
  isToBeUndone(offset: number): boolean {
    if (this.has(offset, UNDONE) || this.has(offset, UNDO_FAILED)) return false;
    return this.isDone(offset) || this.has(offset, UNCERTAIN);
  }

  /**
   * It was open under another owner: what was in flight there begins again with a higher number, as its outcome is not known. Which items
   * these are is not known either: at most those that follow the last one of which something is known, as many as are under way at a time.
   *
   * @param mayBeDone they can be undone: all that have not ended may have to be
   */
  inherit(size: number, concurrency: number, mayBeDone: boolean, now: number): void {
    let known = -1;
    for (let offset = 0; offset < size; offset++) if (!this.isOpen(offset) || this.trials.has(offset)) known = offset;
    for (let offset = 0; offset < size; offset++) {
      if (!this.isOpen(offset)) continue;
      if (mayBeDone) this.mark(offset, UNCERTAIN);
      const trial = this.trials.get(offset);
      if (offset > known + concurrency || (trial?.due_at ?? 0) > now) continue;
      this.setTried(offset, { ...trial, retry_count: (trial?.retry_count ?? 0) + 1 });
    }
  }

  /** PART-1. Returns whether that changed anything of its items. */
  beginRun(run: number): boolean {
    if (this.run === run && this.unwind === undefined) return false;
    const isOfUndo = this.unwind !== undefined;
    this.run = run;
    this.unwind = undefined;
    let isChanged = isOfUndo;
    for (let offset = 0; offset < PART_ITEMS; offset++) {
      const wasUndone = this.has(offset, UNDONE);
      if (this.states[offset] === OPEN && !this.trials.has(offset)) continue;
      if (this.isDone(offset) && !wasUndone) {
        this.states[offset] = (this.states[offset] ?? 0) & OUTCOME;
        continue;
      }
      const { retry_count = 0, again = undefined } = (isOfUndo ? undefined : this.trials.get(offset)) ?? {};
      this.#setOutcome(offset, OPEN);
      this.states[offset] = (this.states[offset] ?? 0) & UNCERTAIN;
      this.results[offset] = undefined;
      // Attempts go on being counted: a late answer to one from before must not pass for one of these.
      const since = wasUndone ? run : again;
      if (since === undefined && retry_count === 0) this.trials.delete(offset);
      else this.trials.set(offset, since === undefined ? { retry_count } : { retry_count, again: since });
      isChanged = true;
    }
    return isChanged;
  }

  /**
   * What was tried before, and what could not be undone, is of another undo.
   *
   * @param hasChildren its items are children, which are known by the run in which they ended: that is kept
   */
  beginUndo(unwind: number, hasChildren: boolean): void {
    if (this.unwind === unwind) return;
    this.unwind = unwind;
    for (let offset = 0; offset < PART_ITEMS; offset++) this.states[offset] = (this.states[offset] ?? 0) & ~UNDO_FAILED;
    for (const [offset, { retry_count, again }] of this.trials) {
      const kept = { retry_count: hasChildren ? retry_count : 0, ...(again !== undefined && { again }) };
      if (hasChildren || again !== undefined) this.trials.set(offset, kept);
      else if (!this.hasFailed(offset)) this.trials.delete(offset);
    }
  }

  /**
   * PART-2: takes over what was stored of it meanwhile, by whoever believed to be its owner. Returns the items that have ended, or were
   * undone, by that.
   */
  absorb(stored: ItemPart): number[] {
    const taken: number[] = [];
    for (let offset = 0; offset < PART_ITEMS; offset++) {
      const state = stored.states[offset] ?? 0;
      const isOfThisRun = stored.run === this.run || stored.isDone(offset);
      const hasEnded = (state & OUTCOME) !== OPEN && isOfThisRun;
      const undo = stored.unwind === this.unwind ? state & (UNDONE | UNDO_FAILED) : state & UNDONE;
      if (hasEnded && (this.isOpen(offset) || !this.isSame(offset, stored))) {
        this.#setOutcome(offset, state & OUTCOME);
        this.results[offset] = stored.results[offset];
        this.#takeTrial(offset, stored);
        taken.push(offset);
      } else if (undo !== 0 && !this.has(offset, undo)) taken.push(offset);
      this.states[offset] = (this.states[offset] ?? 0) | undo | (this.isDone(offset) ? 0 : state & UNCERTAIN);
    }
    return taken;
  }

  /** Leaves out what is not needed to go on: where the server takes small messages only, errors of many items do not fit. */
  shorten(): void {
    for (const [offset, { last_progress: _progress, error, ...trial }] of this.trials) {
      const { code, name = "", message = "" } = error ?? {};
      const short = code && { code, name: name.slice(0, SHORT_LENGTH), message: message.slice(0, SHORT_LENGTH) };
      this.trials.set(offset, short ? { ...trial, error: short } : trial);
    }
  }

  isSame(offset: number, { states, results }: ItemPart): boolean {
    if (((states[offset] ?? 0) & OUTCOME) !== ((this.states[offset] ?? 0) & OUTCOME)) return false;
    const [ours, theirs] = [this.results[offset], results[offset]];
    if (ours instanceof Uint8Array && theirs instanceof Uint8Array) return Buffer.compare(ours, theirs) === 0;
    return ours === theirs;
  }

  #takeTrial(offset: number, stored: ItemPart): void {
    const trial = stored.trials.get(offset);
    if (trial) this.trials.set(offset, trial);
    else this.trials.delete(offset);
  }

  #setOutcome(offset: number, outcome: number): void {
    if (this.isDone(offset)) this.#done -= 1;
    else if (this.hasFailed(offset)) this.#failed -= 1;
    this.states[offset] = ((this.states[offset] ?? 0) & ~OUTCOME) | outcome;
    if (this.isDone(offset)) this.#done += 1;
    else if (this.hasFailed(offset)) this.#failed += 1;
  }
}

/** The function as its attempts of that item go on. @param base without any attempt */
export function trialFunction(base: FunctionState, trial: ItemTrial | undefined): FunctionState {
  if (!trial) return base;
  const { due_at: _due, again: _again, begun: _begun, ...known } = trial;
  return { ...base, ...known };
}

/** What of it has to be kept. @param dueAt when the next attempt is due, ms since 1970 */
export function trialOfItem(fn: FunctionState, before: ItemTrial | undefined, dueAt?: number): ItemTrial {
  const { retry_count, failures, lost, interrupted, tried_at, error, last_progress } = fn;
  return {
    retry_count,
    ...(failures !== undefined && { failures }),
    ...(lost !== undefined && { lost }),
    ...(interrupted !== undefined && { interrupted }),
    ...(tried_at !== undefined && { tried_at }),
    ...(dueAt !== undefined && { due_at: dueAt }),
    ...(error && { error: shortError(error) }),
    ...(last_progress !== undefined && { last_progress }),
    ...(before?.again !== undefined && { again: before.again }),
  };
}

/** The items with a part counted of which all have ended. @param keepsResults whether the bytes of these are counted as well */
export function withPart(items: ItemsState, part: ItemPart, keepsResults: boolean): ItemsState {
  const { done, failed, bytes = 0 } = items;
  const next = { ...items, done: done + part.done, failed: failed + part.failed };
  return keepsResults ? { ...next, bytes: bytes + part.resultBytes } : next;
}
