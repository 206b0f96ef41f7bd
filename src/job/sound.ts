/**
 * Whether a live graph makes sense as it was stored. Its fields may be what they must be, each by itself, and the job could still
 * never go on: anyone with the right to may have written it.
 */
import { callOf, type FunctionState, kindOf } from "./function-state.ts";
import type { Branch, Graph, LiveJob } from "./state.ts";

/** In words that name the field; undefined if nothing is wrong. */
export function soundnessProblem({ state, functions, live, ended_count = 0 }: Graph & LiveJob): string | undefined {
  let ended = 0;
  for (const { finished_at } of functions) if (finished_at !== undefined) ended += 1;
  if (ended !== ended_count) return `ended_count is ${ended_count}, and ${ended} have ended`;
  const isOpened = live.length > 0 || ended > 0;
  if (isOpened && state === "scheduled") return "live has entries before the job begins";
  if (isOpened && live.length === 0) return "live is empty, and the job has not ended";
  const stuck = live.find((branch) => !canGoOn(branch, functions.at(branch.index)));
  return stuck && `live has entry ${stuck.index}, which has ended, or waits for nothing that would come`;
}

/** Whether such an entry may wait for that; and until when, if only time brings it on. */
function canGoOn({ wait, due_at }: Branch, fn: FunctionState | undefined): boolean {
  if (!fn || fn.finished_at !== undefined) return false;
  const kind = fn.handling ? "function" : kindOf(fn);
  if (wait === "signal") return kind === "wait";
  if (wait === "sleep") return kind === "sleep" && due_at !== undefined;
  return callOf(fn).name !== "" && (wait !== "backoff" || due_at !== undefined);
}
