import * as fc from "fast-check";
import { Packr } from "msgpackr";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  isOnly,
  isRepeated,
  newerFormatOf,
  oversizedJob,
  type ReadSubmission,
  readSubmission,
  untakenJob,
} from "../../src/actors/submission.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import type { Delivery } from "../../src/bus/tokens/delivery.ts";
import { chosenJobIdProblem } from "../../src/job/names.ts";
import { FORMAT } from "../../src/job/record.ts";
import type { LiveJob } from "../../src/job/state.ts";
import type { Transition } from "../../src/job/transition.ts";
import { viewOf } from "../../src/job/view.ts";
import { ENDED, executes, how, NOW, SEED, submissionOf, told } from "./support.ts";

/** What tells whether a submission is the only one of its id. */
function arrival(subject: string, more: { deliveries?: number; repeated?: boolean } = {}): Delivery {
  const { deliveries = 1, repeated = false } = more;
  const headers = { has: (name: string) => repeated && name === "Async-Repeated" };
  return { subject, sequence: 7, deliveries, headers: repeated ? headers : undefined } as unknown as Delivery;
}

function read(body: unknown, subject = "job.submit", more: { sequence?: number } = {}): ReadSubmission {
  const data = body instanceof Uint8Array ? body : encode(body, "json");
  return readSubmission({ subject, data, sequence: 7, storedAt: NOW, ...more });
}

function firstOf(submission: ReadSubmission): Transition {
  if (submission.type !== "job") throw new Error(`it is ${submission.type}`);
  const transition = submission.first(NOW);
  assert.is(transition.state.job_id, submission.jobId);
  return transition;
}

function failureOf(submission: ReadSubmission) {
  const first = firstOf(submission);
  const { state } = first;
  if (state.state !== "failed") throw new Error(`the job is ${state.state}`);
  assert.equal(state.functions, []);
  assert.equal(told(first), ["failed"]);
  assert.equal(how(first, NOW), ENDED);
  return state.error;
}

test("a submission becomes a job with the time and sequence at which the server stored it", () => {
  const { state, events } = firstOf(read(SEED.job_chain));
  assert.is(state.state, "pending");
  assert.is(state.created_at, NOW);
  assert.is(state.sequence, 7);
  assert.is(state.encoding, "json");
  assert.is(state.functions.length, 3);
  assert.equal(events, []);
  assert.equal(how({ state }, NOW), executes(0, 1));
});

test("a job keeps the encoding of its submission", () => {
  assert.is(firstOf(read(encode(submissionOf("a"), "msgpack"))).state.encoding, "msgpack");
  assert.is(firstOf(read(encode(submissionOf("a"), "json"))).state.encoding, "json");
});

test("the time at which the job begins decides whether its start is ahead, not the time of reading", () => {
  const submission = read({ ...submissionOf("a"), scheduled_at: new Date(NOW + 1_000).toISOString() });
  assert.ok(submission.type === "job");
  assert.is(submission.type === "job" && submission.first(NOW).state.state, "scheduled");
  assert.is(submission.type === "job" && submission.first(NOW + 1_000).state.state, "pending");
});

test("the id is that of the subject, else that of the body, else made from the sequence", () => {
  const body = { ...submissionOf("a"), job_id: "mine" };
  assert.is(read(submissionOf("a"), "job.submit.theirs").jobId, "theirs");
  assert.is(read(body, "job.submit.mine").jobId, "mine");
  assert.is(read(body).jobId, "mine");
  assert.is(read(submissionOf("a")).jobId, "seq-7");
  assert.is(read({ ...submissionOf("a"), job_id: null }).jobId, "seq-7");
});

test("a body that names another job than the subject is a failed job under the subject's id", () => {
  const submission = read({ ...submissionOf("a"), job_id: "mine" }, "job.submit.theirs");
  assert.is(submission.jobId, "theirs");
  const error = failureOf(submission);
  assert.is(error.code, "invalid_submission");
  assert.match(error.message, /mine.*theirs/);
});

test("a subject with an impossible id is rejected under an id made from the sequence", () => {
  for (const id of ["", "a.b", "seq-5", "a b", "é", "x".repeat(129), "a*", "$x"]) {
    const submission = read(submissionOf("a"), `job.submit.${id}`);
    assert.is(submission.type, "rejected", id);
    assert.is(submission.jobId, "seq-7");
    assert.match(submission.type === "rejected" ? submission.reason : "", /^the job id in the subject must /);
  }
});

