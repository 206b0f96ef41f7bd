/**
 * States as bytes: in full, and of long jobs without what their submission says. What someone else has stored is either read
 * as a state that can be shown, left to a newer version, or said to be none.
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import { BriefWriter, canBeBrief, completed } from "../../src/bus/store/brief-state.ts";
import { type StoredJob, storedJob } from "../../src/bus/store/job-store.ts";
import { packFields, packState } from "../../src/bus/store/stored-state.ts";
import { type FunctionState, GRAPH_OPTIONS } from "../../src/job/function-state.ts";
import { functionList } from "../../src/job/functions.ts";
import { reduce } from "../../src/job/machine.ts";
import { entriesOf, FORMAT, FUNCTION_FIELDS, JOB_FIELDS, type NamedField, specOf } from "../../src/job/record.ts";
import type { Submission } from "../../src/job/schema.ts";
import { type AnyPhase, isEnded, type JobFields, type JobState } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { viewOf } from "../../src/job/view.ts";
import { attemptOf, BOOM, jsonValue, NOW, newJob, ORIGIN } from "./support.ts";

/** Of all jobs in here. */
const ID = ORIGIN.jobId;

const functionSpec = fc.record(
  {
    name: fc.constantFrom("a", "b.c", "/v1/test-1"),
    // Null args are the same as none.
    args: jsonValue.filter((value) => value !== null),
    retry_options: fc.record({ retry_limit: fc.integer({ min: 1, max: 5 }) }, { noNullPrototype: true }),
    timeout_ms: fc.integer({ min: 1, max: 10_000 }),
  },
  { requiredKeys: ["name"], noNullPrototype: true },
);
const submission: fc.Arbitrary<Submission> = fc.record(
  {
    name: fc.constantFrom("test", "näme"),
    functions: fc.array(functionSpec, { minLength: 1, maxLength: 20 }),
    data: jsonValue,
    timeout_ms: fc.integer({ min: 100_000, max: 200_000 }),
    notify: fc.constant("someone"),
  },
  { requiredKeys: ["name", "functions"], noNullPrototype: true },
);
const happening = fc.record({
  type: fc.constantFrom(
    "started",
    "succeeded",
    "succeeded",
    "succeeded",
    "failed",
    "lost",
    "no_room",
    "resumed",
    "cancelled",
  ),
  result: jsonValue,
  passMs: fc.nat(3_000),
});
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

function eventFor(state: JobState, { type, result }: Happening): Event {
  const ref = attemptOf(state);
  if (type === "succeeded") return { type, ...ref, result };
  if (type === "failed") return { type, ...ref, error: BOOM, retryable: true, random: 0.5 };
  return (type === "resumed" || type === "cancelled" ? { type } : { type, ...ref }) as Event;
}

/** The states of a job to which all that happens, one after the other. */
function* statesOf(input: Submission, happenings: readonly Happening[]): Generator<JobState> {
  let state: JobState = newJob(input);
  let now = NOW;
  yield state;
  for (const one of happenings) {
    now += one.passMs;
    state = reduce(state, eventFor(state, one), now).state;
    yield state;
  }
}

const elementsOf = (bytes: Uint8Array) => decode(bytes, "msgpack") as unknown[];
const RECORD_LENGTH = elementsOf(packState(newJob({ name: "test", functions: [{ name: "a" }] }))).length;

const history = fc.tuple(submission, fc.array(happening, { maxLength: 30 }));

test("a state comes back from its bytes as it was", () => {
  fc.assert(
    fc.property(history, ([input, happenings]) => {
      for (const state of statesOf(input, happenings)) {
        assert.equal(storedJob(ID, 5, packState(state)), { revision: 5, state });
      }
    }),
  );
});

