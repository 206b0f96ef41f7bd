import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSubmission } from "../../src/job/check.ts";
import { endEvent } from "../../src/job/events.ts";
import type { Failure } from "../../src/job/failure.ts";
import { createFailedJob, createJob, reduce, untaken } from "../../src/job/machine.ts";
import { LOST_LIMIT } from "../../src/job/outcome.ts";
import { isEnded, type JobState, type LiveJob } from "../../src/job/state.ts";
import type { Transition } from "../../src/job/transition.ts";
import {
  attemptOf,
  BOOM,
  deepFreeze,
  ENDED,
  ended,
  executes,
  failedWith,
  how,
  live,
  NOW,
  newJob,
  ORIGIN,
  place,
  run,
  SEED,
  submissionOf,
  succeededWith,
  timer,
  told,
} from "./support.ts";

const FIXED = (retry_limit: number, delay_ms = 1_000) => ({
  retry_limit,
  backoff: { type: "fixed", delay_ms, jitter: 0 } as const,
});

function retryingJob(retry_limit = 3, more: { timeout_ms?: number } = {}) {
  return newJob({ name: "test", functions: [{ name: "a", retry_options: FIXED(retry_limit) }], ...more });
}

// --- creation

test("a job that is due is pending and invoked; what comes next tells of it (MACHINE-8)", () => {
  const { state, events } = createJob(submissionOf("a"), ORIGIN, NOW);
  assert.equal(state, {
    state: "pending",
    job_id: "job-1",
    name: "test",
    data: null,
    functions: [{ name: "a", retry_count: 0 }],
    current_function: 0,
    attempt: 1,
    encoding: "json",
    created_at: NOW,
    scheduled_at: NOW,
    sequence: 7,
    token: 0,
    version: 0,
    writer: "",
  });
  assert.equal(events, []);
  assert.equal(how({ state }, NOW), executes(0, 1));
});

test("a job whose start is ahead is scheduled and waits until then", () => {
  const { state, events } = createJob({ ...submissionOf("a"), scheduled_at: "2026-11-23T22:00:00Z" }, ORIGIN, NOW);
  assert.is(state.state, "scheduled");
  assert.is(state.scheduled_at, NOW + 3_600_000);
  assert.equal(events, [
    {
      type: "accepted",
      job_id: "job-1",
      job_name: "test",
      at: "2026-11-23T21:00:00.000Z",
      scheduled_at: "2026-11-23T22:00:00.000Z",
    },
  ]);
  assert.equal(how({ state }, NOW), { type: "memory", until: NOW + 3_600_000 });
});

test("a job whose start has passed is pending", () => {
  const { state, events } = createJob({ ...submissionOf("a"), scheduled_at: "2026-11-23T20:00:00Z" }, ORIGIN, NOW);
  assert.is(state.state, "pending");
  assert.is(state.scheduled_at, NOW - 3_600_000);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW), executes(0, 1));
});

test("a job's deadline counts from its scheduled start", () => {
  const ahead = { ...submissionOf("a"), scheduled_at: "2026-11-23T22:00:00Z", timeout_ms: 5_000 };
  const { state } = createJob(ahead, ORIGIN, NOW);
  assert.is(state.timeout_ms, 5_000);
  assert.is(state.deadline_at, NOW + 3_600_000 + 5_000);
});

test("a job without a start is held against nobody's clock: due at once, its time from when it is taken", () => {
  for (const skewMs of [-3_600_000, -20_000, -15, 0, 20_000, 3_600_000]) {
    const now = NOW + skewMs;
    const { state, events } = createJob({ ...submissionOf("a"), timeout_ms: 5_000 }, ORIGIN, now);
    assert.is(state.state, "pending");
    assert.is(state.scheduled_at, state.created_at);
    assert.is(state.deadline_at, now + 5_000);
    assert.equal(events, []);
    assert.equal(how({ state }, now), executes(0, 1));
  }
});