test("a submission is the only one of its id if the id is its sequence, or made up and not said to be repeated", () => {
  const made = "job.submit.auto-0123456789abcdef";
  const id = "auto-0123456789abcdef";
  assert.ok(isOnly(arrival("job.submit"), "seq-7"));
  assert.ok(isOnly(arrival(made), id));
  assert.not.ok(isOnly(arrival("job.submit"), "mine"), "the body names it");
  assert.not.ok(isOnly(arrival("job.submit"), id), "the body names it");
  assert.not.ok(isOnly(arrival("job.submit"), "seq-8"));
  assert.not.ok(isOnly(arrival("job.submit.mine"), "mine"));
  assert.not.ok(isOnly(arrival("job.submit.Auto-x"), "Auto-x"));
  assert.not.ok(isOnly(arrival(made, { repeated: true }), id));
});

test("a submission that was delivered before may have been begun elsewhere, whatever its id", () => {
  assert.not.ok(isOnly(arrival("job.submit", { deliveries: 2 }), "seq-7"));
  assert.not.ok(isOnly(arrival("job.submit.auto-x", { deliveries: 2 }), "auto-x"));
});

test("a repetition is told by its header", () => {
  assert.ok(isRepeated(arrival("job.submit.auto-x", { repeated: true })));
  assert.not.ok(isRepeated(arrival("job.submit.auto-x")));
  assert.not.ok(isRepeated({ headers: { has: () => false } } as unknown as Delivery));
});

test("an impossible id in the body is a failed job under an id made from the sequence", () => {
  for (const job_id of ["", "a.b", "seq-7", "x".repeat(129), 5, {}]) {
    const submission = read({ ...submissionOf("a"), job_id });
    assert.is(submission.jobId, "seq-7");
    assert.match(failureOf(submission).message, "/job_id");
  }
});

test("an invalid job with a usable id is a failed job under that id, and keeps its name", () => {
  const submission = read({ job_id: "mine", name: "import", functions: [] });
  assert.is(submission.jobId, "mine");
  assert.match(failureOf(submission).message, "/functions");
  assert.is(firstOf(submission).state.name, "import");
});

test("the name of an invalid job is cut at its limit, and empty if it is no text", () => {
  assert.is(firstOf(read({ name: "x".repeat(10_000) })).state.name.length, 256);
  for (const body of [{ name: 5 }, {}, [], null, "text"]) assert.is(firstOf(read(body)).state.name, "");
});

test("bytes that cannot be decoded are a failed job with the reason", () => {
  for (const [bytes, reason] of [
    [new Uint8Array(), "not valid JSON"],
    [Buffer.from("hello"), "not valid JSON"],
    [Buffer.from('{"name":'), "not valid JSON"],
    [Uint8Array.of(0xff, 0xfe), "not valid MessagePack"],
    [Uint8Array.of(0x81, 0xa1), "not valid MessagePack"],
  ] as const) {
    const submission = read(bytes);
    assert.is(submission.jobId, "seq-7");
    const error = failureOf(submission);
    assert.is(error.code, "invalid_submission");
    assert.match(error.message, reason);
  }
});

test("bytes that cannot be decoded are recorded under the id of the subject", () => {
  const submission = read(Buffer.from("{"), "job.submit.mine");
  assert.is(submission.jobId, "mine");
  assert.is(failureOf(submission).code, "invalid_submission");
});

test("a job that is nested deeper than can be stored is a failed job, not a fault", () => {
  const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
  const bytes = Buffer.from(`{"name":"deep","functions":[{"name":"a"}],"data":${deep}}`);
  const { state } = firstOf(read(bytes));
  assert.not.throws(() => encode(state, "msgpack"));
  assert.not.throws(() => JSON.stringify(viewOf(state)));
});

test("an option that MessagePack says is undefined counts as not given", () => {
  const packr = new Packr({ useRecords: false });
  const retry_options = { retry_limit: undefined, backoff: { delay_ms: undefined } };
  const { state } = firstOf(
    read(packr.pack({ name: "t", functions: [{ name: "a", timeout_ms: undefined, retry_options }] })),
  );
  if (state.state === "failed") return assert.is(state.error.code, "invalid_submission");
  assert.is(state.functions.at(0)?.retry_options?.backoff?.delay_ms ?? "absent", "absent");
  assert.not.ok(Object.hasOwn(state.functions.at(0)?.retry_options?.backoff ?? {}, "delay_ms"));
});

