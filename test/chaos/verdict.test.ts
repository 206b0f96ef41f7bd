/** A check that cannot fail is none: each kind of finding is found in evidence made for it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJob, reduce } from "../../src/job/machine.ts";
import type { EndedJob, JobState } from "../../src/job/state.ts";
import type { Execution, StoredEvent } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { Evidence } from "./findings.ts";
import { type JobPlan, resultOf, submissionOf } from "./plan.ts";
import { judge } from "./verdict.ts";

const test = suite("verdict");

const BEGUN = 1_800_000_000_000;
const ARGS = { ms: 50, salt: 7, failures: 1, fatal: false };
const RESULT = resultOf(ARGS, 0);
const PLAN: JobPlan = {
  id: "job",
  name: "flaky",
  steps: [{ args: ARGS, retryLimit: 3, backoff: { delay_ms: 0 } }],
  encoding: "json",
  startAfterMs: 0,
  repeatAfterMs: undefined,
  expected: { state: "completed", results: [RESULT] },
};
const FAILURE = { code: "function_failed", name: "Error", message: "planned" } as const;

/** The job as it ends: one attempt has thrown, the next one returned. */
function endedJob(): EndedJob {
  const origin = { jobId: "job", encoding: "json", createdAt: BEGUN, sequence: 1 } as const;
  let { state } = createJob(submissionOf(PLAN, BEGUN), origin, BEGUN);
  const ref = { index: 0 };
  const failed = { type: "failed", ...ref, attempt: 1, error: FAILURE, retryable: true, random: 0 } as const;
  state = reduce(state, failed, BEGUN + 100).state;
  state = reduce(state, { type: "succeeded", ...ref, attempt: 2, result: RESULT }, BEGUN + 200).state;
  return state as EndedJob;
}

const execution = (attempt: number, begun: number, outcome: Execution["outcome"]): Execution => ({
  job: "job",
  index: 0,
  attempt,
  process: "worker-1.1",
  begun: BEGUN + begun,
  ...(outcome && { ended: BEGUN + begun + 50, outcome }),
});
const THREW = execution(1, 50, "threw");
const RETURNED = execution(2, 150, "returned");

const endOf = (type: "completed" | "failed" | "cancelled"): StoredEvent => ({
  job: "job",
  type,
  storedAt: BEGUN + 210,
  event: { job_id: "job", job_name: "flaky", at: "", type } as StoredEvent["event"],
});

/** Of a completion, the state is the only record. */
const endsKeptOf = ({ state }: JobState) => (state === "failed" || state === "cancelled" ? [endOf(state)] : []);

const fault = (role: Fault["role"], kind: Fault["kind"], process: string, from: number, to: number): Fault => ({
  role,
  kind,
  process,
  from: BEGUN + from,
  to: BEGUN + to,
});

/** Of a run in which all went well, but for what is given. */
function evidenceWith(parts: {
  state?: JobState;
  executions?: Execution[];
  events?: StoredEvent[];
  faults?: Fault[];
  without?: "state" | "acknowledgement";
}): Evidence {
  const {
    state = endedJob(),
    executions = [THREW, RETURNED],
    events = endsKeptOf(state),
    faults = [],
    without,
  } = parts;
  return {
    plans: [PLAN],
    acknowledged: new Map(without === "acknowledgement" ? [] : [["job", BEGUN]]),
    states: new Map(without === "state" ? [] : [["job", state]]),
    storedAt: new Map(without === "state" ? [] : [["job", BEGUN + 210]]),
    problems: new Map(),
    events: new Map([["job", events]]),
    executions: new Map([["job", executions]]),
    owners: new Map([["job", [{ job: "job", process: "supervisor-1.1", at: BEGUN, what: "claimed new" }]]]),
    faults,
    signals: new Map(),
    retries: new Map(),
    cancels: new Map(),
    children: new Map(),
    results: new Map(),
    parts: new Set(),
  };
}

const findingsIn = (parts: Parameters<typeof evidenceWith>[0]) =>
  judge(evidenceWith(parts)).findings.map(({ kind }) => kind);

test("a run in which all went well has no findings", () => {
  const { findings, completed, executions, accepted, wasted } = judge(evidenceWith({}));
  assert.equal(findings, []);
  assert.equal({ completed, executions, accepted, wasted }, { completed: 1, executions: 2, accepted: 2, wasted: 0 });
});

test("an acknowledged job that is not there is lost; one that was never acknowledged is not", () => {
  assert.equal(findingsIn({ without: "state" }), ["lost"]);
  const neither = evidenceWith({ without: "acknowledgement", executions: [] });
  assert.equal(judge({ ...neither, states: new Map() }).findings, []);
});

test("a job that has not ended is found", () => {
  const origin = { jobId: "job", encoding: "json", createdAt: BEGUN, sequence: 1 } as const;
  assert.equal(findingsIn({ state: createJob(submissionOf(PLAN, BEGUN), origin, BEGUN).state }), ["unfinished"]);
});

