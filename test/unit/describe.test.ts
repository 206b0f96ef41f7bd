import { CommanderError } from "commander";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeJob, describeJobs, describeWorkers } from "../../src/cli/describe.ts";
import { describeEvent } from "../../src/cli/describe-events.ts";
import { EXIT, exitCodeOf } from "../../src/cli/exit.ts";
import { brief, type Column, table, textWidth } from "../../src/cli/table.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { AsyncError, type ErrorCode, InvalidInputError } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import { createFailedJob, reduce } from "../../src/job/machine.ts";
import type { JobState } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { attemptOf, BOOM, NOW, newJob, ORIGIN, run, SEED, submissionOf, succeededWith } from "./support.ts";

const lines = (text: string) => text.split("\n");
const event = (body: object) =>
  describeEvent({ job_id: "job-1", job_name: "test", at: "2026-11-23T21:00:00.000Z", ...body } as JobEvent);

// --- tables

test("columns are as wide as their widest cell, and lines end without spaces", () => {
  assert.equal(lines(table(["A", "LONG"], [["wide cell", "x"], ["b"]])), ["A          LONG", "wide cell  x", "b"]);
});

test("a table without rows is its header", () => {
  assert.is(table(["A", "B"], []), "A  B");
});

const wideOf = (text: string) => Math.max(...lines(text).map(textWidth));

test("a table fits the terminal: its widest columns are shortened, at the end that says less", () => {
  const rows = [
    ["id-1", "n".repeat(40), "host-of-a-long-name:4711", "short"],
    ["id-22", "m", "h:1", "o".repeat(100)],
  ];
  const columns: (string | Column)[] = [
    "ID",
    { title: "NAME", shorten: "end" },
    { title: "PROCESS", shorten: "start" },
    { title: "OUTCOME", shorten: "end" },
  ];
  for (let width = 44; width <= 200; width++) {
    const text = table(columns, rows, width);
    assert.is.not(wideOf(text) > width, true, `${width}: ${text}`);
    assert.match(text, "id-22");
    if (width >= 60) assert.match(text, "4711");
  }
  assert.match(table(columns, rows, 70), /n{3,}… +.+ short/);
  assert.match(table(columns, rows, 44), /….*4711/);
  assert.is(table(columns, rows, 200), table(columns, rows, Number.POSITIVE_INFINITY));
});

test("what is copied is whole: where nothing else is to be shortened columns are left out, and then the line is long", () => {
  const id = "i".repeat(70);
  const columns: (string | Column)[] = [
    "JOB",
    { title: "NAME", shorten: "end", leaveOut: 1 },
    { title: "AT", leaveOut: 2 },
  ];
  assert.is(table(columns, [[id, "name", "2026"]], 80), `JOB${" ".repeat(69)}NAME\n${id}  name`);
  assert.is(table(columns, [[`${id}${id}`, "name", "2026"]], 80), `JOB\n${id}${id}`);
});

test("characters of East Asia take two columns, what combines takes none", () => {
  assert.is(textWidth("数据"), 4);
  assert.is(textWidth("e\u0301"), 1);
  assert.is(textWidth("🚀"), 2);
  assert.is(brief("数据库", 5), "数据…");
  assert.is(wideOf(table(["A", { title: "B", shorten: "end" }], [["x", "数据".repeat(40)]], 40)), 40);
});

test("lists of jobs with ids of our own fit 80 columns, and are whole elsewhere", () => {
  const name = "a job of a long name that goes on";
  const { state } = run(
    { ...newJob(submissionOf("charge-the-customer")), job_id: "auto-0123456789abcdefghijkl", name },
    () => "fail",
  );
  const view = viewOf(state);
  const narrow = describeJobs([view], 80);
  assert.ok(wideOf(narrow) <= 80, narrow);
  assert.match(narrow, "auto-0123456789abcdefghijkl");
  assert.match(narrow, "failed");
  const wide = describeJobs([view], Number.POSITIVE_INFINITY);
  for (const text of [name, "charge-the-customer", view.created_at]) assert.match(wide, text);
  const job = { ...view, result: "r".repeat(500) };
  assert.ok(wideOf(describeJob(job, 80)) <= 80);
  assert.match(describeJob(job, Number.POSITIVE_INFINITY), "r".repeat(500));
});

