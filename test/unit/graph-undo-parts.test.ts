/** Undo of what has parts: children, and the items of a for_each. What children and runners of items do is told by events here. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endEvent } from "../../src/job/events.ts";
import type { ItemsState } from "../../src/job/items-state.ts";
import { reduce } from "../../src/job/machine.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import type { EndedJob, UndoSummary } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { asGraph, Run } from "../support/graph-run.ts";
import { BOOM, ended } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });
const u = (id: string, more: FunctionSpec = {}): FunctionSpec => f(id, { undo: `undo-${id}`, ...more });
const atOnce = { needs: [] };
/** One that has something to undo. */
const job = { functions: [{ name: "g", undo: "undo-g" }] };
const child = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, job, ...more });
const COMPLETED = { state: "completed", result: 1 } as const;
const FAILED = { state: "failed", error: BOOM } as const;
const undoneWith = (undo?: UndoSummary) => ({ ...COMPLETED, ...(undo && { undo }) });

// --- children

test("a child that completed is asked to undo itself, in a run of its own, in its place of the order", () => {
  const run = new Run([u("a"), child("b"), u("c"), f("d")]).done(0).childEnds(1, COMPLETED).done(2).fails(3).done(2);
  assert.equal(run.waits, ["undo 1 child"]);
  assert.equal(run.attempt(1), { index: 1, attempt: 2, undo: true });
  run.childEnds(1, undoneWith({ state: "done", undone: 1, failed: 0, not_undone: 0 }));
  assert.equal(run.told, ["undone"]);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.done(0).undone, "undone undone undone -");
});

test("a child that had nothing to undo counts as undone; one that could not, or did not want to, as not", () => {
  const begun = () => new Run([child("a"), f("b")]).childEnds(0, COMPLETED).fails(1);
  assert.is(begun().childEnds(0, undoneWith()).state.undo?.undone, 1);
  for (const state of ["failed", "skipped"] as const) {
    const run = begun().childEnds(0, undoneWith({ state, undone: 1, failed: 1, not_undone: 1 }));
    assert.is(run.state.undo?.failed, 1);
    assert.match(run.fn(0).undoing?.error?.message ?? "", /2 of its entries are not undone/);
    assert.is(viewOf(run.state).functions[0]?.undo_run?.state, "failed");
  }
  assert.is(begun().childEnds(0, FAILED).undone, "failed -");
});

test("a child of which it is known that it has nothing to undo is not asked", () => {
  const plain = { functions: [{ name: "g" }, { job: { functions: [{ name: "g" }] } }] };
  const run = new Run([child("a", { job: plain }), f("b")]).childEnds(0, COMPLETED).fails(1);
  assert.is(run.state.state, "failed");
  const made = new Run([f("plan"), child("a", { job: { $: "results.plan" } }), f("b")]).done(0);
  assert.equal(
    made.childEnds(1, COMPLETED).fails(2).waits,
    ["undo 1 child"],
    "of one that a worker made it is not known",
  );
});

test("an undo at the entry of a child takes the place of its own", () => {
  const run = new Run([child("a", { undo: "undo-all" }), f("b")]).childEnds(0, COMPLETED).fails(1);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.fn(0).undoing?.name, "undo-all");
  assert.is(run.done(0).undone, "undone -");
});

test("a parent waits until live children have ended, their undo included, before anything is undone", () => {
  const run = new Run([u("a", atOnce), child("b", atOnce), child("c", atOnce)]).done(0).cancel();
  assert.equal(run.waits, ["1 stopping", "2 stopping"]);
  assert.is(run.branch(1)?.due_at, undefined, "as long as it takes");
  assert.equal(run.resume().due(1_000_000).waits, ["1 stopping", "2 stopping"]);
  run.childEnds(1, { state: "cancelled", error: BOOM });
  assert.equal(run.waits, ["2 stopping"]);
  run.childEnds(2, COMPLETED); // it was quicker: it has to be undone
  assert.equal(run.waits, ["undo 2 child"]);
  assert.equal(run.childEnds(2, undoneWith()).waits, ["undo 0 none"]);
  assert.is(run.done(0).state.state, "cancelled");
});

test("a child that failed has undone itself: the parent does nothing more about it, and goes on with the others", () => {
  const run = new Run([u("a"), child("b", { undo: "undo-all" })]).done(0).childEnds(1, FAILED);
  assert.equal(run.waits, ["undo 0 none"]);
  const event = endEvent(ended(run.done(0).state));
  assert.is(event.type === "failed" && event.id, "b");
});

