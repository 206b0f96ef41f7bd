/**
 * The invariants of the machine of graphs under random documents and random histories: outcomes in any order, doubles, stale ones,
 * take-overs in between (also of what was stored), signals, retries by hand from anywhere, time that only goes on.
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { isEndEvent, type JobEvent } from "../../src/job/events.ts";
import { Expressions } from "../../src/job/expressions.ts";
import { type FunctionState, kindOf } from "../../src/job/function-state.ts";
import { retryProblem } from "../../src/job/graph-retry.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { INTERRUPTED_LIMIT, LOST_LIMIT } from "../../src/job/outcome.ts";
import { type Plan, planOf } from "../../src/job/plan.ts";
import { rest, toBeParked } from "../../src/job/rest.ts";
import type { Submission } from "../../src/job/schema.ts";
import { usedNumber } from "../../src/job/signals.ts";
import {
  type Branch,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type LiveJob,
  trialOf,
} from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { viewOf } from "../../src/job/view.ts";
import { type Choose, chooseFrom, graphDocument, tape } from "../support/graph-documents.ts";
import { answer, happening, isAttempt, isOfChild, isOfItems, partEnd } from "../support/graph-happenings.ts";
import { deepFreeze, NOW, ORIGIN, same } from "./support.ts";

const PARK_AFTER_MS = 10_000;
const STEPS = 60;

interface Seen {
  document: Submission;
  before: Graph;
  event: Event;
  now: number;
  after: Graph;
  events: JobEvent[];
}

function graph(state: JobState): Graph {
  assert.ok(isGraph(state), "it is a graph");
  return state as Graph;
}

/** A history of one job, step by step. The input of each step is deep-frozen: a machine that changes its input throws. */
function* history(document: Submission, choose: Choose, plan: Plan, steps = STEPS): Generator<Seen> {
  let now = NOW;
  let held = 0;
  let state = deepFreeze(graph(createJob(document, ORIGIN, now).state));
  for (let step = 0; step < steps; step++) {
    now += [0, 0, 1, 1_000, 6_000, 100_000][choose(6)] as number;
    const event = happening(state, choose, now);
    if (event.type === "resumed") held = state.token;
    const before = choose(4) === 3 ? deepFreeze(stored(state)) : state;
    const { state: after, events } = reduce(before, event, now, choose(3) === 2 ? undefined : plan);
    yield { document, before, event, now, after: deepFreeze(graph(after)), events };
    const parked = graph(deepFreeze(toBeParked(after, held, now, PARK_AFTER_MS)));
    // Who parks it or retries it lets it go; somebody takes it over.
    if (parked.token > held && choose(2) === 1) {
      held = parked.token;
      const taken = reduce(parked, { type: "resumed" }, now, plan);
      state = graph(deepFreeze(taken.state));
      yield { document, before: parked, event: { type: "resumed" }, now, after: state, events: taken.events };
    } else state = parked;
  }
}

/** The same state as it is read again. */
function stored(state: Graph): Graph {
  const read = storedJob(state.job_id, 1, packState(state));
  assert.is(read.problem, undefined);
  assert.equal(read.state, state);
  return read.state as Graph;
}

function forEachTransition(check: (seen: Seen) => void, numRuns = 120): void {
  fc.assert(
    fc.property(tape, (numbers) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW });
      for (const seen of history(document, choose, planOf(document.functions))) check(seen);
    }),
    { numRuns, endOnFailure: true, includeErrorInReport: true },
  );
}

// --- the order, by the words of the document

/** What an entry follows directly. */
function followed({ functions }: Submission, index: number): number[] {
  const needs = functions[index]?.needs;
  if (!needs) return Array.from({ length: index }, (_, one) => one);
  return needs.map((need) => functions.findIndex(({ id }) => id === need));
}

const hasEnded = (state: Graph, index: number) => functionAt(state, index).finished_at !== undefined;
const endedOf = (state: Graph) =>
  [...state.functions.map((_, index) => index)].filter((index) => hasEnded(state, index));