test("a timer that fires goes by the server's clock: what it was set for is due, however far ours is behind", () => {
  const start = "2026-11-23T22:00:00Z";
  const at = Date.parse(start);
  const scheduled = live(createJob({ ...submissionOf("a"), scheduled_at: start }, ORIGIN, NOW).state);
  const begun = reduce(scheduled, { type: "resumed", firedAt: at + 100 }, at - 20_000);
  assert.is(begun.state.state, "pending");
  assert.equal(how(begun, at - 20_000), executes(0, 1));

  const failed = newJob({ name: "test", functions: [{ name: "a", retry_options: FIXED(3) }] });
  const waiting = live(reduce(failed, failedWith(failed, { retryAfterMs: 60_000 }), NOW).state);
  const again = reduce(waiting, { type: "resumed", firedAt: NOW + 60_050 }, NOW + 40_000);
  assert.equal(how(again, NOW + 40_000), executes(0, 2));
  assert.not.ok("due_at" in again.state);

  // A wake that was stored before is no news of that.
  const early = reduce(waiting, { type: "resumed", firedAt: NOW + 59_000 }, NOW + 40_000);
  assert.equal(how(early, NOW + 40_000), { type: "memory", until: NOW + 60_000 });

  // Its time is not over by our clock, but the wait reaches beyond it, so there is nothing to do with what is left.
  const functions = [{ name: "a", retry_options: FIXED(3) }];
  const limited = newJob({ name: "test", functions, timeout_ms: 30_000 });
  const fired = { type: "resumed", firedAt: NOW + 30_001 } as const;
  const beyond = live(reduce(limited, failedWith(limited, { retryAfterMs: 60_000 }), NOW).state);
  const over = reduce(beyond, fired, NOW + 10_000);
  assert.is(over.state.state === "failed" && over.state.error.code, "job_timeout");
  const queued = live(reduce(limited, { type: "no_room", index: 0, attempt: 1 }, NOW).state);
  assert.equal(how(reduce(queued, fired, NOW + 10_000), NOW + 10_000, 1), executes(0, 1), "it can still run");
});

test("a job whose token the server refuses for good fails, and its execution is not counted", () => {
  const job = newJob(submissionOf("a", "b"));
  const { state, events } = reduce(job, { type: "refused", why: "message schedules pattern is invalid" }, NOW);
  assert.is(state.state === "failed" && state.error.code, "schedule_refused");
  assert.match(state.state === "failed" ? state.error.message : "", /pattern is invalid/);
  assert.is(state.functions.at(0)?.retry_count, 0);
  assert.equal(told({ state, events }), ["failed"]);
});

test("a job that is read only after the deadline of its start fails at once", () => {
  const passed = { ...submissionOf("a"), timeout_ms: 5_000, scheduled_at: new Date(NOW).toISOString() };
  const { state, events } = createJob(passed, ORIGIN, NOW + 5_000);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("data, args, options and encoding are kept as submitted", () => {
  const functions = [{ name: "a", args: [1, "2", 3], retry_options: FIXED(3), timeout_ms: 50 }];
  const { state } = createJob({ name: "test", functions, data: { x: 1 } }, { ...ORIGIN, encoding: "msgpack" }, NOW);
  assert.equal(state.data, { x: 1 });
  assert.equal(state.functions, [{ ...functions.at(0), retry_count: 0 }]);
  assert.is(state.encoding, "msgpack");
});

test("a submission that is no valid job is recorded as a failed job without functions", () => {
  const error: Failure = { code: "invalid_submission", name: "InvalidInputError", message: "no" };
  const { state, events } = createFailedJob(error, "broken", ORIGIN, NOW + 5);
  assert.is(state.state, "failed");
  assert.is(state.name, "broken");
  assert.equal(state.functions, []);
  assert.is(ended(state).finished_at, NOW + 5);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW), ENDED);
  const end = {
    type: "failed",
    job_id: "job-1",
    job_name: "broken",
    at: "2026-11-23T21:00:00.005Z",
    run: 1,
    error,
    function: "",
    index: 0,
  };
  assert.equal(endEvent(state), end);
  const resumed = reduce(state, { type: "resumed" }, NOW + 99);
  assert.is(resumed.state, state);
  assert.equal(resumed.events, []);
  assert.equal(endEvent(ended(resumed.state)), end);
});

