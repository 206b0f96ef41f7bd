/**
 * The invariants of the state machine under random submissions and random events: outcomes of live, stale and future
 * attempts in any order, resumes in between, time that only goes on.
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { isEndEvent, type JobEvent } from "../../src/job/events.ts";
import { retryProblem } from "../../src/job/graph-retry.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { LOST_LIMIT } from "../../src/job/outcome.ts";
import { toBeParked } from "../../src/job/rest.ts";
import type { Submission } from "../../src/job/schema.ts";
import { isEnded, type JobState, type LiveJob } from "../../src/job/state.ts";
import { hasExpressions } from "../../src/job/templates.ts";
import type { Event } from "../../src/job/transition.ts";
import {
  BOOM,
  deepFreeze,
  ENDED,
  executes,
  type How,
  how,
  jsonValue,
  kindOf,
  NOW,
  ORIGIN,
  place,
  same,
  timer,
  told,
} from "./support.ts";

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
    args: jsonValue.filter((args) => !hasExpressions(args)), // these make a graph
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

/** What happens to chains. */
type ChainEvent = Exclude<
  Event["type"],
  "signalled" | "unstorable" | "unsent" | "child_ended" | "items" | "undo_wanted"
>;

/** What happens next: `index` and `attempt` are relative to the live attempt, so 0 and 0 is the live one. */
interface Step {
  type: ChainEvent;
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
  type: fc.constantFrom<ChainEvent>(
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
    "refused",
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
    case "refused":
      return { type: "refused", why: "no such time" };
    default:
      return { type: one.type };
  }
}

interface Seen {
  before: JobState;
  event: Event;
  now: number;
  after: JobState;
  events: JobEvent[];
  /** How it goes on for who holds the token of `before`. */
  next: How;
}