test("an entry begins, and ends, only when all that it follows have ended (GRAPH-1)", () => {
  let begun = 0;
  let ended = 0;
  forEachTransition(({ document, after }) => {
    for (const { index } of after.state === "undoing" ? [] : after.live) {
      begun += 1;
      for (const one of followed(document, index)) assert.ok(hasEnded(after, one), `${index} is live before ${one}`);
    }
    for (const index of endedOf(after)) {
      ended += 1;
      for (const one of followed(document, index)) {
        assert.ok(hasEnded(after, one), `${index} has ended before ${one}`);
        assert.ok((functionAt(after, one).rank ?? 0) < (functionAt(after, index).rank ?? 0), "ranks are in order");
      }
    }
  });
  assert.ok(begun > 1_000 && ended > 1_000, `${begun} ${ended}`);
});

test("an entry whose turn has come is live as long as the job is, at once and without an end of its own (GRAPH-1)", () => {
  let met = 0;
  forEachTransition(({ document, after }) => {
    if (isEnded(after) || after.state === "undoing") return;
    const isOpened = after.live.length > 0 || endedOf(after).length > 0;
    if (!isOpened) {
      assert.is(after.state, "scheduled");
      return;
    }
    for (let index = 0; index < after.functions.length; index++) {
      const isTurn = !hasEnded(after, index) && followed(document, index).every((one) => hasEnded(after, one));
      assert.is(
        after.live.some((branch) => branch.index === index),
        isTurn,
        `entry ${index}`,
      );
      if (isTurn) met += 1;
    }
  });
  assert.ok(met > 1_000);
});

test("what has ended never changes, but by a retry by hand, or as it is undone (GRAPH-2, MACHINE-1)", () => {
  let met = 0;
  const withoutUndo = ({ undoing: _undoing, items: _items, ...fn }: FunctionState) => fn;
  forEachTransition(({ before, event, after, events }) => {
    if (event.type === "undo_wanted" && before.state === "completed") {
      assert.is(after.token, before.token + 1);
      return;
    }
    if (event.type === "retried" && isEnded(before) && !retryProblem(before, event)) {
      if (!isEnded(after)) assert.is(after.token, before.token + 1);
      assert.is(events[0]?.type, "retried");
      return;
    }
    if (isEnded(before)) {
      assert.is(after, before);
      assert.equal(events, []);
    }
    for (const index of endedOf(before)) {
      met += 1;
      if (before.state !== "undoing" && after.state !== "undoing")
        assert.is(functionAt(after, index), functionAt(before, index));
      else assert.equal(withoutUndo(functionAt(after, index)), withoutUndo(functionAt(before, index)));
    }
  });
  assert.ok(met > 1_000);
});

test("branches are in order, one at most of an entry, and of none that has ended", () => {
  forEachTransition(({ after }) => {
    for (const [at, branch] of after.live.entries()) {
      const { index, attempt, wait, due_at } = branch;
      if (at > 0) assert.ok((after.live[at - 1]?.index ?? 0) < index);
      const fn = trialOf(after, branch);
      assert.is(fn.finished_at, undefined);
      if (isEnded(after)) continue;
      if (wait === "stopping") assert.is(after.state, "undoing");
      if (isOfItems(after, branch)) {
        const isChild = kindOf(functionAt(after, index)) === "job";
        assert.ok(["items", "worker", "backoff", "stopping"].includes(wait) || (isChild && wait === "child"), wait);
      } else if (isOfChild(after, branch)) assert.ok(["child", "stopping"].includes(wait), wait);
      else {
        assert.ok(attempt === fn.retry_count || attempt === fn.retry_count + 1, "attempts are counted");
        if (isAttempt(after, branch)) assert.ok(["none", "worker", "backoff", "stopping"].includes(wait), wait);
        else assert.ok(["sleep", "signal"].includes(wait), wait);
      }
      if (wait === "backoff" || wait === "sleep" || wait === "worker") assert.ok(due_at !== undefined);
    }
  });
});

