/** What the client and the workers of graphile-worker agree on. */
import type { Outcome } from "../outcomes.ts";

/** Adds its args, and then the job of the next function. */
export const ADD = "bench_add";
/** Tells when it began on the clock that all processes share, to whoever listens to its name. */
export const START = "bench_start";

/** Of ADD: one function of a job of the load. */
export interface Step {
  number: number;
  index: number;
  /** How many functions the job has. */
  functions: number;
  args: [number, number];
  data: string | null;
}

/** What the bench asks of a worker over its channel, and what the worker answers. */
export interface Answers {
  /** How many functions it has run since they were last taken. */
  count: number;
  /** What came of them. */
  take: Outcome[];
}

export type Question = keyof Answers;
