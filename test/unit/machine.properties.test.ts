/**
 * The invariants M1 to M6 of the state machine under random submissions and random events: outcomes of live, stale and
 * future attempts in any order, resumes in between, time that only goes on.
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/codec.ts";
import { canRetry, createJob, type Effect, type Event, LOST_LIMIT, placeSleep, reduce } from "../../src/job/machine.ts";
import { parseSubmission, type Submission } from "../../src/job/schema.ts";
import { isEnded, type JobState, type LiveJob } from "../../src/job/state.ts";
import { BOOM, deepFreeze, jsonValue, NOW, ORIGIN, same } from "./support.ts";

const optional = { requiredKeys: [] as never[], noNullPrototype: true };

const backoff = fc.record(
  {
    type: fc.constantFrom("exponential" as const, "fixed" as const),
    delay_ms: fc.nat(5_000),
    factor: fc.double({ min: 1, max: 1_000, noNaN: true }),
    max_delay_ms: fc.nat(100_000),
    jitter: fc.double({ min: 0, max: 1, noNaN: true }),
  },
  optional,
);

const functionSpec = fc.record(
  {
    name: fc.constantFrom("a", "b.c", "/v1/test-1"),
    args: jsonValue,
    retry_options: fc.record({ retry_limit: fc.integer({ min: 1, max: 5 }), backoff }, optional),
    timeout_ms: fc.integer({ min: 1, max: 10_000 }),
  },
  { requiredKeys: ["name"], noNullPrototype: true },
);

const submission: fc.Arbitrary<Submission> = fc
  .record(
    {
      name: fc.constantFrom("test", "näme"),
      functions: fc.array(functionSpec, { minLength: 1, maxLength: 4 }),
      data: jsonValue,
      timeout_ms: fc.integer({ min: 1, max: 20_000 }),
      scheduled_at: fc.integer({ min: -10_000, max: 10_000 }).map((ms) => new Date(NOW + ms).toISOString()),
    },
    { requiredKeys: ["name", "functions"], noNullPrototype: true },
  )
  .map((input) => parseSubmission(input));

/** What happens next: `index` and `attempt` are relative to the live attempt, so 0 and 0 is the live one. */
interface Step {
  type: Event["type"];
  index: number;
  attempt: number;
  passMs: number;
  result: unknown;
  retryable: boolean;
  retryAfterMs: number | undefined;
  random: number;
}

const mostlyZero = fc.oneof(
  { weight: 5, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 2 }) },
);

const step: fc.Arbitrary<Step> = fc.record({
  type: fc.constantFrom<Event["type"]>(
    "resumed",
    "started",
    "succeeded",
    "succeeded",
    "failed",
    "failed",
    "lost",
    "no_room",
    "due",
    "expired",
    "cancelled",
    "retried",
  ),
  index: mostlyZero,
  attempt: mostlyZero,
  passMs: fc.oneof(fc.constant(0), fc.nat(5_000)),
  result: jsonValue,
  retryable: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  retryAfterMs: fc.option(fc.nat(10_000), { nil: undefined }),
  random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
});

/** One in five histories has a function whose workers mostly disappear, so that limits are reached. */
const plan = fc.oneof(
  { weight: 4, arbitrary: fc.array(step, { minLength: 1, maxLength: 30 }) },
  {
    weight: 1,
    arbitrary: fc.array(
      step.map((one): Step => ({ ...one, type: one.retryable ? "lost" : "resumed", index: 0, attempt: 0 })),
      { minLength: 1, maxLength: 30 },
    ),
  },
);

function eventOf(state: JobState, one: Step): Event {
  const ref = { index: state.current_function + one.index, attempt: state.attempt + one.attempt };
  switch (one.type) {
    case "succeeded":
      return { type: "succeeded", ...ref, result: one.result };
    case "failed": {
      const after = one.retryAfterMs === undefined ? {} : { retryAfterMs: one.retryAfterMs };
      return { type: "failed", ...ref, error: BOOM, retryable: one.retryable, random: one.random, ...after };
    }
    case "no_room":
      return { type: "no_room", ...ref };
    case "started":
    case "lost":
      return { type: one.type, ...ref };
    default:
      return { type: one.type };
  }
}

interface Seen {
  before: JobState;
  event: Event;
  now: number;
  after: JobState;
  effects: Effect[];
}

