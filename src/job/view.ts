/** A job as users see it: the shape of the original system, with our fields added. Times are ISO 8601 strings. */
import type { Encoding } from "./encoding.ts";
import { iso } from "./events.ts";
import { toJsonValue } from "./plain.ts";
import type { RetryOptions } from "./schema.ts";
import { type Failure, type FunctionState, isEnded, type JobState, type StateName, type WaitReason } from "./state.ts";

export interface FunctionView {
  name: string;
  args?: unknown;
  /** Executions begun: 1 after a first success. */
  retry_count: number;
  retry_options?: RetryOptions;
  timeout_ms?: number;
  /** Attempts whose worker disappeared; only shown if there were any. */
  lost_count?: number;
  started_at?: string;
  finished_at?: string;
  /** Present when the function has returned. */
  result?: unknown;
  /** The failure of the newest attempt, until one succeeds. */
  error?: Failure;
}

export interface JobView {
  job_id: string;
  name: string;
  state: StateName;
  data: unknown;
  functions: FunctionView[];
  current_function: number;
  created_at: string;
  /** When the job is due to start: `created_at` unless the submission says otherwise. */
  scheduled_at: string;
  started_at?: string;
  finished_at?: string;
  /** When it was last retried by hand. */
  retried_at?: string;
  timeout_ms?: number;
  deadline_at?: string;
  /** What a `waiting` job waits for, and when a backoff is over. */
  waiting_for?: WaitReason;
  due_at?: string;
  /** The result of the last function, when the job is `completed`. */
  result?: unknown;
  /** Why the job is `failed`. */
  error?: Failure;
}

export function viewOf(state: JobState): JobView {
  return {
    job_id: state.job_id,
    name: state.name,
    state: state.state,
    data: toJsonValue(state.data, state.encoding),
    functions: state.functions.map((fn) => functionView(fn, state.encoding)),
    current_function: state.current_function,
    created_at: iso(state.created_at),
    scheduled_at: iso(state.scheduled_at),
    ...(state.started_at !== undefined && { started_at: iso(state.started_at) }),
    ...(state.retried_at !== undefined && { retried_at: iso(state.retried_at) }),
    ...(state.timeout_ms !== undefined && { timeout_ms: state.timeout_ms }),
    ...(state.deadline_at !== undefined && { deadline_at: iso(state.deadline_at) }),
    ...(state.state === "waiting" && { waiting_for: state.waiting_for }),
    ...("due_at" in state && { due_at: iso(state.due_at) }),
    ...(isEnded(state) && { finished_at: iso(state.finished_at) }),
    ...(state.state === "completed" && { result: toJsonValue(state.functions.at(-1)?.result ?? null, state.encoding) }),
    ...(state.state === "failed" && { error: state.error }),
  };
}

function functionView(fn: FunctionState, encoding: Encoding): FunctionView {
  return {
    name: fn.name,
    ...(fn.args !== undefined && { args: toJsonValue(fn.args, encoding) }),
    retry_count: fn.retry_count,
    ...(fn.retry_options !== undefined && { retry_options: fn.retry_options }),
    ...(fn.timeout_ms !== undefined && { timeout_ms: fn.timeout_ms }),
    ...(fn.lost !== undefined && { lost_count: fn.lost }),
    ...(fn.started_at !== undefined && { started_at: iso(fn.started_at) }),
    ...(fn.finished_at !== undefined && { finished_at: iso(fn.finished_at) }),
    ...(fn.result !== undefined && { result: toJsonValue(fn.result, encoding) }),
    ...(fn.error !== undefined && { error: fn.error }),
  };
}