test("ended_count, ranks and current_function say what has ended", () => {
  forEachTransition(({ after }) => {
    const ended = endedOf(after);
    assert.is(after.ended_count, ended.length);
    const ranks = ended.map((index) => functionAt(after, index).rank ?? 0).sort((a, b) => a - b);
    assert.equal(
      ranks,
      ranks.map((_, at) => at + 1),
      "each rank is there once",
    );
    const lowest = after.functions.map((_, index) => index).find((index) => !hasEnded(after, index));
    assert.is(after.current_function, lowest ?? after.functions.length - 1);
    if (after.state === "completed") assert.is(lowest, undefined);
    else if (after.outcome === undefined && after.undo === undefined)
      assert.ok(lowest !== undefined || after.state === "cancelled");
    for (const fn of after.functions) assert.is(fn.rank !== undefined, fn.finished_at !== undefined);
  });
});

test("an outcome that is not of a live attempt changes nothing: the same state comes back (MACHINE-2)", () => {
  let met = 0;
  forEachTransition(({ before, event, after, events }) => {
    if (!("attempt" in event)) return;
    const branch = isEnded(before) ? undefined : before.live.find(({ index }) => index === event.index);
    const isOfIt = branch?.attempt === event.attempt && branch.undo === event.undo;
    const isForIt = { items: isOfItems, child_ended: isOfChild }[event.type as string] ?? isAttempt;
    if (isOfIt && isForIt(before, event)) return;
    met += 1;
    assert.is(after, before);
    assert.equal(events, []);
  });
  assert.ok(met > 20, `${met}`);
});

test("a signal is used once, by an entry that waits for it (GRAPH-3)", () => {
  const met = { used: 0, left: 0 };
  forEachTransition(({ before, event, after, events }) => {
    if (event.type !== "signalled") return;
    const name = before.functions.at(event.index)?.wait_for;
    const waits =
      !isEnded(before) &&
      before.state !== "undoing" &&
      before.live.some(({ index, wait }) => index === event.index && wait === "signal");
    if (!waits || name === undefined || event.number <= usedNumber(before, name)) {
      met.left += 1;
      assert.is(after, before);
      return;
    }
    met.used += 1;
    assert.is(usedNumber(after, name), event.number);
    assert.is(events[0]?.type, "signalled");
    assert.not.ok(after.live.some(({ index, wait }) => index === event.index && wait === "signal") && !isEnded(after));
  });
  assert.ok(met.used > 10 && met.left > 10, JSON.stringify(met));
});

test("failures, losses and interruptions never exceed their limits, and a job that has used them up is not run (MACHINE-4)", () => {
  forEachTransition(({ after }) => {
    const trials = [...after.functions].flatMap((fn, index) => [
      { fn, index, undo: undefined },
      ...(fn.undoing ? [{ fn: fn.undoing, index, undo: true as const }] : []),
    ]);
    if (after.failing) trials.push({ fn: after.failing, index: after.functions.length, undo: undefined });
    for (const { fn, index, undo } of trials) {
      assert.ok((fn.lost ?? 0) <= LOST_LIMIT);
      assert.ok((fn.interrupted ?? 0) <= INTERRUPTED_LIMIT);
      const options = fn.handling && typeof fn.on_error === "object" ? fn.on_error.retry_options : fn.retry_options;
      const limit = options?.retry_limit ?? (options?.retry_for_ms === undefined ? 1 : Number.POSITIVE_INFINITY);
      assert.ok((fn.failures ?? 0) <= limit);
      const isLive =
        !isEnded(after) &&
        after.live.some(
          (one) => one.index === index && one.undo === undo && one.wait !== "stopping" && isAttempt(after, one),
        );
      if (isLive) assert.ok((fn.failures ?? 0) < limit && (fn.lost ?? 0) < LOST_LIMIT);
    }
  });
});

test("every live state has a rest that leads on: an attempt, a time, a place, or a signal without an end (MACHINE-6)", () => {
  const met = new Map<string, number>();
  const meet = (what: string) => met.set(what, (met.get(what) ?? 0) + 1);
  forEachTransition(({ after, now }) => {
    if (isEnded(after)) return;
    leadsOn(after, now, meet);
  });
  for (const what of ["attempts", "memory", "parked", "place", "outside", "scheduled", "parked undoing"]) {
    assert.ok((met.get(what) ?? 0) > 0, `${what}: ${met.get(what)}`);
  }
});