test("a value is brief: one line, cut with an ellipsis", () => {
  assert.is(brief("a\n\tb  c"), "a b c");
  assert.is(brief({ a: [1, null] }), '{"a":[1,null]}');
  assert.is(brief(undefined), "");
  assert.is(brief(null), "null");
  assert.is(brief("x".repeat(60)), "x".repeat(60));
  assert.is(brief("x".repeat(61)), `${"x".repeat(59)}…`);
  assert.is(brief("abcdef", 4), "abc…");
});

// --- jobs

test("a running job shows an arrow at its current function, and runs of the most allowed", () => {
  const job = newJob(parseSubmission(SEED.job_chain));
  const second = reduce(job, succeededWith(job, "one"), NOW).state;
  const begun = reduce(second, { type: "started", ...attemptOf(second) }, NOW).state;
  assert.equal(lines(describeJob(viewOf(begun))), [
    "job       job-1",
    "name      test",
    "state     running",
    "created   2026-11-23T21:00:00.000Z",
    "",
    "  #  FUNCTION             RUNS  OUTCOME",
    "  0  /v1/test-1           1/3   one",
    "→ 1  /v1/test-2           1/3   running",
    "  2  /v1/say-hello-world  0/3   -",
  ]);
});

test("a failed job shows why, and no arrow", () => {
  const { state } = run(newJob(parseSubmission(SEED.test)), (name) => (name === "/v1/test-fail" ? "fail" : "ok"));
  const text = describeJob(viewOf(state));
  assert.match(text, "state     failed");
  assert.match(text, "error     function_failed: Error: boom");
  assert.match(text, /1 {2}\/v1\/test-fail +3\/3 +failed: boom/);
  assert.match(text, /2 {2}\/v1\/test-2 +0\/1 +-/);
  assert.not.match(text, "→");
});

test("a function whose job is cancelled is shown as running no more", () => {
  const job = newJob(submissionOf("a"));
  const begun = reduce(job, { type: "started", ...attemptOf(job) }, NOW).state;
  const text = describeJob(viewOf({ ...begun, state: "cancelled", finished_at: NOW } as JobState));
  assert.match(text, /0 {2}a +1\/1 +cancelled$/);
});

test("a completed job shows its result", () => {
  const text = describeJob(viewOf(run(newJob(submissionOf("a")), () => "ok").state));
  assert.match(text, "result    a done");
  assert.match(text, "finished  2026-11-23T21:00:00.000Z");
});

test("a waiting job says what for, and until when", () => {
  const job = newJob(submissionOf("a"));
  const view = viewOf(reduce(job, { type: "no_room", ...attemptOf(job) }, NOW).state);
  assert.match(describeJob(view), "state     waiting for a worker");
  const backoff = describeJob({ ...view, waiting_for: "backoff", due_at: "2026-11-23T21:00:05.000Z" });
  assert.match(backoff, "state     waiting for the backoff");
  assert.match(backoff, "due       2026-11-23T21:00:05.000Z");
});

test("a scheduled job says when it starts", () => {
  const view = viewOf(newJob(submissionOf("a")));
  const scheduled = describeJob({ ...view, state: "scheduled", scheduled_at: "2026-12-24T18:00:00.000Z" });
  assert.match(scheduled, "starts    2026-12-24T18:00:00.000Z");
  assert.not.match(describeJob(view), "starts");
});

