/**
 * Which jobs are submitted, and how each of them must end: both follow from the seed. A step fails by its own args and
 * the number of its attempt alone, so whatever dies meanwhile, the end is known.
 */
import type { Encoding } from "../../src/job/encoding.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import type { Backoff, FunctionSpec, Submission } from "../../src/job/schema.ts";
import { ALWAYS, documentOf, type Graph, idOf } from "./graph-plan.ts";
import { GRAPH_SHARES, type GraphKind, planGraph } from "./graph-shapes.ts";
import { Random } from "./random.ts";
import { documentOfSaga, mendedDataOf, type TopSaga } from "./saga-plan.ts";
import { planSaga, SAGA_SHARES, type SagaKind } from "./saga-shapes.ts";

/** The functions of a job, by index. */
export const STEP_NAMES = ["first", "second", "third"] as const;

/** What a worker is told to do in an attempt of a step. */
export interface StepArgs {
  /** How long it takes. */
  ms: number;
  /** Makes the result of this step another one than that of every other. */
  salt: number;
  /** The first so many attempts throw. */
  failures: number;
  /** What they throw ends the job. */
  fatal: boolean;
}

export function resultOf({ salt }: StepArgs, previous: number): number {
  return (previous * 31 + salt) % 1_000_003;
}

export interface Step {
  args: StepArgs;
  retryLimit: number;
  backoff?: Backoff;
}

interface AnyPlan {
  id: string;
  /** Its kind. */
  name: string;
  encoding: Encoding;
  /** Its start lies this far ahead when it is submitted; 0 is "now". */
  startAfterMs: number;
  /** It is submitted once more, so long after the acknowledgement. */
  repeatAfterMs: number | undefined;
}

/** One function after the other. */
export interface ChainPlan extends AnyPlan {
  steps: Step[];
  expected: Expected;
}

export interface GraphPlan extends AnyPlan {
  graph: Graph;
}

/** A graph with children, items, undo and the like. */
export interface SagaPlan extends AnyPlan {
  saga: TopSaga;
}

export type JobPlan = ChainPlan | GraphPlan | SagaPlan;

export function isGraphPlan(plan: JobPlan): plan is GraphPlan {
  return "graph" in plan;
}

export function isSagaPlan(plan: JobPlan): plan is SagaPlan {
  return "saga" in plan;
}

/** What is asked for by hand when the job has ended; undefined if nothing is. */
export function retryOf(plan: JobPlan): RetryPatch | undefined {
  if (isSagaPlan(plan)) return plan.saga.retried ? { failed: true, data: mendedDataOf(plan.saga) } : undefined;
  const retry = isGraphPlan(plan) ? plan.graph.retry : undefined;
  return retry && { ...(retry.from === "failed" ? { failed: true } : { from: idOf(retry.from) }), data: retry.data };
}

export type Expected =
  | { state: "completed"; results: number[] }
  /** At step `index`, after exactly so many attempts of it have thrown. */
  | { state: "failed"; index: number; failures: number; results: number[] };

type Kind = "single" | "chain" | "flaky" | "failing" | "fatal" | "later" | "parked";

/** Of a hundred jobs. */
const SHARES: Record<Kind, number> = { single: 34, chain: 28, flaky: 20, failing: 8, fatal: 2, later: 5, parked: 3 };
const REPEATED = 0.1;

/** Longer than the supervisors' `parkAfterMs`. Only early jobs wait for so long, so that the run need not. */
const PARKED_MS = { minimum: 10_500, maximum: 12_000 };

/**
 * @param graphs the share of jobs that are graphs, from 0 to 1
 * @param sagas the share of those that have children, items, undo and the like
 */
export function planJobs(seed: number, count: number, graphs: number, sagas: number): JobPlan[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, number) => {
    const id = `s${seed}-${number}`;
    const early = number < count / 2;
    if (!random.chance(graphs)) return planChain(random, id, early);
    return random.chance(sagas) ? planOfSaga(random, id, early) : planOfGraph(random, id, early);
  });
}

function planOfSaga(random: Random, id: string, early: boolean): SagaPlan {
  const kind: SagaKind = draw(random, SAGA_SHARES);
  return {
    id,
    name: kind,
    saga: planSaga(random, kind, early),
    encoding: random.chance(0.2) ? "msgpack" : "json",
    startAfterMs: random.chance(0.05) ? random.integer(500, 3_000) : 0,
    repeatAfterMs: random.chance(REPEATED) ? random.integer(0, 4_000) : undefined,
  };
}

