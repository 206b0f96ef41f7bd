import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseSubmission } from "../../src/job/check.ts";
import { endEvent } from "../../src/job/events.ts";
import { createFailedJob, createJob, reduce } from "../../src/job/machine.ts";
import { toJsonValue, toPlain } from "../../src/job/plain.ts";

import { type JobState, withoutPayloads } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import {
  attemptOf,
  BOOM,
  ended,
  failedWith,
  jsonValue,
  NOW,
  newJob,
  ORIGIN,
  run,
  SEED,
  same,
  submissionOf,
  succeededWith,
  told,
} from "./support.ts";

const AT = "2026-11-23T21:00:00.000Z";

test("a new job shows the fields of the original system, and its state", () => {
  assert.equal(viewOf(newJob(parseSubmission(SEED.job_retry))), {
    job_id: "job-1",
    name: "test",
    state: "pending",
    data: null,
    functions: [
      {
        kind: "function",
        name: "/v1/test-fail",
        args: [1, "2", 3],
        retry_count: 0,
        retry_options: { retry_limit: 3 },
      },
    ],
    current_function: 0,
    created_at: AT,
    scheduled_at: AT,
  });
});

test("what only the store needs is not shown", () => {
  const shown = Object.keys(viewOf(run(newJob(submissionOf("a")), () => "ok").state));
  for (const key of ["attempt", "encoding", "sequence", "token", "version", "writer"]) {
    assert.not.ok(shown.includes(key), key);
  }
});

test("retry_count is 1 after a first success, and current_function stays at the last", () => {
  const { state } = run(newJob(parseSubmission(SEED.job_chain)), () => "ok");
  const view = viewOf(state);
  assert.is(view.state, "completed");
  assert.is(view.current_function, 2);
  assert.equal(
    view.functions.map((fn) => fn.retry_count),
    [1, 1, 1],
  );
});

test("a completed job shows the result of its last function, and each function its own", () => {
  const { state } = run(newJob(submissionOf("a", "b")), () => "ok");
  const view = viewOf(state);
  assert.is(view.result, "b done");
  assert.is(view.finished_at, AT);
  assert.equal(
    view.functions.map((fn) => [fn.result, fn.finished_at]),
    [
      ["a done", AT],
      ["b done", AT],
    ],
  );
});

test("a result that is null is shown, one that is not there yet is not", () => {
  const job = newJob(submissionOf("a", "b"));
  const { functions } = viewOf(reduce(job, succeededWith(job, null), NOW).state);
  assert.is(functions.at(0)?.result, null);
  assert.not.ok("result" in (functions.at(1) ?? {}));
  const single = newJob(submissionOf("a"));
  assert.is(viewOf(reduce(single, succeededWith(single, null), NOW).state).result, null);
});

test("a failed job shows why, at the job and at its function", () => {
  const view = viewOf(run(newJob(submissionOf("a", "b")), () => "fail").state);
  assert.is(view.state, "failed");
  assert.equal(view.error, BOOM);
  assert.equal(view.functions, [
    { kind: "function", name: "a", retry_count: 1, error: BOOM },
    { kind: "function", name: "b", retry_count: 0 },
  ]);
  assert.not.ok("result" in view);
});

test("a submission that is no valid job shows as a failed job without functions", () => {
  const view = viewOf(createFailedJob({ ...BOOM, code: "invalid_submission" }, "x", ORIGIN, NOW).state);
  assert.is(view.state, "failed");
  assert.is(view.current_function, 0);
  assert.equal(view.functions, []);
  assert.is(view.error?.code, "invalid_submission");
});

test("a waiting job shows what it waits for and until when", () => {
  const options = { retry_limit: 2, backoff: { type: "fixed", delay_ms: 1_000, jitter: 0 } } as const;
  const job = newJob({ name: "test", functions: [{ name: "a", retry_options: options }] });
  const view = viewOf(reduce(job, failedWith(job), NOW).state);
  assert.is(view.state, "waiting");
  assert.is(view.waiting_for, "backoff");
  assert.is(view.due_at, "2026-11-23T21:00:01.000Z");
  const without = viewOf(reduce(job, { type: "no_room", ...attemptOf(job) }, NOW).state);
  assert.is(without.waiting_for, "worker");
});

test("a running job shows when it was started, and no due time", () => {
  const job = newJob(submissionOf("a"));
  const view = viewOf(reduce(job, { type: "started", ...attemptOf(job) }, NOW).state);
  assert.is(view.started_at, AT);
  assert.is(view.functions.at(0)?.started_at, AT);
  assert.not.ok("due_at" in view);
  assert.not.ok("finished_at" in view);
});