/** What becomes of any message: it is rejected, or it is a job that can be stored and shown. Nothing is thrown. */
function survives(subject: string, data: Uint8Array): void {
  const submission = readSubmission({ subject, data, sequence: 7, storedAt: NOW });
  if (submission.type === "rejected") {
    assert.ok(submission.reason.length > 0);
    return;
  }
  const { state, events } = (submission.type === "named" ? submission.from(undefined) : submission).first(NOW);
  assert.is(state.job_id, submission.jobId);
  assert.ok(state.job_id === "seq-7" || chosenJobIdProblem(state.job_id) === undefined);
  const next = how({ state }, NOW);
  assert.ok(next.type === "attempt" || next.type === "memory" || next.type === "ended", next.type);
  assert.equal(told({ state, events }), { attempt: [], memory: ["accepted"], ended: ["failed"] }[next.type]);
  assert.ok(encode(state, "msgpack").length > 0);
  assert.is(viewOf(state).job_id, submission.jobId);
}

const subjects = fc.oneof(
  fc.constantFrom("job.submit", "job.submit.mine", "job.submit.", "job.submit.a.b", "job.submit.seq-1"),
  fc.string().map((id) => `job.submit.${id}`),
);

test("whatever the bytes and the subject, nothing is thrown", () => {
  fc.assert(fc.property(subjects, fc.uint8Array({ maxLength: 80 }), survives), { numRuns: 2_000 });
});

test("a valid submission with spoilt bytes does not throw either", () => {
  const flips = fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(subjects, fc.constantFrom("json" as const, "msgpack" as const), flips, (subject, encoding, changes) => {
      const bytes = Buffer.from(encode({ ...SEED.test, job_id: "mine", data: { x: [1, "two", null] } }, encoding));
      for (const [index, byte] of changes) bytes[index % bytes.length] = byte;
      survives(subject, bytes);
    }),
    { numRuns: 2_000 },
  );
});

test("any JSON value is a job or a failed job", () => {
  fc.assert(
    fc.property(fc.json(), (text) => survives("job.submit", Buffer.from(text))),
    { numRuns: 500 },
  );
});

test("a job that is too large to be stored is a failed job without its payload", () => {
  const first = firstOf(read({ ...submissionOf("a", "b"), data: "x".repeat(100_000) }, "job.submit.large"));
  const { state, events } = oversizedJob(first, "maximum payload exceeded", NOW + 5);
  assert.is(state.state === "failed" && state.error.code, "payload_too_large");
  assert.match(state.state === "failed" ? state.error.message : "", "maximum payload exceeded");
  assert.is(state.job_id, "large");
  assert.is(state.sequence, 7);
  assert.is(state.created_at, NOW);
  assert.ok(encode(state, "msgpack").length < 1_000);
  assert.equal(told({ state, events }), ["failed"]);
  assert.equal(how({ state }, NOW + 5), ENDED);
});

test("a submission without the header is of the first format; only one that is newer than ours is left alone", () => {
  const formatOf = (value: string) => newerFormatOf({ headers: { get: () => value } as never });
  assert.is(newerFormatOf({ headers: undefined }), undefined);
  for (const known of ["", "1", String(FORMAT), "none"]) assert.is(formatOf(known), undefined, known);
  assert.is(formatOf(String(FORMAT + 1)), FORMAT + 1);
});

test("one whose state is too large keeps its tags, and the time for which it is kept", () => {
  const first = firstOf(read({ ...submissionOf("a"), tags: { customer: "c1" }, keep_ms: 60_000 }));
  const { state } = oversizedJob(first, "2 MB", NOW);
  assert.is(state.state, "failed");
  assert.equal([state.format, state.tags, state.keep_ms], [2, { customer: "c1" }, 60_000]);
  const again = oversizedJob({ ...first, state: { ...first.state, retries: 2 } }, "2 MB", NOW).state;
  assert.is(again.retries, 2, "the parent of a child waits for the end of that run");
  const plain = oversizedJob(firstOf(read(submissionOf("a"))), "2 MB", NOW).state;
  assert.equal([plain.format, "tags" in plain, "keep_ms" in plain], [undefined, false, false]);
});

test("a job that nobody has taken is shown without evaluating its conditions, which may take a second", () => {
  const data = Array.from({ length: 20_000 }, (_, n) => n);
  const when = "data.all(n, n >= 0)";
  const functions = Array.from({ length: 1_000 }, () => ({ name: "f", needs: [], when }));
  const body = Buffer.from(JSON.stringify({ name: "slow", data, functions }));
  const begin = performance.now();
  const shown = Array.from({ length: 20 }, () =>
    untakenJob({ subject: "job.submit.slow", data: body, sequence: 7, storedAt: NOW }, () => Promise.reject()),
  ) as LiveJob[];
  assert.ok(performance.now() - begin < 5_000, `${performance.now() - begin} ms`);
  assert.is(shown[0]?.state, "pending");
  assert.equal(shown[0]?.live, []);
});

test.run();
