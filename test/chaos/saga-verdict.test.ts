/** The judge of sagas finds what it is there to find: each case is a run without a fault, and one thing wrong with it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JobEvent } from "../../src/job/events.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import { functionList } from "../../src/job/functions.ts";
import type { EndedJob } from "../../src/job/state.ts";
import type { Execution } from "./evidence.ts";
import type { Evidence, FindingKind } from "./findings.ts";
import { ALWAYS, WORK } from "./graph-plan.ts";
import type { SagaPlan } from "./plan.ts";
import { outcomeOfSaga } from "./saga-end.ts";
import { dataOf, type SagaEntry, type SagaWork, type TopSaga, UNDO } from "./saga-plan.ts";
import { judge } from "./verdict.ts";

const test = suite("saga verdict");

const work = (failures: number): SagaWork => ({
  ...{ type: "work", ms: 10, salt: 5, failures, fatal: false, retryLimit: 1, padBytes: 0, stubborn: false },
});
const entry = (failures: number, isUndone: boolean): SagaEntry => ({
  action: work(failures),
  needs: undefined,
  ...(isUndone && { undo: { failures: 0, retryLimit: 10, ownArgs: false } }),
});
/** Two entries that are undone, and a third that fails. */
const saga: TopSaga = {
  entries: [entry(0, true), entry(0, true), entry(ALWAYS, false)],
  ...{ items: [], n: 3, failures: 0, retried: false },
};
const { ends } = outcomeOfSaga(saga, dataOf(saga));
const plan: SagaPlan = {
  ...{ id: "job", name: "saga-failed", encoding: "json", startAfterMs: 0, repeatAfterMs: undefined, saga },
};

const execution = (index: number, call: string, begun: number, more: Partial<Execution> = {}): Execution => ({
  ...{ job: "job", index, call, attempt: 1, process: "worker-1.1", begun, ended: begun + 10, outcome: "returned" },
  ...(call === WORK && { input: ends[index]?.input ?? 0 }),
  ...more,
});
const EXECUTIONS = [
  execution(0, WORK, 1_000),
  execution(1, WORK, 1_020),
  execution(2, WORK, 1_040, { outcome: "threw" }),
  execution(1, UNDO, 1_060),
  execution(0, UNDO, 1_080),
];
const error = { code: "function_failed", name: "Error", message: "planned" } as const;
const undone = (at: number): FunctionState => ({ name: UNDO, retry_count: 1, finished_at: at, result: null });
const FUNCTIONS: FunctionState[] = [
  { name: WORK, retry_count: 1, finished_at: 1_011, result: ends[0]?.value, rank: 1, undoing: undone(1_091) },
  { name: WORK, retry_count: 1, finished_at: 1_031, result: ends[1]?.value, rank: 2, undoing: undone(1_071) },
  { name: WORK, retry_count: 1, failures: 1, error },
];

interface Parts {
  executions: Execution[];
  functions: FunctionState[];
  job: Partial<EndedJob>;
  events: JobEvent[];
  more: Partial<Evidence>;
}

const ended = (run: number, type: "failed" | "cancelled" = "failed") =>
  ({ type, run, job_id: "job", job_name: "saga", at: "", error, function: WORK, index: 2 }) as JobEvent;

