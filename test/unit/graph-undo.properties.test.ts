/**
 * The invariants of undo under random documents and random histories (`graph-undo.ts`): what is undone, in which order, once, and never
 * while its attempt may still answer; a parent ends after its children. What has been done is followed here by what has happened, not by
 * what the record says.
 */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { kindOf } from "../../src/job/function-state.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import { soundnessProblem } from "../../src/job/sound.ts";
import { type Branch, functionAt, type Graph, isEnded, isGraph, type JobState } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { chooseFrom, graphDocument, tape } from "../support/graph-documents.ts";
import { happening, isOfChild, isOfItems } from "../support/graph-happenings.ts";
import { deepFreeze, NOW, ORIGIN } from "./support.ts";

const STEPS = 60;

interface Seen {
  before: Graph;
  event: Event;
  after: Graph;
  now: number;
}

function graph(state: JobState): Graph {
  assert.ok(isGraph(state), "it is a graph");
  return deepFreeze(state as Graph);
}

function forEachHistory(check: (seen: readonly Seen[]) => void, numRuns = 150): void {
  fc.assert(
    fc.property(tape, (numbers) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW });
      const plan = planOf(document.functions);
      let now = NOW;
      let state = graph(createJob(document, ORIGIN, now).state);
      const seen: Seen[] = [];
      for (let step = 0; step < STEPS; step++) {
        now += [0, 0, 1, 1_000, 11_000, 100_000][choose(6)] as number;
        const event = happening(state, choose, now);
        const after = graph(reduce(state, event, now, plan).state);
        seen.push({ before: state, event, after, now });
        state = after;
      }
      check(seen);
    }),
    { numRuns, endOnFailure: true, includeErrorInReport: true },
  );
}

const indexesOf = (state: Graph) => [...state.functions.map((_, index) => index)];
const undoneBy = (state: Graph, index: number) => functionAt(state, index).undoing;
/** Those of which the undo begins with this step. */
const beginning = ({ before, after }: Seen) =>
  indexesOf(after).filter((index) => undoneBy(after, index) && !undoneBy(before, index));
/** It cannot be kept any longer, and ends as it stands. */
const isBrokenOff = ({ type }: Event) => type === "unstorable" || type === "refused" || type === "retried";

test("the undo of an entry begins once, alone, and when nothing that was told to stop may still answer (UNDO-1)", () => {
  let met = 0;
  forEachHistory((history) => {
    for (const seen of history) {
      const { before, after } = seen;
      const begun = beginning(seen);
      assert.ok(begun.length <= 1, "one at a time");
      if (before.state === "undoing" && after.state === "undoing") {
        for (const index of indexesOf(after)) {
          const [was, is] = [undoneBy(before, index), undoneBy(after, index)];
          if (was) assert.ok(is, "an undo is not forgotten while the job undoes");
          if (was?.finished_at !== undefined || was?.given_up) assert.is(is, was, "what has come to its end stays so");
        }
      }
      for (const index of begun) {
        met += 1;
        assert.is(after.state, "undoing");
        assert.equal(
          after.live.map((branch) => [branch.index, branch.undo]),
          [[index, true]],
        );
      }
    }
  });
  assert.ok(met > 20, `${met}`);
});

test("undos begin in reverse order of completion; what may have been done comes before all that was (UNDO-2)", () => {
  let met = 0;
  const rankOf = (state: Graph, index: number) => {
    const fn = functionAt(state, index);
    return fn.uncertain || fn.finished_at === undefined ? [1, index] : [0, fn.rank ?? 0];
  };
  forEachHistory((history) => {
    let last: number[] | undefined;
    for (const seen of history) {
      if (seen.before.state !== "undoing") last = undefined;
      for (const index of beginning(seen)) {
        const rank = rankOf(seen.after, index);
        if (last) {
          met += 1;
          const isBefore = (last[0] as number) > (rank[0] as number);
          assert.ok(isBefore || (last[0] === rank[0] && (last[1] as number) > (rank[1] as number)), `${last} ${rank}`);
        }
        last = rank;
      }
    }
  }, 300);
  assert.ok(met > 3, `${met}`);
});

