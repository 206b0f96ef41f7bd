/** A check that cannot fail is none: each kind of finding in graphs is found in evidence made for it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FunctionState } from "../../src/job/function-state.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import type { EndedJob } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import type { Execution, StoredEvent } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { Evidence } from "./findings.ts";
import { type EntryEnd, endsOf } from "./graph-end.ts";
import { ALWAYS, type Entry, type Graph, MEND, WORK, type Work } from "./graph-plan.ts";
import { type GraphPlan, submissionOf } from "./plan.ts";
import type { SignalRecord } from "./signaller.ts";
import { judge } from "./verdict.ts";

const test = suite("graph-verdict");

const BEGUN = 1_800_000_000_000;
const work = (salt: number, more: Partial<Work> = {}): Work => ({
  type: "work",
  ms: 50,
  salt,
  inputs: [],
  failures: 0,
  fatal: false,
  retryLimit: 1,
  unexpected: false,
  ...more,
});
const entry = (action: Entry["action"], needs: number[] | undefined, more: Partial<Entry> = {}): Entry => ({
  action,
  needs,
  onError: undefined,
  ...more,
});

/** 0 fails and is mended; 1 waits for a signal; 2 sleeps after 0; 3 is skipped; 4 joins all. */
const GRAPH: Graph = {
  data: { n: 5, failures: 0 },
  entries: [
    entry(work(1, { failures: ALWAYS, retryLimit: 2, backoff: { delay_ms: 0 } }), [], {
      onError: { salt: 2, ms: 5, fails: false },
    }),
    entry({ type: "wait", signal: "go", timeoutMs: 5_000 }, [], { onError: "continue" }),
    entry({ type: "sleep", ms: 100 }, [0]),
    entry(work(3), [0], { when: { of: { of: "data" }, above: 10 } }),
    entry(work(4, { inputs: [{ of: "data" }, { of: "result", index: 1 }] }), undefined),
  ],
  signals: [{ name: "go", n: 1, afterMs: 0, again: true }],
};

const planWith = (graph: Graph): GraphPlan => ({
  id: "job",
  name: "made",
  graph,
  encoding: "json",
  startAfterMs: 0,
  repeatAfterMs: undefined,
});

const PAYLOAD = { n: 1 };
const ends = (graph: Graph): EntryEnd[] =>
  endsOf(
    graph,
    () => graph.data,
    () => ({ payload: PAYLOAD }),
  );
const endAt = (index: number) => ends(GRAPH)[index] as EntryEnd;

const FAILURE = { code: "function_failed", name: "Error", message: "planned" } as const;
const threw = (index: number, attempt: number): Event => ({
  type: "failed",
  index,
  attempt,
  error: FAILURE,
  retryable: true,
  random: 0,
});
const returned = (index: number, attempt: number, result: unknown): Event => ({
  type: "succeeded",
  index,
  attempt,
  result,
});

function stateAfter(graph: Graph, events: [at: number, event: Event][]): EndedJob {
  const origin = { jobId: "job", encoding: "json", createdAt: BEGUN, sequence: 1 } as const;
  let { state } = createJob(submissionOf(planWith(graph), BEGUN), origin, BEGUN);
  for (const [at, event] of events) state = reduce(state, event, BEGUN + at).state;
  return state as EndedJob;
}

const RIGHT: [number, Event][] = [
  [100, threw(0, 1)],
  [200, threw(0, 2)],
  [300, returned(0, 3, endAt(0).value)],
  [350, { type: "signalled", index: 1, number: 1, payload: PAYLOAD }],
  [400, { type: "due" }],
  [500, returned(4, 1, endAt(4).value)],
];