/** Every transition of one history, the input of each deep-frozen: a machine that changes its input throws. */
function history(input: Submission, plan: Step[]): Seen[] {
  const seen: Seen[] = [];
  let now = NOW;
  let state = deepFreeze(createJob(input, ORIGIN, now).state);
  for (const one of plan) {
    now += one.passMs;
    const event = eventOf(state, one);
    const { state: after, effects } = reduce(state, event, now);
    seen.push({ before: state, event, now, after, effects });
    state = deepFreeze(after);
  }
  return seen;
}

const RUNS = { numRuns: 400 };

function forEachTransition(check: (seen: Seen) => void, { numRuns } = RUNS): void {
  fc.assert(
    fc.property(submission, plan, (input, steps) => {
      for (const seen of history(input, steps)) check(seen);
    }),
    { numRuns },
  );
}

const isStale = ({ before, event }: Seen) =>
  "attempt" in event && (event.attempt !== before.attempt || event.index !== before.current_function);

const nextSteps = (effects: Effect[]) =>
  effects.filter((effect) => ["invoke", "sleep", "park", "enqueue", "settle"].includes(effect.type));

const isRetry = ({ before, event }: Seen) => event.type === "retried" && isEnded(before) && canRetry(before);

test("an ended job is never changed by any event but a retry by hand, which brings the next token (M1)", () => {
  let met = 0;
  forEachTransition((seen) => {
    const { before, event, after, effects } = seen;
    if (!isEnded(before)) return;
    met += 1;
    if (isRetry(seen)) {
      assert.not.ok(isEnded(after));
      assert.is(after.token, before.token + 1);
      return;
    }
    assert.is(after, before);
    assert.is(effects.length, event.type === "resumed" ? 2 : 0);
  });
  assert.ok(met > 20, "the histories reach the end of jobs");
});

test("outcomes of any but the live attempt return the same object and no effects (M2)", () => {
  let met = 0;
  forEachTransition((seen) => {
    if (!isStale(seen)) return;
    met += 1;
    assert.is(seen.after, seen.before);
    assert.equal(seen.effects, []);
  });
  assert.ok(met > 20, "the histories contain stale outcomes");
});

test("current_function only grows by one, and only once the function before it has returned (M3)", () => {
  let met = 0;
  forEachTransition(({ before, event, after }) => {
    const grown = after.current_function - before.current_function;
    assert.ok(grown === 0 || grown === 1);
    assert.ok(after.current_function < after.functions.length);
    if (grown === 0) return;
    met += 1;
    assert.is(event.type, "succeeded");
    assert.ok("result" in (after.functions.at(before.current_function) ?? {}));
    assert.is(after.attempt, 1);
  });
  assert.ok(met > 20, "the histories reach the second function");
});

test("functions after the current one are untouched, those before it do not change any more (M3)", () => {
  forEachTransition(({ before, after }) => {
    for (const [index, fn] of [...after.functions].entries()) {
      if (index > after.current_function) assert.is(fn.retry_count, 0);
      if (index !== before.current_function) assert.is(fn, before.functions.at(index));
    }
  });
});

test("failures never exceed retry_limit and losses never LOST_LIMIT (M4)", () => {
  let atLimit = 0;
  forEachTransition(({ after }) => {
    for (const fn of after.functions) {
      if (fn.lost === LOST_LIMIT) atLimit += 1;
      assert.ok((fn.failures ?? 0) <= (fn.retry_options?.retry_limit ?? 1));
      assert.ok((fn.lost ?? 0) <= LOST_LIMIT);
      assert.ok((fn.failures ?? 0) + (fn.lost ?? 0) <= fn.retry_count);
    }
  });
  assert.ok(atLimit > 0, "the histories reach the limit");
});

test("a function that has used up its executions is never invoked again (M4)", () => {
  forEachTransition(({ after, effects }) => {
    if (!effects.some((effect) => effect.type === "invoke")) return;
    const fn = after.functions.at(after.current_function);
    assert.ok((fn?.failures ?? 0) < (fn?.retry_options?.retry_limit ?? 1));
    assert.ok((fn?.lost ?? 0) < LOST_LIMIT);
  });
});