test("the first element is the format, the last are the functions, without what is nil at their end (RECORD-1, RECORD-2)", () => {
  fc.assert(
    fc.property(history, ([input, happenings]) => {
      for (const state of statesOf(input, happenings)) {
        const elements = elementsOf(packState(state));
        assert.is(elements[0], state.format ?? 1);
        assert.is(elements.length, RECORD_LENGTH, "each has its place");
        const functions = elements.at(-1) as unknown[][];
        assert.is(functions.length, state.functions.length);
        for (const fn of functions) assert.is.not(fn.at(-1), null);
        if (!canBeBrief(state)) continue;
        assert.is(elementsOf(new BriefWriter().write(state))[0], state.format ?? 1);
      }
    }),
  );
});

test("a function of which nothing is known but its name takes no more than that", () => {
  const job = newJob({
    name: "test",
    functions: [{ name: "a" }, { name: "b", args: [1] }, { name: "c", timeout_ms: 5 }],
  });
  const returned = reduce(job, { type: "succeeded", ...attemptOf(job), result: null }, NOW).state;
  assert.equal(elementsOf(packState(returned)).at(-1), [
    ["a", 1, null, NOW],
    ["b", 0, [1]],
    ["c", 0, null, null, null, { timeout_ms: 5 }],
  ]);
});

test("a brief state is made whole by the submission, at every step that can be brief (BRIEF-1, BRIEF-2)", () => {
  fc.assert(
    fc.property(history, ([input, happenings]) => {
      const writer = new BriefWriter();
      for (const state of statesOf(input, happenings)) {
        if (!canBeBrief(state)) continue;
        const { brief, state: whole } = storedJob(ID, 5, writer.write(state));
        assert.is(whole, undefined);
        assert.ok(brief);
        assert.is(brief.sequence, state.sequence);
        assert.equal(completed(brief, encode(input, "json")), { state });
      }
    }),
  );
});

test("a brief state has neither args nor data, and does not grow with the functions that are to come", () => {
  const size = (count: number) => {
    const functions = Array.from({ length: count }, () => ({ name: "f", args: "x".repeat(1_000) }));
    const job = newJob({ name: "long", functions, data: "y".repeat(10_000) });
    return new BriefWriter().write(job).length;
  };
  assert.is(size(2), size(500));
  assert.ok(size(2) < 400);
});

test("an ended job, and one whose token is not its submission, are stored in full (BRIEF-1)", () => {
  const job = newJob({ name: "test", functions: [{ name: "a" }] });
  const parked = reduce(job, { type: "no_room", ...attemptOf(job) }, NOW).state;
  const cancelled = reduce(job, { type: "cancelled" }, NOW).state;
  assert.ok(canBeBrief(job));
  assert.not.ok(canBeBrief(parked));
  assert.ok(isEnded(cancelled));
  assert.not.ok(canBeBrief(cancelled));
});

test("a submission that is none of the job's says what is wrong", () => {
  const { brief } = storedJob(ID, 5, new BriefWriter().write(newJob({ name: "test", functions: [{ name: "a" }] })));
  assert.ok(brief);
  for (const wrong of [Buffer.from("{"), Buffer.from("{}"), new Uint8Array()]) {
    assert.ok("problem" in completed(brief, wrong));
  }
});

// --- every field

