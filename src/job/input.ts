/** What an entry of a graph is handed when it is executed: its args, with their expressions replaced, and results of others. */
import { branchIn } from "./branches.ts";
import type { Failure } from "./failure.ts";
import { callOf, type FunctionState } from "./function-state.ts";
import type { Plan } from "./plan.ts";
import { type AttemptAddress, functionAt, type Graph } from "./state.ts";
import { fill } from "./templates.ts";
import { type More, resultAt, type Visible, valuesFor } from "./values.ts";

/** What its invocation says besides what that of a function of a chain does. */
export interface EntryInput {
  args: unknown;
  /** Null where an item is handed none. Absent: that of the job. */
  data?: null;
  /** The entries whose results it gets, in that order; undefined: all before it in the list. */
  needs: readonly number[] | undefined;
  result_ids?: (string | null)[];
  item?: unknown;
  item_index?: number;
  cursor?: unknown;
  undo?: true;
  /** Of an undo: what the entry, or the item, has returned. */
  result?: unknown;
  error?: Failure;
  uncertain?: true;
  /** Of what is called once the job has failed: the entries that did, by id or index. */
  failed?: (string | number)[];
  idempotency_key?: string;
  /** Of an undo: the key of what it undoes. */
  undo_of?: string;
}

/** @throws ExpressionError */
export function inputOf(job: Graph, address: Pick<AttemptAddress, "index" | "undo">, plan: Plan): EntryInput {
  const { index, undo } = address;
  if (index === plan.length) return inputOnFailure(job, plan);
  if (undo) return inputOfUndo(job, index, plan);
  const fn = functionAt(job, index);
  const call = callOf(fn);
  const error = fn.handling ? fn.caught : undefined;
  const args = argsOf(call.args, job, plan, error ? { error } : {});
  const input = withNeeds(args, index, plan);
  if (error) input.error = error;
  // What failed may have been done all the same: what runs in its place must not be taken for a repetition of it.
  const part = fn.handling ? "/on_error" : "";
  if (part !== "" || fn.runs !== undefined) input.idempotency_key = keyOf(job, fn, index, part);
  return input;
}

/** The key by which others know an attempt of the entry again, or of an item of it. @param part of the entry, or "" */
export function keyOf({ job_id }: Pick<Graph, "job_id">, { runs }: FunctionState, index: number, part: string): string {
  return `${job_id}/${index}${part}${runs === undefined ? "" : `/r${runs}`}`;
}

/** Args, with what their expressions give in the places of these. @throws ExpressionError */
export function argsOf(args: unknown, job: Visible, plan: Plan, more: More): unknown {
  return fill(args ?? null, (text) => plan.expressions.evaluate(text, valuesFor(text, job, plan, more)));
}

/** With the results of what the entry follows. */
export function withNeeds(args: unknown, index: number, plan: Plan): EntryInput {
  const needs = plan.needsOf(index);
  const input: EntryInput = { args, needs };
  if (needs) {
    // They are named by their ids.
    if (needs.length > 0) input.result_ids = needs.map((need) => plan.ids[need] ?? null);
  } else if (plan.firstId < index) input.result_ids = plan.ids.slice(0, index);
  return input;
}

/** What an undo is handed: what it undoes, and why. It gets no results, as those of other entries may be undone already. */
function inputOfUndo(job: Graph, index: number, plan: Plan): EntryInput {
  const fn = functionAt(job, index);
  const { error } = job.outcome ?? {};
  const result = resultAt(job, index, plan);
  const input: EntryInput = {
    args: argsOf(fn.undoing?.args, job, plan, { result, ...(error && { error }) }),
    needs: [],
  };
  input.undo = true;
  input.result = result;
  if (error) input.error = error;
  if (fn.uncertain) input.uncertain = true;
  input.undo_of = keyOf(job, fn, index, fn.handling ? "/on_error" : "");
  input.idempotency_key = `${input.undo_of}/undo`;
  return input;
}

function inputOnFailure(job: Graph, plan: Plan): EntryInput {
  const { error } = job.outcome ?? {};
  const input: EntryInput = { args: argsOf(job.failing?.args, job, plan, error ? { error } : {}), needs: undefined };
  if (plan.firstId < plan.length) input.result_ids = [...plan.ids];
  if (error) input.error = error;
  input.failed = [];
  for (let index = 0; index < plan.length; index++) {
    if (hasFailed(job, index)) input.failed.push(plan.ids[index] ?? index);
  }
  const retries = job.retries === undefined ? "" : `/r${job.retries}`;
  input.idempotency_key = `${job.job_id}/on_failure${retries}`;
  return input;
}

/** Whether the entry has failed for good; what would have been tried again has not. */
function hasFailed(job: Graph, index: number): boolean {
  const { error, finished_at, retry_count } = functionAt(job, index);
  if (finished_at !== undefined || !error) return false;
  const why = job.outcome?.error;
  if (why && why.code === error.code && why.message === error.message) return true;
  const before = branchIn(job.halted ?? [], index);
  return before?.wait !== "backoff" && before?.wait !== "worker" && retry_count >= (before?.attempt ?? 0);
}
