/** What is compared: a job system, started with all its processes, that can be given a load. */
import type { ProcessHandle } from "./process.ts";

/** The same for every contender of a run. */
export interface Setup {
  supervisors: number;
  workers: number;
  /** Attempts at a time per worker. */
  concurrency: number;
}

/** One-function jobs (`functions` 1) or chains: function k adds k to the job's number. Each result is checked. */
export interface Load {
  jobs: number;
  functions: number;
  /** Size of the text in `data`, which travels with each job; 0 for none. */
  payloadBytes: number;
}

export interface Round {
  /** From the first submission to the acknowledgement of the last. */
  submittedMs: number;
  /** From the first submission to the end of the last job. */
  doneMs: number;
  /**
   * Looks at every job and its results. Apart, so that it is not part of what is measured.
   *
   * @throws WrongResults if a job did not end as it should have
   */
  check(): Promise<void>;
}

export interface Running {
  readonly processes: readonly ProcessHandle[];
  /** Submits the load and waits until the last job has ended. @throws WrongResults if jobs do not end */
  run(load: Load): Promise<Round>;
  /**
   * Submits one job and waits until its end is heard of. `startedMs` is when its function began, `doneMs` when the end
   * was heard of, both in ms from the call. May be called again before others have ended.
   *
   * @throws WrongResults if the job does not end, or not as it should
   */
  once?(): Promise<{ startedMs: number; doneMs: number }>;
  /** Bytes that are stored of all jobs so far; undefined where that is not known. */
  storedBytes(): Promise<number | undefined>;
  close(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  start(setup: Setup): Promise<Running>;
}

/** Jobs that were lost, ended wrongly, or more than once: the measurement is worth nothing. */
export class WrongResults extends Error {
  constructor(what: string) {
    super(what);
    this.name = "WrongResults";
  }
}

/** What function number `index` of job `number` returns. */
export function resultOf(number: number, index: number): number {
  return number + index + 1;
}

/** The functions of a job of the load, each with args whose sum is its result. */
export function functionsOf(name: string, number: number, count: number): { name: string; args: [number, number] }[] {
  return Array.from({ length: count }, (_, index) => ({ name, args: [number, index + 1] }));
}

export function payloadOf(bytes: number): string | null {
  return bytes > 0 ? "x".repeat(bytes) : null;
}
