/** Retries by hand of jobs that have undone what they did, or have left it as it was. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { retryProblem } from "../../src/job/graph-retry.ts";
import { inputOf } from "../../src/job/input.ts";
import { planOf } from "../../src/job/plan.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { Run } from "../support/graph-run.ts";
import { ended, NOW } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });
const u = (id: string, more: FunctionSpec = {}): FunctionSpec => f(id, { undo: `undo-${id}`, ...more });
const atOnce = { needs: [] };
const problem = (run: Run, patch: RetryPatch = {}) => retryProblem(ended(run.state), patch)?.code;
const keyOf = (run: Run, index: number) =>
  inputOf(run.state, run.attempt(index), planOf(run.state.functions)).idempotency_key;

/** `a` and `b` are done, `c` is by itself, and `d` fails. */
const failed = (more: object = {}) =>
  new Run([u("a"), f("b"), f("c", { needs: [] }), f("d", { needs: ["b"] })], more).done(2).done(0).done(1).fails(3);

test("after a complete undo, what was undone and all that follows it runs again, under other keys", () => {
  const run = failed().done(0);
  assert.is(run.state.state, "failed");
  assert.is(problem(run), undefined, "no force is needed");
  run.retry();
  assert.is(run.state.state, "pending");
  assert.equal(run.live, [0]);
  assert.is(run.state.undo, undefined);
  assert.is(run.state.outcome, undefined);
  assert.is(run.state.halted, undefined);
  assert.is(run.undone, "- - - -");
  assert.is(run.fn(2).finished_at, NOW, "what is apart from it stays done");
  run.resume();
  assert.is(keyOf(run, 0), "job-1/0/r1");
  run.done(0);
  assert.is(keyOf(run, 1), "job-1/1/r1");
  run.done(1);
  assert.is(keyOf(run, 3), "job-1/3/r1");
  assert.is(run.done(3).state.state, "completed");
});

test("what is run again and fails again is undone again, with another key", () => {
  const run = failed().done(0).retry().resume().done(0).fails(1);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(keyOf(run, 0), "job-1/0/r1/undo");
  assert.equal(run.attempt(0), { index: 0, attempt: 1, undo: true });
  run.done(0);
  assert.is(run.state.state, "failed");
  assert.is(run.undone, "undone - - -");
});

test("an undo that was skipped leaves all as it was: the job goes on where it failed, and may undo later", () => {
  const run = failed().cancel("skip");
  assert.is(problem(run), undefined);
  run.retry().resume();
  assert.equal(run.live, [3]);
  assert.is(keyOf(run, 3), undefined, "it keeps its key");
  run.fails(3);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(keyOf(run, 0), "job-1/0/undo");
  assert.is(run.done(0).state.undo?.state, "done");
});

test("an undo that failed for good leaves its entry done, and is tried again when the job fails once more", () => {
  const run = failed().fails(0);
  assert.is(run.state.undo?.state, "failed");
  assert.is(problem(run), undefined);
  run.retry().resume();
  assert.equal(run.live, [3]);
  assert.is(run.undone, "- - - -");
  assert.equal(run.fails(3).waits, ["undo 0 none"]);
  assert.is(run.done(0).state.undo?.state, "done");
});

test("what follows an undone entry is not run again unless it is undone, too, or forced", () => {
  const run = new Run([u("a"), u("b"), f("c")]).done(0).done(1).fails(2).fails(1).done(0);
  assert.is(run.undone, "undone failed -");
  assert.is(problem(run), "undo_first");
  assert.is(problem(run, { force: true }), undefined);
  const before = run.state;
  assert.is(run.retry().state, before);
  assert.equal(run.retry({ force: true }).live, [0]);
  assert.is(run.fn(1).runs, 1);
});

test("from an entry that is not undone is refused, unless forced, or there is nothing to undo", () => {
  const completed = new Run([u("a"), f("b")]).done(0).done(1);
  assert.is(problem(completed, { from: "a" }), "undo_first");
  assert.is(problem(completed, { from: "b" }), undefined);
  assert.is(problem(completed, { from: "a", force: true }), undefined);
  assert.equal(completed.retry({ from: "a", force: true }).live, [0]);
  const undone = failed().done(0);
  assert.is(problem(undone, { from: "a" }), undefined);
  const skipped = failed().cancel("skip");
  assert.is(problem(skipped, { from: "a" }), "undo_first");
});

test("an entry that may have been done and was not undone is not run again without force", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).cancel("skip");
  assert.is(run.fn(0).uncertain, true);
  assert.is(problem(run), undefined, "its attempts go on, with the same key");
  assert.is(problem(run, { from: "a" }), "undo_first");
  run.retry().resume();
  assert.equal(run.live, [0, 1]);
  assert.is(keyOf(run, 0), undefined);
  assert.is(run.done(0).fn(0).uncertain, undefined);
});

test("an uncertain entry that was undone is run again anew, although it had never ended", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).lost(0).done(0);
  assert.is(run.undone, "undone -");
  run.retry().resume();
  assert.equal(run.live, [0, 1]);
  assert.is(run.fn(0).uncertain, undefined);
  assert.is(keyOf(run, 0), "job-1/0/r1");
  assert.equal(run.attempt(0), { index: 0, attempt: 2 }, "its attempts go on being counted");
});

test("what was retried by hand, and nobody has had since, has nothing under way: a cancel or a failure does not wait for it", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(0).retry();
  assert.is(run.state.state, "pending");
  assert.is(run.cancel().state.state, "cancelled");
  const taken = new Run([u("a", atOnce), f("b", atOnce)]).fails(0).retry().resume();
  assert.is(taken.fn(0).uncertain, undefined, "who takes it is the first");
  assert.equal(taken.cancel().waits, ["0 stopping"]);
  assert.is(taken.resume().fn(0).uncertain, true);
});