const execution = (index: number, attempt: number, begun: number, more: Partial<Execution> = {}): Execution => ({
  job: "job",
  index,
  attempt,
  call: WORK,
  ...(endAt(index).input !== undefined && { input: endAt(index).input as number }),
  process: "worker-1.1",
  begun: BEGUN + begun,
  ended: BEGUN + begun + 50,
  outcome: "returned",
  ...more,
});
const EXECUTIONS: Execution[] = [
  execution(0, 1, 40, { outcome: "threw" }),
  execution(0, 2, 140, { outcome: "threw" }),
  execution(0, 3, 240, { call: MEND, input: endAt(0).mendInput as number }),
  execution(4, 1, 440),
];
const SIGNALS: SignalRecord[] = [
  { name: "go", n: 1, sentAt: BEGUN + 320, answer: { at: BEGUN + 340, number: 1 }, again: [1] },
];

interface Parts {
  graph?: Graph;
  state?: EndedJob;
  executions?: Execution[];
  signals?: SignalRecord[];
  events?: StoredEvent[];
  faults?: Fault[];
  retry?: string;
}

function evidenceWith(parts: Parts): Evidence {
  const { graph = GRAPH, state = stateAfter(graph, RIGHT), executions = EXECUTIONS, signals = SIGNALS } = parts;
  return {
    plans: [planWith(graph)],
    acknowledged: new Map([["job", BEGUN]]),
    states: new Map([["job", state]]),
    storedAt: new Map([["job", BEGUN + 510]]),
    problems: new Map(),
    events: new Map([["job", parts.events ?? []]]),
    executions: new Map([["job", executions]]),
    owners: new Map(),
    faults: parts.faults ?? [],
    signals: new Map([["job", signals]]),
    retries: new Map(parts.retry === undefined ? [] : [["job", parts.retry]]),
    cancels: new Map(),
    children: new Map(),
    results: new Map(),
    parts: new Set(),
  };
}

const findingsIn = (parts: Parts) => judge(evidenceWith(parts)).findings.map(({ kind }) => kind);

/** The right end, but for one entry. */
function stateWith(index: number, change: (fn: FunctionState) => FunctionState): EndedJob {
  const state = stateAfter(GRAPH, RIGHT);
  return { ...state, functions: state.functions.map((fn, at) => (at === index ? change(fn) : fn)) } as EndedJob;
}

const without = (index: number, attempt: number) =>
  EXECUTIONS.filter((one) => one.index !== index || one.attempt !== attempt);
const changed = (index: number, attempt: number, change: Partial<Execution>) =>
  EXECUTIONS.map((one) => (one.index === index && one.attempt === attempt ? { ...one, ...change } : one));

test("a graph in which all went well has no findings", () => {
  const { findings, completed, executions } = judge(evidenceWith({}));
  assert.equal(findings, []);
  assert.equal({ completed, executions }, { completed: 1, executions: 4 });
});

test("a result that does not follow from the document, and another way to end, are wrong", () => {
  assert.equal(findingsIn({ state: stateWith(4, (fn) => ({ ...fn, result: 1 })) }), ["wrong"]);
  assert.equal(
    findingsIn({ state: stateWith(3, ({ skipped: _, ...fn }) => ({ ...fn, result: 1 })) }).includes("wrong"),
    true,
  );
  const passedOver = stateWith(0, ({ handling: _, ...fn }) => ({ ...fn, result: null }));
  assert.equal(findingsIn({ state: passedOver }), ["wrong"]);
  const failed = { ...stateAfter(GRAPH, RIGHT), state: "failed", error: FAILURE } as EndedJob;
  assert.ok(findingsIn({ state: failed }).includes("wrong"));
  const open = stateWith(4, ({ finished_at: _, result: _result, rank: _rank, ...fn }) => fn);
  assert.equal(findingsIn({ state: open }), ["wrong"]);
});

test("an execution that was handed something else is found, also one that does not count", () => {
  const other = execution(4, 1, 430, { input: 1 });
  assert.equal(findingsIn({ executions: changed(4, 1, { input: 1 }) }), ["wrong input"]);
  const excused: Fault = { role: "worker", kind: "pause", process: "worker-1.1", from: BEGUN + 400, to: BEGUN + 700 };
  assert.equal(findingsIn({ executions: [...EXECUTIONS, other], faults: [excused] }), ["wrong input"]);
});

