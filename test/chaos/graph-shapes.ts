/** Makes graphs from random numbers: a shape, and in it what makes the kind. */
import {
  ALWAYS,
  ancestorsOf,
  type Entry,
  type Graph,
  type GraphData,
  type Input,
  neededBy,
  type SignalPlan,
  type Work,
} from "./graph-plan.ts";
import type { Random } from "./random.ts";

export type GraphKind =
  | "shape"
  | "graph-flaky"
  | "dealt-with"
  | "graph-failing"
  | "sleeping"
  | "sleeping-long"
  | "signalled"
  | "signal-timeout"
  | "retried";

/** Of a hundred graphs. */
export const GRAPH_SHARES: Record<GraphKind, number> = {
  shape: 30,
  "graph-flaky": 10,
  "dealt-with": 14,
  "graph-failing": 6,
  sleeping: 8,
  "sleeping-long": 4,
  signalled: 12,
  "signal-timeout": 8,
  retried: 8,
};

/** Longer than the supervisors' `parkAfterMs`. Only early jobs sleep for so long, so that the run need not. */
const LONG_SLEEP_MS = { minimum: 10_500, maximum: 12_000 };
const MAX_N = 1_000_000;

export function planGraph(random: Random, drawn: GraphKind, early: boolean): Graph {
  const kind = drawn === "sleeping-long" && !early ? "sleeping" : drawn;
  const entries = random.pick([diamond, fan, mixed])(random);
  const graph: Graph = { data: { n: random.integer(1, MAX_N), failures: 0 }, entries, signals: [] };
  const special = random.integer(0, entries.length - 1);
  makeSpecial(random, graph, kind, special, early);
  for (const index of entries.keys()) addInputs(random, graph, index);
  for (const index of entries.keys()) if (index !== special) addCondition(random, graph, index);
  return graph;
}

function makeSpecial(random: Random, graph: Graph, kind: GraphKind, index: number, early: boolean): void {
  const entry = graph.entries[index] as Entry;
  switch (kind) {
    case "shape":
      return;
    case "graph-flaky":
      Object.assign(entry.action, failing(random, random.integer(1, 2)), { retryLimit: 4 });
      return;
    case "dealt-with":
      Object.assign(entry.action, failing(random, ALWAYS), { fatal: random.chance(0.3) });
      if (random.chance(0.3)) Object.assign(entry.action, { failures: 0, fatal: false, unexpected: true });
      entry.onError = random.chance(0.5) ? "continue" : mending(random, false);
      return;
    case "graph-failing":
      Object.assign(entry.action, failing(random, ALWAYS), { fatal: random.chance(0.3) });
      entry.onError = random.pick([undefined, "fail", mending(random, true)]);
      return;
    case "sleeping":
      entry.action = { type: "sleep", ms: random.integer(0, 1_500) };
      return;
    case "sleeping-long":
      entry.action = { type: "sleep", ms: random.integer(LONG_SLEEP_MS.minimum, LONG_SLEEP_MS.maximum) };
      return;
    case "signalled":
      addSignals(random, graph, index, early);
      return;
    case "signal-timeout":
      addTimedSignal(random, graph, entry);
      return;
    case "retried":
      addRetry(random, graph, index);
      return;
  }
}

/** One or two entries wait for the same name, and as many signals come, or one more than is needed. */
function addSignals(random: Random, { entries, signals }: Graph, index: number, early: boolean): void {
  const other = random.integer(0, entries.length - 1);
  const waiting = new Set(random.chance(0.4) ? [index, other] : [index]);
  for (const one of waiting) (entries[one] as Entry).action = { type: "wait", signal: "go", timeoutMs: undefined };
  const count = waiting.size + (random.chance(0.2) ? 1 : 0);
  // Some wait for so long that they leave memory.
  const longest = early && random.chance(0.2) ? 14_000 : 3_000;
  for (let n = 1; n <= count; n++) signals.push(signal(random, n, longest));
}

function addTimedSignal(random: Random, { signals }: Graph, entry: Entry): void {
  const timeoutMs = random.integer(500, 5_000);
  entry.action = { type: "wait", signal: "go", timeoutMs };
  entry.onError = random.pick([undefined, "continue", "continue", mending(random, false), mending(random, false)]);
  if (random.chance(0.8)) signals.push(signal(random, 1, timeoutMs * 2));
}

