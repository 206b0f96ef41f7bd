/** A job as users see it: the shape of the original system, with our fields added. Times are ISO 8601 strings. */
import { childIdOf, childOrigin } from "./children.ts";
import type { Failure } from "./failure.ts";
import { type EntryKind, type FunctionState, kindOf } from "./function-state.ts";
import { toJsonValue } from "./plain.ts";
import { type ItemsView, showJob, type UndoingView, type UndoView } from "./record.ts";
import type { FunctionSpec, RetryOptions, Submission } from "./schema.ts";
import {
  type Branch,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type StateName,
  type UndoSummary,
  type WaitReason,
} from "./state.ts";
import { iso } from "./time.ts";

export interface FunctionView {
  id?: string;
  /** What the entry does: it executes a function, sleeps, waits for a signal, or for a child job. */
  kind: EntryKind;
  /** Null where it has no function. */
  name: string | null;
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
  /** The failure of the newest attempt, until one succeeds; of an entry whose `on_error` has dealt with it, how it failed. */
  error?: Failure;
  wait_for?: string;
  sleep_ms?: number;
  sleep_until?: FunctionSpec["sleep_until"];
  needs?: string[];
  when?: string;
  expect?: string;
  on_error?: FunctionSpec["on_error"];
  job?: FunctionSpec["job"];
  for_each?: FunctionSpec["for_each"];
  concurrency?: number;
  tolerate?: number | string;
  slice?: number;
  results?: FunctionSpec["results"];
  context?: boolean;
  undo?: FunctionSpec["undo"];
  /** How its undo goes, or went. */
  undo_run?: UndoView;
  /** It may have been done: an attempt of it has ended without an answer. */
  uncertain?: true;
  /** Of a `for_each`: how many of its items have ended. */
  items?: ItemsView;
  /** The id of the job that the entry waits for, or has waited for. Those of items are shown with the items. */
  child?: string;
  /** Its result does not stand here: it is to be had by itself. */
  result_omitted?: true;
  /** Attempts that a worker which had to stop has ended; only shown if there were any. */
  interrupted_count?: number;
  /** What an attempt that ended without a result had told of its progress. */
  last_progress?: unknown;
  /** Its condition was not met: it counts as done. */
  skipped?: true;
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
  warn_after_ms?: number;
  /** When it was told that it has not ended in time. */
  late_at?: string;
  /** It has ended with more than fits into a message: what its entries were to do is left out. It cannot be retried. */
  truncated?: true;
  /** How many entries have failed and were passed over, or have items that did, when the job is `completed` all the same. */
  warnings?: number;
  /** The result of the last function, when the job is `completed`. */
  result?: unknown;
  /** It does not stand here, but is to be had by itself. */
  result_omitted?: true;
  /** Why the job is `failed`. */
  error?: Failure;
  on_failure?: Submission["on_failure"];
  /** How what is called once it has failed goes, or went. */
  on_failure_run?: UndoView;
  /** Why the job undoes, while it does. */
  undoing?: UndoingView;
  /** What has become of the undoing, once the job has ended. */
  undo?: UndoSummary;
  /** Whose child it is. */
  parent?: { job_id: string; index: number; item?: number };
}

export function viewOf(job: JobState): JobView {
  const view = showJob(job, job.encoding) as JobView;
  if (isGraph(job)) {
    addBranches(view, job);
    addChildren(view, job);
  }
  for (const fn of view.functions) if (fn.result_omitted) delete fn.result;
  if (job.state === "completed") {
    const last = job.functions.at(job.functions.length - 1);
    if (last?.apart !== undefined) view.result_omitted = true;
    else view.result = toJsonValue(last?.result ?? null, job.encoding);
  }
  return view;
}

/**
 * What follows from the branches of a graph: it is `running` while the start of a live attempt is recorded; else it waits for what
 * its lowest entry waits for. `due_at` is the first time at which something is due.
 */
function addBranches(view: JobView, job: Graph): void {
  if (job.state === "completed") {
    let warnings = 0;
    for (const { caught, handling, items } of job.functions) {
      if ((caught && !handling) || (items !== undefined && items.failed > 0)) warnings += 1;
    }
    if (warnings > 0) view.warnings = warnings;
  }
  if (isEnded(job) || job.state !== "running" || job.live.some((branch) => isExecuted(job, branch))) return;
  const [lowest] = job.live;
  if (!lowest) return;
  const reason = waitReasonOf(lowest);
  if (reason === undefined) return;
  view.state = "waiting";
  view.waiting_for = reason;
  const timed = job.live.filter(({ wait }) => wait !== "none" && wait !== "worker");
  const times = timed.map(({ due_at }) => due_at).filter((at) => at !== undefined);
  if (times.length > 0) view.due_at = iso(Math.min(...times));
}

/** The ids of children: they follow from the job, and are not stored. */
function addChildren(view: JobView, job: Graph): void {
  let index = 0;
  for (const fn of job.functions) {
    const shown = view.functions[index];
    if (shown && hasChild(job, fn, index)) shown.child = childIdOf(childOrigin(job, index));
    index += 1;
  }
}

/** Whether there is, or has been, one child of the entry: it has begun, and there was nothing wrong with the document. */
function hasChild({ live, halted }: Graph, fn: FunctionState, index: number): boolean {
  if (kindOf(fn) !== "job" || fn.for_each !== undefined || fn.skipped) return false;
  const { code } = fn.caught ?? fn.error ?? {};
  if (code === "invalid_child" || code === "expression_error") return false;
  if (fn.finished_at !== undefined || fn.retry_count > 0) return true;
  return [...live, ...(halted ?? [])].some((branch) => branch.index === index && branch.wait === "child");
}

/** What a branch waits for, as users are told; undefined if it is at work. */
function waitReasonOf({ wait }: Branch): WaitReason | undefined {
  if (wait === "none") return "worker";
  return wait === "items" || wait === "stopping" ? undefined : wait;
}

/** The start of its live attempt is recorded, or its items are at it. */
export function isExecuted(job: Graph, { index, attempt, wait }: Branch): boolean {
  return wait === "items" || (wait === "none" && functionAt(job, index).retry_count === attempt);
}
