/** The state of one function of a job, or of another entry of its list: what was submitted, and what has become of it. */
import type { Failure } from "./failure.ts";
import type { ItemsState } from "./items-state.ts";
import type { CallEntry, FunctionSpec } from "./schema.ts";

export interface FunctionState extends FunctionSpec {
  /** Empty where the entry is no function but a sleep, or waits for a signal. */
  name: string;
  /** Executions begun, as far as is recorded: 1 after a first success. */
  retry_count: number;
  /** Attempts that ended in a failure; `retry_limit` limits these. Absent is 0. */
  failures?: number;
  /** Attempts whose worker disappeared; these use up no retry but have a limit of their own. Absent is 0. */
  lost?: number;
  started_at?: number;
  finished_at?: number;
  /** Present if `finished_at` is. */
  result?: unknown;
  /** The failure of the newest attempt that failed; gone after a success. */
  error?: Failure;
  /** Attempts that a worker which had to stop has ended; these use up no retry. Absent is 0. */
  interrupted?: number;
  /** When its first execution began, where its retries are limited by time. */
  tried_at?: number;
  /** What the attempt that ended last without a result had told of its progress. */
  last_progress?: unknown;
  /** Its condition was not met. It is done, with the result null. */
  skipped?: true;
  /** How it has failed, where its `on_error` deals with that. */
  caught?: Failure;
  /** The entry in its `on_error` runs in its place, or has. */
  handling?: true;
  /** How often it was run again by hand after it had ended. Absent is 0. */
  runs?: number;
  /** In a graph: the how many-th entry it was to end, from 1. */
  rank?: number;
  /** An attempt of it has ended unanswered, and none has completed: it may have been done. Only where it has an `undo`. */
  uncertain?: true;
  /**
   * The run of its undo, which is a function by itself: `finished_at` is when that was done, `error` why it was not. Also of a child
   * that undoes itself, without a name.
   */
  undoing?: FunctionState;
  /** Of an undo: it has failed for good. */
  given_up?: true;
  /** Of a `for_each`: how far its items have come. */
  items?: ItemsState;
  /** Its result is not in the record, but stored besides it, and has so many bytes. */
  apart?: number;
}

/** What an entry does, or does for each of its items. */
export type EntryKind = "function" | "sleep" | "wait" | "job";

export function kindOf({ name, wait_for, job }: Pick<FunctionState, "name" | "wait_for" | "job">): EntryKind {
  if (name !== "") return "function";
  if (job !== undefined) return "job";
  return wait_for === undefined ? "sleep" : "wait";
}

/** Whether its items are at it, or were, and not a function in their place. What it comes to is in the parts of its items then. */
export function hasItems({ items, handling }: Pick<FunctionState, "items" | "handling">): boolean {
  return items !== undefined && !handling;
}

/** The function that an attempt of the entry executes, and how. Of its undo: `callAt` in `state.ts`. */
export function callOf(fn: FunctionState): Pick<FunctionState, keyof CallEntry> {
  return fn.handling && typeof fn.on_error === "object" ? fn.on_error : fn;
}

/** A function that was given by its name, or with more. */
export function namedCall(call: string | CallEntry): CallEntry {
  return typeof call === "string" ? { name: call } : call;
}

/** A function as submitted, of which nothing has been executed. */
export function newFunction(spec: FunctionSpec): FunctionState {
  const { name = "", args, retry_options, timeout_ms } = spec;
  const fn: FunctionState = { name, retry_count: 0 };
  if (args !== undefined && args !== null) fn.args = args; // null is "not given"
  if (retry_options !== undefined) fn.retry_options = retry_options;
  if (timeout_ms !== undefined) fn.timeout_ms = timeout_ms;
  return fn;
}

/** An entry of a graph as submitted. */
export function newEntry(spec: FunctionSpec): FunctionState {
  const fn = newFunction(spec);
  for (const option of GRAPH_OPTIONS) {
    // What one key of a spec holds is what the same key of a state does.
    if (spec[option] !== undefined) (fn as unknown as Record<string, unknown>)[option] = spec[option];
  }
  return fn;
}

/** The options of an entry that only graphs have. */
export const GRAPH_OPTIONS = [
  "id",
  "wait_for",
  "sleep_ms",
  "sleep_until",
  "needs",
  "when",
  "expect",
  "on_error",
  "job",
  "for_each",
  "concurrency",
  "tolerate",
  "slice",
  "results",
  "context",
  "undo",
] as const satisfies (keyof FunctionSpec)[];

/** A function that has returned in its attempt number `attempt`. */
export function returned(fn: FunctionState, attempt: number, result: unknown, at: number): FunctionState {
  const done = newFunction(fn);
  done.retry_count = attempt;
  if (fn.failures !== undefined) done.failures = fn.failures;
  if (fn.lost !== undefined) done.lost = fn.lost;
  if (fn.interrupted !== undefined) done.interrupted = fn.interrupted;
  if (fn.started_at !== undefined) done.started_at = fn.started_at;
  done.finished_at = at;
  done.result = result;
  return done;
}
