/**
 * Results that are stored besides their job, as they are large: which of them an attempt is handed, or its expressions read. Here is no
 * I/O: who has the job reads them into `plan.loaded` before they are asked for (`resultAt` in `values.ts`).
 */
import { callOf, type FunctionState } from "./function-state.ts";
import type { Plan } from "./plan.ts";
import { copyOf } from "./record.ts";
import { type AttemptAddress, functionAt, type Graph } from "./state.ts";
import { expressionsIn } from "./templates.ts";

/** A result with more bytes is stored besides the state of its job, as far as that is a graph and goes on. */
export const APART_BYTES = 32_768;

type Address = Pick<AttemptAddress, "index" | "undo">;

/** The same entry, whose result has been stored besides. */
export function asApart(fn: FunctionState, bytes: number): FunctionState {
  const next = copyOf(fn);
  next.result = null;
  next.apart = bytes;
  return next;
}

/** The results that are stored besides and are carried by the invocation of an attempt, whether they have been read or not. */
export function carriedApart(job: Graph, { index, undo }: Address, plan: Plan): number[] {
  if (undo) return onlyApart(job, [index]);
  const needs = index === plan.length ? undefined : plan.needsOf(index);
  if (index < plan.length) {
    const fn = functionAt(job, index);
    if (fn.for_each !== undefined && !fn.handling && fn.context !== true) return [];
  }
  return onlyApart(job, needs ?? Array.from({ length: index }, (_, before) => before));
}

/** The results that are stored besides and which an attempt cannot do without: those that are carried, and those that its args read. */
export function apartFor(job: Graph, address: Address, plan: Plan): number[] {
  const named = onlyApart(job, namedBy(job, address, plan));
  if (named.length === 0) return carriedApart(job, address, plan);
  return [...new Set([...carriedApart(job, address, plan), ...named])];
}

/** Those of them that have not been read. */
export function missingFor(job: Graph, address: Address, plan: Plan): number[] {
  return apartFor(job, address, plan).filter((index) => !plan.loaded.has(index));
}

function onlyApart({ functions }: Graph, indexes: readonly number[]): number[] {
  return indexes.filter((index) => functions.at(index)?.apart !== undefined);
}

const WORD = /[A-Za-z_][A-Za-z0-9_]*/g;

/** The entries whose ids stand in the expressions of an attempt. */
function namedBy(job: Graph, { index, undo }: Address, plan: Plan): number[] {
  const indexes: number[] = [];
  for (const text of textsOf(job, { index, undo }, plan)) {
    for (const word of text.match(WORD) ?? []) {
      const named = plan.indexOf.get(word);
      if (named !== undefined) indexes.push(named);
    }
  }
  return indexes;
}

function textsOf(job: Graph, { index, undo }: Address, plan: Plan): string[] {
  if (index === plan.length) return textsIn(job.failing?.args);
  const fn = functionAt(job, index);
  if (undo) return textsIn(fn.undoing?.args);
  const texts = textsIn(callOf(fn).args);
  if (fn.handling) return texts;
  if (typeof fn.for_each === "string") texts.push(fn.for_each);
  else if (typeof fn.for_each === "object") texts.push(...textsIn(fn.for_each.args));
  if (fn.job !== undefined) texts.push(...textsIn(fn.job));
  return texts;
}

function textsIn(value: unknown): string[] {
  return value === undefined ? [] : expressionsIn(value).map(({ text }) => text);
}