test("what is cut is said to be, and where earlier attempts are", () => {
  const view = viewOf(run(newJob(submissionOf("a")), () => "ok").state);
  assert.not.match(describeJob(view), "async");
  const long = { ...view, result: "x".repeat(1_000) };
  assert.match(describeJob(long, 80), "cut at …; whole: async get job-1 --json");
  assert.not.match(describeJob(long, Number.POSITIVE_INFINITY), "cut at");
  assert.not.match(describeJob({ ...view, result: "it ends like this …" }, 80), "cut at");
  const [fn] = view.functions;
  assert.match(describeJob({ ...view, functions: fn ? [{ ...fn, retry_count: 2 }] : [] }), "async events job-1");
});

test("attempts whose worker went silent are told apart from those that count", () => {
  const view = viewOf(run(newJob(submissionOf("a")), () => "ok").state);
  const [fn] = view.functions;
  assert.match(
    describeJob({ ...view, functions: fn ? [{ ...fn, retry_count: 5, lost_count: 4 }] : [] }),
    "5/1 (4 lost)",
  );
});

test("a job without functions can be shown too", () => {
  const view = viewOf(createFailedJob({ ...BOOM, code: "invalid_submission" }, "", ORIGIN, NOW).state);
  assert.match(describeJob(view), "invalid_submission: Error: boom");
  assert.is(lines(describeJobs([view])).length, 2);
});

test("a list of jobs has one line for each", () => {
  const done = viewOf(run(newJob(submissionOf("a", "b")), () => "ok").state);
  const failed = viewOf(run(newJob(submissionOf("a", "b")), () => "fail").state);
  const [header = "", first = "", second = "", ...rest] = lines(describeJobs([done, failed]));
  assert.match(header, /^JOB +NAME +STATE +FUNCTION +CREATED +OUTCOME$/);
  assert.match(first, /^job-1 +test +completed +2\/2 b .* b done$/);
  assert.match(second, /^job-1 +test +failed +1\/2 a .* boom$/);
  assert.equal(rest, []);
});

test("a job whose name has line breaks is still one line of a list", () => {
  const view = viewOf(newJob({ ...submissionOf("a"), name: "one\ntwo" }));
  assert.is(lines(describeJobs([view])).length, 2);
});

test("workers are listed with '?' and '-' for what services of other makers do not say", () => {
  const ours = {
    ID: "W1",
    Name: "mailer",
    Version: "0.1.0",
    MaxParallel: 8,
    Capabilities: ["a", "b"],
    State: "busy",
    Running: 2,
    Abandoned: 0,
    Host: "box",
    Pid: 42,
  };
  const theirs = { ...ours, ID: "W2", MaxParallel: null, Running: null, Host: null, Pid: null, State: "unknown" };
  const [header, first, second] = lines(describeWorkers([ours, theirs]));
  assert.match(header ?? "", /^WORKER +NAME +STATE +RUNNING +PROCESS +FUNCTIONS$/);
  assert.match(first ?? "", /^W1 +mailer +busy +2\/8 +box:42 +a b$/);
  assert.match(second ?? "", /^W2 +mailer +unknown +\?\/\? +- +a b$/);
});

// --- events