test("what has completed is undone, what was skipped is not, and what did not complete only if an attempt went unanswered", () => {
  const met = { completed: 0, uncertain: 0, not: 0 };
  forEachHistory((history) => {
    /** Entries of which something may be under way, or was left without an answer. */
    let unanswered = new Set<number>();
    for (const { before, event, after } of history) {
      if (after !== before) follow(unanswered, before, event);
      if (isEnded(before)) {
        // Retried by hand: what follows is another story for those that are run again.
        if (after !== before)
          unanswered = new Set([...unanswered].filter((index) => after.functions.at(index)?.uncertain));
        continue;
      }
      if (!isEnded(after) || before.state !== "undoing" || before.outcome?.skip || isBrokenOff(event)) continue;
      if (event.type === "cancelled") continue; // with skip
      for (const index of indexesOf(after)) {
        const fn = functionAt(after, index);
        if (fn.for_each !== undefined || fn.undo === undefined) continue;
        const isUndone = fn.undoing?.finished_at !== undefined || fn.undoing?.given_up === true;
        if (fn.skipped) assert.not.ok(isUndone, "it was skipped");
        else if (fn.finished_at !== undefined && (!fn.caught || fn.handling)) {
          met.completed += 1;
          assert.ok(isUndone, `entry ${index} completed`);
        } else if (isUndone) {
          met.uncertain += 1;
          assert.ok(unanswered.has(index), `entry ${index} has always answered, and is undone`);
        } else met.not += 1;
      }
    }
  });
  assert.ok(met.completed > 5 && met.uncertain > 2 && met.not > 2, JSON.stringify(met));
});

/** Notes the entries of which an attempt may have ended unanswered by that event. */
function follow(unanswered: Set<number>, before: Graph, event: Event): void {
  if (isEnded(before)) return;
  const live = (index: number): Branch | undefined =>
    before.live.find((branch) => branch.index === index && !branch.undo);
  if (event.type === "lost") unanswered.add(event.index);
  else if (event.type === "failed") {
    if (event.interrupted || event.error.code === "attempt_timeout") unanswered.add(event.index);
  } else if (event.type === "succeeded") {
    if (functionAt({ ...before }, Math.min(event.index, before.functions.length - 1)).expect !== undefined)
      unanswered.add(event.index);
  } else if (event.type === "resumed" || event.type === "due" || event.type === "cancelled") {
    for (const index of indexesOf(before)) {
      const wait = live(index)?.wait;
      const mayBeSilent = event.type === "due" ? wait === "stopping" : wait === "none" || wait === "stopping";
      if (mayBeSilent) unanswered.add(index);
    }
  }
}

test("an attempt of an entry with an undo that ended without an answer is undone, unless one completes (UNDO-1)", () => {
  let met = 0;
  forEachHistory((history) => {
    for (const { before, event, after } of history) {
      if (event.type !== "lost" || event.undo || isEnded(before) || after === before) continue;
      const fn = functionAt(before, Math.min(event.index, before.functions.length - 1));
      if (event.index >= before.functions.length || fn.undo === undefined || fn.items) continue;
      met += 1;
      assert.is(functionAt(after, event.index).uncertain, true);
    }
  }, 300);
  assert.ok(met > 3, `${met}`);
});

test("a job ends after its children, and after their undo (UNDO-3)", () => {
  let met = 0;
  forEachHistory((history) => {
    for (const { before, event, after } of history) {
      if (isEnded(before) || !isEnded(after) || isBrokenOff(event)) continue;
      for (const branch of before.live) {
        const isChild =
          isOfChild(before, branch) ||
          (isOfItems(before, branch) && kindOf(functionAt(before, branch.index)) === "job");
        if (
          !isChild ||
          (isOfItems(before, branch) && branch.undo && functionAt(before, branch.index).undo !== undefined)
        )
          continue;
        // One that was retried by hand, and that nobody has had since, has not begun.
        if (before.state === "pending" && before.retries !== undefined) continue;
        met += 1;
        assert.ok(
          "index" in event && event.index === branch.index,
          `a child of ${branch.index} is live: ${event.type}`,
        );
      }
    }
  }, 300);
  assert.ok(met > 3, `${met}`);
});

test("what went wrong with one undo keeps none from being begun, nor the job from its end (UNDO-4)", () => {
  let met = 0;
  forEachHistory((history) => {
    for (const { before, after } of history) {
      if (before.state !== "undoing" || !isEnded(after)) continue;
      met += 1;
      const { state, error } = before.outcome ?? {};
      if (after.state !== state) assert.is(after.undo?.state, "failed", "a completed one that could not be kept");
      else if (after.state === "failed") assert.equal(after.error, error);
      assert.is(after.outcome, undefined);
      assert.is(after.halted, undefined);
    }
  });
  assert.ok(met > 20, `${met}`);
});

test("all that the machine makes is sound", () => {
  let met = 0;
  forEachHistory((history) => {
    for (const { after } of history) {
      if (isEnded(after)) continue;
      if (after.state === "undoing") met += 1;
      assert.is(soundnessProblem(after), undefined, JSON.stringify(after.live));
    }
  });
  assert.ok(met > 100, `${met}`);
});

test.run();
