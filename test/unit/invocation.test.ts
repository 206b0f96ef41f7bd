import * as fc from "fast-check";
import { headers, type Msg, type MsgHdrs, MsgHdrsImpl } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RESULTS_AT_HEADER } from "../../src/api/headers.ts";
import { decode, encode, encodeResult, encodingOf } from "../../src/bus/messages/codec.ts";
import {
  attemptTimeoutMs,
  EncodedResults,
  encodeInvocation,
  type Invocation,
  type ReceivedInvocation,
  readInvocation,
  readReply,
} from "../../src/bus/messages/invocation.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { reduce } from "../../src/job/machine.ts";
import { MAX_DURATION_MS } from "../../src/job/schema.ts";
import type { LiveJob } from "../../src/job/state.ts";
import { attemptOf, jsonValue, live, NOW, newJob, same, submissionOf, succeededWith } from "./support.ts";

/** What `readReply` looks at in a message. */
function reply(data: Uint8Array | string = "", pairs?: Record<string, string>): Msg {
  const set = pairs && headers();
  for (const [key, value] of Object.entries(pairs ?? {})) set?.set(key, value);
  return message(data, set);
}

function message(data: Uint8Array | string, set: MsgHdrs | undefined): Msg {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return { data: bytes, headers: set } as unknown as Msg;
}

const failure = (pairs: Record<string, string>, body?: unknown) =>
  readReply(reply(body === undefined ? "" : JSON.stringify(body), pairs), "json");

/** What is sent of the invocation of the attempt that comes next. */
function sent(job: LiveJob, now: number, timeoutMs: number | undefined, results?: EncodedResults): Uint8Array {
  const payload = encodeInvocation(job, attemptOf(job), now, timeoutMs, results);
  return typeof payload === "string" ? Buffer.from(payload) : payload;
}

/** As a line sends it. */
const bodyOf = (job: LiveJob, now = NOW) =>
  decode(sent(job, now, attemptTimeoutMs(job, job.current_function, now))) as Invocation;

// --- the invocation

test("an invocation says everything about the attempt, and null for what is not given", () => {
  assert.equal(bodyOf(newJob(submissionOf("/v1/test-1"))), {
    job_id: "job-1",
    job_name: "test",
    function: "/v1/test-1",
    index: 0,
    attempt: 1,
    args: null,
    data: null,
    results: [],
    deadline: null,
    timeout_ms: null,
  });
});

test("an invocation carries data, args and the results of the functions before it, in order", () => {
  const job = newJob({
    name: "test",
    data: { x: 1 },
    functions: [{ name: "a" }, { name: "b" }, { name: "c", args: [1, "2", 3] }, { name: "d" }],
  });
  const second = live(reduce(job, succeededWith(job, { n: 1 }), NOW).state);
  const third = live(reduce(second, succeededWith(second, null), NOW).state);
  const body = bodyOf(third);
  assert.is(body.function, "c");
  assert.is(body.index, 2);
  assert.equal(body.args, [1, "2", 3]);
  assert.equal(body.data, { x: 1 });
  assert.equal(body.results, [{ n: 1 }, null]);
});

/** With results that were encoded before, as a line sends it and a worker gets it. */
function received(job: LiveJob, encoded: EncodedResults): ReceivedInvocation {
  const body = Buffer.from(sent(job, NOW, undefined, encoded)); // a copy: it is good until the next one
  const lines = encoded.headers && (encoded.headers as unknown as { encode(): Uint8Array }).encode();
  return readInvocation(message(body, lines && MsgHdrsImpl.decode(lines)));
}

