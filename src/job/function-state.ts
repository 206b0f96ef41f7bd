/** The state of one function of a job: what was submitted, and what has become of it. */
import type { Failure } from "./failure.ts";
import type { FunctionSpec } from "./schema.ts";

export interface FunctionState extends FunctionSpec {
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
}

/** A function as submitted, of which nothing has been executed. */
export function newFunction({ name, args, retry_options, timeout_ms }: FunctionSpec): FunctionState {
  const fn: FunctionState = { name, retry_count: 0 };
  if (args !== undefined && args !== null) fn.args = args; // null is "not given"
  if (retry_options !== undefined) fn.retry_options = retry_options;
  if (timeout_ms !== undefined) fn.timeout_ms = timeout_ms;
  return fn;
}

/** A function that has returned in its attempt number `attempt`. */
export function returned(fn: FunctionState, attempt: number, result: unknown, at: number): FunctionState {
  const done = newFunction(fn);
  done.retry_count = attempt;
  if (fn.failures !== undefined) done.failures = fn.failures;
  if (fn.lost !== undefined) done.lost = fn.lost;
  if (fn.started_at !== undefined) done.started_at = fn.started_at;
  done.finished_at = at;
  done.result = result;
  return done;
}