function leadsOn(job: Graph & LiveJob, now: number, meet: (what: string) => void): void {
  const held = rest(job, job.token, now);
  assert.is(held.type, "attempts");
  if (held.type !== "attempts") return;
  const { attempts, until } = held;
  assert.equal(
    attempts.map(({ index }) => index),
    job.live.filter(({ wait }) => wait === "none").map(({ index }) => index),
  );
  if (until !== undefined && job.deadline_at !== undefined) assert.ok(until <= job.deadline_at);
  for (const { wait, due_at } of job.live) {
    if (wait !== "none" && due_at !== undefined) assert.ok(until !== undefined && until <= due_at);
  }
  if (attempts.length > 0) meet("attempts");
  else if (job.state === "scheduled") {
    meet("scheduled");
    assert.ok(until !== undefined);
  } else if (until !== undefined) meet("memory");
  else {
    meet("outside");
    const isTold = (branch: Branch) => branch.wait === "signal" || isOfChild(job, branch) || isOfItems(job, branch);
    assert.ok(job.live.some(isTold), "somebody else tells it to go on");
  }
  const parked = toBeParked(job, job.token, now, PARK_AFTER_MS);
  if (parked === job || isEnded(parked)) return;
  meet("parked");
  if (job.state === "undoing") meet("parked undoing");
  assert.is(attempts.length, 0);
  assert.is(parked.token, job.token + 1);
  const how = rest(parked, job.token, now);
  assert.is(how.type, "parked");
  if (how.type !== "parked") return;
  assert.ok(how.until !== undefined, "a graph always has a timer: it looks around itself");
  const waiting = job.live.filter(({ wait }) => wait === "worker");
  assert.is(how.functionNames.length > 0, waiting.length > 0);
  if (waiting.length > 0) meet("place");
}

test("driving everything that is due to its end always ends the job, whatever has happened to it", () => {
  const met = new Map<string, number>();
  fc.assert(
    fc.property(tape, fc.nat(STEPS), (numbers, steps) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW });
      const plan = planOf(document.functions);
      let state = graph(createJob(document, ORIGIN, NOW).state);
      let now = NOW;
      for (const seen of history(document, choose, plan, steps)) ({ after: state, now } = seen);
      state = drivenToEnd(state, now, plan, choose);
      met.set(state.state, (met.get(state.state) ?? 0) + 1);
      if (state.state === "failed") assert.is.not(state.error.code, "corrupt_state");
      if (state.state === "completed") assert.is(viewOf(state).current_function, state.functions.length - 1);
    }),
    { numRuns: 250, endOnFailure: true, includeErrorInReport: true },
  );
  for (const name of ["completed", "failed", "cancelled"]) assert.ok((met.get(name) ?? 0) > 0, `${name} is met`);
});

/** Answers each attempt, lets each wait pass, and sends the signals that nothing else would end. */
function drivenToEnd(begun: Graph, from: number, plan: Plan, choose: Choose): Graph {
  let state = begun;
  let now = from;
  let held = begun.token;
  const step = (event: Event) => {
    state = graph(reduce(state, event, now, plan).state);
  };
  for (let turn = 0; !isEnded(state); turn++) {
    assert.ok(turn < 3_000, "it comes to an end");
    const parked = toBeParked(state, held, now, PARK_AFTER_MS);
    if (isEnded(parked)) break;
    state = graph(parked);
    const how = rest(parked, held, now);
    if (how.type === "parked") {
      held = parked.token;
      if (how.functionNames.length === 0) now = Math.max(now, how.until ?? Number.NaN);
      assert.ok(Number.isFinite(now), "it is woken");
      step({ type: "resumed" });
      if (!isEnded(state)) told(state, step, choose);
      continue;
    }
    assert.is(how.type, "attempts");
    if (how.type !== "attempts") return state;
    const [first] = how.attempts;
    if (first) step(answer(how.attempts[choose(how.attempts.length)] ?? first, choose));
    else if (how.until !== undefined) {
      now = Math.max(now, how.until);
      const before = state;
      step({ type: "due" });
      const next =
        isEnded(state) || toBeParked(state, held, now, PARK_AFTER_MS) !== state ? undefined : rest(state, held, now);
      const isAhead = next?.type === "attempts" && (next.until ?? now) > now;
      assert.ok(
        state !== before || next === undefined || isAhead,
        `nothing is due: ${JSON.stringify([before.state, before.live, next, now])}`,
      );
    } else told(state, step, choose);
  }
  return state;
}