test("an entry that completed while the job was told to stop stays done", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce), f("c", { needs: ["a"] })]).cancel().done(0, "A").cancel("skip");
  assert.is(run.state.state, "cancelled");
  run.retry().resume();
  assert.equal(run.live, [1, 2]);
  assert.is(run.fn(0).result, "A");
});

test("on_failure is called again when the job fails again, under another key", () => {
  const run = failed({ on_failure: "alert" }).done(0).done(4);
  assert.is(run.state.failing?.finished_at, NOW);
  run.retry().resume();
  assert.is(run.state.failing, undefined);
  run.done(0).fails(1).done(0);
  assert.equal(run.waits, ["4 none"]);
  assert.is(keyOf(run, 4), "job-1/on_failure/r1");
});

test("args may be changed by id for what is run again", () => {
  const run = failed().done(0);
  assert.is(problem(run, { args_by_id: { b: [2] } }), undefined);
  assert.is(problem(run, { args_by_id: { c: [2] } }), "invalid_request");
  run.retry({ args_by_id: { a: [1], b: [2] } });
  assert.equal([run.fn(0).args, run.fn(1).args], [[1], [2]]);
  assert.equal([run.fn(0).runs, run.fn(1).runs], [1, 1]);
});

test("a job that fails again as soon as it is retried begins to undo at once", () => {
  const run = new Run([u("a", atOnce), f("b", { ...atOnce, when: "data.x" })]);
  assert.is(run.state.state, "undoing", "nobody has got a, as its actor will say");
  run.unsent(0);
  assert.is(run.state.state, "failed");
  run.retry();
  assert.is(run.state.state, "failed", "and nobody has it now");
  const done = new Run([u("a"), f("b", { when: "data.x" })]).done(0).cancel("skip").retry();
  assert.is(done.state.state, "undoing");
  assert.equal(done.waits, ["undo 0 none"]);
});

// --- failed items

const each: FunctionSpec = { id: "e", name: "f", for_each: 4, tolerate: 2 };

test("failed items are done again, with what follows from them, and those that completed are not", () => {
  const run = new Run([each, f("b")]);
  const begun = { run: 1, list: 1, count: 4, next: 1, open: [], done: 3, failed: 1 };
  run.items(0, { items: begun, end: { result: [1, 2, 3, null] } }).done(1);
  assert.is(run.state.state, "completed");
  assert.is(problem(run), "job_ended");
  assert.is(problem(run, { failed: true }), undefined);
  run.retry({ failed: true }).resume();
  assert.equal(run.waits, ["0 items"]);
  assert.equal(run.fn(0).items, { run: 2, list: 1, count: 4, next: 0, open: [], done: 0, failed: 0, reached: 1 });
  assert.is(run.fn(0).runs, undefined, "the items keep their keys");
  assert.is(run.fn(1).finished_at, undefined);
  run.items(0, { items: { ...begun, run: 2, done: 4, failed: 0 }, end: { result: [1, 2, 3, 4] } });
  assert.is(keyOf(run, 1), "job-1/1/r1");
});

test("items that were undone are all done again, as other ones", () => {
  const run = new Run([{ ...each, undo: "undo-e" }, f("b")]);
  const all = { run: 1, list: 1, count: 4, next: 1, open: [], done: 4, failed: 0 };
  run
    .items(0, { items: all, end: { result: [1, 2, 3, 4] } })
    .fails(1)
    .items(0, { undone: { failed: 0 } });
  assert.is(run.state.undo?.undone, 1);
  run.retry({ failed: true }).resume();
  assert.equal(run.waits, ["0 items"]);
  assert.is(run.fn(0).runs, 1);
  assert.equal(run.fn(0).items, { run: 1, list: 1, count: 4, next: 0, open: [], done: 0, failed: 0 });
});

// --- children

test("a child that failed is retried under its number, and one that was undone is another one", () => {
  const job = { functions: [{ name: "g", undo: "undo-g" }] };
  const retried = new Run([{ id: "a", job }])
    .childEnds(0, { state: "failed", error: TIMEOUT_OF_CHILD })
    .retry()
    .resume();
  assert.equal(retried.waits, ["0 child"]);
  assert.equal(retried.attempt(0), { index: 0, attempt: 2 });
  assert.is(retried.fn(0).runs, undefined);
  const undone = new Run([{ id: "a", job }, f("b")]).childEnds(0, { state: "completed", result: 1 }).fails(1);
  undone.childEnds(0, { state: "completed", result: 1, undo: { state: "done", undone: 1, failed: 0, not_undone: 0 } });
  undone.retry().resume();
  assert.is(undone.fn(0).runs, 1);
  assert.equal(undone.attempt(0), { index: 0, attempt: 1 }, "its runs are counted from 1");
});

test("a child is waited for also where nobody has stored the job since its retry: who takes it over begins that first", () => {
  const run = new Run([{ id: "a", job: { functions: [{ name: "g" }] } }])
    .childEnds(0, { state: "failed", error: TIMEOUT_OF_CHILD })
    .retry();
  assert.is(run.state.state, "pending");
  assert.equal(run.cancel().waits, ["0 stopping"]);
  assert.is(run.childEnds(0, { state: "cancelled", error: TIMEOUT_OF_CHILD }).state.state, "cancelled");
});

const TIMEOUT_OF_CHILD = { code: "child_failed", name: "ChildFailed", message: "it took too long" } as const;

test.run();