test("an entry that begins before all that it follows had ended is out of order", () => {
  assert.equal(findingsIn({ executions: changed(4, 1, { begun: BEGUN + 320 }) }).includes("out of order"), true);
  assert.equal(findingsIn({ state: stateWith(1, (fn) => ({ ...fn, rank: 9 })) }), ["out of order"]);
});

test("a sleep that is too short is found", () => {
  assert.equal(findingsIn({ state: stateWith(2, (fn) => ({ ...fn, finished_at: BEGUN + 390 })) }), ["too early"]);
});

test("an execution too many is unexplained, unless a fault hit it", () => {
  const executions = [...EXECUTIONS, execution(4, 1, 450)];
  assert.equal(findingsIn({ executions }), ["unexplained"]);
  const excuse: Fault = { role: "worker", kind: "kill", process: "worker-1.1", from: BEGUN + 460, to: BEGUN + 700 };
  assert.equal(findingsIn({ executions, faults: [excuse] }), []);
  const thrown = [...EXECUTIONS, execution(0, 2, 190, { outcome: "threw" })];
  assert.equal(findingsIn({ executions: thrown }), ["unexplained"]);
  assert.ok(findingsIn({ executions: [...EXECUTIONS, execution(3, 1, 400)] }).includes("unfounded"));
});

test("an entry that begins again after its end was stored is found", () => {
  assert.equal(findingsIn({ executions: [...EXECUTIONS, execution(4, 2, 9_000)] }), ["unexplained", "begun again"]);
});

test("an end that no execution had is unfounded", () => {
  assert.equal(findingsIn({ executions: without(4, 1) }), ["unfounded"]);
  assert.equal(findingsIn({ executions: without(0, 3) }), ["unfounded"]);
  assert.equal(findingsIn({ executions: without(0, 2) }), ["unfounded"], "it failed after too few attempts");
  assert.equal(findingsIn({ signals: [] }), ["unfounded"], "a signal that nobody has sent");
});

test("a signal that is used twice, or stored twice, is found", () => {
  const twice: Graph = {
    ...GRAPH,
    entries: [
      entry({ type: "wait", signal: "go", timeoutMs: undefined }, []),
      entry({ type: "wait", signal: "go", timeoutMs: undefined }, []),
    ],
  };
  const got = (index: number, number: number): Event => ({ type: "signalled", index, number, payload: PAYLOAD });
  const state = stateAfter(twice, [
    [10, got(0, 1)],
    [20, got(1, 2)],
  ]);
  assert.equal(findingsIn({ graph: twice, state, executions: [] }), ["signal used twice"]);
  assert.equal(findingsIn({ signals: SIGNALS.map((one) => ({ ...one, again: [2] })) }), ["signal used twice"]);
});

test("an answered signal that came in time and was not used is lost; one that came late, or was not answered, is not", () => {
  const state = stateAfter(GRAPH, [
    ...RIGHT.slice(0, 3),
    [400, { type: "due" }],
    [5_000, { type: "due" }],
    [
      5_100,
      returned(
        4,
        1,
        endsOf(
          GRAPH,
          () => GRAPH.data,
          () => "timed out",
        )[4]?.value,
      ),
    ],
  ]);
  const input = endsOf(
    GRAPH,
    () => GRAPH.data,
    () => "timed out",
  )[4]?.input as number;
  const executions = changed(4, 1, { begun: BEGUN + 5_020, ended: BEGUN + 5_070, input });
  const found = (record: Partial<SignalRecord>) =>
    findingsIn({ state, executions, signals: SIGNALS.map((one) => ({ ...one, again: [], ...record })) }).filter(
      (kind) => kind !== "begun again",
    );
  assert.equal(found({ answer: { at: BEGUN + 340, number: 1 } }), ["signal lost"]);
  assert.equal(found({ answer: { at: BEGUN + 5_010, number: 1 } }), []);
  const { answer: _, ...unanswered } = SIGNALS[0] as SignalRecord;
  assert.equal(findingsIn({ state, executions, signals: [unanswered] }).includes("signal lost"), false);
  assert.equal(found({ refusal: "unknown_signal" }).includes("signal lost"), true);
});

