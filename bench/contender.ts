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
  /** Bytes that are stored of all jobs so far; undefined where that is not known. */
  storedBytes(): Promise<number | undefined>;
  /**
   * Submits one job of one function; resolves when the client has learned that it is done. `startedMs` is when the
   * function began, `doneMs` when the client knew of its end, both from the call that submits.
   */
  once?(payload?: undefined): Promise<{ startedMs: number; doneMs: number }>;
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