// --- success

test("the success of a function in the middle of a chain invokes the next one with the same commit (MACHINE-3)", () => {
  const { state, events } = reduce(
    newJob(submissionOf("a", "b")),
    succeededWith(newJob(submissionOf("a", "b")), 42),
    NOW + 9,
  );
  assert.is(state.state, "running");
  assert.is(state.current_function, 1);
  assert.is(state.attempt, 1);
  assert.equal(state.functions, [
    { name: "a", retry_count: 1, result: 42, finished_at: NOW + 9 },
    { name: "b", retry_count: 0 },
  ]);
  assert.equal(events, [], "what passed quickly is not told (MACHINE-8)");
  assert.equal(how({ state }, NOW + 9), executes(1, 1));
});

test("the success of an attempt is told if its start was (MACHINE-8)", () => {
  const job = newJob(submissionOf("a", "b"));
  const begun = live(reduce(job, { type: "started", ...attemptOf(job) }, NOW + 100).state);
  const { state, events } = reduce(begun, succeededWith(begun, 42), NOW + 200);
  assert.equal(events, [
    {
      type: "succeeded",
      job_id: "job-1",
      job_name: "test",
      at: "2026-11-23T21:00:00.200Z",
      function: "a",
      index: 0,
      attempt: 1,
    },
  ]);
  assert.equal(how({ state }, NOW + 200), executes(1, 1));
  const last = reduce(state, succeededWith(state, 1), NOW + 201);
  assert.equal(told(last), ["completed"], "the second function was quick");
});

test("the success of an attempt is not told for the start of an attempt before it (MACHINE-8)", () => {
  const begun = reduce(retryingJob(), { type: "started", ...attemptOf(retryingJob()) }, NOW + 100).state;
  const failed = reduce(begun, failedWith(begun), NOW + 200).state;
  assert.equal(told(reduce(failed, succeededWith(failed, 1), NOW + 2_000)), ["completed"]);
});

test("the success of the last function completes the job and leaves current_function at it", () => {
  const job = newJob(submissionOf("a"));
  const { state, events } = reduce(job, succeededWith(job, { ok: true }), NOW + 9);
  assert.is(state.state, "completed");
  assert.is(state.current_function, 0);
  assert.is(ended(state).finished_at, NOW + 9);
  assert.equal(told({ state, events }), ["completed"]);
  assert.equal(how({ state }, NOW), ENDED);
  const end = endEvent(ended(state));
  assert.equal(end.type === "completed" && end.result, { ok: true });
});

test("a success forgets the failure of the attempt before and keeps the count of failures", () => {
  const once = reduce(retryingJob(), failedWith(retryingJob()), NOW).state;
  assert.equal(once.functions.at(0)?.error, BOOM);
  const { state } = reduce(once, succeededWith(once, 1), NOW + 2_000);
  assert.equal(state.functions.at(0), {
    name: "a",
    retry_options: FIXED(3),
    retry_count: 2,
    failures: 1,
    result: 1,
    finished_at: NOW + 2_000,
  });
});

