/** Retries of graphs by hand: what may be asked for, and how the job goes on. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { answerOf } from "../../src/job/answer.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { retryProblem } from "../../src/job/graph-retry.ts";
import { inputOf } from "../../src/job/input.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import { rest, restParked } from "../../src/job/rest.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { functionAt, type Graph, isEnded, isGraph, type JobState } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { BOOM, deepFreeze, ended, live, NOW, newJob, ORIGIN, submissionOf } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });

function graph(state: JobState): Graph {
  assert.ok(isGraph(state));
  return deepFreeze(state as Graph);
}

function open(functions: FunctionSpec[], more: object = {}): Graph {
  return graph(createJob(parseSubmission({ name: "test", functions, ...more }, NOW), ORIGIN, NOW).state);
}

const attemptAt = ({ live: branches }: Graph, index: number) => ({
  index,
  attempt: branches.find((branch) => branch.index === index)?.attempt ?? 1,
});

function on(state: Graph, event: Event, now = NOW): Graph {
  return graph(reduce(state, event, now).state);
}

const done = (state: Graph, index: number, result: unknown = index) =>
  on(state, { type: "succeeded", ...attemptAt(state, index), result });
const fails = (state: Graph, index: number) =>
  on(state, { type: "failed", ...attemptAt(state, index), error: BOOM, retryable: false, random: 0 });
const LATER = NOW + 60_000;
const retry = (state: Graph, patch: RetryPatch = {}) => reduce(state, { type: "retried", ...patch }, LATER);
const retried = (state: Graph, patch: RetryPatch = {}) => graph(retry(state, patch).state);
const liveIn = (state: Graph) => state.live.map(({ index }) => index);
const problem = (state: Graph, patch: RetryPatch) => retryProblem(ended(state), patch)?.code;

test("what failed goes on, with all its executions, on the next token, and is woken at once", () => {
  const failed = fails(done(open([f("a"), f("b"), f("c")], { timeout_ms: 1_000 }), 0), 1);
  const state = retried(failed);
  assert.equal(liveIn(state), [1]);
  assert.equal(attemptAt(state, 1), { index: 1, attempt: 2 });
  assert.is(functionAt(state, 1).failures, undefined);
  assert.is(functionAt(state, 1).runs, undefined, "it keeps its idempotency key");
  assert.is(state.token, failed.token + 1);
  assert.is(state.deadline_at, LATER + 1_000);
  assert.is(state.retries, 1);
  assert.equal(restParked(live(state)), { type: "parked", until: 0, functionNames: [] }, "due by any clock");
  assert.is(done(done(state, 1), 2).state, "completed");
});

test("all that was live when the job ended goes on: sleeps for the rest of their time, signals with all of it", () => {
  const functions = [
    f("a", { needs: [] }),
    f("b", { needs: [] }),
    { sleep_ms: 100_000, needs: [] },
    { wait_for: "go", timeout_ms: 5_000, needs: [] },
  ];
  const state = retried(on(open(functions), { type: "cancelled" }));
  assert.equal(liveIn(state), [0, 1, 2, 3]);
  assert.is(state.live[2]?.due_at, NOW + 100_000);
  assert.is(state.live[3]?.due_at, LATER + 5_000);
});

test("what the failure of another entry was quicker than begins with the retry", () => {
  const functions = [f("a", { needs: [], when: "data.x" }), f("b", { needs: [] }), f("c")];
  const failed = open(functions);
  assert.is(failed.state, "failed");
  const state = retried(failed, { data: { x: true } });
  assert.equal(liveIn(state), [0, 1]);
  assert.is(done(done(done(state, 1), 0), 2).state, "completed");
});

test("a condition that could not be evaluated is evaluated with the retry, also of an entry that is run again", () => {
  const functions = [f("a"), f("b", { when: "data.x" })];
  const failed = done(open(functions), 0);
  assert.is(failed.state, "failed");
  assert.is(retried(failed).state, "failed", "it fails of the same again");
  const skipped = retried(failed, { data: { x: false } });
  assert.is(skipped.state, "completed");
  assert.is(functionAt(skipped, 1).skipped, true);
  const good = done(retried(failed, { data: { x: true } }), 1);
  const bad = retried(good, { from: "b", data: {} });
  assert.is(bad.state, "failed");
  assert.is(retried(bad, { data: { x: false } }).state, "completed", "although it has been executed once");
});

test("a condition that was met is not evaluated again for the same run", () => {
  const failed = fails(open([f("a", { when: "data.x" })], { data: { x: true } }), 0);
  assert.equal(liveIn(retried(failed, { data: { x: false } })), [0]);
});

test("a scheduled graph that was cancelled begins at once when it is retried", () => {
  const functions = [f("a", { needs: [] }), f("b", { needs: [] }), f("c")];
  const scheduled = open(functions, { scheduled_at: new Date(NOW + 3_600_000).toISOString() });
  const state = retried(on(scheduled, { type: "cancelled" }));
  assert.equal(liveIn(state), [0, 1]);
  const how = rest(live(state), state.token, LATER);
  assert.equal(how.type === "attempts" && how.attempts.length, 2);
});

// --- from

test("from runs that entry and all that follow from it again, and leaves the others alone", () => {
  const functions = [f("a"), f("b", { needs: ["a"] }), f("c", { needs: ["a"] }), f("d", { needs: ["b"] })];
  let state = open(functions);
  for (const index of [0, 1, 2, 3]) state = done(state, index);
  state = retried(state, { from: "b" });
  assert.equal(liveIn(state), [1]);
  assert.is(state.ended_count, 2);
  assert.is(state.current_function, 1);
  assert.equal(
    [0, 1, 2, 3].map((index) => functionAt(state, index).rank),
    [1, undefined, 2, undefined],
    "ranks have no gap",
  );
  assert.equal(
    [0, 1, 2, 3].map((index) => functionAt(state, index).runs),
    [undefined, 1, undefined, 1],
  );
  assert.equal(attemptAt(state, 1), { index: 1, attempt: 2 }, "a late answer is not taken for one of these");
  state = done(done(state, 1), 3);
  assert.is(state.state, "completed");
  assert.is(functionAt(state, 3).rank, 4);
  assert.is(functionAt(retried(state, { from: "b" }), 1).runs, 2);
});

test("from names an entry by its index where it has no id", () => {
  const state = done(done(open([f("a"), { name: "g" }]), 0), 1);
  assert.equal(liveIn(retried(state, { from: 1 })), [1]);
});

test("from an earlier entry takes along what was live after it", () => {
  const state = retried(fails(done(open([f("a"), f("b"), f("c")]), 0), 1), { from: "a" });
  assert.equal(liveIn(state), [0]);
  assert.is(state.ended_count, 0);
});

test("an entry that is run again has another idempotency key", () => {
  const functions = [f("a"), f("b")];
  const state = retried(done(done(open(functions), 0), 1), { from: "a" });
  const input = inputOf(state, { index: 0 }, planOf(state.functions));
  assert.is(input.idempotency_key, `${ORIGIN.jobId}/0/r1`);
});

test("a signal that was used is not used again: an entry that is run again waits for another one", () => {
  let state = open([{ id: "go", wait_for: "go" }, f("b")]);
  state = on(state, { type: "signalled", index: 0, number: 1, payload: "first" });
  state = retried(done(state, 1), { from: "go" });
  assert.is(on(state, { type: "signalled", index: 0, number: 1, payload: "again" }), state);
  assert.equal(liveIn(on(state, { type: "signalled", index: 0, number: 2, payload: "second" })), [1]);
});

test("what waits for a signal after a retry is shown so as soon as the job is taken, not as waiting for a worker", () => {
  const state = retried(graph(reduce(open([{ wait_for: "go" }]), { type: "cancelled" }, NOW).state));
  assert.is(answerOf(state, LATER).state, "pending");
  const { state: taken } = reduce(state, { type: "resumed", firedAt: LATER }, LATER);
  const { state: shown, waiting_for } = answerOf(taken, LATER + 10_000, true);
  assert.equal([shown, waiting_for], ["waiting", "signal"]);
});

// --- failed

test("failed runs again what was passed over, and what follows from it, also in a completed job", () => {
  const functions = [f("a", { on_error: "continue" }), f("b", { needs: ["a"] }), f("c", { needs: [] })];
  const state = done(done(fails(open(functions), 0), 1), 2);
  assert.is(state.state, "completed");
  const again = retried(state, { failed: true });
  assert.equal(liveIn(again), [0]);
  assert.is(functionAt(again, 0).caught, undefined);
  assert.is(functionAt(again, 2).result, 2);
});

test("what an entry in on_error has dealt with has not failed", () => {
  const state = done(fails(open([f("a", { on_error: { name: "other" } })]), 0), 0);
  assert.is(problem(state, { failed: true }), "job_ended");
});

test("an entry that was being dealt with when the job ended begins with its own function", () => {
  const functions = [f("a", { needs: [], on_error: { name: "other" } }), f("b", { needs: [] })];
  const state = retried(fails(fails(open(functions), 0), 1));
  assert.is(functionAt(state, 0).handling, undefined);
  assert.is(functionAt(state, 0).caught, undefined);
});

// --- edits

test("args are those of the entry that it goes on with, and count as another run of what may have been executed", () => {
  const failed = fails(open([f("a", { args: 1 }), f("b", { args: 2 })]), 0);
  const state = retried(failed, { args: { x: 1 } });
  assert.equal(functionAt(state, 0).args, { x: 1 });
  assert.is(functionAt(state, 0).runs, 1);
  assert.equal(functionAt(retried(failed, { args: null }), 0).args, undefined);
});

test("args_by_id are those of any entry that is still to run", () => {
  const failed = fails(open([f("a"), f("b"), f("c")]), 0);
  const { state, events } = retry(failed, { args_by_id: { b: [1], c: [2] }, by: "me" });
  assert.equal(functionAt(state, 1).args, [1]);
  assert.equal(functionAt(state, 2).args, [2]);
  assert.is(functionAt(state, 1).runs, undefined, "it has never been executed");
  assert.equal(
    events.map(({ type }) => type),
    ["retried", "edited"],
  );
  const [, edited] = events;
  assert.equal(edited?.type === "edited" && [edited.by, edited.args, edited.data], ["me", ["b", "c"], undefined]);
});

test("an entry with other args that is run again counts as one more run, not two", () => {
  const state = done(done(open([f("a"), f("b")]), 0), 1);
  assert.is(functionAt(retried(state, { from: "a", args_by_id: { b: [1] } }), 1).runs, 1);
});

test("data may be changed, and an event says so", () => {
  const { state, events } = retry(fails(open([f("a")]), 0), { data: { x: 2 } });
  assert.equal(state.data, { x: 2 });
  assert.equal(events[1]?.type === "edited" && events[1].data, true);
});

// --- problems

test("a retry that makes no sense is refused, with a reason", () => {
  const completed = done(done(open([f("a"), f("b")]), 0), 1);
  assert.is(problem(completed, {}), "job_ended");
  assert.is(problem(completed, { failed: true }), "job_ended");
  assert.is(problem(completed, { from: "x" }), "no_entry");
  assert.is(problem(completed, { from: 2 }), "no_entry");
  assert.is(problem(completed, { from: -1 }), "no_entry");
  assert.is(problem(completed, { from: 0.5 }), "no_entry");
  assert.is(problem(completed, { from: "b", args_by_id: { x: 1 } }), "no_entry");
  assert.is(problem(completed, { from: "b", args_by_id: { a: 1 } }), "invalid_request");
  assert.is(problem(completed, { from: "b", args_by_id: { b: 1 } }), undefined);
  const waiting = on(open([{ id: "go", wait_for: "go" }, f("b")]), { type: "cancelled" });
  assert.is(problem(waiting, {}), undefined);
  assert.is(problem(waiting, { args: 1 }), "invalid_request");
  assert.is(problem(waiting, { from: "go", args: 1 }), "invalid_request");
  assert.is(problem(waiting, { args_by_id: { go: 1 } }), "invalid_request");
  assert.is(problem(waiting, { args_by_id: { b: 1 } }), undefined);
  assert.is(retry(completed).state, completed, "and changes nothing");
});

test("a chain is retried where it has failed, and takes no names of entries", () => {
  const job = newJob(submissionOf("a", "b"));
  const { state } = reduce(job, { type: "cancelled" }, NOW);
  assert.ok(isEnded(state));
  const codeOf = (patch: RetryPatch) => isEnded(state) && retryProblem(state, patch)?.code;
  assert.is(codeOf({}), undefined);
  assert.is(codeOf({ from: 0 }), undefined);
  assert.is(codeOf({ from: 1 }), "invalid_request");
  assert.is(codeOf({ from: "a" }), "no_entry");
  assert.is(codeOf({ failed: true }), undefined);
  assert.is(codeOf({ args_by_id: {} }), "invalid_request");
  assert.is(codeOf({ args: { $: "data" } }), "invalid_request");
});

test.run();