test("an invocation says the same with results that were encoded before, also of a job that was taken over", () => {
  const results = fc.array(jsonValue, { minLength: 0, maxLength: 100 });
  fc.assert(
    fc.property(
      fc.record({
        values: results,
        encoding: fc.constantFrom("json", "msgpack"),
        skipped: fc.nat(40),
        data: jsonValue,
      }),
      ({ values, encoding, skipped, data }) => {
        const encoded = new EncodedResults(encoding);
        const functions = [...values, null].map(() => ({ name: "f" }));
        let job: LiveJob = { ...newJob({ name: "test", functions, data }), encoding };
        for (const [index, value] of values.entries()) {
          job = live(reduce(job, succeededWith(job, value), NOW).state);
          if (index < skipped) continue; // as after a takeover: the first one to be sent has results already
          const whole = decode(sent(job, NOW, undefined)) as Invocation;
          // A repeated attempt has the same.
          for (let attempt = 1; attempt <= 2; attempt++) {
            assert.equal(decode(sent(job, NOW, undefined, encoded)), whole);
            const { body, encoding: found, results } = received(job, encoded);
            assert.equal({ ...body, results: results() }, whole);
            assert.is(found, encoding);
          }
        }
      },
    ),
  );
});

test("what most functions of a long job never look at is not read before they do", () => {
  const job: LiveJob = newJob({ name: "long", functions: Array.from({ length: 201 }, () => ({ name: "f" })) });
  let state = job;
  for (let i = 0; i < 200; i++) state = live(reduce(state, succeededWith(state, i), NOW).state);
  const { body, results } = received(state, new EncodedResults("json"));
  assert.equal(body.results, []);
  assert.is(results().length, 200);
  assert.is(results().at(-1), 199);
});

test("what stands before results that are read later is there at once", () => {
  const job_id = "j";
  const more = { result_ids: ["a", null], idempotency_key: "j/2/r1", last_progress: 5 };
  const error = { code: "function_failed", name: "E", message: "m" };
  const whole = { job_id, attempt: 1, ...more, error, results: [1, 2] };
  for (const encoding of ["json", "msgpack"] as const) {
    const body = encode(whole, encoding);
    const at = body.length - encode(whole.results, encoding).length - (encoding === "json" ? 1 : 0);
    const read = readInvocation(reply(body, { [RESULTS_AT_HEADER]: String(at) }));
    assert.equal(read.body, { ...whole, results: [] });
    assert.equal(read.results(), [1, 2]);
  }
});

test("where the results begin is only believed if that makes an invocation", () => {
  const body = encode({ job_id: "j", attempt: 1, results: [1, 2] }, "json");
  const at = (position: string) => readInvocation(reply(body, { [RESULTS_AT_HEADER]: position }));
  const begin = body.length - "[1,2]}".length;
  assert.equal(at(String(begin)).results(), [1, 2]);
  for (const absent of ["x", "", String(body.length), "1e9"]) assert.equal(at(absent).results(), [1, 2]);
  for (const wrong of ["0", "-5", "7", "1.5", String(begin + 1)]) {
    assert.throws(
      () => at(wrong),
      (error: unknown) => isAsyncError(error, "undecodable"),
      wrong,
    );
  }
});

test("an invocation carries the number of the attempt", () => {
  assert.is(bodyOf({ ...newJob(submissionOf("a")), attempt: 4 }).attempt, 4);
});

test("an invocation is that of the attempt that is asked for, with the results before it", () => {
  let job = newJob(submissionOf("a", "b", "c"));
  for (const result of ["first", "second"]) job = live(reduce(job, succeededWith(job, result), NOW).state);
  const invocations = [
    encodeInvocation(job, { index: 1, attempt: 3 }, NOW, undefined),
    encodeInvocation(job, { index: 1, attempt: 3 }, NOW, undefined, new EncodedResults("json")),
  ];
  for (const payload of invocations) {
    const body = decode(Buffer.from(payload)) as Invocation;
    assert.equal([body.function, body.index, body.attempt, body.results], ["b", 1, 3, ["first"]]);
  }
  assert.throws(() => encodeInvocation(job, { index: 3, attempt: 1 }, NOW, undefined), RangeError);
});

test("an invocation is encoded as its job was submitted", () => {
  for (const encoding of ["json", "msgpack"] as const) {
    assert.is(encodingOf(sent({ ...newJob(submissionOf("a")), encoding }, NOW, undefined)), encoding);
  }
});