/** Every transition of one history, the input of each deep-frozen: a machine that changes its input throws. */
function history(input: Submission, plan: Step[]): Seen[] {
  const seen: Seen[] = [];
  let now = NOW;
  let state = deepFreeze(createJob(input, ORIGIN, now).state);
  for (const one of plan) {
    now += one.passMs;
    const event = eventOf(state, one);
    const { state: after, events } = reduce(state, event, now);
    const next = how({ state: deepFreeze(after) }, now, state.token);
    seen.push({ before: state, event, now, after, events, next });
    state = after;
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

const isRetry = ({ before, event }: Seen) =>
  event.type === "retried" && isEnded(before) && retryProblem(before, event) === undefined;

test("an ended job is never changed by any event but a retry by hand, which brings the next token (MACHINE-1)", () => {
  let met = 0;
  forEachTransition((seen) => {
    const { before, after, events } = seen;
    if (!isEnded(before)) return;
    met += 1;
    if (isRetry(seen)) {
      assert.not.ok(isEnded(after));
      assert.is(after.token, before.token + 1);
      return;
    }
    assert.is(after, before);
    assert.equal(events, []);
  });
  assert.ok(met > 20, "the histories reach the end of jobs");
});

test("outcomes of any but the live attempt return the same object and tell nothing (MACHINE-2)", () => {
  let met = 0;
  forEachTransition((seen) => {
    if (!isStale(seen)) return;
    met += 1;
    assert.is(seen.after, seen.before);
    assert.equal(seen.events, []);
  });
  assert.ok(met > 20, "the histories contain stale outcomes");
});

test("current_function only grows by one, and only once the function before it has returned (MACHINE-3)", () => {
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

test("functions after the current one are untouched, those before it do not change any more (MACHINE-3)", () => {
  forEachTransition(({ before, after }) => {
    for (const [index, fn] of [...after.functions].entries()) {
      if (index > after.current_function) assert.is(fn.retry_count, 0);
      if (index !== before.current_function) assert.is(fn, before.functions.at(index));
    }
  });
});

test("failures never exceed retry_limit and losses never LOST_LIMIT (MACHINE-4)", () => {
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

test("a function that has used up its executions is never invoked again (MACHINE-4)", () => {
  forEachTransition(({ after, now }) => {
    if (how({ state: after }, now, after.token).type !== "attempt") return;
    const fn = after.functions.at(after.current_function);
    assert.ok((fn?.failures ?? 0) < (fn?.retry_options?.retry_limit ?? 1));
    assert.ok((fn?.lost ?? 0) < LOST_LIMIT);
  });
});

test("the number of the live attempt never shrinks within a function, and is the next after what is counted (MACHINE-2)", () => {
  forEachTransition(({ before, after }) => {
    if (after.current_function === before.current_function) assert.ok(after.attempt >= before.attempt);
    const counted = after.functions.at(after.current_function)?.retry_count ?? 0;
    assert.ok(after.attempt === counted || after.attempt > counted);
  });
});

test("what ends an attempt or a wait goes on in exactly one way: an attempt, a wait, a place or the end (MACHINE-6)", () => {
  const met = new Map<string, number>();
  forEachTransition((seen) => {
    const { event, after, next } = seen;
    assert.equal(next, expectedNext(seen));
    if (!isStale(seen)) met.set(kindOf(next), (met.get(kindOf(next)) ?? 0) + 1);
    if (isEnded(after) || event.type === "no_room" || event.type === "retried") return;
    if (!isStale(seen)) assert.ok(next.type === "attempt" || next.type === "memory", "its token is kept");
  });
  for (const type of ["attempt", "memory", "place", "timer", "ended"]) assert.ok((met.get(type) ?? 0) > 20, type);
});

/** By the words of the state: `rest` must not be needed to know it. */
function expectedNext({ before, after, now }: Seen): How {
  if (isEnded(after)) return ENDED;
  const { current_function: index, attempt, deadline_at: deadline = Number.POSITIVE_INFINITY } = after;
  if (after.token > before.token) {
    if (after.state === "pending") return timer(0);
    return place(after.functions.at(index)?.name ?? "", after.deadline_at);
  }
  if (after.state === "scheduled" && now < after.scheduled_at) {
    return { type: "memory", until: Math.min(after.scheduled_at, deadline) };
  }
  if (after.state === "waiting" && after.waiting_for === "backoff" && now < after.due_at) {
    return { type: "memory", until: Math.min(after.due_at, deadline) };
  }
  return executes(index, attempt);
}

test("a token is counted up only where the job is to leave memory: without room, or by a retry by hand (MACHINE-5)", () => {
  forEachTransition((seen) => {
    const { before, event, after, next } = seen;
    const leaves = event.type === "no_room" && !isStale(seen) && !isEnded(before);
    assert.is(after.token, before.token + (leaves || isRetry(seen) ? 1 : 0));
    if (leaves) assert.is(kindOf(next), "place");
  });
});

test("each transition tells what has happened once, in one event at most besides the end (MACHINE-5, MACHINE-8)", () => {
  const met = new Set<string>();
  forEachTransition((seen) => {
    const expected = expectedEvents(seen);
    assert.equal(
      seen.events.map((event) => event.type),
      expected,
    );
    assert.not.ok(seen.events.some(isEndEvent), "the state tells it");
    if (isEnded(seen.after))
      assert.equal(told({ state: seen.after, events: seen.events }), [...expected, seen.after.state]);
    for (const type of expected) met.add(type);
  });
  assert.equal([...met].sort(), ["retried", "retrying", "started", "succeeded", "waiting"]);
});

function expectedEvents(seen: Seen): string[] {
  const { before, event, after } = seen;
  if (isRetry(seen)) return ["retried"];
  if (isEnded(before) || isStale(seen)) return [];
  const wasRecorded = before.functions.at(before.current_function)?.retry_count === before.attempt;
  switch (event.type) {
    case "started":
      return wasRecorded ? [] : ["started"];
    case "succeeded":
      return wasRecorded ? ["succeeded"] : [];
    case "failed":
    case "lost":
      return isEnded(after) ? [] : ["retrying"];
    case "no_room":
      return ["waiting"];
    default:
      return [];
  }
}

test("a wait in memory lies ahead and never reaches beyond the deadline (MACHINE-6)", () => {
  let met = 0;
  forEachTransition((seen) => {
    const { event, after, next, now } = seen;
    if (next.type !== "memory") return;
    met += 1;
    assert.ok(Number.isInteger(next.until));
    assert.ok(next.until <= (after.deadline_at ?? Number.POSITIVE_INFINITY));
    // What changes nothing does not look at the deadline either.
    const looksAtTime = !isStale(seen) && event.type !== "retried";
    if (looksAtTime || after.deadline_at === undefined) assert.ok(next.until > now);
  });
  assert.ok(met > 20, "the histories contain waits");
});

test("a wait is either spent in memory or parked under one more token, never both (MACHINE-5, MACHINE-6)", () => {
  let met = 0;
  fc.assert(
    fc.property(submission, fc.array(step, { maxLength: 20 }), fc.nat(3_000), (input, plan, parkAfterMs) => {
      for (const { before, after, next, now } of history(input, plan)) {
        const placed = toBeParked(after, before.token, now, parkAfterMs);
        if (next.type !== "memory" || next.until - now <= parkAfterMs) {
          assert.is(placed, after);
          continue;
        }
        met += 1;
        assert.equal(placed, { ...after, token: after.token + 1 });
        assert.equal(how({ state: placed }, now, before.token), timer(next.until));
        assert.equal(how({ state: placed }, now, placed.token), next, "to who gets the timer's wake");
        assert.is(toBeParked(placed, before.token, now, parkAfterMs), placed);
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(met > 20, "the histories contain long waits");
});

test("the machine is a function of its input: the same state and event give the same transition", () => {
  forEachTransition(
    ({ before, event, now, after, events }) => {
      assert.ok(same(reduce(before, event, now), { state: after, events }));
    },
    { numRuns: 150 },
  );
});

test("every state survives MessagePack unchanged, and goes on as if it had never been stored", () => {
  forEachTransition(
    ({ before, event, now, after, events, next }) => {
      const stored = decode(encode(before, "msgpack"), "msgpack") as JobState;
      assert.ok(same(stored, before));
      const again = reduce(stored, event, now);
      assert.ok(same(again, { state: after, events }));
      assert.equal(how(again, now, before.token), next);
    },
    { numRuns: 150 },
  );
});

test("a job whose attempts are always answered ends, however they are answered (MACHINE-4, MACHINE-6)", () => {
  const outcome = step.map((one) => ({ ...one, index: 0, attempt: 0 }));
  fc.assert(
    fc.property(submission, fc.array(outcome, { minLength: 1, maxLength: 10 }), (input, answers) => {
      let now = NOW;
      let { state, events } = createJob(input, ORIGIN, now);
      const attempts = input.functions.reduce((sum, fn) => sum + (fn.retry_options?.retry_limit ?? 1) + LOST_LIMIT, 0);
      let count = 0;
      for (; !isEnded(state); count++) {
        // each attempt is one event, with at most one wait before it
        assert.ok(count <= 2 * attempts + 1, "the number of events is bounded");
        assert.not.ok(events.some(isEndEvent));
        const next = how({ state }, now);
        let event: Event = { type: "due" };
        if (next.type === "memory") now = Math.max(now, next.until);
        else {
          assert.equal(next, executes(state.current_function, state.attempt));
          event = answerTo(state, answers[count % answers.length] as Step);
        }
        ({ state, events } = reduce(state, event, now));
      }
      assert.not.ok(events.some(isEndEvent), "the state tells it");
      assert.equal(how({ state }, now), ENDED);
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
