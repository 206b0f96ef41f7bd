/**
 * Random documents of graphs, all of them valid, and what may happen to such a job. For the tests of the machine, the simulation and
 * fuzzers alike: everything is chosen by a `Choose`, so it comes from a tape of numbers, a seeded generator, or fast-check.
 *
 * Of several possibilities the first one is the simplest, so what a shrunk tape makes is simple as well.
 */
import * as fc from "fast-check";
import { parseSubmission } from "../../src/job/check.ts";
import { isGraphDocument } from "../../src/job/document.ts";
import { Order } from "../../src/job/order.ts";
import { endless, planOf } from "../../src/job/plan.ts";
import type { FunctionSpec, RetryOptions, Submission } from "../../src/job/schema.ts";

/** A whole number from 0 to below `count`. */
export type Choose = (count: number) => number;

/** Chooses what the tape says, one number after the other, and the simplest when it has run out. */
export function chooseFrom(tape: readonly number[]): Choose {
  let at = 0;
  return (count) => (tape[at++] ?? 0) % count;
}

/** A tape that is long enough for a document, or for a history of a hundred steps. */
export const tape: fc.Arbitrary<number[]> = fc.array(fc.nat(1_000_000), { maxLength: 400, size: "max" });

export interface DocumentOptions {
  /** Times in documents are around this one, ms since 1970. */
  now: number;
  maxEntries?: number;
  /** Times of the job itself: a deadline, a warning, a start. Default true. */
  hasTimes?: boolean;
  /** Entries with an undo, with children, and with items; what is called once the job has failed. Default true. */
  hasParts?: boolean;
}

/** What every document has as its data. */
export function documentData(now: number): Record<string, unknown> {
  return { yes: true, no: false, n: 5, text: "x", items: [1, 2, 3], soon: new Date(now + 4_000).toISOString() };
}

/** The names of signals that entries wait for. */
export const SIGNALS = ["go", "approval", "constructor"] as const;

const one = <T>(choose: Choose, from: readonly T[]): T => from[choose(from.length)] as T;
const oneIn = (choose: Choose, count: number): boolean => choose(count) === count - 1;

/** A valid document of a graph. */
export function graphDocument(choose: Choose, options: DocumentOptions): Submission {
  const { now, maxEntries = 8, hasTimes = true, hasParts = true } = options;
  const functions = orderedEntries(choose, 1 + choose(maxEntries));
  const order = new Order(planOf(functions));
  for (const [index, entry] of functions.entries()) {
    const ended = functions.filter((_, other) => order.follows(index, other)).map(({ id }) => id);
    addWork(
      entry,
      choose,
      ended.filter((id) => id !== undefined),
      now,
    );
  }
  if (hasParts) for (const entry of functions) addParts(entry, choose);
  const document: Submission = { name: "graph", data: documentData(now), functions };
  if (hasParts && oneIn(choose, 3)) document.on_failure = one(choose, ["alert", onFailure(choose)]);
  if (hasTimes) addTimes(document, choose, now);
  const [first] = functions;
  if (first && !isGraphDocument(document)) first.id = "e0";
  return parseSubmission(document, now);
}

/** Names, ids and needs: chains, fans, joins, diamonds, needs of later entries. */
function orderedEntries(choose: Choose, count: number): FunctionSpec[] {
  const hasId = Array.from({ length: count }, () => !oneIn(choose, 4));
  const ids = hasId.map((has, index) => (has ? idOf(index, choose) : undefined));
  const entries = ids.map((id): FunctionSpec => (id === undefined ? {} : { id }));
  for (const [index, entry] of entries.entries()) {
    if (choose(3) === 0) continue; // it follows all before it
    const among = oneIn(choose, 5) ? ids : ids.slice(0, index);
    const needs = among.filter((id) => id !== undefined && id !== entry.id && oneIn(choose, 2));
    entry.needs = needs as string[];
    const earlier = ids.slice(0, index);
    if (endless(planOf(entries)).length > 0) entry.needs = entry.needs.filter((id) => earlier.includes(id));
  }
  return entries;
}

/** One may be called like something that every object has. */
function idOf(index: number, choose: Choose): string {
  return index === 3 && oneIn(choose, 2) ? "constructor" : `e${index}`;
}

function addWork(entry: FunctionSpec, choose: Choose, ended: readonly string[], now: number): void {
  const kind = one(choose, ["function", "function", "function", "function", "sleep", "until", "signal"] as const);
  switch (kind) {
    case "function":
      entry.name = one(choose, ["a", "b.c", "/v1/d"]);
      addCall(entry, choose, ended);
      break;
    case "sleep":
      entry.sleep_ms = one(choose, [0, 1, 3_000, 20_000, 3_600_000]);
      break;
    case "until":
      entry.sleep_until = one<string | { $: string }>(choose, [
        new Date(now - 1_000).toISOString(),
        new Date(now + 2_500).toISOString(),
        { $: "data.soon" },
        { $: "data.n" },
        { $: "data.missing" },
      ]);
      break;
    case "signal":
      entry.wait_for = one(choose, SIGNALS);
      if (oneIn(choose, 2)) entry.timeout_ms = one(choose, [1, 5_000, 30_000, 7_200_000]);
      break;
    default:
      kind satisfies never;
  }
  if (oneIn(choose, 3)) entry.when = condition(choose, ended);
  if (oneIn(choose, 4)) entry.expect = one(choose, ["result == null", "result != null", "result.ok", "data.yes"]);
  addOnError(entry, choose);
}

