/**
 * What of a job has to be undone, in which order, and by what. Nothing here changes a job: `graph-undo.ts` does.
 *
 * What has completed is undone, and so is what may have been done: of which an attempt ended without an answer. What has failed with an
 * answer, was skipped, or was passed over by `on_error` has done nothing that could be undone.
 */
import type { Failure } from "./failure.ts";
import { type FunctionState, kindOf, namedCall, newFunction } from "./function-state.ts";
import { partsReached } from "./items-state.ts";
import { ON_FAILURE_MS } from "./rest.ts";
import type { ChildDocument, FunctionSpec } from "./schema.ts";
import type { Graph, JobState, Outcome, UndoSummary } from "./state.ts";

/** How often an undo is executed at most, if its document does not say. */
const UNDO_RETRY_LIMIT = 10;

/** UNDO-2. The index of the entry that is undone next; undefined if none is left. */
export function nextToUndo(job: Pick<Graph, "functions">, { skip }: Pick<Outcome, "skip">): number | undefined {
  if (skip) return undefined;
  let found: number | undefined;
  let latest = 0;
  for (let index = 0; index < job.functions.length; index++) {
    const fn = job.functions.at(index) as FunctionState;
    if (fn.undoing !== undefined || !isToBeUndone(fn)) continue;
    const rank = fn.finished_at === undefined || fn.uncertain ? Number.POSITIVE_INFINITY : (fn.rank ?? 0);
    if (found !== undefined && rank < latest) continue;
    found = index;
    latest = rank;
  }
  return found;
}

/** Whether a job that has completed would have something to undo. */
export function hasToUndo(state: Graph): boolean {
  return nextToUndo(state, {}) !== undefined;
}

/** Whether it has done something, or may have, that can be undone. */
export function isToBeUndone(fn: FunctionState): boolean {
  const { undo, finished_at, caught, handling, skipped, uncertain, items, for_each } = fn;
  if (skipped) return false;
  if (for_each !== undefined) {
    const haveBegun = items !== undefined && partsReached(items) > 0;
    return haveBegun && (undo !== undefined || (kindOf(fn) === "job" && mayUndo(fn.job)));
  }
  const isDone = finished_at !== undefined && (!caught || handling === true);
  if (kindOf(fn) === "job" && undo === undefined) return isDone && !handling && mayUndo(fn.job);
  return undo !== undefined && (isDone || uncertain === true);
}

/** Whether a child with that document may have something to undo. That of one which a worker has made is not known. */
function mayUndo(job: FunctionSpec["job"]): boolean {
  const functions = (job as ChildDocument | undefined)?.functions;
  if (!Array.isArray(functions)) return true;
  return functions.some((entry) => entry.undo !== undefined || (entry.job !== undefined && mayUndo(entry.job)));
}

/** Whether nothing is known of what an attempt has done that ended so. */
export function isUnanswered({ code }: Failure): boolean {
  return code === "attempt_timeout" || code === "attempt_lost" || code === "attempt_interrupted";
}

/** The entry, of which an attempt may have done what it does. */
export function mayBeDone(fn: FunctionState): FunctionState {
  return fn.uncertain ? fn : { ...fn, uncertain: true };
}

/** The function that undoes an entry; without a name where its children undo themselves. */
export function undoOf(fn: FunctionState): FunctionState {
  if (fn.undo === undefined) return { name: "", retry_count: 0 };
  const { name, args = fn.args, retry_options, timeout_ms } = namedCall(fn.undo);
  const options = { retry_limit: UNDO_RETRY_LIMIT, ...retry_options };
  return newFunction({ name, args, retry_options: options, ...(timeout_ms !== undefined && { timeout_ms }) });
}

/** What is called once the job has failed: its time passes from now on, with all its retries and what it waits for. */
export function functionOnFailure(call: NonNullable<JobState["on_failure"]>, now: number): FunctionState {
  const { timeout_ms = ON_FAILURE_MS, retry_options, ...rest } = namedCall(call);
  const retry_for_ms = Math.min(timeout_ms, retry_options?.retry_for_ms ?? timeout_ms);
  const options = { retry_limit: 1, ...retry_options, retry_for_ms };
  return { ...newFunction({ ...rest, retry_options: options, timeout_ms }), tried_at: now };
}

/** What has become of the undo; undefined if there was nothing to undo. */
export function undoSummaryOf(
  { functions }: Pick<Graph, "functions">,
  { skip }: Pick<Outcome, "skip">,
): UndoSummary | undefined {
  const counts = { undone: 0, failed: 0, not_undone: 0 };
  for (const fn of functions) {
    if (fn.undoing?.finished_at !== undefined) counts.undone += 1;
    else if (fn.undoing?.given_up) counts.failed += 1;
    else if (fn.undoing !== undefined || isToBeUndone(fn)) counts.not_undone += 1;
  }
  const { undone, failed, not_undone } = counts;
  if (undone + failed + not_undone === 0) return undefined;
  if (skip && not_undone > 0) return { state: "skipped", ...counts };
  return { state: failed > 0 ? "failed" : "done", ...counts };
}