test("each event is one line: time, job, type, details", () => {
  const ref = { function: "a", index: 0, attempt: 2 };
  const due_at = "2026-11-23T21:00:07.000Z";
  const cases: [object, RegExp][] = [
    [{ type: "accepted", scheduled_at: due_at }, /accepted {3}test$/],
    [{ type: "started", ...ref }, /started {4}a \(attempt 2\)$/],
    [{ type: "succeeded", ...ref }, /succeeded {2}a \(attempt 2\)$/],
    [{ type: "progress", ...ref, progress: { n: 1 } }, /progress {3}a \(attempt 2\): \{"n":1\}$/],
    [{ type: "retrying", ...ref, error: BOOM, due_at }, /a \(attempt 2\): boom; again at 21:00:07\.000$/],
    [{ type: "waiting", waiting_for: "worker", function: "a", index: 0 }, /a: no worker has room$/],
    [{ type: "retried", function: "a", index: 0 }, /retried {4}a: retried by hand$/],
    [{ type: "completed", result: [1] }, /completed {2}result \[1\]$/],
    [{ type: "failed", error: BOOM, function: "a", index: 0 }, /a: function_failed: boom$/],
    [{ type: "failed", error: BOOM, function: "", index: 0 }, /failed {5}function_failed: boom$/],
    [{ type: "failed", error: BOOM, function: null, index: 3 }, /failed {5}entry 3: function_failed: boom$/],
    [{ type: "started", ...ref, id: "first" }, /started {4}a \[first\] \(attempt 2\)$/],
    [{ type: "started", ...ref, function: null, id: "nap" }, /started {4}\[nap\] \(attempt 2\)$/],
    [{ type: "retried", function: null, index: 3 }, /retried {4}entry 3: retried by hand$/],
    [{ type: "skipped", index: 1, id: "b" }, /skipped {4}\[b\]: its condition is not met$/],
    [{ type: "signalled", name: "go", number: 2, index: 1 }, /signalled {2}entry 1: signal go, number 2$/],
    [
      { type: "edited", by: "ann", data: true, args: ["b", 3] },
      /edited {5}data and args of \["b",3\] changed by hand, by ann$/,
    ],
    [{ type: "edited", args: ["b"] }, /edited {5}args of \["b"\] changed by hand$/],
    [{ type: "late", warn_after_ms: 5_000 }, /late {7}it has not ended within 5000 ms$/],
    [{ type: "cancelled" }, /cancelled$/],
    [{ type: "rejected", subject: "job.submit.a.b", sequence: 7, reason: "no" }, /rejected {3}job\.submit\.a\.b: no$/],
  ];
  for (const [body, details] of cases) {
    const line = event(body);
    assert.match(line, /^21:00:00\.000 {2}job-1 {18}/);
    assert.match(line, details);
    assert.is(lines(line).length, 1);
  }
});

test("line breaks in what users wrote do not break the line of an event", () => {
  const text = "one\ntwo";
  const ref = { function: "a", index: 0, attempt: 1 };
  for (const body of [
    { type: "accepted", scheduled_at: "", job_name: text },
    { type: "progress", ...ref, progress: text },
    { type: "completed", result: text },
    { type: "edited", by: text, args: [text] },
    { type: "signalled", name: text, number: 1, index: 0 },
    { type: "failed", error: { ...BOOM, message: text }, function: "a", index: 0 },
    { type: "retrying", error: { ...BOOM, message: text }, due_at: "2026-11-23T21:00:07.000Z", ...ref },
  ]) {
    assert.is(lines(event(body)).length, 1, body.type);
  }
});

// --- exit codes

test("exit codes tell wrong use, unreachable and failed apart", () => {
  const codes: Record<number, ErrorCode[]> = {
    [EXIT.usage]: ["invalid_submission", "invalid_job_id", "invalid_option", "invalid_module", "undecodable"],
    [EXIT.unreachable]: ["not_connected", "bus_timeout", "no_responders", "jetstream_unavailable", "server_too_old"],
    [EXIT.failed]: ["job_not_found", "jobs_full", "jetstream_error", "closed", "payload_too_large"],
  };
  for (const [exit, list] of Object.entries(codes)) {
    for (const code of list) assert.is(exitCodeOf(new AsyncError(code, "x")), Number(exit), code);
  }
});

test("invalid input is wrong use, a fault of ours is a failure", () => {
  assert.is(exitCodeOf(new InvalidInputError("invalid_request", "no", [])), EXIT.usage);
  for (const fault of [new TypeError("x"), "text", undefined]) assert.is(exitCodeOf(fault), EXIT.failed);
});

test("asking for help is no error, a wrong option is wrong use", () => {
  assert.is(exitCodeOf(new CommanderError(0, "commander.helpDisplayed", "")), EXIT.done);
  assert.is(exitCodeOf(new CommanderError(1, "commander.unknownOption", "")), EXIT.usage);
});

test("the exit codes are 0, 1, 2 and 3, as documented", () => {
  assert.equal(EXIT, { done: 0, failed: 1, usage: 2, unreachable: 3 });
});

test.run();