test("a signal that was passed over by one that was stored after it is lost, and so is one of two under the same number", () => {
  const later: SignalRecord = { name: "go", n: 1, sentAt: BEGUN, answer: { at: BEGUN + 340, number: 2 }, again: [] };
  const earlier: SignalRecord = { name: "go", n: 2, sentAt: BEGUN, answer: { at: BEGUN + 330, number: 1 }, again: [] };
  assert.equal(findingsIn({ signals: [earlier, later] }), ["signal lost"]);
  assert.equal(findingsIn({ signals: [...SIGNALS, { ...earlier, n: 3 }] }), ["signal lost"]);
});

test("a retry by hand that was answered and not done is lost; one that nobody asked for is unexplained", () => {
  assert.equal(findingsIn({ retry: "answered" }), ["lost"]);
  assert.equal(findingsIn({ retry: "bus_timeout" }), []);
  const retried = { ...stateAfter(GRAPH, RIGHT), retries: 1, retried_at: BEGUN };
  assert.equal(findingsIn({ state: retried }), ["unexplained"]);
});

/** 0 fails until it is retried with other data; 1 runs beside it; 2 follows. */
const RETRIED: Graph = {
  data: { n: 5, failures: ALWAYS },
  entries: [
    entry(work(1, { failures: "data" }), []),
    entry(work(2, { ms: 500 }), []),
    entry(work(3, { inputs: [{ of: "result", index: 0 }] }), [0, 1]),
  ],
  signals: [],
  retry: { from: 0, data: { n: 5, failures: 0 } },
};

test("what runs when its job fails is stopped, and run again by the retry: both are explained, anything else is not", () => {
  const end = endsOf(
    RETRIED,
    () => ({ n: 5, failures: 0 }),
    () => "unknown",
  );
  const failed = stateAfter(RETRIED, [[100, threw(0, 1)]]);
  assert.is(failed.state, "failed");
  let state = reduce(failed, { type: "retried", from: "e0", data: RETRIED.retry?.data }, BEGUN + 3_000).state;
  const steps: [number, Event][] = [
    [3_100, returned(0, 2, end[0]?.value)],
    [3_200, returned(1, 1, end[1]?.value)],
    [3_300, returned(2, 1, end[2]?.value)],
  ];
  for (const [at, event] of steps) state = reduce(state, event, BEGUN + at).state;
  assert.is(state.state, "completed");
  const run = (index: number, attempt: number, begun: number, more: Partial<Execution> = {}) =>
    execution(0, attempt, begun, { index, input: end[index]?.input as number, ...more });
  const executions = [
    run(0, 1, 40, { outcome: "threw" }),
    run(1, 1, 40, { outcome: "aborted" }),
    run(0, 2, 3_040),
    run(1, 1, 3_140),
    run(2, 1, 3_240),
  ];
  const event = { job_id: "job", job_name: "made", at: "", type: "failed" } as StoredEvent["event"];
  const events: StoredEvent[] = [{ job: "job", type: "failed", storedAt: BEGUN + 110, event }];
  const parts = { graph: RETRIED, state: state as EndedJob, executions, events, signals: [], retry: "answered" };
  assert.equal(judge({ ...evidenceWith(parts), storedAt: new Map([["job", BEGUN + 3_310]]) }).findings, []);
  const again = [...executions, run(1, 2, 3_180)];
  assert.ok(findingsIn({ ...parts, executions: again }).includes("unexplained"));
  assert.ok(findingsIn({ ...parts, events: [] }).includes("end not told"));
  assert.ok(findingsIn({ ...parts, events: [...events, ...events] }).includes("ended twice"));
});

test.run();