test("a chain whose deadline has passed when a function returns keeps the result and does not invoke the next", () => {
  const job = newJob({ ...submissionOf("a", "b"), timeout_ms: 100 });
  const { state, events } = reduce(job, succeededWith(job, 1), NOW + 100);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.is(state.functions.at(0)?.result, 1);
  assert.is(state.functions.at(1)?.retry_count, 0);
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("the last result counts even when it comes with the deadline", () => {
  const job = newJob({ ...submissionOf("a"), timeout_ms: 100 });
  assert.is(reduce(job, succeededWith(job, 1), NOW + 100).state.state, "completed");
});

// --- start

test("a recorded start counts the execution and sets both start times once", () => {
  const job = newJob(submissionOf("a"));
  const { state, events } = reduce(job, { type: "started", ...attemptOf(job) }, NOW + 3);
  assert.is(state.state, "running");
  assert.is(state.started_at, NOW + 3);
  assert.equal(state.functions, [{ name: "a", retry_count: 1, started_at: NOW + 3 }]);
  assert.equal(told({ state, events }), ["started"]);
  assert.equal(how({ state }, NOW + 3), executes(0, 1), "the same attempt goes on");
  const again = reduce(state, { type: "started", ...attemptOf(state) }, NOW + 4);
  assert.is(again.state, state);
  assert.equal(again.events, []);
});

test("the start of a second attempt keeps the first start times", () => {
  const first = reduce(retryingJob(), { type: "started", ...attemptOf(retryingJob()) }, NOW + 3).state;
  const failed = reduce(first, failedWith(first), NOW + 10).state;
  const { state } = reduce(failed, { type: "started", ...attemptOf(failed) }, NOW + 2_000);
  assert.is(state.started_at, NOW + 3);
  assert.is(state.functions.at(0)?.started_at, NOW + 3);
  assert.is(state.functions.at(0)?.retry_count, 2);
  assert.not.ok("due_at" in state, "the fields of a phase do not linger");
  assert.not.ok("waiting_for" in state, "the fields of a phase do not linger");
});

// --- failure

test("a failure with executions left waits for the backoff (MACHINE-6)", () => {
  const { state, events } = reduce(retryingJob(), failedWith(retryingJob()), NOW + 10);
  assert.is(state.state === "waiting" && state.waiting_for, "backoff");
  assert.is("due_at" in state && state.due_at, NOW + 1_010);
  assert.is(state.attempt, 2);
  assert.equal(state.functions.at(0), { name: "a", retry_options: FIXED(3), retry_count: 1, failures: 1, error: BOOM });
  assert.equal(events, [
    {
      type: "retrying",
      job_id: "job-1",
      job_name: "test",
      at: "2026-11-23T21:00:00.010Z",
      function: "a",
      index: 0,
      attempt: 1,
      error: BOOM,
      due_at: "2026-11-23T21:00:01.010Z",
    },
  ]);
  assert.equal(how({ state }, NOW + 10), { type: "memory", until: NOW + 1_010 });
});

test("a failure without retry_options fails the job after one execution (MACHINE-4)", () => {
  const job = newJob(submissionOf("a", "b"));
  const { state, events } = reduce(job, failedWith(job), NOW + 1);
  assert.equal(state.state === "failed" && state.error, BOOM);
  assert.is(state.current_function, 0);
  assert.is(state.functions.at(0)?.retry_count, 1);
  assert.equal(state.functions.at(1), { name: "b", retry_count: 0 });
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("retry_options without a retry_limit mean one execution", () => {
  const job = newJob({ name: "test", functions: [{ name: "a", retry_options: { backoff: { delay_ms: 1 } } }] });
  assert.is(reduce(job, failedWith(job), NOW).state.state, "failed");
});

test("retry_after_ms overrides the backoff", () => {
  const { state, events } = reduce(retryingJob(), failedWith(retryingJob(), { retryAfterMs: 77 }), NOW);
  assert.is("due_at" in state && state.due_at, NOW + 77);
  assert.equal(told({ state, events }), ["retrying"]);
  assert.equal(how({ state }, NOW), { type: "memory", until: NOW + 77 });
});

test("a retry without delay is invoked at once and never waits", () => {
  const { state, events } = reduce(retryingJob(), failedWith(retryingJob(), { retryAfterMs: 0 }), NOW);
  assert.is(state.state, "running");
  assert.is(state.attempt, 2);
  assert.equal(told({ state, events }), ["retrying"]);
  assert.equal(how({ state }, NOW), executes(0, 2));
});

test("a failure that is not retryable fails the job whatever is left", () => {
  const job = retryingJob(5);
  const { state, events } = reduce(job, failedWith(job, { retryable: false, retryAfterMs: 5 }), NOW);
  assert.equal(state.state === "failed" && state.error, BOOM);
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("a failure that comes with the deadline is counted, and fails the job as timed out", () => {
  const job = retryingJob(3, { timeout_ms: 500 });
  const { state, events } = reduce(job, failedWith(job), NOW + 500);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.equal(state.functions.at(0)?.error, BOOM);
  assert.is(state.functions.at(0)?.failures, 1);
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("a backoff that reaches beyond the deadline lasts only until the deadline, which then fails the job", () => {
  const job = retryingJob(3, { timeout_ms: 500 });
  const { state, events } = reduce(job, failedWith(job), NOW);
  assert.equal(told({ state, events }), ["retrying"]);
  assert.equal(how({ state }, NOW), { type: "memory", until: NOW + 500 });
  const due = reduce(state, { type: "due" }, NOW + 500);
  assert.is(due.state.state === "failed" && due.state.error.code, "job_timeout");
});

test("a delay of nothing stays nothing however often the factor is applied (MACHINE-6)", () => {
  const backoff = { delay_ms: 0, factor: 1_000 };
  let state: JobState = newJob({
    name: "test",
    functions: [{ name: "a", retry_options: { retry_limit: 1_000, backoff } }],
  });
  for (let failures = 1; failures <= 150; failures++) {
    const next: Transition = reduce(state, failedWith(state), NOW);
    assert.equal(told(next), ["retrying"]);
    assert.equal(how(next, NOW), executes(0, failures + 1));
    state = next.state;
  }
});

// --- loss

test("a lost attempt is run again at once and uses up no retry (MACHINE-4)", () => {
  const job = newJob(submissionOf("a"));
  const { state, events } = reduce(job, { type: "lost", ...attemptOf(job) }, NOW);
  assert.is(state.state, "running");
  assert.is(state.attempt, 2);
  assert.is(state.functions.at(0)?.lost, 1);
  assert.is(state.functions.at(0)?.failures, undefined);
  assert.is(state.functions.at(0)?.retry_count, 1);
  assert.is(state.functions.at(0)?.error?.code, "attempt_lost");
  assert.equal(told({ state, events }), ["retrying"]);
  assert.equal(how({ state }, NOW), executes(0, 2));
});

test("workers that keep disappearing fail the job at LOST_LIMIT (MACHINE-4)", () => {
  let state: JobState = newJob(submissionOf("a"));
  for (let count = 1; count < LOST_LIMIT; count++) {
    state = live(reduce(state, { type: "lost", ...attemptOf(state) }, NOW).state);
  }
  const last = reduce(state, { type: "lost", ...attemptOf(state) }, NOW);
  ({ state } = last);
  assert.is(state.state === "failed" && state.error.code, "attempt_lost");
  assert.match(state.state === "failed" ? state.error.message : "", "kept its event loop busy");
  assert.is(state.functions.at(0)?.lost, LOST_LIMIT);
  assert.is(state.functions.at(0)?.retry_count, LOST_LIMIT);
  assert.equal(told(last), ["failed"]);
  assert.equal(how(last, NOW), ENDED);
});

test("an attempt that is lost when the deadline has passed is not run again", () => {
  const job = newJob({ ...submissionOf("a"), timeout_ms: 100 });
  const { state, events } = reduce(job, { type: "lost", ...attemptOf(job) }, NOW + 100);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

// --- no room

test("a job without room waits for a worker under its next token, and counts no attempt (MACHINE-6)", () => {
  const job = newJob(submissionOf("a"));
  const { state, events } = reduce(job, { type: "no_room", ...attemptOf(job) }, NOW);
  assert.is(state.state === "waiting" && state.waiting_for, "worker");
  assert.is(state.token, job.token + 1);
  assert.is(state.attempt, 1);
  assert.is(state.functions.at(0)?.retry_count, 0);
  assert.equal(told({ state, events }), ["waiting"]);
  assert.equal(how({ state }, NOW, job.token), place("a"));
});

test("a job that waited for a worker is invoked when it is taken over (MACHINE-6)", () => {
  const job = newJob(submissionOf("a"));
  const { state } = reduce(job, { type: "no_room", ...attemptOf(job) }, NOW);
  const resumed = reduce(state, { type: "resumed" }, NOW + 1);
  assert.equal(resumed.events, []);
  assert.equal(how(resumed, NOW + 1, state.token), executes(0, 1));
});

test("a job waits for a worker no longer than until its deadline", () => {
  const job = newJob({ ...submissionOf("a", "b"), timeout_ms: 1_000 });
  const second = reduce(job, succeededWith(job, 1), NOW).state;
  const { state } = reduce(second, { type: "no_room", ...attemptOf(second) }, NOW + 1);
  assert.equal(how({ state }, NOW + 1), place("b", NOW + 1_000));
});

// --- by hand

test("a live job can be cancelled in any state, and what was live of it has no effect any more (MACHINE-1, MACHINE-2)", () => {
  const job = newJob(submissionOf("a"));
  const waiting = reduce(retryingJob(), failedWith(retryingJob()), NOW).state as LiveJob;
  const started = reduce(job, { type: "started", ...attemptOf(job) }, NOW).state as LiveJob;
  for (const live of [job, waiting, started]) {
    const { state, events } = reduce(live, { type: "cancelled" }, NOW + 5);
    assert.is(state.state, "cancelled");
    assert.is(isEnded(state) && state.finished_at, NOW + 5);
    assert.not.ok("due_at" in state);
    assert.equal(told({ state, events }), ["cancelled"]);
    assert.equal(how({ state }, NOW), ENDED);
    assert.is(reduce(state, { type: "succeeded", ...attemptOf(live), result: 1 }, NOW + 6).state, state);
  }
});

test("a failed job that is retried goes on at the function that failed, with all its executions and the next token", () => {
  const job = newJob({ ...submissionOf("a", "b"), timeout_ms: 1_000 });
  const second = reduce(job, { type: "succeeded", ...attemptOf(job), result: "kept" }, NOW).state as LiveJob;
  const failed = reduce(second, failedWith(second), NOW).state;
  assert.is(failed.state, "failed");
  const { state, events } = reduce(deepFreeze(failed), { type: "retried" }, NOW + 5_000);
  assert.is(state.state, "pending");
  assert.is(state.current_function, 1);
  assert.is(state.attempt, 2);
  assert.is(state.token, failed.token + 1);
  assert.is(state.deadline_at, NOW + 6_000);
  assert.is(state.functions.at(0)?.result, "kept");
  assert.equal(state.functions.at(1), { name: "b", retry_count: 1 });
  assert.not.ok("error" in state || "finished_at" in state);
  assert.equal(told({ state, events }), ["retried"]);
  assert.equal(how({ state }, NOW + 5_000, failed.token), timer(0), "whoever gets its next token");
  assert.equal(how({ state }, NOW + 5_000, state.token), executes(1, 2));
  const again = reduce(state, { type: "succeeded", index: 1, attempt: 2, result: "late" }, NOW + 5_001).state;
  assert.is(again.state, "completed");
  assert.is(again.functions.at(1)?.retry_count, 2);
});

test("a retry can bring other data and other args for the function that is run next", () => {
  const job = newJob({ name: "test", data: 1, functions: [{ name: "a", args: 1 }] });
  const cancelled = reduce(job, { type: "cancelled" }, NOW).state;
  const { state } = reduce(cancelled, { type: "retried", data: { new: true }, args: null }, NOW);
  assert.equal(state.data, { new: true });
  assert.is(state.functions.at(0)?.args, null);
  assert.is(state.attempt, 1, "nothing had begun");
});

test("neither a completed job, nor a live one, nor one that never was valid can be retried (MACHINE-1)", () => {
  const job = newJob(submissionOf("a"));
  const completed = reduce(job, { type: "succeeded", ...attemptOf(job), result: 1 }, NOW).state;
  const invalid = createFailedJob(BOOM, "", ORIGIN, NOW).state;
  for (const state of [job, completed, invalid]) assert.is(reduce(state, { type: "retried" }, NOW).state, state);
});

// --- due, resumed, expired

test("a wait that is due is invoked, one that is not goes on (MACHINE-6)", () => {
  const { state } = reduce(retryingJob(), failedWith(retryingJob()), NOW);
  const early = reduce(state, { type: "due" }, NOW + 999);
  assert.is(early.state, state);
  assert.equal(early.events, []);
  assert.equal(how(early, NOW + 999), { type: "memory", until: NOW + 1_000 });
  const due = reduce(state, { type: "due" }, NOW + 1_000);
  assert.is(due.state, state);
  assert.equal(due.events, []);
  assert.equal(how(due, NOW + 1_000), executes(0, 2));
});

test("a scheduled job that is due is invoked", () => {
  const job = live(createJob({ ...submissionOf("a"), scheduled_at: "2026-11-23T22:00:00Z" }, ORIGIN, NOW).state);
  const { state, events } = reduce(job, { type: "due" }, NOW + 3_600_000);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW + 3_600_000), executes(0, 1));
});

test("a job that is resumed before its attempt was recorded as begun keeps the attempt's number", () => {
  const job = newJob(submissionOf("a"));
  const { state, events } = reduce(job, { type: "resumed" }, NOW + 1);
  assert.equal(state, job);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW + 1), executes(0, 1));
});

test("an orphaned attempt whose start is recorded is followed by one with a new number (MACHINE-2)", () => {
  const begun = reduce(newJob(submissionOf("a")), { type: "started", index: 0, attempt: 1 }, NOW).state;
  const { state, events } = reduce(begun, { type: "resumed" }, NOW + 1);
  assert.is(state.attempt, 2);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW + 1), executes(0, 2));
  const late = reduce(state, { type: "succeeded", index: 0, attempt: 1, result: "late" }, NOW + 2);
  assert.is(late.state, state);
  assert.equal(late.events, []);
});

test("a job that is resumed while it waits goes on waiting for the same attempt", () => {
  const { state } = reduce(retryingJob(), failedWith(retryingJob()), NOW);
  const resumed = reduce(state, { type: "resumed" }, NOW + 10);
  assert.is.not(resumed.state, state, "it is committed all the same: that is the fence (MACHINE-7)");
  assert.equal(resumed.state, state);
  assert.equal(resumed.events, []);
  assert.equal(how(resumed, NOW + 10), { type: "memory", until: NOW + 1_000 });
});

test("a job that is resumed after its deadline fails", () => {
  const job = newJob({ ...submissionOf("a"), timeout_ms: 100 });
  const { state, events } = reduce(job, { type: "resumed" }, NOW + 100);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW), ENDED);
});

test("an expiry counts only when the deadline has passed", () => {
  const job = newJob({ ...submissionOf("a"), timeout_ms: 100 });
  const early = reduce(job, { type: "expired" }, NOW + 99);
  assert.is(early.state, job);
  assert.equal(early.events, []);
  const { state, events } = reduce(job, { type: "expired" }, NOW + 100);
  assert.is(state.state === "failed" && state.error.code, "job_timeout");
  assert.equal(told({ state, events }), ["failed"]);
  assert.match(state.state === "failed" ? state.error.message : "", "100 ms");
});

test("a job without a deadline never expires", () => {
  const job = newJob(submissionOf("a"));
  assert.is(reduce(job, { type: "expired" }, Number.MAX_SAFE_INTEGER).state, job);
});

// --- MACHINE-1, MACHINE-2

test("outcomes of another attempt or another function change nothing (MACHINE-2)", () => {
  const job = live(
    reduce(newJob(submissionOf("a", "b")), { type: "succeeded", index: 0, attempt: 1, result: 1 }, NOW).state,
  );
  for (const ref of [
    { index: 0, attempt: 1 },
    { index: 1, attempt: 2 },
    { index: 1, attempt: 0 },
    { index: 2, attempt: 1 },
  ]) {
    for (const outcome of [
      { type: "started", ...ref },
      { type: "succeeded", result: 2, ...ref },
      { type: "failed", error: BOOM, retryable: false, random: 0, ...ref },
      { type: "lost", ...ref },
      { type: "no_room", ...ref },
    ] as const) {
      const { state, events } = reduce(job, outcome, NOW);
      assert.is(state, job);
      assert.equal(events, []);
    }
  }
});

const completed = () => run(newJob(submissionOf("a")), () => "ok").state;
const failed = () => run(newJob(submissionOf("a")), () => "fail").state;
const cancelled = (): JobState => ({ ...newJob(submissionOf("a")), state: "cancelled", finished_at: NOW + 1 });

for (const make of [completed, failed, cancelled]) {
  test(`a ${make.name} job never changes and tells nothing (MACHINE-1)`, () => {
    const job = deepFreeze(make());
    const ref = attemptOf(job);
    for (const event of [
      { type: "started", ...ref },
      { type: "succeeded", result: 2, ...ref },
      { type: "failed", error: BOOM, retryable: true, random: 0, ...ref },
      { type: "lost", ...ref },
      { type: "no_room", ...ref },
      { type: "due" },
      { type: "expired" },
    ] as const) {
      const { state, events } = reduce(job, event, NOW + 99);
      assert.is(state, job);
      assert.equal(events, []);
    }
  });

  test(`a ${make.name} job that is resumed tells its end again, word by word, and nothing else (MACHINE-1)`, () => {
    const job = deepFreeze(make());
    const once = reduce(job, { type: "resumed" }, NOW + 10);
    const later = reduce(job, { type: "resumed" }, NOW + 10_000_000);
    for (const resumed of [once, later]) {
      assert.is(resumed.state, job);
      assert.equal(told(resumed), [make.name]);
      assert.equal(how(resumed, NOW + 10), ENDED);
    }
    assert.equal(endEvent(ended(structuredClone(job))), endEvent(ended(job)), "it depends on the state alone");
  });
}

test("an event that does not exist is refused loudly", () => {
  assert.throws(() => reduce(newJob(submissionOf("a")), { type: "nonsense" } as never, NOW), /unexpected value/);
});

// --- the jobs of the original system

const seedJob = (name: keyof typeof SEED) => newJob(parseSubmission(SEED[name]));

test("seed job_simple: one function, run once", () => {
  const { state, executions } = run(seedJob("job_simple"), () => "ok");
  assert.equal(executions, ["/v1/test-1"]);
  assert.is(state.state, "completed");
});

test("seed job_chain: all functions run once, in order, and current_function stays at the last", () => {
  const { state, executions } = run(seedJob("job_chain"), () => "ok");
  assert.equal(executions, ["/v1/test-1", "/v1/test-2", "/v1/say-hello-world"]);
  assert.is(state.state, "completed");
  assert.is(state.current_function, 2);
  assert.equal(
    state.functions.map((fn) => fn.retry_count),
    [1, 1, 1],
  );
});

test("seed job_retry: fails after exactly three executions", () => {
  const { state, executions } = run(seedJob("job_retry"), () => "fail");
  assert.is(executions.length, 3);
  assert.is(state.state, "failed");
  assert.is(state.functions.at(0)?.retry_count, 3);
  assert.is(state.functions.at(0)?.failures, 3);
});

test("seed test: fails at the second function and never touches the third", () => {
  const { state, executions } = run(seedJob("test"), (name) => (name === "/v1/test-fail" ? "fail" : "ok"));
  assert.equal(executions, ["/v1/test-1", "/v1/test-fail", "/v1/test-fail", "/v1/test-fail"]);
  assert.is(state.state, "failed");
  assert.is(state.current_function, 1);
  assert.equal(
    state.functions.map((fn) => fn.retry_count),
    [1, 3, 0],
  );
  assert.equal(state.functions.at(2), { name: "/v1/test-2", retry_count: 0 });
});

test("a job that is not taken yet is not shown as ended, whatever will be found", () => {
  const passed = { ...submissionOf("a"), timeout_ms: 5_000, scheduled_at: new Date(NOW - 1).toISOString() };
  const late = createJob(passed, ORIGIN, NOW + 5_000);
  assert.is(late.state.state, "failed");
  const shown = untaken(late);
  assert.is(shown.state, "pending");
  assert.not.ok("finished_at" in shown || "error" in shown);
  const fine = createJob(submissionOf("a"), ORIGIN, NOW);
  assert.is(untaken(fine), fine.state);
  const limited = createJob({ ...submissionOf("a"), timeout_ms: 5_000 }, ORIGIN, NOW + 1);
  assert.not.ok("deadline_at" in untaken(limited), "its time begins when it is taken");
});

test.run();