/** With each field that there is, whether or not they can be together. The compiler asks for those that are added. */
const EVERY_FUNCTION_FIELD: Required<FunctionState> = {
  name: "b",
  args: { x: [1, "two", null] },
  retry_options: { retry_limit: 5, backoff: { type: "fixed", delay_ms: 7 } },
  timeout_ms: 1_234,
  retry_count: 4,
  failures: 2,
  lost: 1,
  started_at: NOW + 1_000,
  finished_at: NOW + 2_000,
  result: { y: "done" },
  error: BOOM,
  id: "one",
  wait_for: "go",
  sleep_ms: 5,
  sleep_until: { $: "data.z" },
  needs: ["two"],
  when: "data.z > 0",
  expect: "result.ok",
  on_error: { name: "other", args: [2] },
  interrupted: 3,
  tried_at: NOW + 1_100,
  last_progress: { percent: 5 },
  skipped: true,
  caught: { ...BOOM, message: "caught" },
  handling: true,
  runs: 2,
  rank: 1,
  job: { functions: [{ name: "inner" }] },
  for_each: "data.items",
  concurrency: 3,
  tolerate: "5%",
  slice: 2,
  results: "keep",
  context: true,
  undo: { name: "un-b" },
  uncertain: true,
  given_up: true,
  undoing: { name: "un-b", retry_count: 1, error: BOOM },
  items: { run: 2, list: 1, count: 9, listed: 9, cursor: "c", next: 1, open: [0], done: 4, failed: 1 },
  apart: 40_000,
};
const { error: _error, ...DONE } = { ...EVERY_FUNCTION_FIELD, name: "a", finished_at: NOW + 500 };
const EVERY_FIELD: Required<JobFields & AnyPhase> = {
  format: 2,
  job_id: "job-1",
  name: "every",
  state: "running",
  data: { z: 1 },
  functions: [DONE, EVERY_FUNCTION_FIELD],
  current_function: 1,
  attempt: 5,
  encoding: "msgpack",
  created_at: NOW,
  scheduled_at: NOW + 100,
  started_at: NOW + 1_000,
  retried_at: NOW + 300,
  retries: 2,
  timeout_ms: 60_000,
  deadline_at: NOW + 60_100,
  notify: "someone",
  sequence: 77,
  token: 3,
  version: 9,
  writer: "supervisor-1",
  waiting_for: "backoff",
  due_at: NOW + 5_000,
  finished_at: NOW + 6_000,
  error: { ...BOOM, message: "of the job" },
  live: [{ index: 1, attempt: 5, wait: "backoff", since: NOW + 10, due_at: NOW + 20 }],
  ended_count: 1,
  signals: { go: 3 },
  parked_at: NOW + 30,
  tags: { customer: "c1" },
  keep_ms: 1_000,
  warn_after_ms: 2_000,
  truncated: true,
  late_at: NOW + 40,
  on_failure: { name: "alert" },
  failing: { name: "alert", retry_count: 0 },
  outcome: { state: "failed", error: BOOM, at: NOW + 50 },
  halted: [{ index: 1, attempt: 4, wait: "none", since: NOW + 10 }],
  undo: { state: "done", undone: 1, failed: 0, not_undone: 0 },
  parent: { job_id: "parent", created_at: NOW, index: 2, item: 7, depth: 1 },
};

/** Fields of entries that chains do not have. */
const ONLY_IN_GRAPHS = [
  ...GRAPH_OPTIONS,
  ...["skipped", "caught", "handling", "runs", "rank", "uncertain", "given_up", "undoing", "items", "apart"],
];

const everyState = (more: object = {}) => ({ ...EVERY_FIELD, ...more }) as unknown as JobState;

function without<Whole extends object>(whole: Whole, names: readonly string[]): Whole {
  return Object.fromEntries(Object.entries(whole).filter(([name]) => !names.includes(name))) as Whole;
}

test("every field of a job and of its functions comes back", () => {
  assert.equal(Object.keys(EVERY_FIELD).sort(), Object.keys(JOB_FIELDS).sort());
  assert.equal(Object.keys(EVERY_FUNCTION_FIELD).sort(), Object.keys(FUNCTION_FIELDS).sort());
  assert.equal(storedJob(ID, 5, packState(everyState())), { revision: 5, state: EVERY_FIELD });
});

test("every field comes back whichever others are there, and none that was not", () => {
  const absent = (fields: NamedField[]) => {
    const optional = fields.filter(([, { kept, optional }]) => kept === "rarely" || optional);
    return fc.subarray(optional.map(([name]) => name).filter((name) => name !== "result"));
  };
  fc.assert(
    fc.property(absent(entriesOf(JOB_FIELDS)), absent(entriesOf(FUNCTION_FIELDS)), (ofJob, ofFunction) => {
      // A function has a result if it has returned.
      const left = ofFunction.includes("finished_at") ? [...ofFunction, "result"] : ofFunction;
      const functions = [DONE, without(EVERY_FUNCTION_FIELD, left)];
      const state = without(everyState({ functions }), ofJob);
      assert.equal(storedJob(ID, 5, packState(state)), { revision: 5, state });
    }),
    { numRuns: 500 },
  );
});

