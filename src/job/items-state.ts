/** How far the items of a `for_each` have come, as the record of the job says it. What becomes of each is in their parts. */

/** Items of a part. */
export const PART_ITEMS = 128;

export interface ItemsState {
  /** Which pass over the items it is, from 1: failed ones are done again by the next. */
  run: number;
  /** The run in which they were counted. What is stored of items that were counted in another one, or before `runs` of the entry, is of others. */
  list: number;
  /** How many there are; absent as long as a function still lists them. */
  count?: number;
  /** How many have been listed so far, where a function does that. */
  listed?: number;
  /** With what that function is called next; absent at the beginning. */
  cursor?: unknown;
  /** The parts from this number on have not been opened in this run. */
  next: number;
  /** How many parts have been opened in runs before this one. */
  reached?: number;
  /** Parts that have been opened, of which not all items have ended, as far as the record knows. */
  open: readonly number[];
  /** Items that have ended, in the parts that are neither open nor ahead; and how many bytes their results have, where these are kept. */
  done: number;
  failed: number;
  bytes?: number;
  /** Nothing was in flight when the items began to wait: absent as soon as something may be. */
  rested?: true;
  /** Of the function that lists: its attempts so far, where one has failed. */
  listing?: { retry_count: number; failures?: number; lost?: number };
  /**
   * Of items that are undone: those of the parts from this number on are, but for so many. It is said of the undo that began after so many
   * retries by hand: what another one says is over.
   */
  unwound?: { retries: number; from: number; failed: number };
}

/** How many parts may say something of the items. */
export function partsReached({ next, reached = 0 }: ItemsState): number {
  return Math.max(next, reached);
}
