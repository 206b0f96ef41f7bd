/** A job as users see it: the shape of the original system, with our fields added. Times are ISO 8601 strings. */
import type { Failure } from "./failure.ts";
import { toJsonValue } from "./plain.ts";
import { showJob } from "./record.ts";
import type { RetryOptions } from "./schema.ts";
import type { JobState, StateName, WaitReason } from "./state.ts";

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
  tags?: Readonly<Record<string, string>>;
  /** How long it is kept once it has ended, at most. */
  keep_ms?: number;
  /** What a `waiting` job waits for, and when a backoff is over. */
  waiting_for?: WaitReason;
  due_at?: string;
  /** The result of the last function, when the job is `completed`. */
  result?: unknown;
  /** Why the job is `failed`. */
  error?: Failure;
}

export function viewOf(job: JobState): JobView {
  const view = showJob(job, job.encoding) as JobView;
  if (job.state === "completed") {
    view.result = toJsonValue(job.functions.at(job.functions.length - 1)?.result ?? null, job.encoding);
  }
  return view;
}