test("lost attempts are shown once there are any", () => {
  const job = newJob(submissionOf("a"));
  assert.not.ok("lost_count" in (viewOf(job).functions.at(0) ?? {}));
  const view = viewOf(reduce(job, { type: "lost", ...attemptOf(job) }, NOW).state);
  assert.is(view.functions.at(0)?.lost_count, 1);
});

test("start, timeout and deadline are shown as they were submitted", () => {
  const submission = { ...submissionOf("a"), scheduled_at: "2026-11-23T23:00:00+01:00", timeout_ms: 500 };
  const view = viewOf(createJob(submission, ORIGIN, NOW).state);
  assert.is(view.state, "scheduled");
  assert.is(view.scheduled_at, "2026-11-23T22:00:00.000Z");
  assert.is(view.timeout_ms, 500);
  assert.is(view.deadline_at, "2026-11-23T22:00:00.500Z");
});

test("a cancelled job shows when", () => {
  const state: JobState = { ...newJob(submissionOf("a")), state: "cancelled", finished_at: NOW };
  assert.is(viewOf(state).state, "cancelled");
  assert.is(viewOf(state).finished_at, AT);
});

/** A job that was submitted as MessagePack. */
const packedJob = (data: unknown) =>
  createJob({ name: "test", functions: [{ name: "a", args: data }], data }, { ...ORIGIN, encoding: "msgpack" }, NOW)
    .state;

test("in a MessagePack job bytes are shown in base64, big integers as decimal strings, dates in ISO 8601", () => {
  const data = { bytes: Buffer.from("hi"), big: 2n ** 64n - 1n, date: new Date(NOW), deep: [new Uint8Array([255])] };
  const expected = { bytes: "aGk=", big: "18446744073709551615", date: AT, deep: ["/w=="] };
  const state = packedJob(data);
  assert.equal(viewOf(state).data, expected);
  assert.equal(viewOf(state).functions.at(0)?.args, expected);
  const { state: done, events } = reduce(state, succeededWith(state, data), NOW);
  assert.equal(viewOf(done).result, expected);
  assert.equal(viewOf(done).functions.at(0)?.result, expected);
  assert.equal(told({ state: done, events }), ["completed"]);
  const end = endEvent(ended(done));
  assert.equal(end.type === "completed" && end.result, expected);
});

test("bytes that are a part of a larger buffer are shown without the rest", () => {
  const part = Buffer.from("abcd").subarray(1, 3);
  assert.is(toJsonValue(part, "msgpack"), Buffer.from("bc").toString("base64"));
});

test("what came as JSON is shown as it is, without a copy", () => {
  const value = { toJSON: "a field like others" };
  assert.is(toJsonValue(value, "json"), value);
});

test("every view can be sent as JSON and is the same on the other side", () => {
  const encodings = fc.constantFrom("json" as const, "msgpack" as const);
  fc.assert(
    fc.property(jsonValue, jsonValue, encodings, (data, result, encoding) => {
      const job = createJob({ ...submissionOf("a", "b"), data }, { ...ORIGIN, encoding }, NOW).state;
      const view = viewOf(reduce(job, succeededWith(job, result), NOW).state);
      assert.ok(same(JSON.parse(JSON.stringify(view)), view));
      assert.ok(same(view.data, data));
      assert.ok(same(view.functions.at(0)?.result, result));
    }),
    { numRuns: 300 },
  );
});

test("plain values are what JSON would carry, with bytes and big integers left as they are", () => {
  const bytes = new Uint8Array([1]);
  assert.is(toPlain(bytes), bytes);
  assert.is(toPlain(5n), 5n);
  assert.equal(toPlain({ f: () => 1, s: Symbol("x"), d: new Date(NOW), n: null }), {
    f: undefined,
    s: undefined,
    d: AT,
    n: null,
  });
  class Point {
    x = 1;
  }
  assert.equal(toPlain(new Point()), { x: 1 });
});

test("values that are plain already are not changed", () => {
  fc.assert(
    fc.property(jsonValue, (value) =>
      assert.ok(same(toPlain(value), value) && same(toJsonValue(value, "msgpack"), value)),
    ),
  );
});

test("a job without its payloads keeps its names and counts", () => {
  const { state } = run(newJob({ ...parseSubmission(SEED.test), data: { x: 1 } }), (name) =>
    name === "/v1/test-fail" ? "fail" : "ok",
  );
  const bare = withoutPayloads(state);
  assert.is(bare.data, null);
  for (const [index, fn] of [...bare.functions].entries()) {
    assert.not.ok("args" in fn || "result" in fn);
    assert.is(fn.name, state.functions.at(index)?.name);
    assert.is(fn.retry_count, state.functions.at(index)?.retry_count);
  }
});

test.run();