test("with skip a parent still ends after its children", () => {
  const stopping = new Run([u("a", atOnce), child("b", atOnce), u("c", atOnce)]).done(0).cancel().cancel("skip");
  assert.equal(stopping.waits, ["1 stopping"]);
  assert.is(stopping.state.outcome?.skip, true);
  assert.is(stopping.childEnds(1, { state: "cancelled", error: BOOM }).state.state, "cancelled");
  assert.equal(stopping.state.undo, { state: "skipped", undone: 0, failed: 0, not_undone: 2 });
  const undoing = new Run([child("a"), f("b")]).childEnds(0, COMPLETED).fails(1).cancel("skip");
  assert.equal(undoing.waits, ["undo 0 child"]);
  undoing.childEnds(0, undoneWith({ state: "skipped", undone: 0, failed: 0, not_undone: 1 }));
  assert.is(undoing.state.state, "failed");
  const atOnceSkipped = new Run([child("a", atOnce), u("b", atOnce)]).done(1).cancel("skip");
  assert.equal(atOnceSkipped.waits, ["0 stopping"]);
});

test("a completed job that is told to undo itself does, and is completed again with what has become of it", () => {
  const run = new Run([u("a"), f("b", { undo: { name: "undo-b", retry_options: { retry_limit: 1 } } })])
    .done(0)
    .done(1, 7);
  const { token } = run.state;
  run.on({ type: "undo_wanted" });
  assert.is(run.state.state, "undoing");
  assert.is(run.state.token, token + 1, "its token is gone: it goes on with the next one");
  assert.is(run.state.retries, 1, "it is another run");
  assert.equal(run.resume().waits, ["undo 1 none"]);
  run.fails(1).done(0);
  assert.is(run.state.state, "completed");
  assert.equal(run.state.undo, { state: "failed", undone: 1, failed: 1, not_undone: 0 });
  assert.is(viewOf(run.state).result, 7);
  const event = endEvent(ended(run.state));
  assert.equal(event.type === "completed" && [event.run, event.result], [2, 7]);
  // Asked once more, it tries what could not be undone, and nothing else.
  run.on({ type: "undo_wanted" });
  assert.equal(run.waits, ["undo 1 none"]);
  assert.is(run.state.undo, undefined);
  assert.is(run.done(1).state.undo?.undone, 2);
  assert.is(run.on({ type: "undo_wanted" }).state.state, "completed", "nothing is left");
});

test("only a job that has completed can be told to undo itself", () => {
  const failed = new Run([u("a"), f("b")]).done(0).fails(1).done(0);
  const before = failed.state;
  assert.is(failed.on({ type: "undo_wanted" }).state, before);
  const running = new Run([u("a")]);
  const begun = running.state;
  assert.is(running.on({ type: "undo_wanted" }).state, begun);
  const plain = new Run([f("a")]).done(0).on({ type: "undo_wanted" });
  assert.is(plain.state.state, "completed");
  assert.is(plain.state.undo, undefined);
});

test("a completed child whose undo cannot be stored any further has failed", () => {
  const run = new Run([u("a")]).done(0).on({ type: "undo_wanted" }).on({ type: "unstorable", why: "too large" });
  assert.is(run.code, "payload_too_large");
  assert.is(run.state.undo?.state, "failed");
});

test("the end of an earlier run of a child, or of its work, is not taken for that of its undo", () => {
  const run = new Run([child("a"), f("b")]).childEnds(0, COMPLETED).fails(1);
  const before = run.state;
  const outcome = undoneWith();
  assert.is(run.on({ type: "child_ended", index: 0, attempt: 1, undo: true, outcome }).state, before);
  assert.is(run.on({ type: "child_ended", index: 0, attempt: 2, outcome }).state, before);
  run.childEnds(0, FAILED).retry().fails(1);
  assert.equal(run.attempt(0), { index: 0, attempt: 3, undo: true }, "it is asked in another run");
});

// --- items

const each = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", for_each: 5, ...more });
const begun = (items: ItemsState | undefined, more: Partial<ItemsState> = {}): ItemsState => ({
  ...(items as ItemsState),
  ...{ next: 1, open: [0], ...more },
});
/** Its items have begun. */
function opened(run: Run, index: number): Run {
  return run.items(index, { items: begun(run.fn(index).items) });
}
/** All of them have completed. */
function completed(run: Run, index: number): Run {
  const items = begun(run.fn(index).items, { open: [], done: 5 });
  return run.items(index, { items, end: { result: [1, 2, 3, 4, 5] } });
}

