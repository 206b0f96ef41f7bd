/** The documents of the jobs of a history: chains, and graphs of all that an entry may say. */
import { endless, type Plan, planOf } from "../../src/job/plan.ts";
import type { ChildDocument, FunctionSpec, RetryOptions, Submission } from "../../src/job/schema.ts";
import { BEHAVIOURS } from "./kinds.ts";
import type { Random } from "./random.ts";

/** What the entries of a graph may have besides. */
export interface Features {
  /** What undoes them, and a function that is called when the job has failed. */
  undo?: boolean;
  /** Jobs of their own, and so deep. */
  children?: number;
  /** Lists of items. */
  items?: boolean;
}

/** What a document depends on besides chance. */
export interface DocumentOptions {
  /** The bucket of states is too small for all jobs: they are made larger, so that it fills. */
  crowded: boolean;
  /** Ms since 1970. */
  now: number;
}

/** Those that may stand anywhere. */
const FUNCTIONS = Object.keys(BEHAVIOURS).filter((name) => name !== "planner" && name !== "lister");
/** What the names of signals are drawn from: few, so that entries of a job wait for the same one. */
export const SIGNALS = ["go", "ok"];
/** Sleeps: none, in memory, and longer than supervisors keep a job for that. */
const SLEEPS_MS = [0, 30, 350, 900, 2_500];
const MAX_ENTRIES = 7;
/** Of those of which some are many jobs, or items. */
const MAX_OF_MANY = 4;

/** A job whose functions follow each other. */
export function chainDocument(random: Random, options: DocumentOptions): Submission {
  const functions = Array.from({ length: random.int(1, 3) }, () => ({
    name: random.pick(FUNCTIONS),
    ...(options.crowded && { args: "x".repeat(random.int(100, 500)) }),
    ...(random.chance(0.7) && { retry_options: retryOptions(random) }),
    // What hangs ends by its timeout.
    timeout_ms: random.int(200, 3_000),
  }));
  return { name: "simulated", data: random.int(0, 9), functions, ...timesOf(random, options) };
}

/** What conditions and args of graphs look at. */
export function graphData(random: Random, now: number) {
  return { n: random.int(0, 9), on: random.chance(0.7), at: new Date(now + random.int(-500, 3_000)).toISOString() };
}

/** A job of which entries run beside each other, wait, sleep, are skipped, and deal with failures. */
export function graphDocument(random: Random, options: DocumentOptions, features: Features = {}): Submission {
  const entries = orderedEntries(
    random,
    random.int(1, features.children || features.items ? MAX_OF_MANY : MAX_ENTRIES),
  );
  const plan = planOf(entries);
  const functions = entries.map((entry, index): FunctionSpec => {
    const certain = certainlyBefore(plan, index).flatMap((one) => entries[one]?.id ?? []);
    const work = specialWork(random, certain, options, features) ?? workOf(random, certain, options);
    const undo = features.undo && canBeUndone(work) && random.chance(0.6) ? { undo: undoOf(random) } : {};
    return { ...entry, ...conditionsOf(random, certain), ...work, ...undo };
  });
  return {
    name: nameOf(features),
    data: graphData(random, options.now),
    functions,
    ...(features.undo && random.chance(0.4) && { on_failure: onFailure(random) }),
    ...timesOf(random, options),
    // So that it is a graph whatever its entries say.
    warn_after_ms: random.pick([300, 2_000, 60_000]),
  };
}

/** Ids and needs: diamonds, fans, joins, needs of what stands later in the list, and entries without any in between. */
function orderedEntries(random: Random, count: number): FunctionSpec[] {
  const ids = Array.from({ length: count }, (_, index) => `e${index}`);
  const shape = random.pick(["any", "any", "fan", "line"] as const);
  const isLater = random.chance(0.2);
  const entries = ids.map((id, index): FunctionSpec => {
    if (shape === "line") return { id };
    if (shape === "fan") return index === 0 || index === count - 1 ? { id } : { id, needs: random.pick([[], ["e0"]]) };
    const others = isLater ? ids.filter((one) => one !== id) : ids.slice(0, index);
    const needs = others.filter(() => random.chance(1.5 / Math.max(2, others.length)));
    return random.chance(0.7) ? { id, needs } : random.chance(0.5) ? { id } : {};
  });
  const named = new Set(entries.flatMap(({ id }) => id ?? []));
  for (const entry of entries) if (entry.needs) entry.needs = entry.needs.filter((id) => named.has(id));
  return endless(planOf(entries)).length === 0 ? entries : orderedEntries(random, count);
}