test("the deadline of an attempt is told as a time and as a duration", () => {
  const body = bodyOf(newJob({ name: "test", functions: [{ name: "a", timeout_ms: 1_500 }] }), NOW + 500);
  assert.is(body.timeout_ms, 1_500);
  assert.is(body.deadline, "2026-11-23T21:00:02.000Z");
});

test("an attempt that may take as long as it likes has no deadline", () => {
  const body = decode(sent(newJob(submissionOf("a")), NOW, undefined)) as Invocation;
  assert.is(body.timeout_ms, null);
  assert.is(body.deadline, null);
});

test("an attempt that has no time left is told so", () => {
  const body = bodyOf(newJob({ ...submissionOf("a"), timeout_ms: 1_000 }), NOW + 5_000);
  assert.is(body.timeout_ms, 0);
  assert.is(body.deadline, "2026-11-23T21:00:05.000Z");
});

test("an attempt may take as long as its function's timeout, but no longer than the job has left", () => {
  const plain = newJob(submissionOf("a"));
  const timed = newJob({ name: "test", functions: [{ name: "a", timeout_ms: 300 }] });
  const ending = newJob({ ...submissionOf("a"), timeout_ms: 1_000 });
  const both = newJob({ name: "test", functions: [{ name: "a", timeout_ms: 300 }], timeout_ms: 1_000 });
  assert.is(attemptTimeoutMs(plain, 0, NOW), undefined);
  assert.is(attemptTimeoutMs(timed, 0, NOW + 5_000), 300);
  assert.is(attemptTimeoutMs(ending, 0, NOW + 400), 600);
  assert.is(attemptTimeoutMs(both, 0, NOW + 400), 300);
  assert.is(attemptTimeoutMs(both, 0, NOW + 900), 100);
});

test("an attempt may take as long as its own function's timeout, whichever function the job is at", () => {
  const functions = [{ name: "a", timeout_ms: 300 }, { name: "b" }, { name: "c", timeout_ms: 2_000 }];
  const job = newJob({ name: "test", functions, timeout_ms: 1_000 });
  assert.equal(
    [0, 1, 2].map((index) => attemptTimeoutMs(job, index, NOW + 100)),
    [300, 900, 900],
  );
  assert.throws(() => attemptTimeoutMs(job, 3, NOW), RangeError);
});

test("past the deadline there is no time left, never less", () => {
  const job = newJob({ ...submissionOf("a"), timeout_ms: 1_000 });
  assert.is(attemptTimeoutMs(job, 0, NOW + 1_000), 0);
  assert.is(attemptTimeoutMs(job, 0, NOW + 5_000), 0);
});

// --- results

test("a reply is the result, and an empty one is null", () => {
  assert.equal(readReply(reply('{"ok":true}'), "json"), { type: "result", result: { ok: true } });
  assert.equal(readReply(reply(""), "json"), { type: "result", result: null });
  assert.equal(readReply(reply("done"), "json"), { type: "result", result: "done" });
});

test("headers that say nothing about an error leave the reply a result", () => {
  assert.equal(readReply(reply("1", { "X-Trace": "abc" }), "json"), { type: "result", result: 1 });
  assert.equal(readReply(reply("1", { "Async-Status": "done" }), "json"), { type: "result", result: 1 });
});

test("every result is read in the encoding of its job", () => {
  fc.assert(
    fc.property(jsonValue, fc.constantFrom("json" as const, "msgpack" as const), (value, encoding) => {
      const read = readReply(reply(Buffer.from(encodeResult(value, encoding) as Uint8Array)), encoding);
      assert.ok(read.type === "result" && same(read.result, value));
    }),
    { numRuns: 200 },
  );
});

test("a reply that makes no sense is a retryable error of the worker", () => {
  for (const [bytes, encoding] of [
    [Uint8Array.of(0xff, 0xfe), "json"],
    [Uint8Array.of(0x81), "msgpack"],
    [Buffer.from('{"n":9007199254740993}'), "msgpack"],
  ] as const) {
    const read = readReply(reply(bytes), encoding);
    assert.ok(read.type === "error" && read.retryable);
    assert.is(read.type === "error" && read.error.code, "function_failed");
    assert.is(read.type === "error" && read.error.name, "InvalidReply");
  }
});

