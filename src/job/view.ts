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
  notify?: string;
  /** What a `waiting` job waits for, and when a backoff is over. */
  waiting_for?: WaitReason;
  due_at?: string;
  /** The result of the last function, when the job is `completed`. */
  result?: unknown;
  /** Why the job is `failed`. */
  error?: Failure;
}

/** Written out like `inPhase`, and for the same reason: a list of jobs has thousands. */
export function viewOf(state: JobState): JobView {
  const { encoding } = state;
  const createdAt = iso(state.created_at);
  const view: JobView = {
    job_id: state.job_id,
    name: state.name,
    state: state.state,
    data: toJsonValue(state.data, encoding),
    functions: state.functions.map((fn) => functionView(fn, encoding)),
    current_function: state.current_function,
    created_at: createdAt,
    scheduled_at: state.scheduled_at === state.created_at ? createdAt : iso(state.scheduled_at),
  };
  if (state.started_at !== undefined) view.started_at = iso(state.started_at);
  if (state.retried_at !== undefined) view.retried_at = iso(state.retried_at);
  if (state.timeout_ms !== undefined) view.timeout_ms = state.timeout_ms;
  if (state.deadline_at !== undefined) view.deadline_at = iso(state.deadline_at);
  if (state.notify !== undefined) view.notify = state.notify;
  if (state.state === "waiting") view.waiting_for = state.waiting_for;
  if ("due_at" in state) view.due_at = iso(state.due_at);
  if (isEnded(state)) view.finished_at = iso(state.finished_at);
  if (state.state === "completed")
    view.result = toJsonValue(state.functions.at(state.functions.length - 1)?.result ?? null, encoding);
  if (state.state === "failed") view.error = state.error;
  return view;
}

function functionView(fn: FunctionState, encoding: Encoding): FunctionView {
  const view: FunctionView = { name: fn.name, retry_count: fn.retry_count };
  if (fn.args !== undefined) view.args = toJsonValue(fn.args, encoding);
  if (fn.retry_options !== undefined) view.retry_options = fn.retry_options;
  if (fn.timeout_ms !== undefined) view.timeout_ms = fn.timeout_ms;
  if (fn.lost !== undefined) view.lost_count = fn.lost;
  if (fn.started_at !== undefined) view.started_at = iso(fn.started_at);
  if (fn.finished_at !== undefined) view.finished_at = iso(fn.finished_at);
  if (fn.result !== undefined) view.result = toJsonValue(fn.result, encoding);
  if (fn.error !== undefined) view.error = fn.error;
  return view;
}