test("another end, another result and a failure too many are wrong", () => {
  const [fn] = endedJob().functions;
  assert.ok(fn);
  const failed: JobState = { ...endedJob(), state: "failed", error: FAILURE };
  assert.ok(findingsIn({ state: failed }).includes("wrong"));
  assert.ok(findingsIn({ state: { ...endedJob(), functions: [{ ...fn, result: 1 }] } }).includes("wrong"));
  assert.equal(findingsIn({ state: { ...endedJob(), functions: [{ ...fn, failures: 2 }] } }), ["unfounded", "wrong"]);
});

test("an end that is told twice, or not, or otherwise, is found", () => {
  assert.equal(findingsIn({ events: [endOf("completed")] }), ["ended twice"]);
  const failed: JobState = { ...endedJob(), state: "failed", error: FAILURE };
  const found = (events: StoredEvent[]) => findingsIn({ state: failed, events }).filter((kind) => kind !== "wrong");
  assert.equal(found([endOf("failed")]), []);
  assert.equal(found([endOf("failed"), endOf("failed")]), ["ended twice"]);
  assert.equal(found([endOf("cancelled")]), ["end not told"]);
  assert.equal(found([]), ["end not told"]);
});

test("a result without an execution that returned is unfounded", () => {
  assert.equal(findingsIn({ executions: [THREW, execution(2, 150, undefined)] }), ["unfounded"]);
});

test("an execution too many is unexplained, unless a fault hit its worker, its supervisor or a server", () => {
  const executions = [execution(1, 20, "returned"), THREW, RETURNED];
  assert.equal(findingsIn({ executions }), ["unexplained"]);
  const excuses = [
    fault("worker", "kill", "worker-1.1", 40, 2_000),
    fault("supervisor", "pause", "supervisor-1.1", 30, 5_000),
    fault("server", "kill", "nats-1.1", 30, 5_000),
  ];
  for (const excuse of excuses) assert.equal(findingsIn({ executions, faults: [excuse] }), []);
  const excusesOfOthers = [
    fault("worker", "kill", "worker-2.1", 40, 2_000),
    fault("supervisor", "kill", "supervisor-2.1", 30, 5_000),
    fault("supervisor", "drain", "supervisor-1.1", 30, 5_000),
    fault("worker", "pause", "worker-1.1", 60_000, 65_000),
  ];
  assert.equal(findingsIn({ executions, faults: excusesOfOthers }), ["unexplained"]);
});

test("a supervisor that executes functions is the excuse of its own executions", () => {
  const executing = (begun: number, outcome: Execution["outcome"]) => ({
    ...execution(1, begun, outcome),
    process: "supervisor-2.1",
  });
  const executions = [executing(20, undefined), THREW, RETURNED];
  assert.equal(findingsIn({ executions }), ["unexplained"]);
  assert.equal(findingsIn({ executions, faults: [fault("supervisor", "kill", "supervisor-3.1", 40, 99)] }), [
    "unexplained",
  ]);
  assert.equal(findingsIn({ executions, faults: [fault("supervisor", "kill", "supervisor-2.1", 40, 99)] }), []);
});

test("a job is given up by contract only if five attempts were lost with enough that hit an executor or a server", () => {
  const lost = { code: "attempt_lost", name: "AttemptLost", message: "" } as const;
  const [fn] = endedJob().functions;
  assert.ok(fn);
  const { result: _result, finished_at: _finishedAt, ...running } = fn;
  const state: JobState = { ...endedJob(), state: "failed", error: lost, functions: [{ ...running, lost: 5 }] };
  const told = endOf("failed");
  const executions = [THREW, { ...execution(2, 150, undefined), process: "supervisor-2.1" }];
  const killed = (process: string) => [1, 2, 3].map((at) => fault("supervisor", "kill", process, 100 + at, 300));
  const parts = { state, executions, events: [told] };
  assert.equal(findingsIn({ ...parts, faults: killed("supervisor-2.1") }), []);
  assert.ok(findingsIn({ ...parts, faults: killed("supervisor-3.1") }).includes("wrong"));
});

test("a step begun after its commit is found, unless a fault held up its invocation or hit its supervisor", () => {
  const executions = [THREW, RETURNED, execution(1, 9_000, "threw")];
  const elsewhere = fault("supervisor", "pause", "supervisor-2.1", 60, 8_990);
  assert.equal(findingsIn({ executions, faults: [elsewhere] }), ["unexplained", "begun again"]);
  const excuses = [
    fault("worker", "pause", "worker-1.1", 60, 8_990),
    fault("supervisor", "pause", "supervisor-1.1", 60, 8_990),
  ];
  for (const excuse of excuses) assert.equal(findingsIn({ executions, faults: [excuse] }), []);
});

test("a job that begins before its time is found", () => {
  assert.equal(findingsIn({ state: { ...endedJob(), scheduled_at: BEGUN + 60 } }), ["too early"]);
});

test.run();
