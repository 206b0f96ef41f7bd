/** What an entry of a graph is handed when it is executed: its args, with their expressions replaced, and results of others. */
import type { Failure } from "./failure.ts";
import { callOf } from "./function-state.ts";
import type { Plan } from "./plan.ts";
import { functionAt, type Graph } from "./state.ts";
import { fill } from "./templates.ts";
import { valuesFor } from "./values.ts";

/** What its invocation says besides what that of a function of a chain does. */
export interface EntryInput {
  args: unknown;
  /** The entries whose results it gets, in that order; undefined: all before it in the list. */
  needs: readonly number[] | undefined;
  result_ids?: (string | null)[];
  error?: Failure;
  idempotency_key?: string;
}

/** @throws ExpressionError */
export function inputOf(job: Graph, index: number, plan: Plan): EntryInput {
  const fn = functionAt(job, index);
  const call = callOf(fn);
  const error = fn.handling ? fn.caught : undefined;
  const values = (text: string) => valuesFor(text, job, plan, error ? { error } : {});
  const args = fill(call.args ?? null, (text) => plan.expressions.evaluate(text, values(text)));
  const needs = plan.needsOf(index);
  const input: EntryInput = { args, needs };
  if (needs) {
    // They are named by their ids.
    if (needs.length > 0) input.result_ids = needs.map((need) => plan.ids[need] ?? null);
  } else if (plan.firstId < index) input.result_ids = plan.ids.slice(0, index);
  if (error) input.error = error;
  // What failed may have been done all the same: what runs in its place must not be taken for a repetition of it.
  const part = fn.handling ? "/on_error" : "";
  const run = fn.runs === undefined ? "" : `/r${fn.runs}`;
  if (part !== "" || run !== "") input.idempotency_key = `${job.job_id}/${index}${part}${run}`;
  return input;
}