test("a value that stands for another one, or is nil itself, comes back all the same", () => {
  for (const state of [
    everyState({ scheduled_at: NOW }),
    everyState({ data: null }),
    everyState({ functions: [DONE, { ...EVERY_FUNCTION_FIELD, result: null }] }),
    everyState({ functions: [DONE, { name: "b", retry_count: 1, finished_at: 0, result: null }] }),
    everyState({ created_at: 0, scheduled_at: 0, finished_at: 0, due_at: 0, retries: 0, timeout_ms: 0 }),
    everyState({ finished_at: 8.64e15, deadline_at: 8.64e15 }),
  ]) {
    assert.equal(storedJob(ID, 5, packState(state)), { revision: 5, state });
  }
});

/** The same state from its brief form, and the submission that it leans on. */
function fromBrief(state: JobState): unknown {
  assert.ok(canBeBrief(state));
  const stored = storedJob(ID, 5, canBeBrief(state) ? new BriefWriter().write(state) : new Uint8Array());
  assert.ok(stored.brief);
  const functions = state.functions.map((fn) => {
    const { name, ...spec } = specOf(fn);
    return name === "" ? spec : { name, ...spec };
  });
  const submission = encode({ name: state.name, data: state.data, functions }, "msgpack");
  return stored.brief && completed(stored.brief, submission);
}

test("every field that a brief state of a chain may have comes back", () => {
  const {
    retries: _retries,
    live: _live,
    ended_count: _count,
    signals: _signals,
    parked_at: _at,
    ...job
  } = EVERY_FIELD;
  const functions = EVERY_FIELD.functions.map((fn) => without(fn, ONLY_IN_GRAPHS));
  const [first, ...others] = functions as [FunctionState, ...FunctionState[]];
  const done = without(first, ["interrupted", "tried_at", "last_progress"]);
  const state = { ...job, token: 0, functions: functionList([done, ...others]) } as unknown as JobState;
  assert.equal(fromBrief(state), { state });
});

test("every field that a brief state of a graph may have comes back", () => {
  const { retries: _retries, ...job } = EVERY_FIELD;
  // An entry is a function, or waits, or sleeps, or is a job.
  const { wait_for, sleep_ms, sleep_until, job: child, ...fn } = EVERY_FUNCTION_FIELD;
  const { finished_at: _at, result: _result, rank: _rank, ...live } = fn;
  const entries: FunctionState[] = [
    { ...fn, needs: [] },
    { ...live, id: "two", needs: ["one"] },
    { name: "", retry_count: 0, wait_for, needs: ["one"] },
    { name: "", retry_count: 0, sleep_ms, needs: ["one"] },
    { name: "", retry_count: 0, sleep_until, needs: ["one"] },
    { name: "", retry_count: 0, job: child, for_each: "data.items", undo: "un-c", needs: ["one"] },
  ];
  const state = { ...job, token: 0, functions: functionList(entries) } as unknown as JobState;
  assert.equal(fromBrief(state), { state });
});

// --- of a newer format

/** Arrays that begin with `format` and the id of the job, with each head that there is, whatever comes after, and however many elements they say. */
function arraysOf(format: number, after: Uint8Array, id = encode(ID, "msgpack")): Uint8Array[] {
  const number = encode(format, "msgpack");
  const heads = [
    [0x91],
    [0x9f],
    [0xdc, 0, RECORD_LENGTH],
    [0xdc, 0xff, 0xff],
    [0xdd, 0, 0, 0, RECORD_LENGTH],
    [0xdd, 0xff, 0xff, 0xff, 0xff],
  ];
  return heads.map((head) => Uint8Array.of(...head, ...number, ...id, ...after));
}