test("items are undone by those who see to them, in the place of the entry in the order", () => {
  const run = completed(new Run([u("a"), each("b", { undo: "undo-b" }), f("c")]).done(0), 1).fails(2);
  assert.equal(run.waits, ["undo 1 items"]);
  assert.equal(run.attempt(1), { index: 1, attempt: 1, undo: true });
  run.items(1, { wait: { type: "worker" } });
  assert.equal(run.waits, ["undo 1 worker"]);
  assert.equal(run.resume().waits, ["undo 1 items"]);
  run.items(1, { wait: { type: "backoff", due_at: run.now + 60_000 } });
  assert.equal(run.resume().waits, ["undo 1 backoff"]);
  assert.equal(run.due(60_000).waits, ["undo 1 items"]);
  run.items(1, { undone: { failed: 0 } });
  assert.equal(run.told, ["undone"]);
  assert.is(run.done(0).undone, "undone undone -");
});

test("items that could not be undone are a failed undo of the entry, and keep no other from being done", () => {
  const run = completed(new Run([u("a"), each("b", { undo: "undo-b" }), f("c")]).done(0), 1).fails(2);
  run.items(1, { undone: { failed: 2, error: BOOM } });
  assert.equal(run.told, ["undo_failed"]);
  assert.match(run.fn(1).undoing?.error?.message ?? "", /2 items could not be undone, the last one: boom/);
  assert.is(run.done(0).state.undo?.state, "failed");
});

test("items that are under way stop before anything is undone; then those are undone that have completed, or may have", () => {
  const run = opened(new Run([u("a", atOnce), each("b", { undo: "undo-b", ...atOnce })]), 1)
    .done(0)
    .cancel();
  assert.equal(run.waits, ["1 stopping"]);
  run.items(1, { items: begun(run.fn(1).items, { done: 2 }) });
  assert.equal(run.waits, ["1 stopping"]);
  assert.equal(run.resume().due(1_000_000).waits, ["1 stopping"], "they say themselves when they have stopped");
  run.items(1, { stopped: true });
  assert.equal(run.waits, ["undo 1 items"]);
  assert.equal(run.items(1, { undone: { failed: 0 } }).waits, ["undo 0 none"]);
});

test("too many failed items fail the job: those that run stop, and those that completed are undone", () => {
  const run = opened(new Run([each("a", { undo: "undo-a" })]), 0);
  run.items(0, { items: begun(run.fn(0).items, { done: 2, failed: 1 }), end: { error: BOOM } });
  assert.equal(run.waits, ["0 stopping"]);
  run.items(0, { stopped: true }).items(0, { undone: { failed: 0 } });
  assert.is(run.state.state, "failed");
  assert.is(run.undone, "undone");
});

test("items of which none has begun, or that have no undo, are not undone", () => {
  assert.is(new Run([each("a", { undo: "undo-a" })]).cancel().items(0, { stopped: true }).state.state, "cancelled");
  assert.is(opened(new Run([each("a")]), 0).cancel().state.state, "cancelled");
  const none = new Run([each("a", { for_each: 0, undo: "undo-a" }), f("b")]).fails(1);
  assert.is(none.state.state, "failed");
});

test("children of items are waited for, and undo themselves where the entry has no undo", () => {
  const entry: FunctionSpec = { id: "a", for_each: 5, job };
  const run = opened(new Run([entry]), 0);
  run.items(0, { wait: { type: "child" } }).cancel();
  assert.equal(run.waits, ["0 stopping"]);
  assert.equal(run.cancel("skip").waits, ["0 stopping"], "also with skip");
  const whole = completed(opened(new Run([entry, f("b")]), 0), 0).fails(1);
  assert.equal(whole.waits, ["undo 0 items"]);
  assert.equal(whole.items(0, { wait: { type: "child" } }).waits, ["undo 0 child"]);
  assert.is(whole.items(0, { undone: { failed: 0 } }).undone, "undone -");
});

test("what is told of items after all that is over changes nothing", () => {
  const run = completed(new Run([each("b", { undo: "undo-b" }), f("c")]), 0).fails(1);
  const before = run.state;
  const items = run.fn(0).items as ItemsState;
  const stale = { type: "items", index: 0, attempt: 1, report: { items, stopped: true } } as const;
  assert.is(asGraph(reduce(before, stale, run.now).state), before);
  const over = run.items(0, { undone: { failed: 0 } }).state as EndedJob;
  assert.is(reduce(over, { ...stale, undo: true }, run.now).state, over);
});

test.run();
