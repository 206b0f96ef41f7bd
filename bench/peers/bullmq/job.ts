/** What the client and the worker of BullMQ agree on. */

export const QUEUE = "bench";
/** Adds its args. */
export const ADD = "add";
/** Returns when it began, on the clock that all processes share. */
export const START = "start";

/** Of ADD: one function of a job of the load. */
export interface Step {
  /** Which load it belongs to. */
  load: string;
  number: number;
  index: number;
  args: [number, number];
  data: string | null;
}