test("the number of the live attempt never shrinks within a function, and is the next after what is counted (M2)", () => {
  forEachTransition(({ before, after }) => {
    if (after.current_function === before.current_function) assert.ok(after.attempt >= before.attempt);
    const counted = after.functions.at(after.current_function)?.retry_count ?? 0;
    assert.ok(after.attempt === counted || after.attempt > counted);
  });
});

test("what ends an attempt or a wait goes on in exactly one way: invoke, sleep, enqueue or settle (M6)", () => {
  forEachTransition((seen) => {
    const { before, event, after, effects } = seen;
    if (isEnded(before) || isStale(seen) || event.type === "started" || event.type === "retried") return;
    if (event.type === "expired" && after === before) return;
    const next = nextSteps(effects);
    assert.is(next.length, 1);
    assert.is(next[0]?.type === "settle", isEnded(after));
    assert.is(effects.at(-1), next[0], "what is told comes before what is done");
  });
});

test("a sleep lies ahead and never reaches beyond the deadline (M6)", () => {
  let met = 0;
  forEachTransition(({ after, effects, now }) => {
    for (const effect of effects) {
      if (effect.type !== "sleep") continue;
      met += 1;
      assert.ok(Number.isInteger(effect.until));
      assert.ok(effect.until <= (after.deadline_at ?? Number.POSITIVE_INFINITY));
      if (after.deadline_at === undefined) assert.ok(effect.until > now);
    }
  });
  assert.ok(met > 20, "the histories contain sleeps");
});

test("a sleep that is placed is either kept or parked under one more token, never both (M5, M6)", () => {
  fc.assert(
    fc.property(submission, fc.array(step, { maxLength: 20 }), fc.nat(3_000), (input, plan, parkAfterMs) => {
      for (const { after, effects, now } of history(input, plan)) {
        const placed = placeSleep(deepFreeze({ state: after, effects }), now, parkAfterMs);
        const [sleep] = effects.filter((effect) => effect.type === "sleep");
        const parks = placed.effects.filter((effect) => effect.type === "park");
        const long = sleep !== undefined && sleep.until - now > parkAfterMs;
        assert.equal(parks, long ? [{ type: "park", until: sleep.until, token: after.token + 1 }] : []);
        assert.is(placed.state.token, after.token + (long ? 1 : 0));
        assert.is(placed.effects.length, effects.length);
      }
    }),
    { numRuns: 200 },
  );
});

test("the machine is a function of its input: the same state and event give the same transition", () => {
  forEachTransition(
    ({ before, event, now, after, effects }) => {
      assert.ok(same(reduce(before, event, now), { state: after, effects }));
    },
    { numRuns: 150 },
  );
});

test("every state survives MessagePack unchanged, and goes on as if it had never been stored", () => {
  forEachTransition(
    ({ before, event, now, after, effects }) => {
      const stored = decode(encode(before, "msgpack"), "msgpack") as JobState;
      assert.ok(same(stored, before));
      assert.ok(same(reduce(stored, event, now), { state: after, effects }));
    },
    { numRuns: 150 },
  );
});

test("a job whose attempts are always answered ends, however they are answered (M4, M6)", () => {
  const outcome = step.map((one) => ({ ...one, index: 0, attempt: 0 }));
  fc.assert(
    fc.property(submission, fc.array(outcome, { minLength: 1, maxLength: 10 }), (input, answers) => {
      let now = NOW;
      let { state, effects } = createJob(input, ORIGIN, now);
      const attempts = input.functions.reduce((sum, fn) => sum + (fn.retry_options?.retry_limit ?? 1) + LOST_LIMIT, 0);
      let events = 0;
      for (; !isEnded(state); events++) {
        // each attempt is one event, with at most one sleep before it
        assert.ok(events <= 2 * attempts + 1, "the number of events is bounded");
        const [next] = nextSteps(effects);
        let event: Event = { type: "due" };
        if (next?.type === "sleep") now = Math.max(now, next.until);
        else event = answerTo(state, answers[events % answers.length] as Step);
        ({ state, effects } = reduce(state, event, now));
      }
      assert.equal(nextSteps(effects), [{ type: "settle" }]);
    }),
    { numRuns: 400 },
  );
});

/** An answer that ends the attempt: what is no end becomes a failure. */
function answerTo(state: LiveJob, one: Step): Event {
  const ends = one.type === "succeeded" || one.type === "lost";
  return eventOf(state, ends ? one : { ...one, type: "failed" });
}

test.run();