// --- errors

test("an error by headers alone is its text", () => {
  const pairs = { "Nats-Service-Error-Code": "500", "Nats-Service-Error": "disk full" };
  assert.equal(failure(pairs), {
    type: "error",
    error: { code: "function_failed", name: "Error", message: "disk full" },
    retryable: true,
  });
});

test("an error with only one of the two headers is an error too", () => {
  const byCode = failure({ "Nats-Service-Error-Code": "418" });
  assert.is(byCode.type === "error" && byCode.error.message, "service error 418");
  const byText = failure({ "Nats-Service-Error": "no" });
  assert.is(byText.type === "error" && byText.error.message, "no");
  assert.is(failure({ "Nats-Service-Error": "" }).type, "error");
});

test("the body of an error says more than its headers", () => {
  const body = { name: "CardDeclined", message: "no money", stack: "at a.ts:1", retryable: false, retry_after_ms: 250 };
  assert.equal(failure({ "Nats-Service-Error-Code": "500", "Nats-Service-Error": "x" }, body), {
    type: "error",
    error: { code: "function_failed", name: "CardDeclined", message: "no money", stack: "at a.ts:1" },
    retryable: false,
    retryAfterMs: 250,
  });
});

test("the body of an error may be MessagePack in a JSON job", () => {
  const bytes = encode({ name: "Oops", message: "packed" }, "msgpack");
  const read = readReply(reply(bytes, { "Nats-Service-Error-Code": "500" }), "json");
  assert.is(read.type === "error" && read.error.message, "packed");
});

test("a body of an error that cannot be used is left out", () => {
  for (const body of ["not json", "5", "null", "[]", '"text"', '{"name":5,"message":{},"stack":[]}', "{}", "\u0000"]) {
    const read = readReply(reply(body, { "Nats-Service-Error-Code": "500", "Nats-Service-Error": "headline" }), "json");
    assert.equal(read, {
      type: "error",
      error: { code: "function_failed", name: "Error", message: "headline" },
      retryable: true,
    });
  }
});

test("only a retryable of false makes an error final", () => {
  for (const retryable of [true, null, 0, "false", undefined]) {
    const read = failure({ "Nats-Service-Error-Code": "500" }, { retryable });
    assert.ok(read.type === "error" && read.retryable);
  }
});

test("only an interrupted of true makes an error an interruption, unless it is final", () => {
  const read = (body: object) => failure({ "Nats-Service-Error-Code": "500", "Nats-Service-Error": "x" }, body);
  const error = { code: "function_failed", name: "Interrupted", message: "x" };
  const { name } = error;
  assert.equal(read({ name, interrupted: true }), { type: "error", error, retryable: true, interrupted: true });
  for (const interrupted of [false, null, 1, "true", {}]) {
    assert.equal(read({ name, interrupted }), { type: "error", error, retryable: true });
  }
  assert.equal(read({ name, interrupted: true, retryable: false }), { type: "error", error, retryable: false });
});

test("retry_after_ms is whole, within the limits, and ignored when it is no duration", () => {
  const after = (retry_after_ms: unknown) => {
    const bytes = encode({ retry_after_ms }, "msgpack");
    const read = readReply(reply(bytes, { "Nats-Service-Error-Code": "503" }), "json");
    return read.type === "error" ? read.retryAfterMs : "no error";
  };
  assert.is(after(0), 0);
  assert.is(after(1.4), 1);
  assert.is(after(MAX_DURATION_MS * 5), MAX_DURATION_MS);
  assert.is(after(Number.POSITIVE_INFINITY), MAX_DURATION_MS);
  for (const value of [-1, Number.NaN, Number.NEGATIVE_INFINITY, "5", null, {}, 2n ** 63n])
    assert.is(after(value), undefined);
});

