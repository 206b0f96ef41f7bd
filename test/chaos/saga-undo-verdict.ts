/**
 * Judges the undo of a saga that has ended: what was done, or may have been, is undone, once, in reverse order of completion, one entry after
 * the other, and not while an attempt of it runs; what has completed for good is not.
 */

import { childIdOf, childOrigin } from "../../src/job/children.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import { STOP_MS } from "../../src/job/graph-undo.ts";
import { isEnded } from "../../src/job/state.ts";
import type { Execution } from "./evidence.ts";
import { ALWAYS } from "./graph-plan.ts";
import { isForward, type SagaCase } from "./saga-case.ts";
import { hasUndo, type SagaEntry, UNDO } from "./saga-plan.ts";

export function judgeUndo(one: SagaCase): void {
  const { state, saga } = one;
  const isUndone = state.state !== "completed" || state.undo !== undefined;
  for (const [index, entry] of saga.entries.entries()) {
    const fn = state.functions.at(index);
    if (!fn) continue;
    if (isUndone) judgeEntry(one, index, entry, fn);
    else if (fn.undoing) one.find("unfounded", `entry ${index} is undone, and the job has completed`);
    judgeTimes(one, index);
    judgeRepetitions(one, index);
  }
  if (isUndone) judgeOrder(one);
  if (!isUndone && one.retries === 0) judgeNothingUndone(one);
}

/** An entry of a job that has undone what it did. */
function judgeEntry(one: SagaCase, index: number, { action, undo }: SagaEntry, fn: FunctionState): void {
  const { find, mayBeSkipped, givenUp } = one;
  const { undoing } = fn;
  if (undo) judgeWasUndone(one, index, undo.failures >= ALWAYS);
  const byChild = action.type === "child" && !undo && hasUndo(action.saga);
  const mustBeUndone = (undo || byChild) && (fn.finished_at !== undefined || fn.uncertain);
  if (!mustBeUndone) return;
  // There may have been no items, or none that has begun.
  if (!undoing) {
    const isOfNone = action.type === "each" && (fn.items?.next ?? 0) === 0 && (fn.items?.reached ?? 0) === 0;
    if (!mayBeSkipped && !isOfNone) find("not undone", `entry ${index}`);
    return;
  }
  if (undoing.finished_at !== undefined) {
    if (undo && undo.failures >= ALWAYS && action.type !== "each")
      find("unfounded", `entry ${index} is undone, and its undo always fails`);
    return;
  }
  const mayFail = undo ? undo.failures >= ALWAYS : mayFailInside(one, index);
  if (!mayBeSkipped && !mayFail && !givenUp && !wasLost(undoing)) {
    find("not undone", `entry ${index}: ${undoing.error?.message ?? "nothing is known"}`);
  }
}

function wasLost({ error, lost = 0 }: FunctionState): boolean {
  return error?.code === "attempt_lost" || lost > 0;
}

/** The child says itself that something of it could not be undone. */
function mayFailInside({ state, evidence }: SagaCase, index: number): boolean {
  const child = evidence.states.get(childIdOf(childOrigin(state, index)));
  return child !== undefined && isEnded(child) && child.undo !== undefined && child.undo.state !== "done";
}

/** By the record of executions: whatever has returned was undone later, as often as it takes, or its undo has tried. */
function judgeWasUndone(one: SagaCase, index: number, alwaysFails: boolean): void {
  const { executions, excuses, find, mayBeSkipped, givenUp, state } = one;
  if (mayBeSkipped || givenUp) return;
  const undone = new Map<number | undefined, Execution[]>();
  for (const execution of executions) {
    if (execution.index !== index || execution.call !== UNDO) continue;
    const list = undone.get(execution.item);
    if (list) list.push(execution);
    else undone.set(execution.item, [execution]);
  }
  const seen = new Set<number | undefined>();
  for (const execution of executions) {
    if (execution.index !== index || !isForward(execution) || execution.outcome !== "returned") continue;
    if (seen.has(execution.item)) continue;
    seen.add(execution.item);
    const undos = undone.get(execution.item) ?? [];
    const isUndone = undos.some(({ outcome }) => outcome === "returned" || (alwaysFails && outcome === "threw"));
    // Its invocation was on its way from a supervisor, or to a worker, that was held up: the job had undone, and ended, meanwhile.
    const isTooLate = execution.begun > state.finished_at || excuses.wasHeldUp(execution, execution.begun);
    const item = execution.item === undefined ? "" : `, item ${execution.item},`;
    if (!isUndone && !isTooLate)
      find("not undone", `entry ${index}${item} has returned in attempt ${execution.attempt}, as its worker says`);
  }
}

/** None begins while what it undoes runs: unless that was told to stop, and did not for `STOP_MS`, or a fault has hit one of them. */
function judgeTimes(one: SagaCase, index: number): void {
  const { executions, excuses, find } = one;
  const own = executions.filter((execution) => execution.index === index);
  const undos = own.filter(({ call }) => call === UNDO);
  for (const undo of undos) {
    const early = own.find(
      (work) =>
        isForward(work) &&
        work.item === undo.item &&
        work.begun < undo.begun &&
        (work.ended ?? 0) > undo.begun &&
        undo.begun - work.begun < STOP_MS,
    );
    if (early && !excuses.wasHit(early) && !excuses.wasHit(undo))
      find("undone too early", `entry ${index}, item ${undo.item}: at ${undo.begun}, attempt ${early.attempt} ran`);
  }
}

/** Without a fault that has hit them, no undo returns twice in a life. */
function judgeRepetitions({ executions, excuses, find, retries }: SagaCase, index: number): void {
  const counts = new Map<number | undefined, number>();
  for (const execution of executions) {
    const { call, outcome, item } = execution;
    if (execution.index !== index || call !== UNDO || outcome !== "returned" || excuses.wasHit(execution)) continue;
    counts.set(item, (counts.get(item) ?? 0) + 1);
  }
  for (const [item, count] of counts) {
    if (count > 1 + retries) find("undone twice", `entry ${index}, item ${item}: ${count} times`);
  }
}

/** By the times in the state, and by the record of executions. */
function judgeOrder({ state, executions, excuses, find, retries }: SagaCase): void {
  const undone = [...state.functions]
    .map((fn, index) => ({
      index,
      rank: fn.uncertain ? Number.POSITIVE_INFINITY : (fn.rank ?? Number.POSITIVE_INFINITY),
      at: fn.undoing?.finished_at,
    }))
    .filter((one): one is { index: number; rank: number; at: number } => one.at !== undefined)
    .sort((a, b) => b.rank - a.rank);
  for (const [n, { index, rank, at }] of undone.entries()) {
    const later = undone.slice(n + 1).find((other) => other.rank < rank && other.at < at);
    if (later) find("undone out of order", `entry ${later.index} at ${later.at}, before entry ${index} at ${at}`);
  }
  if (retries > 0) return;
  const runs = executions.filter((one) => one.call === UNDO && one.ended !== undefined && !excuses.wasHit(one));
  for (const [n, run] of runs.entries()) {
    const beside = runs.slice(n + 1).find((other) => other.index !== run.index && other.begun < (run.ended ?? 0));
    if (beside) find("undone out of order", `entry ${beside.index} at ${beside.begun}, beside entry ${run.index}`);
  }
}

function judgeNothingUndone({ executions, find }: SagaCase): void {
  const undo = executions.find(({ call }) => call === UNDO);
  if (undo) find("unfounded", `entry ${undo.index} was undone at ${undo.begun}, and the job has completed`);
}