/** The entries that have ended whenever that one begins, in the order of the list. */
export function certainlyBefore(plan: Plan, index: number): number[] {
  const found = new Set<number>();
  const open = [index];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    for (const before of plan.needsOf(one) ?? Array.from({ length: one }, (_, at) => at)) {
      if (found.has(before)) continue;
      found.add(before);
      open.push(before);
    }
  }
  return [...found].sort((a, b) => a - b);
}

function conditionsOf(random: Random, certain: string[]): Partial<FunctionSpec> {
  const id = certain.length > 0 ? random.pick(certain) : undefined;
  const conditions = ["data.on", "data.n > 2", "!data.on", "data.n + 1 > 0"];
  if (id !== undefined) {
    conditions.push(`results.${id} != null`, `!skipped.${id}`, `results.?${id}.?attempt.orValue(1) < 2`);
    conditions.push(`!has(errors.${id})`, `results.${id}.attempt < 3`); // the last one fails where it was skipped
  }
  return {
    ...(random.chance(0.35) && { when: random.pick(conditions) }),
    ...(random.chance(0.5) && { on_error: onError(random) }),
  };
}

function onError(random: Random): NonNullable<FunctionSpec["on_error"]> {
  const kind = random.pick(["fail", "continue", "continue", "entry"] as const);
  if (kind !== "entry") return kind;
  return {
    name: random.pick(["quick", "flaky", "slow"]),
    ...(random.chance(0.5) && { args: { because: { $: "error.code" } } }),
    ...(random.chance(0.5) && { retry_options: retryOptions(random) }),
    timeout_ms: 3_000,
  };
}

/** What the entry does. */
function workOf(random: Random, certain: string[], { crowded, now }: DocumentOptions): Partial<FunctionSpec> {
  const kind = random.pick(["function", "function", "function", "sleep", "signal"] as const);
  if (kind === "sleep") {
    if (random.chance(0.7)) return { sleep_ms: random.pick(SLEEPS_MS) };
    return { sleep_until: random.chance(0.5) ? { $: "data.at" } : new Date(now + random.int(0, 4_000)).toISOString() };
  }
  if (kind === "signal") {
    return {
      wait_for: random.pick(SIGNALS),
      // Where all room is taken by jobs that wait for signals, none can be stored for them.
      ...((crowded || random.chance(0.4)) && { timeout_ms: random.pick([50, 700, 5_000]) }),
      ...(random.chance(0.3) && { expect: "result.ok" }),
    };
  }
  const seen = certain.length > 0 && random.chance(0.5) ? { $: `results.${random.pick(certain)}` } : { $: "data.n" };
  return {
    name: random.pick(FUNCTIONS),
    ...(random.chance(0.6) && { args: { seen } }),
    ...(crowded && { args: "x".repeat(random.int(50, 200)) }),
    ...(random.chance(0.7) && { retry_options: retryOptions(random) }),
    ...(random.chance(0.2) && { expect: random.pick(["result.attempt < 3", "result.number > 0"]) }),
    timeout_ms: random.int(200, 3_000),
  };
}

/** Jobs by what they are to show. */
function nameOf({ undo, children, items }: Features): string {
  if (items) return "items";
  if (children !== undefined && children > 0) return "family";
  return undo ? "saga" : "graph";
}

/** An entry that is a job, or is done for many items; undefined if it is to be any other. */
function specialWork(
  random: Random,
  certain: string[],
  options: DocumentOptions,
  features: Features,
): Partial<FunctionSpec> | undefined {
  const { children = 0, items = false } = features;
  if (items && random.chance(0.6)) return itemsOf(random, options, features);
  if (children === 0 || !random.chance(0.6)) return undefined;
  if (random.chance(0.3)) return random.chance(0.5) ? planner(random) : { job: { $: madeBy(random, certain) } };
  return { job: childDocument(random, options, features) };
}

/** A function that makes the document of a child. */
function planner(random: Random): Partial<FunctionSpec> {
  return { name: "planner", timeout_ms: 2_000, retry_options: retryOptions(random) };
}

/** That of one that has ended, whether it is a planner or not: then there is none, and the entry fails. */
function madeBy(random: Random, certain: string[]): string {
  return certain.length === 0
    ? "{'functions': [{'name': 'quick', 'timeout_ms': 2000}]}"
    : `results.${random.pick(certain)}.plan`;
}