/** What is found in a run of which these parts are others. */
function found(parts: Partial<Parts>): FindingKind[] {
  const state = {
    ...{ format: 2, job_id: "job", name: "saga-failed", data: null, current_function: 2, attempt: 1, encoding: "json" },
    ...{ created_at: 900, scheduled_at: 900, finished_at: 1_100, sequence: 1, token: 0, version: 9, writer: "w" },
    ...{ live: [], state: "failed", error, undo: { state: "done", undone: 2, failed: 0, not_undone: 0 } },
    functions: functionList(parts.functions ?? FUNCTIONS),
    ...parts.job,
  } as unknown as EndedJob;
  const events = (parts.events ?? [ended(1)]).map((event) => ({
    ...{ job: "job", type: event.type, storedAt: 2_000_000, event },
  }));
  const evidence: Evidence = {
    plans: [plan],
    acknowledged: new Map([["job", 950]]),
    states: new Map([["job", state]]),
    storedAt: new Map([["job", 1_101]]),
    problems: new Map(),
    events: new Map([["job", events]]),
    executions: new Map([["job", parts.executions ?? EXECUTIONS]]),
    owners: new Map(),
    faults: [],
    signals: new Map(),
    retries: new Map(),
    cancels: new Map(),
    children: new Map(),
    results: new Map(),
    parts: new Set(),
    ...parts.more,
  };
  return [...new Set(judge(evidence).findings.map(({ kind }) => kind))];
}

const without = (n: number) => EXECUTIONS.filter((_, at) => at !== n);
const withFunction = (index: number, change: Partial<FunctionState>) =>
  FUNCTIONS.map((fn, at) => (at === index ? { ...fn, ...change } : fn));

test("nothing is found where everything was undone, in reverse order", () => {
  assert.equal(found({}), []);
});

const child = (finished_at: number) =>
  ({
    ...{ job_id: "sub-x", state: "completed", finished_at, functions: functionList([]) },
    parent: { job_id: "job", created_at: 900, index: 0, depth: 1 },
  }) as unknown as EndedJob;

const WRONG: [string, FindingKind, Partial<Parts>][] = [
  [
    "an entry that has returned, as its worker says, and whose undo never ran",
    "not undone",
    { executions: without(4) },
  ],
  [
    "an entry that has completed and is not undone, as the state says",
    "not undone",
    { functions: FUNCTIONS.map(({ undoing, ...fn }, at) => (at === 0 || !undoing ? fn : { ...fn, undoing })) },
  ],
  [
    "an undo that ran twice",
    "undone twice",
    { executions: [...EXECUTIONS, execution(0, UNDO, 1_095, { attempt: 2 })] },
  ],
  [
    "an undo that began while what it undoes ran",
    "undone too early",
    { executions: EXECUTIONS.with(1, execution(1, WORK, 1_020, { ended: 1_065 })) },
  ],
  [
    "undos in the order of completion",
    "undone out of order",
    { functions: withFunction(0, { undoing: undone(1_050) }) },
  ],
  ["two undos at the same time", "undone out of order", { executions: EXECUTIONS.with(4, execution(0, UNDO, 1_065)) }],
  ["a result that does not follow from the document", "wrong", { functions: withFunction(0, { result: -1 }) }],
  [
    "a job that was cancelled without being asked to",
    "wrong",
    { job: { state: "cancelled" }, events: [ended(1, "cancelled")] },
  ],
  [
    "a cancel that was answered, and has not been done",
    "lost",
    { more: { cancels: new Map([["job", [{ skip: false, sentAt: 1_000, answer: "cancelled" }]]]) } },
  ],
  ["two ends of the same run", "ended twice", { events: [ended(1), ended(1, "cancelled")] }],
  [
    "other args than follow from the document",
    "wrong input",
    { executions: EXECUTIONS.with(0, execution(0, WORK, 1_000, { input: 1 })) },
  ],
  [
    "an entry that returned twice",
    "unexplained",
    { executions: [execution(0, WORK, 980, { attempt: 2 }), ...EXECUTIONS] },
  ],
  ["a part of a job that is not there", "left over", { more: { parts: new Set(["gone.items.0.0"]) } }],
  ["an end of a child that was left", "left over", { more: { parts: new Set(["job.end.sub-x"]) } }],
  ["children of an entry that has none", "unfounded", { more: { children: new Map([["job", [child(1_050)]]]) } }],
];

for (const [what, kind, parts] of WRONG) {
  test(`${what} is found`, () => {
    assert.ok(found(parts).includes(kind), `${kind} is not among [${found(parts).join(", ")}]`);
  });
}

test.run();