const newer = (format: number): StoredJob => ({ revision: 5, state: undefined, newer: format });

test("a record of a newer format is told as such, whatever comes after its number (RECORD-1)", () => {
  const formats = fc.oneof(fc.constant(FORMAT + 1), fc.integer({ min: FORMAT + 1, max: 65_535 }));
  fc.assert(
    fc.property(formats, fc.uint8Array({ maxLength: 40 }), (format, after) => {
      for (const bytes of arraysOf(format, after)) assert.equal(storedJob(ID, 5, bytes), newer(format));
    }),
    { numRuns: 500 },
  );
});

test("a record that is ours but for its number is of a newer format too, also a brief one (RECORD-1)", () => {
  const elements = elementsOf(packState(everyState()));
  assert.equal(storedJob(ID, 5, encode([FORMAT + 1, ...elements.slice(1)], "msgpack")), newer(FORMAT + 1));
  const job = newJob({ name: "test", functions: [{ name: "a" }] });
  const brief = elementsOf(new BriefWriter().write(job));
  assert.equal(storedJob(ID, 5, encode([FORMAT + 1, ...brief.slice(1)], "msgpack")), newer(FORMAT + 1));
  assert.equal(storedJob(ID, 5, encode([FORMAT + 1, ID], "msgpack")), newer(FORMAT + 1));
  assert.equal(storedJob(ID, 5, encode([FORMAT + 1, ...elements.slice(1), "more"], "msgpack")), newer(FORMAT + 1));
});

test("what comes after the number of a newer format may be undecodable (RECORD-1)", () => {
  for (const after of [[0xc1], [0xd9, 0xff], [0xdf, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xc7, 0x05, 0x77]]) {
    for (const bytes of arraysOf(FORMAT + 1, Uint8Array.from(after))) {
      assert.equal(storedJob(ID, 5, bytes), newer(FORMAT + 1));
    }
    const [ours] = arraysOf(FORMAT, Uint8Array.from(after));
    assert.ok(problemOf(ours ?? new Uint8Array()), "of ours it is a problem");
  }
});

test("a record that does not name the job is none of ours, whatever format it says (RECORD-1)", () => {
  for (const id of [new Uint8Array(), encode("job-2", "msgpack"), encode(`${ID}0`, "msgpack"), encode(7, "msgpack")]) {
    for (const bytes of [...arraysOf(FORMAT, new Uint8Array(), id), ...arraysOf(FORMAT + 1, new Uint8Array(), id)]) {
      assert.is(problemOf(bytes), "value is no record of this job");
    }
  }
  assert.is(problemOf(packState(everyState({ job_id: "job-2" }))), "value is no record of this job");
});

// --- what is no state

/** Why it is no state. */
function problemOf(bytes: Uint8Array, what = ""): string {
  const { problem = "", ...rest } = storedJob(ID, 5, bytes);
  assert.equal(rest, { revision: 5, state: undefined }, `${what}: nothing else is said`);
  return problem;
}

test("what is no state is not taken for one", () => {
  const ones = encode([FORMAT, ID, ...Array.from({ length: RECORD_LENGTH - 2 }, () => 1)], "msgpack");
  assert.is(problemOf(ones), "its name is no text");
  const head = Array.from({ length: RECORD_LENGTH - 6 }, () => 1);
  const nameless = encode([FORMAT, ID, ...head, null, null, {}, 7], "msgpack");
  assert.is(problemOf(nameless), "neither a state nor a brief one");
});

