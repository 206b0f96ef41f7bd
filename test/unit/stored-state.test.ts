/** States as bytes: in full, and of long jobs without what their submission says. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { BriefWriter, canBeBrief, completed } from "../../src/bus/brief-state.ts";
import { encode } from "../../src/bus/codec.ts";
import { storedJob } from "../../src/bus/job-store.ts";
import { packState } from "../../src/bus/stored-state.ts";
import { type Event, reduce } from "../../src/job/machine.ts";
import type { Submission } from "../../src/job/schema.ts";
import { isEnded, type JobState } from "../../src/job/state.ts";
import { attemptOf, BOOM, jsonValue, NOW, newJob } from "./support.ts";

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

const history = fc.tuple(submission, fc.array(happening, { maxLength: 30 }));

test("a state comes back from its bytes as it was", () => {
  fc.assert(
    fc.property(history, ([input, happenings]) => {
      for (const state of statesOf(input, happenings)) {
        assert.equal(storedJob(5, packState(state)), { revision: 5, state });
      }
    }),
  );
});

test("a state that version 0.2 has stored, as a map, is read too", () => {
  const state = newJob({ name: "old", functions: [{ name: "a", args: [1] }], data: { x: 1 } });
  assert.equal(storedJob(5, encode(state, "msgpack")), { revision: 5, state });
});

test("a brief state is made whole by the submission, at every step that can be brief", () => {
  fc.assert(
    fc.property(history, ([input, happenings]) => {
      const writer = new BriefWriter();
      for (const state of statesOf(input, happenings)) {
        if (!canBeBrief(state)) continue;
        const { brief, state: whole } = storedJob(5, writer.write(state));
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

test("an ended job, and one whose token is not its submission, are stored in full", () => {
  const job = newJob({ name: "test", functions: [{ name: "a" }] });
  const parked = reduce(job, { type: "no_room", ...attemptOf(job) }, NOW).state;
  const cancelled = reduce(job, { type: "cancelled" }, NOW).state;
  assert.ok(canBeBrief(job));
  assert.not.ok(canBeBrief(parked));
  assert.ok(isEnded(cancelled));
  assert.not.ok(canBeBrief(cancelled));
});

test("a submission that is none of the job's says what is wrong", () => {
  const { brief } = storedJob(5, new BriefWriter().write(newJob({ name: "test", functions: [{ name: "a" }] })));
  assert.ok(brief);
  for (const wrong of [Buffer.from("{"), Buffer.from("{}"), new Uint8Array()]) {
    assert.ok("problem" in completed(brief, wrong));
  }
});

test("what is no state is not taken for one", () => {
  const sixteen = encode(
    Array.from({ length: 16 }, () => 1),
    "msgpack",
  );
  const nameless = encode([...Array.from({ length: 12 }, () => 1), null, null, {}, 7], "msgpack");
  for (const bytes of [sixteen, nameless, encode([1, 2], "msgpack"), encode(7, "msgpack")]) {
    const { state, problem, brief } = storedJob(5, bytes);
    assert.is(state, undefined);
    assert.is(brief, undefined);
    assert.ok(problem);
  }
});

test.run();
