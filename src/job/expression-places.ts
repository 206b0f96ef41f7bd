/** Where expressions stand in a document, and what they may name there. */

import { inlineJob } from "./document.ts";
import { argsOf } from "./entry-check.ts";
import type { Scope } from "./expressions.ts";
import type { FunctionSpec, Submission } from "./schema.ts";
import { expressionOf, expressionsIn, hasExpressions } from "./templates.ts";

type Names = Scope["names"];
const NAMES: Names = new Set(["data", "results", "errors", "skipped", "job"]);
const WITH_ITEM: Names = new Set([...NAMES, "item", "item_index"]);
const WITH_RESULT: Names = new Set([...NAMES, "result"]);
const WITH_ERROR: Names = new Set([...NAMES, "error"]);
const IN_UNDO: Names = new Set([...NAMES, "result", "error"]);
const IN_UNDO_OF_ITEM: Names = new Set([...IN_UNDO, "item", "item_index"]);
/** Any entry may have failed, so none has certainly ended: see `graph-check.ts` for what is said of `results` and the like. */
const ON_FAILURE: Names = new Set([...NAMES, "error"]);

export interface PlacedExpression {
  /** JSON pointer. */
  path: string;
  text: string;
  names: Names;
  /** What it must give, where that is known. */
  kind?: "condition" | "items" | "job";
}

/** Most entries have none: to find that out costs less than to look for each. */
export function mayHaveExpressions(entry: FunctionSpec): boolean {
  const { when, expect, args, sleep_until, for_each, job, on_error, undo } = entry;
  if ((when ?? expect ?? sleep_until ?? for_each ?? job) !== undefined) return true;
  return [args, argsOf(on_error), argsOf(undo)].some(hasExpressions);
}

/**
 * All but those of a child's own entries, which know nothing of this document.
 *
 * @param path JSON pointer to the entry
 * @param hasItems it is done for each item, whatever these are
 */
export function* expressionsOf(entry: FunctionSpec, path: string, hasItems: boolean): Generator<PlacedExpression> {
  const { when, expect, args, sleep_until, for_each, job, on_error, undo } = entry;
  const ofItem = hasItems ? WITH_ITEM : NAMES;
  if (when !== undefined) yield { path: `${path}/when`, text: when, names: NAMES, kind: "condition" };
  if (typeof for_each === "string") yield { path: `${path}/for_each`, text: for_each, names: NAMES, kind: "items" };
  yield* within(argsOf(for_each), `${path}/for_each/args`, NAMES);
  yield* within(args, `${path}/args`, ofItem);
  yield* within(sleep_until, `${path}/sleep_until`, NAMES);
  const plan = expressionOf(job);
  if (plan !== undefined) yield { path: `${path}/job`, text: plan, names: ofItem, kind: "job" };
  yield* within(inlineJob(entry)?.data, `${path}/job/data`, ofItem);
  if (expect !== undefined) yield { path: `${path}/expect`, text: expect, names: WITH_RESULT, kind: "condition" };
  yield* within(argsOf(on_error), `${path}/on_error/args`, WITH_ERROR);
  yield* within(argsOf(undo), `${path}/undo/args`, hasItems ? IN_UNDO_OF_ITEM : IN_UNDO);
}

/** Of what is called once the job has failed. */
export function* expressionsOnFailure(call: Submission["on_failure"], path: string): Generator<PlacedExpression> {
  yield* within(argsOf(call), `${path}/args`, ON_FAILURE);
}

function* within(value: unknown, at: string, names: Names): Generator<PlacedExpression> {
  if (!hasExpressions(value)) return;
  for (const { path, text } of expressionsIn(value)) yield { path: at + path, text, names };
}