test("an array or map that is none of ours, or no such thing at all, is a problem", () => {
  const elements = elementsOf(packState(everyState()));
  const others = [elements.slice(1), elements.slice(0, -1), [...elements, null], [elements], [FORMAT], [1, 2], []];
  for (const first of [0, String(FORMAT), FORMAT + 0.5, -1, null]) others.push([first, ...elements.slice(1)]);
  const none = [EVERY_FIELD, { format: FORMAT }, {}, 7, FORMAT + 1, "text", null, true];
  for (const other of [...others, ...none])
    assert.is(problemOf(encode(other, "msgpack")), "value is no record of this job");
  for (const head of [
    [0x91],
    [0x91, 0xcc],
    [0xdc],
    [0xdc, 0],
    [0xdc, 0, 1],
    [0xdd],
    [0xdd, 0, 0, 0],
    [0xdd, 0, 0, 0, 1],
  ]) {
    assert.is(problemOf(Uint8Array.from(head)), "value is no record of this job", "it ends before its first element");
  }
  assert.is(problemOf(encode(EVERY_FIELD, "json")), "value is no record of this job");
});

test("a record that ends too early, or does not end, is a problem", () => {
  const bytes = packState(everyState());
  for (let length = 1; length < bytes.length; length++) assert.ok(problemOf(bytes.subarray(0, length)), String(length));
  assert.match(problemOf(Buffer.concat([bytes, Buffer.of(0xc0)])), "not valid MessagePack");
});

// --- what is wrong with a field

const NO_NUMBERS = [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 2n ** 63n, "1", {}, [], true];
const NO_TIMES = [...NO_NUMBERS, 8.64e15 + 1, "2026-11-23T21:00:00Z"];
const NO_TEXTS = [1, {}, [], true];
const NO_MAPS = [1, "x", [], true, null];
const UNKNOWN = ["nonsense", 1, {}, null];

/** As they are stored: index, attempt, number of what it waits for, since, due. */
const BRANCH = [1, 1, 0, NOW, null];
const NO_BRANCHES = [
  ...[1, null, {}, [0], [0, 5_000, 1]],
  ...NO_NUMBERS.flatMap((no) => [BRANCH.with(0, no as number), BRANCH.with(1, no as number)]),
  ...NO_TIMES.flatMap((no) => [BRANCH.with(3, no as number), BRANCH.with(4, no as number)]),
  ...[9, "none", -1].map((no) => BRANCH.with(2, no as number)),
  BRANCH.with(0, 3), // 2 is what is called once the job has failed
];

/** Values that a field cannot have. Null is one of them where it stands for nothing else. */
type Wrong = [fields: string[], values: unknown[]][];

const WRONG: Wrong = [
  [
    ["created_at", "started_at", "retried_at", "deadline_at", "due_at", "parked_at", "late_at"],
    [...NO_TIMES, null],
  ],
  [["scheduled_at", "finished_at"], NO_TIMES],
  [
    ["current_function", "attempt", "retries", "timeout_ms", "sequence", "token", "version"],
    [...NO_NUMBERS, null],
  ],
  [
    ["ended_count", "keep_ms", "warn_after_ms"],
    [...NO_NUMBERS, null],
  ],
  [["signals", "tags", "undo"], NO_MAPS],
  [["on_failure"], [1, null, [], {}, { name: 1 }]],
  [["failing"], [...NO_MAPS, {}, { name: "a" }, { name: "a", retry_count: -1 }]],
  [["outcome"], [...NO_MAPS, {}, { state: "running", at: NOW }, { state: "failed", at: "x" }, { state: "failed" }]],
  [["parent"], [...NO_MAPS, {}, { job_id: 1, index: 0, depth: 1 }, { job_id: "a", index: -1, depth: 1 }]],
  [["truncated"], [1, "x", false, null]],
  [
    ["live", "halted"],
    [1, "x", true, null, {}, ...NO_BRANCHES.map((branch) => [branch])],
  ],
  [
    ["job_id", "notify", "writer"],
    [...NO_TEXTS, null],
  ],
  [["name"], NO_TEXTS],
  [["state", "encoding", "waiting_for"], UNKNOWN],
  [["error"], NO_MAPS],
  [["functions"], [1, "x", {}, null, [1], [null], [[]], [["a"]], [[null, 0]], [{}]]],
  [["data"], []],
];
const WRONG_IN_FUNCTION: Wrong = [
  [
    ["started_at", "tried_at"],
    [...NO_TIMES, null],
  ],
  [["finished_at"], NO_TIMES],
  [
    ["retry_count", "timeout_ms", "failures", "lost"],
    [...NO_NUMBERS, null],
  ],
  [
    ["interrupted", "runs", "rank", "sleep_ms"],
    [...NO_NUMBERS, null],
  ],
  [
    ["id", "wait_for", "when", "expect"],
    [...NO_TEXTS, null],
  ],
  [
    ["concurrency", "slice", "apart"],
    [...NO_NUMBERS, null],
  ],
  [["tolerate"], [-1, 0.5, {}, [], true, null]],
  [["for_each"], [-1, 0.5, {}, [], true, null, { name: 1 }]],
  [["job"], NO_MAPS],
  [["results"], ["some", ...NO_TEXTS, null]],
  [["context"], [1, "x", {}, null]],
  [["undo"], [1, null, [], {}, { name: 1 }]],
  [["undoing"], [...NO_MAPS, {}, { name: "a" }, { name: "a", retry_count: -1 }]],
  [
    ["items"],
    [...NO_MAPS, {}, { ...EVERY_FUNCTION_FIELD.items, open: 1 }, { ...EVERY_FUNCTION_FIELD.items, next: -1 }],
  ],
  [["needs"], ["x", 1, {}, null, [1], [null]]],
  [["on_error"], ["other", 1, null, [], {}, { name: 1 }]],
  [["sleep_until"], [1, null, [], {}, { $: 1 }]],
  [
    ["skipped", "handling", "uncertain", "given_up"],
    ["x", 1, false, null],
  ],
  [["name"], [...NO_TEXTS, null]],
  [["retry_options", "error", "caught"], NO_MAPS],
  [["args", "result", "last_progress"], []],
];