test("texts of an error are cut at 8,192 characters", () => {
  const long = "x".repeat(20_000);
  const read = failure({ "Nats-Service-Error-Code": "500" }, { name: long, message: long, stack: long });
  assert.ok(read.type === "error");
  if (read.type !== "error") return;
  assert.equal([read.error.name.length, read.error.message.length, read.error.stack?.length], [8_192, 8_192, 8_192]);
});

// --- no room

test("code 429 says that a worker has no room, whatever else it says", () => {
  for (const body of ["", "busy", '{"message":"busy"}']) {
    const read = readReply(reply(body, { "Nats-Service-Error-Code": "429", "Nats-Service-Error": "busy" }), "json");
    assert.equal(read, { type: "no_room", anyWorker: true });
  }
});

test("a status 503 without a body says that there is no worker", () => {
  assert.equal(readReply(message("", headers(503, "any words")), "json"), { type: "no_room", anyWorker: false });
  assert.equal(readReply(message("", headers(503, "No Responders")), "json"), { type: "no_room", anyWorker: false });
});

test("a service error 503 of a worker is an error, not the absence of workers", () => {
  assert.is(failure({ "Nats-Service-Error-Code": "503", "Nats-Service-Error": "db down" }).type, "error");
});

test("a status 503 with a body is a reply, not the absence of workers", () => {
  assert.equal(readReply(message("5", headers(503, "x")), "json"), { type: "result", result: 5 });
});

// --- heartbeats

test("a heartbeat may carry progress", () => {
  const pairs = { "Async-Status": "heartbeat" };
  assert.equal(readReply(reply("", pairs), "json"), { type: "heartbeat", heartbeatMs: undefined });
  assert.equal(readReply(reply('{"percent":5}', pairs), "json"), {
    type: "heartbeat",
    progress: { percent: 5 },
    heartbeatMs: undefined,
  });
  assert.equal(readReply(reply(encode({ percent: 5 }, "msgpack"), pairs), "json"), {
    type: "heartbeat",
    progress: { percent: 5 },
    heartbeatMs: undefined,
  });
  const timed = { ...pairs, "Async-Heartbeat-Ms": "1500" };
  assert.equal(readReply(reply("", timed), "json"), { type: "heartbeat", heartbeatMs: 1_500 });
});

test("a heartbeat whose progress cannot be read is still a heartbeat", () => {
  const pairs = { "Async-Status": "heartbeat" };
  for (const bytes of [Buffer.from("half"), Uint8Array.of(0x81), Uint8Array.of(0xff, 0xff)]) {
    assert.equal(readReply(reply(bytes, pairs), "json"), { type: "heartbeat", heartbeatMs: undefined });
  }
});

test("a heartbeat comes before errors: a worker that lives has not failed", () => {
  const pairs = { "Async-Status": "heartbeat", "Nats-Service-Error-Code": "500" };
  assert.is(readReply(reply("", pairs), "json").type, "heartbeat");
});

test("whatever comes back, it is read without throwing", () => {
  const value = fc.stringMatching(/^[ -~]{0,10}$/);
  const pairs = fc.record(
    {
      "Async-Status": fc.oneof(fc.constant("heartbeat"), value),
      "Nats-Service-Error-Code": fc.oneof(fc.constantFrom("429", "500", "503", "0"), value),
      "Nats-Service-Error": value,
    },
    { requiredKeys: [] },
  );
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.json().map((text) => new TextEncoder().encode(text)),
    jsonValue.map((one) => encode(one, "msgpack")),
  );
  fc.assert(
    fc.property(bodies, pairs, fc.constantFrom("json" as const, "msgpack" as const), (data, set, encoding) => {
      const read = readReply(reply(data, { ...set } as Record<string, string>), encoding);
      assert.ok(["result", "error", "heartbeat", "no_room"].includes(read.type));
      // Spaces around a value do not count, as in any header.
      if (set["Nats-Service-Error-Code"]?.trim()) assert.is.not(read.type, "result");
    }),
    { numRuns: 1_500 },
  );
});

test.run();