/** What only others can end: a child, the items of an entry, or the next signal for an entry that would wait for ever. */
function told(state: Graph, step: (event: Event) => void, choose: Choose): void {
  const part = state.live.find((branch) => isOfChild(state, branch) || isOfItems(state, branch));
  if (part) {
    step(partEnd(state, part, choose));
    return;
  }
  const waiting = state.live.find(({ wait, due_at }) => wait === "signal" && due_at === undefined);
  if (!waiting) return;
  const name = functionAt(state, waiting.index).wait_for ?? "";
  step({ type: "signalled", index: waiting.index, number: usedNumber(state, name) + 1, payload: { ok: true } });
}

test("a condition is evaluated once in a run, when its turn has come, and not again by take-overs and outcomes (GRAPH-1)", () => {
  let met = 0;
  fc.assert(
    fc.property(tape, (numbers) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW });
      // Each condition is told apart by its text.
      for (const [index, entry] of document.functions.entries()) {
        if (entry.when !== undefined) entry.when = `(${entry.when}) && ${index} >= 0`;
      }
      const counts = new Map<string, number>();
      const expressions = new Expressions();
      const counting = {
        evaluate: (text: string, values: object) => expressions.evaluate(text, values),
        evaluateCondition: (text: string, values: object) => {
          counts.set(text, (counts.get(text) ?? 0) + 1);
          return expressions.evaluateCondition(text, values);
        },
      } as unknown as Expressions;
      const plan = { ...planOf(document.functions), expressions: counting };
      let state: JobState = createJob(
        { ...document, scheduled_at: new Date(NOW + 1).toISOString() },
        ORIGIN,
        NOW,
      ).state;
      let now = NOW;
      for (let step = 0; step < STEPS && !isEnded(state); step++) {
        now += [0, 1, 6_000, 100_000][choose(4)] as number;
        state = reduce(state, happening(graph(state), choose, now), now, plan).state;
      }
      for (const { when } of document.functions) {
        if (when === undefined) continue;
        met += counts.get(when) ?? 0;
        assert.ok((counts.get(when) ?? 0) <= 1, `${when}: ${counts.get(when)} times`);
      }
    }),
    { numRuns: 150, endOnFailure: true, includeErrorInReport: true },
  );
  assert.ok(met > 10);
});

/** Rounds of random histories until each of these events has been told; more than two are rare. */
const MAX_ROUNDS = 20;

test("each transition tells what has happened, and never the end: the state tells it (MACHINE-5)", () => {
  const missing = new Set<string>([
    ...["started", "succeeded", "retrying", "waiting", "retried", "skipped", "signalled", "edited", "late"],
    ...["undoing", "undone", "undo_failed", "item_failed"],
  ]);
  const count = (state: Graph) => [...state.functions].filter((fn) => fn.skipped).length;
  for (let round = 0; round < MAX_ROUNDS && (round === 0 || missing.size > 0); round++) {
    forEachTransition(({ before, after, events }) => {
      assert.not.ok(events.some(isEndEvent));
      if (after === before) assert.equal(events, []);
      const skipped = events.filter(({ type }) => type === "skipped").length;
      assert.ok(count(after) - count(before) <= skipped);
      for (const { type } of events) missing.delete(type);
    });
  }
  assert.equal([...missing], []);
});

test("the machine is a function of its input: what was stored and read goes on as if it never had been", () => {
  forEachTransition(({ before, event, now, after, events }) => {
    assert.ok(same(reduce(stored(before), event, now), { state: stored(after), events }));
    assert.is(viewOf(after).job_id, after.job_id);
  }, 100);
});

test.run();