function* eachWrong(wrong: Wrong, fields: object): Generator<[field: string, value: unknown]> {
  // The format is looked at first: see above.
  const names = Object.keys(fields).filter((name) => name !== "format");
  assert.equal(wrong.flatMap(([names]) => names).sort(), names.sort());
  for (const [names, values] of wrong) for (const name of names) for (const value of values) yield [name, value];
}

/** A record as somebody else may have stored it: with those branches, which are stored in another form than they have in a state. */
function withBranches(record: Uint8Array, branches: { live?: unknown; halted?: unknown }): Uint8Array {
  const elements = elementsOf(record);
  Object.assign(elements.at(-4) as object, branches);
  return encode(elements, "msgpack");
}

test("a field of a job that cannot be, as a time that no date can have, is a problem that names it", () => {
  const packed = elementsOf(packState(everyState())).at(-1) as unknown[];
  for (const [field, value] of eachWrong(WRONG, JOB_FIELDS)) {
    const isOfBranches = field === "live" || field === "halted";
    const state = everyState(isOfBranches ? {} : { [field]: value });
    const functions = field === "functions" ? (value as unknown[]) : packed;
    const record = packFields(state, state.name, state.data, functions);
    const problem = problemOf(
      isOfBranches ? withBranches(record, { [field]: value }) : record,
      `${field}, ${String(value)}`,
    );
    const expected = field === "job_id" ? "value is no record of this job" : `its ${field} `;
    assert.ok(problem.startsWith(expected), `${field}, ${String(value)}: ${problem}`);
  }
});

test("a field of a function that cannot be is a problem", () => {
  for (const [field, value] of eachWrong(WRONG_IN_FUNCTION, FUNCTION_FIELDS)) {
    const functions = [DONE, { ...EVERY_FUNCTION_FIELD, [field]: value }];
    const problem = problemOf(packState(everyState({ functions })), `${field}, ${String(value)}`);
    assert.is(problem, "its functions are no list of them", `${field}, ${String(value)}`);
  }
});

