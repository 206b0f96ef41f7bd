/** The functions of the workers of the load tests, besides those of worker.ts. */

/** Over how many functions a burst is spread. */
export const FAN_FUNCTIONS = 50;

export function fanFunction(number: number): string {
  return `bench.fan.${number % FAN_FUNCTIONS}`;
}

/** Takes a while, and tells the load test when it begins. Args: the time in ms, and a number whose successor it returns. */
export const HELD_FUNCTION = "bench.held";

/** What it tells, over the channel that a child process has to its parent. */
export interface HeldStart {
  jobId: string;
  pid: number;
  /** On the clock that all processes have in common, see clock.ts. */
  atUs: number;
}

/** Takes a while. Args: the time in ms, and a number whose successor it returns. */
export const WAIT_FUNCTION = "bench.wait";
/** Returns the sum of the results before it. */
export const SUM_FUNCTION = "bench.sum";
/** Returns the successor of its item. */
export const ITEM_FUNCTION = "bench.item";
/** Lists items for its args, how many they are and how many bytes each has: the numbers of the next ones, as far as a page takes. */
export const LIST_FUNCTION = "bench.list";
/** Takes an item that was listed. Returns nothing. */
export const TAKE_FUNCTION = "bench.take";
/** Always fails. */
export const FAIL_FUNCTION = "bench.fail";
/** Undoes what returns a number: returns that. */
export const UNDO_FUNCTION = "bench.undo";
