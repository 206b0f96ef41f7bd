/**
 * Whether a live graph makes sense as it was stored. Its fields may be what they must be, each by itself, and the job could still
 * never go on: anyone with the right to may have written it.
 */
import { callOf, type FunctionState, kindOf } from "./function-state.ts";
import type { Branch, Graph, LiveJob } from "./state.ts";

/** In words that name the field; undefined if nothing is wrong. */
export function soundnessProblem(job: Graph & LiveJob): string | undefined {
  const { state, functions, live, ended_count = 0 } = job;
  let ended = 0;
  for (const { finished_at } of functions) if (finished_at !== undefined) ended += 1;
  if (ended !== ended_count) return `ended_count is ${ended_count}, and ${ended} have ended`;
  const isOpened = live.length > 0 || ended > 0;
  if (isOpened && state === "scheduled") return "live has entries before the job begins";
  if (state === "undoing") return undoingProblem(job);
  if (isOpened && live.length === 0) return "live is empty, and the job has not ended";
  const stuck = live.find((branch) => !canGoOn(branch, functions.at(branch.index)));
  return stuck && `live has entry ${stuck.index}, which has ended, or waits for nothing that would come`;
}

/** Whether such an entry may wait for that; and until when, if only time brings it on. */
function canGoOn({ wait, due_at, undo }: Branch, fn: FunctionState | undefined): boolean {
  if (!fn || fn.finished_at !== undefined || undo) return false;
  const isTimed = wait !== "backoff" || due_at !== undefined;
  if (fn.items && !fn.handling) {
    if (wait === "child") return kindOf(fn) === "job";
    return wait === "items" || ((wait === "worker" || wait === "backoff") && isTimed);
  }
  const kind = fn.handling ? "function" : kindOf(fn);
  if (wait === "signal") return kind === "wait";
  if (wait === "sleep") return kind === "sleep" && due_at !== undefined;
  if (wait === "child") return kind === "job";
  return isAttempted(wait) && callOf(fn).name !== "" && isTimed;
}

function isAttempted(wait: Branch["wait"]): boolean {
  return wait === "none" || wait === "worker" || wait === "backoff";
}

/** Either what ran is still to stop, or one thing is undone, or it is told that the job has failed. */
function undoingProblem({ functions, live, outcome, failing, halted }: Graph): string | undefined {
  if (!outcome) return "outcome is missing, and the job undoes";
  if (halted?.some(({ index }) => index >= functions.length)) return "halted has an entry that does not exist";
  const [first] = live;
  if (!first) return "live is empty, and the job has not ended";
  if (first.wait !== "stopping" && live.length > 1) return "live has several entries that are undone at the same time";
  const stuck = live.find(
    (branch) => !canStop(branch, functions.at(branch.index)) && !canBeUndone(branch, functions, failing),
  );
  return stuck && `live has entry ${stuck.index}, which is undone, or waits for nothing that would come`;
}

function canStop({ wait, due_at, undo }: Branch, fn: FunctionState | undefined): boolean {
  if (wait !== "stopping" || !fn || fn.finished_at !== undefined || undo) return false;
  return due_at !== undefined || (!fn.handling && (kindOf(fn) === "job" || fn.items !== undefined));
}

function canBeUndone(
  { index, wait, due_at, undo }: Branch,
  functions: Graph["functions"],
  failing: FunctionState | undefined,
): boolean {
  const isOnFailure = index === functions.length;
  const fn = functions.at(index);
  const trial = isOnFailure ? failing : fn?.undoing;
  if (!trial || trial.finished_at !== undefined || trial.given_up || isOnFailure === (undo === true)) return false;
  const isTimed = wait !== "backoff" || due_at !== undefined;
  if (!isOnFailure && fn?.items) return isTimed && ["items", "child", "worker", "backoff"].includes(wait);
  return trial.name === "" ? wait === "child" : isAttempted(wait) && isTimed;
}