function planOfGraph(random: Random, id: string, early: boolean): GraphPlan {
  const kind: GraphKind = draw(random, GRAPH_SHARES);
  const graph = planGraph(random, kind, early);
  const repeatAfterMs = random.chance(REPEATED) ? random.integer(0, 4_000) : undefined;
  return {
    id,
    name: kind,
    graph,
    encoding: random.chance(0.2) ? "msgpack" : "json",
    startAfterMs: random.chance(0.05) ? random.integer(500, 5_000) : 0,
    // Which of two submissions makes the job is not known before it is taken: a signal that was sent to the other one is lost with it.
    repeatAfterMs: graph.signals.length > 0 ? undefined : repeatAfterMs,
  };
}

function planChain(random: Random, id: string, early: boolean): ChainPlan {
  const drawn = draw(random, SHARES);
  const kind = drawn === "parked" && !early ? "later" : drawn;
  const steps = planSteps(random, kind);
  let startAfterMs = 0;
  if (kind === "later") startAfterMs = random.integer(500, 5_000);
  if (kind === "parked" && random.chance(0.5)) startAfterMs = random.integer(PARKED_MS.minimum, PARKED_MS.maximum);
  else if (kind === "parked") failOnceWithLongBackoff(random, steps);
  return {
    id,
    name: kind,
    steps,
    encoding: random.chance(0.2) ? "msgpack" : "json",
    startAfterMs,
    repeatAfterMs: random.chance(REPEATED) ? random.integer(0, 4_000) : undefined,
    expected: expectedEnd(steps),
  };
}

/** One of them, as often as its share says. */
function draw<K extends string>(random: Random, shares: Record<K, number>): K {
  const kinds = Object.entries(shares) as [K, number][];
  let left = random.next() * 100;
  for (const [kind, share] of kinds) {
    left -= share;
    if (left < 0) return kind;
  }
  return (kinds[0] as [K, number])[0];
}

function planSteps(random: Random, kind: Kind): Step[] {
  const count = kind === "single" || kind === "fatal" ? 1 : kind === "chain" ? 3 : random.integer(1, 3);
  const steps = Array.from({ length: count }, () => steadyStep(random));
  const index = random.integer(0, count - 1);
  const special = steps[index] as Step;
  if (kind === "flaky") {
    special.args.failures = random.integer(1, 3);
    special.retryLimit = special.args.failures + random.integer(1, 2);
    special.backoff = shortBackoff(random);
  }
  if (kind === "failing" || kind === "fatal") {
    special.args.failures = ALWAYS;
    special.args.fatal = kind === "fatal";
    special.retryLimit = random.integer(1, 3);
    special.backoff = shortBackoff(random);
  }
  return steps;
}

/** Succeeds at its first attempt; where it may be run once only, what is lost with a process must not count. */
function steadyStep(random: Random): Step {
  const ms = random.chance(0.8) ? random.integer(10, 80) : random.integer(80, 300);
  return {
    args: { ms, salt: random.integer(1, 1_000_000), failures: 0, fatal: false },
    retryLimit: random.chance(0.7) ? 1 : 3,
  };
}

function shortBackoff(random: Random): Backoff {
  const long = random.chance(0.1);
  return {
    type: random.pick(["fixed", "exponential"]),
    delay_ms: long ? random.integer(1_000, 2_500) : random.integer(20, 400),
    jitter: random.pick([0, 0.5, 1]),
  };
}

function failOnceWithLongBackoff(random: Random, steps: Step[]): void {
  const step = steps[0] as Step;
  step.args.failures = 1;
  step.retryLimit = 2;
  step.backoff = { type: "fixed", delay_ms: random.integer(PARKED_MS.minimum, PARKED_MS.maximum), jitter: 0 };
}

function expectedEnd(steps: Step[]): Expected {
  const results: number[] = [];
  for (const [index, { args, retryLimit }] of steps.entries()) {
    if (args.failures >= retryLimit) {
      return { state: "failed", index, failures: args.fatal ? 1 : retryLimit, results };
    }
    results.push(resultOf(args, results.at(-1) ?? 0));
  }
  return { state: "completed", results };
}

/** `now` in ms since 1970. */
export function submissionOf(plan: JobPlan, now: number): Submission {
  return {
    name: plan.name,
    ...documentOfPlan(plan),
    ...(plan.startAfterMs > 0 && { scheduled_at: new Date(now + plan.startAfterMs).toISOString() }),
  };
}

function documentOfPlan(plan: JobPlan): Pick<Submission, "data" | "functions" | "on_failure"> {
  if (isSagaPlan(plan)) return documentOfSaga(plan.saga);
  return isGraphPlan(plan) ? documentOf(plan.graph) : { functions: functionsOf(plan) };
}

function functionsOf({ steps }: ChainPlan): FunctionSpec[] {
  return steps.map(({ args, retryLimit, backoff }, index) => ({
    name: STEP_NAMES[index] ?? "",
    args,
    retry_options: { retry_limit: retryLimit, ...(backoff && { backoff }) },
  }));
}