function signal(random: Random, n: number, longestMs: number): SignalPlan {
  return { name: "go", n, afterMs: random.integer(0, longestMs), again: random.chance(0.2) };
}

/** It fails until the data of the job is another one; or it completes, and something of it is run again with other data. */
function addRetry(random: Random, graph: Graph, index: number): void {
  const entry = graph.entries[index] as Entry;
  const { n } = graph.data;
  const how = random.pick(["failed", "passed over", "completed"] as const);
  if (how !== "completed") {
    Object.assign(entry.action, failing(random, "data"));
    graph.data = { n, failures: ALWAYS };
  }
  const mended: GraphData = { n, failures: 0 };
  if (how === "completed") graph.retry = { from: index, data: { n: random.integer(1, MAX_N), failures: 0 } };
  else if (how === "failed") {
    graph.retry = { from: random.pick([index, ...ancestorsOf(graph, index)]), data: mended };
  } else {
    entry.onError = "continue";
    graph.retry = { from: "failed", data: mended };
  }
}

function failing(random: Random, failures: Work["failures"]): Partial<Work> {
  const backoff = { delay_ms: random.integer(20, 300), jitter: random.pick([0, 1]) };
  return { failures, retryLimit: random.integer(1, 3), backoff };
}

function mending(random: Random, fails: boolean) {
  return { salt: random.integer(1, MAX_N), ms: random.integer(5, 60), fails };
}

/** What it reads: data, and what those have given that it follows. */
function addInputs(random: Random, graph: Graph, index: number): void {
  const { action } = graph.entries[index] as Entry;
  if (action.type !== "work") return;
  if (random.chance(0.5)) action.inputs.push({ of: "data" });
  for (const of of ["result", "result", "skipped"] as const) {
    const before = [...ancestorsOf(graph, index)];
    if (before.length > 0 && random.chance(0.4)) action.inputs.push({ of, index: random.pick(before as [number]) });
  }
}

/** Over what is a number for sure. */
function addCondition(random: Random, graph: Graph, index: number): void {
  if (!random.chance(0.15)) return;
  const entry = graph.entries[index] as Entry;
  if (entry.action.type === "wait") return;
  const sure = neededBy(graph, index).filter((one) => isSure(graph.entries[one] as Entry));
  const of: Input =
    sure.length > 0 && random.chance(0.5) ? { of: "result", index: random.pick(sure as [number]) } : { of: "data" };
  entry.when = { of, above: random.integer(1, MAX_N) };
}

function isSure({ action, when, onError }: Entry): boolean {
  return action.type === "work" && !when && onError === undefined;
}

function work(random: Random, needs: number[] | undefined): Entry {
  const ms = random.chance(0.8) ? random.integer(10, 80) : random.integer(80, 300);
  const action: Work = {
    type: "work",
    ms,
    salt: random.integer(1, MAX_N),
    inputs: [],
    failures: 0,
    fatal: false,
    retryLimit: random.chance(0.7) ? 1 : 3,
    unexpected: false,
  };
  return { action, needs, onError: undefined };
}

function diamond(random: Random): Entry[] {
  return [
    work(random, undefined),
    work(random, [0]),
    work(random, [0]),
    work(random, random.pick([[1, 2], [2, 1], undefined])),
  ];
}

/** Several at once, joined by one that needs all of them, or the most. */
function fan(random: Random): Entry[] {
  const width = random.integer(3, 6);
  const branches = Array.from({ length: width }, (_, index) => index);
  const needs = random.chance(0.5) ? undefined : random.shuffled(branches).slice(0, width - 1);
  return [...branches.map(() => work(random, [])), work(random, needs)];
}

/** Each needs some of those before it, all, or none. */
function mixed(random: Random): Entry[] {
  return Array.from({ length: random.integer(3, 6) }, (_, index) => {
    const before = Array.from({ length: index }, (_, one) => one).filter(() => random.chance(0.4));
    return work(random, random.chance(0.25) ? undefined : before);
  });
}