test("what is called once the job has failed is live only where there is such a thing, and never was before", () => {
  const atEnd = [{ index: 2, attempt: 1, wait: "none", since: NOW }];
  assert.ok(storedJob(ID, 5, packState(everyState({ live: atEnd }))).state);
  const none = without(everyState({ live: atEnd }), ["failing"]);
  assert.is(problemOf(packState(none)), "its live has an entry that does not exist");
  assert.is(problemOf(packState(everyState({ halted: atEnd }))), "its halted has an entry that does not exist");
});

test("a state without what its phase needs is a problem", () => {
  const spoilt = (state: string, ...names: string[]) => problemOf(packState(without(everyState({ state }), names)));
  for (const state of ["completed", "failed", "cancelled"]) {
    assert.is(spoilt(state, "finished_at"), "its finished_at is no time");
  }
  assert.is(spoilt("failed", "error"), "its error is missing");
  assert.is(spoilt("waiting", "waiting_for"), "its waiting_for is unknown");
  assert.is(spoilt("waiting", "due_at"), "its due_at is no time");
  for (const more of [{ current_function: 2 }, { functions: [] }, { state: "completed", current_function: 2 }]) {
    assert.is(problemOf(packState(everyState(more))), "its current_function does not exist");
  }
});

/** What is made of bytes that anyone may have written: never a fault, and a state only if it can be shown. */
function survives(bytes: Uint8Array, submission: Uint8Array): void {
  const stored = storedJob(ID, 5, bytes);
  const { state, problem, newer, brief } = stored;
  assert.is([state, problem, newer, brief].filter((one) => one !== undefined).length, 1, "it is one of them");
  if (state) assert.is(viewOf(state).job_id, state.job_id);
  if (!brief) return;
  const whole = completed(brief, submission);
  if ("state" in whole) assert.is(viewOf(whole.state).job_id, whole.state.job_id);
}

test("a field may have any value: it is a problem, or the state can be shown", () => {
  const bigInt = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n });
  const value = fc.oneof(jsonValue, fc.maxSafeInteger(), fc.double(), bigInt);
  const anyOf = (fields: object) =>
    fc.dictionary(fc.constantFrom(...Object.keys(fields).filter((name) => name !== "functions")), value, {
      maxKeys: 2,
    });
  const states = fc.constantFrom("running", "completed", "failed", "cancelled", "waiting");
  fc.assert(
    fc.property(states, anyOf(JOB_FIELDS), anyOf(FUNCTION_FIELDS), (state, { live, halted, ...ofJob }, ofFunction) => {
      const functions = [DONE, { ...EVERY_FUNCTION_FIELD, ...ofFunction }];
      const record = packState(everyState({ state, ...ofJob }));
      const branches = { ...(live !== undefined && { live }), ...(halted !== undefined && { halted }) };
      survives(withBranches(record, branches), new Uint8Array());
      survives(packState(everyState({ state, functions })), new Uint8Array());
    }),
    { numRuns: 1_000 },
  );
});

test("a record with spoilt bytes, or any others, is no fault", () => {
  const input = { name: "test", functions: [{ name: "a" }, { name: "b", args: [1] }, { name: "c" }], data: { x: 1 } };
  const submission = encode(input, "json");
  const writer = new BriefWriter();
  const records = [Buffer.from(packState(everyState()))];
  const types = ["started", "succeeded", "failed"] as const;
  const happenings = types.map((type) => ({ type, result: { y: 1 }, passMs: 5 }));
  for (const state of statesOf(input, happenings)) {
    records.push(Buffer.from(packState(state)));
    if (canBeBrief(state)) records.push(Buffer.from(writer.write(state)));
  }
  const flips = fc.array(fc.tuple(fc.nat(1_000), fc.nat(255)), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.constantFrom(...records), flips, (record, changes) => {
      const bytes = Buffer.from(record);
      for (const [index, byte] of changes) bytes[index % bytes.length] = byte;
      survives(bytes, submission);
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => survives(bytes, submission)),
    { numRuns: 1_000 },
  );
});

test("an empty value is a deletion", () => {
  assert.equal(storedJob(ID, 5, new Uint8Array()), { revision: 5, state: undefined });
});

test.run();