/** A job in a job: it has what jobs have, but for what only those have that somebody submits. */
function childDocument(random: Random, options: DocumentOptions, features: Features): ChildDocument {
  const inner = { ...features, items: false, children: (features.children ?? 0) - 1 };
  const isGraph = features.undo || random.chance(0.5);
  const {
    name: _,
    scheduled_at: _start,
    data: _data,
    ...document
  } = isGraph
    ? graphDocument(random, { ...options, crowded: false }, inner)
    : chainDocument(random, { ...options, crowded: false });
  return { ...document, ...(random.chance(0.3) && { data: { n: 3, on: true, at: { $: "data.at" } } }) };
}

/** What is done for each of some items: a function, or a job. */
function itemsOf(random: Random, options: DocumentOptions, features: Features): Partial<FunctionSpec> {
  const isJob = features.children !== undefined && features.children > 0 && random.chance(0.4);
  const forEach = random.pick(isJob ? FEW_ITEMS : MANY_ITEMS);
  const work: Partial<FunctionSpec> = isJob
    ? { job: childDocument(random, options, features) }
    : {
        name: random.pick(["quick", "quick", "flaky", "slow", "fatal", "hangs", "rare"]),
        args: random.pick([null, { item: { $: "item" } }, { $: "item_index" }]),
        retry_options: {
          retry_limit: random.int(1, 4),
          backoff: { type: "fixed", delay_ms: random.pick([0, 20, 300]) },
        },
        timeout_ms: random.int(200, 3_000),
      };
  return {
    ...work,
    for_each:
      forEach === "lister" ? { name: "lister", timeout_ms: 1_000, retry_options: retryOptions(random) } : forEach,
    concurrency: random.pick([1, 2, 5, 10]),
    tolerate: random.pick([0, 2, "20%", "100%", "100%"]),
    ...(!isJob && random.chance(0.2) && { slice: random.int(2, 4) }),
    ...(random.chance(0.2) && { results: "none" as const }),
    ...(!isJob && random.chance(0.2) && { context: true }),
  };
}

/** Numbers, lists, and what a function lists. */
const FEW_ITEMS = ["[data.n, 'a', 'b']", 2, "data.n > 4 ? 3 : 1", 0];
const MANY_ITEMS = [3, 12, 20, "data.n", "[1, 'two', {'three': data.n}]", "data.n * 3", "lister", "lister"];

/** A sleep has done nothing. */
function canBeUndone({ sleep_ms, sleep_until }: FunctionSpec): boolean {
  return (sleep_ms ?? sleep_until) === undefined;
}

/** Some of these fail now and then, and some for good. What is lost on the way ends by its timeout. */
function undoOf(random: Random): NonNullable<FunctionSpec["undo"]> {
  return {
    name: random.pick(["quick", "slow", "flaky", "flaky", "fatal", "hangs", "rare", "stubborn"]),
    ...(random.chance(0.3) && { args: { undone: { $: "result" } } }),
    retry_options: retryOptions(random),
    timeout_ms: random.int(200, 3_000),
  };
}

function onFailure(random: Random): NonNullable<Submission["on_failure"]> {
  const name = random.pick(["quick", "slow", "flaky", "fatal", "rare"]);
  return {
    name,
    ...(random.chance(0.5) && { args: { because: { $: "error.code" } } }),
    ...(random.chance(0.7) && { retry_options: retryOptions(random) }),
    timeout_ms: random.int(300, 6_000),
  };
}

function retryOptions(random: Random): RetryOptions {
  const delay_ms = random.pick([0, 20, 300, 1_200]);
  if (random.chance(0.15)) {
    // The whole of the delay each time, so that it is known how often it may run.
    return {
      retry_for_ms: random.int(1, 2_500),
      backoff: { type: "fixed", delay_ms: Math.max(100, delay_ms), jitter: 0 },
    };
  }
  return { retry_limit: random.int(1, 4), backoff: { type: "fixed", delay_ms, jitter: random.float() } };
}

/** Most executions that the options allow for, without those that are lost. */
export function mostExecutions(options: RetryOptions = {}): number {
  const { retry_limit: limit = options.retry_for_ms === undefined ? 1 : Number.POSITIVE_INFINITY, retry_for_ms } =
    options;
  if (retry_for_ms === undefined) return limit;
  return Math.min(limit, 1 + Math.floor(retry_for_ms / (options.backoff?.delay_ms ?? 1)));
}

function timesOf(random: Random, { now }: DocumentOptions): Pick<Submission, "timeout_ms" | "scheduled_at"> {
  return {
    ...(random.chance(0.15) && { timeout_ms: random.int(500, 8_000) }),
    ...(random.chance(0.15) && { scheduled_at: new Date(now + random.int(-1_000, 3_000)).toISOString() }),
  };
}