/** A child instead of a function, items, and an undo. */
function addParts(entry: FunctionSpec, choose: Choose): void {
  if (entry.name === undefined && entry.wait_for === undefined) return;
  if (entry.name !== undefined && oneIn(choose, 5)) {
    const { name: _name, args: _args, retry_options: _retry, timeout_ms: _timeout, ...rest } = entry;
    for (const key of Object.keys(entry)) delete entry[key as keyof FunctionSpec];
    const job = one(choose, [
      { functions: [{ name: "child", undo: "undo-child" }] },
      { functions: [{ name: "child" }] },
    ]);
    Object.assign(entry, rest, { job });
  }
  if (entry.wait_for === undefined && oneIn(choose, 5)) {
    entry.for_each = one<NonNullable<FunctionSpec["for_each"]>>(choose, [
      3,
      "data.items",
      0,
      "data.missing",
      { name: "list" },
    ]);
    if (oneIn(choose, 2)) entry.tolerate = 1;
    delete entry.expect;
  }
  if (oneIn(choose, 2)) entry.undo = one<NonNullable<FunctionSpec["undo"]>>(choose, ["undo", undoCall(choose)]);
}

function undoCall(choose: Choose): { name: string; args?: unknown; retry_options?: RetryOptions } {
  const retry_options = oneIn(choose, 2) ? { retry_options: retryOptions(choose) } : {};
  return { name: "undo", ...(oneIn(choose, 2) && { args: { was: { $: "result" } } }), ...retry_options };
}

function onFailure(choose: Choose): { name: string; retry_options?: RetryOptions; timeout_ms?: number } {
  const retry_options = oneIn(choose, 2) ? { retry_options: retryOptions(choose) } : {};
  return { name: "alert", ...retry_options, ...(oneIn(choose, 2) && { timeout_ms: one(choose, [1_000, 200_000]) }) };
}

function addCall(entry: FunctionSpec, choose: Choose, ended: readonly string[]): void {
  if (oneIn(choose, 4)) entry.args = args(choose, ended);
  if (oneIn(choose, 2)) entry.retry_options = retryOptions(choose);
  if (oneIn(choose, 5)) entry.timeout_ms = 1_000;
}

function args(choose: Choose, ended: readonly string[]): unknown {
  const [id] = ended;
  const text = id === undefined ? "data.items" : `results.${id}`;
  return one<unknown>(choose, [[1], { x: { $: text } }, { $: "data.missing" }, { $: "job.id" }]);
}

function condition(choose: Choose, ended: readonly string[]): string {
  const texts = ["data.yes", "data.no", "data.n > 2.0", "data.missing", "data.n"];
  if (ended.length > 0) {
    const id = one(choose, ended);
    texts.unshift(`!skipped.${id}`, `skipped.${id}`, `results.${id} != null`, `has(errors.${id})`);
  }
  return one(choose, texts);
}

function addOnError(entry: FunctionSpec, choose: Choose): void {
  const how = one(choose, ["none", "none", "continue", "entry", "fail"] as const);
  if (how === "none") return;
  if (how !== "entry") {
    entry.on_error = how;
    return;
  }
  entry.on_error = { name: "handler" };
  if (oneIn(choose, 2)) entry.on_error.args = { why: { $: "error.code" } };
  if (oneIn(choose, 2)) entry.on_error.retry_options = retryOptions(choose);
}

export function retryOptions(choose: Choose): RetryOptions {
  const options: RetryOptions = {};
  if (!oneIn(choose, 4)) options.retry_limit = 1 + choose(3);
  if (oneIn(choose, 3)) options.retry_for_ms = one(choose, [1, 2_000, 60_000]);
  if (oneIn(choose, 2)) options.backoff = { type: "fixed", delay_ms: one(choose, [0, 1_000, 30_000]), jitter: 0 };
  return options;
}

function addTimes(document: Submission, choose: Choose, now: number): void {
  if (oneIn(choose, 5)) document.timeout_ms = one(choose, [10_000, 100_000, 8_000_000]);
  if (oneIn(choose, 5)) document.warn_after_ms = one(choose, [5_000, 1, 500_000]);
  if (oneIn(choose, 5)) document.scheduled_at = new Date(now + one(choose, [-5_000, 5_000, 50_000])).toISOString();
}
