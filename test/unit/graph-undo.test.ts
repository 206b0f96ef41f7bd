/** Undo (JOB-MODEL: undo, undoing, on_failure), rule by rule. Retries after it are in graph-undo-retry.test.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endEvent } from "../../src/job/events.ts";
import { unheard } from "../../src/job/graph.ts";
import { STOP_MS } from "../../src/job/graph-undo.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { type Graph, isEnded, type LiveJob } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { Run, TIMEOUT } from "../support/graph-run.ts";
import { BOOM, ended, NOW } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });
/** With an undo. */
const u = (id: string, more: FunctionSpec = {}): FunctionSpec => f(id, { undo: `undo-${id}`, ...more });
const atOnce = { needs: [] };

/** Three that are done, and one that fails: the third is the first to be undone. */
const saga = (more: object = {}) => new Run([u("a"), u("b"), u("c"), f("d")], more).done(0, "A").done(1, "B").done(2);

// --- what is undone, and when

test("what completed is undone in reverse order of completion, one after the other", () => {
  const run = new Run([u("a", atOnce), u("b", atOnce), u("c", atOnce), f("d")]).done(1).done(2).done(0).fails(3);
  assert.is(run.state.state, "undoing");
  assert.equal(run.waits, ["undo 0 none"]);
  assert.equal(run.done(0).waits, ["undo 2 none"]);
  assert.equal(run.done(2).waits, ["undo 1 none"]);
  run.done(1);
  assert.is(run.state.state, "failed");
  assert.equal(run.state.undo, { state: "done", undone: 3, failed: 0, not_undone: 0 });
  assert.equal(run.log, ["undoing", "undone 0", "undone 2", "undone 1"]);
  assert.equal(run.state.state === "failed" && run.state.error, BOOM);
});

test("a job that has nothing to undo ends at once, as ever", () => {
  const run = new Run([f("a"), u("b")]).fails(0);
  assert.is(run.state.state, "failed");
  assert.is(run.state.undo, undefined);
  assert.equal(run.log, []);
  assert.is(new Run([f("a"), u("b")]).cancel().state.state, "cancelled");
});

test("a cancel undoes what was done, and the job is cancelled then", () => {
  const run = saga().cancel();
  assert.is(run.state.state, "undoing");
  assert.equal(run.last.events[0]?.type === "undoing" && run.last.events[0].because, "cancelled");
  run.done(2).done(1).done(0);
  assert.is(run.state.state, "cancelled");
  assert.is(run.state.undo?.undone, 3);
});

test("an attempt that answered with an error is not undone, and is not waited for", () => {
  const run = new Run([u("a"), u("b")]).done(0).fails(1);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.done(0).undone, "undone -");
  assert.equal(new Run([u("a")]).fails(0).state.state, "failed");
});

test("skipped entries are not undone", () => {
  const run = new Run([u("a", { when: "false" }), u("b"), f("c")]).done(1).fails(2).done(1);
  assert.is(run.state.state, "failed");
  assert.is(run.undone, "- undone -");
});

test("an entry that was passed over is not undone, unless it may have been done", () => {
  const failed = new Run([u("a", { on_error: "continue" }), f("b")]).fails(0).fails(1);
  assert.is(failed.state.state, "failed");
  const unanswered = new Run([u("a", { on_error: "continue" }), f("b")]).timesOut(0).fails(1);
  assert.equal(unanswered.waits, ["undo 0 none"]);
  assert.is(unanswered.done(0).undone, "undone -");
});

test("an entry that another function has done in its place is undone", () => {
  const run = new Run([u("a", { on_error: { name: "fallback" } }), f("b")]).fails(0).done(0, "instead").fails(1);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.done(0).state.state, "failed");
});

test("a signal that was taken is undone as a function is", () => {
  const run = new Run([{ id: "a", wait_for: "go", undo: "take-back" }, f("b")]).signal(0, 1, { ok: true }).fails(1);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.fn(0).undoing?.name, "take-back");
  assert.is(run.done(0).state.state, "failed");
  // One that has not come is not waited for any longer.
  assert.is(new Run([{ id: "a", wait_for: "go", undo: "take-back" }]).cancel().state.state, "cancelled");
});

test("what waits for a backoff, a worker, a signal or its time is left where it is", () => {
  const run = new Run([
    u("a", { ...atOnce, retry_options: { retry_limit: 3 } }),
    u("b", atOnce),
    { sleep_ms: 9, needs: [] },
    { wait_for: "go", needs: [] },
    f("e", atOnce),
  ]);
  run.fails(0, { retryable: true }).on({ type: "no_room", ...run.attempt(1) });
  assert.is(run.fails(4).state.state, "failed");
  assert.equal(run.live, [0, 1, 2, 3, 4], "a retry goes on with them");
});

test("a job past its deadline begins to undo, which has no end by that", () => {
  const run = saga({ timeout_ms: 1_000 }).after(1_000).on({ type: "expired" });
  assert.is(run.state.state, "undoing");
  assert.is(run.state.deadline_at, undefined);
  run.after(1_000_000).on({ type: "expired" });
  assert.is(run.state.state, "undoing");
  run.done(2).done(1).done(0);
  assert.is(run.code, "job_timeout");
});

test("a result that is not as expected may have been the work all the same: the entry is undone as uncertain", () => {
  const run = new Run([u("a", { expect: "result.ok" })]).done(0, { ok: false });
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.fn(0).uncertain, true);
  assert.is(run.done(0).code, "expectation_failed");
});

// --- what may have been done

test("a result that came and cannot be kept was the work all the same: the entry is undone as uncertain", () => {
  const tooLarge = { code: "payload_too_large", name: "PayloadTooLarge", message: "too large" } as const;
  const run = new Run([u("a")]).on({
    ...{ type: "failed", index: 0, attempt: 1, error: tooLarge, retryable: false, random: 0 },
    executed: true,
  });
  assert.equal(run.waits, ["undo 0 none"]);
  assert.is(run.fn(0).uncertain, true);
});

test("what runs is told to stop, and nothing is undone before it has answered", () => {
  const run = new Run([u("a", atOnce), u("b", atOnce), f("c", atOnce)]).done(0).fails(2);
  assert.equal(run.waits, ["1 stopping"]);
  assert.is(run.branch(1)?.due_at, NOW + STOP_MS);
  assert.is(run.undone, "- - -");
});

test("an attempt that completes in that time is undone, with its result, in its place of the order", () => {
  const run = new Run([u("a", atOnce), u("b", atOnce), f("c", atOnce)]).done(0).fails(2).done(1, "B");
  assert.is(run.fn(1).result, "B");
  assert.is(run.fn(1).uncertain, undefined);
  assert.is(run.state.ended_count, 2);
  assert.equal(run.waits, ["undo 1 none"]);
  assert.equal(run.done(1).waits, ["undo 0 none"]);
});

test("one that answers with an error in that time is not undone", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).fails(0);
  assert.is(run.state.state, "failed");
  assert.is(run.undone, "- -");
  assert.equal(run.fn(0).error, BOOM);
});

test("one that does not answer for ten seconds, goes silent, times out or is interrupted is undone as uncertain, first of all", () => {
  const silent: ((run: Run) => Run)[] = [
    (run) => run.due(STOP_MS),
    (run) => run.lost(1),
    (run) => run.timesOut(1),
    (run) => run.fails(1, { retryable: true, interrupted: true }),
    (run) => run.resume(),
  ];
  for (const [at, how] of silent.entries()) {
    const run = how(new Run([u("a", atOnce), u("b", atOnce), f("c", atOnce)]).done(0).fails(2));
    assert.equal(run.waits, ["undo 1 none"], `${at}`);
    assert.is(run.fn(1).uncertain, true, `${at}`);
    assert.is(run.done(1).done(0).undone, "undone undone -");
  }
});

test("it is waited for ten seconds, not for less", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).due(STOP_MS - 1);
  assert.equal(run.waits, ["0 stopping"]);
  assert.equal(run.due(1).waits, ["undo 0 none"]);
});

test("one that nobody had got yet is not undone", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).unsent(0);
  assert.is(run.state.state, "failed");
  assert.is(run.fn(0).uncertain, undefined);
});

test("an attempt without an answer makes its entry uncertain until one completes", () => {
  const twice = { retry_options: { retry_limit: 2, backoff: { type: "fixed", delay_ms: 0 } as const } };
  const failed = new Run([u("a", twice)]).timesOut(0, { retryable: true }).fails(0);
  assert.equal(failed.waits, ["undo 0 none"], "the first attempt may have done it");
  assert.is(failed.done(0).code, "function_failed");
  const completed = new Run([u("a", twice), f("b")]).timesOut(0, { retryable: true }).done(0);
  assert.is(completed.fn(0).uncertain, undefined);
  const lost = new Run([u("a"), f("b", atOnce)]).lost(0);
  assert.is(lost.fails(1).fails(0).undone, "begun -");
  assert.is(new Run([f("a")]).lost(0).fn(0).uncertain, undefined, "only where there is an undo");
});

test("uncertain ones come before all that completed, the highest index first", () => {
  const once = { ...atOnce, on_error: "continue" as const };
  const run = new Run([u("a", once), u("b", atOnce), u("c", once), f("d")]).timesOut(2).timesOut(0).done(1).fails(3);
  assert.equal(run.waits, ["undo 2 none"]);
  assert.equal(run.done(2).waits, ["undo 0 none"]);
  assert.equal(run.done(0).waits, ["undo 1 none"]);
});

test("who takes the job over does not know what was in flight: it may have been done", () => {
  const run = new Run([u("a")]).resume().fails(0);
  assert.equal(run.waits, ["undo 0 none"]);
});

test("the start of an attempt is recorded while it is told to stop, as of any other, and changes nothing else", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).on({ type: "started", index: 0, attempt: 1 });
  assert.equal(run.waits, ["0 stopping"]);
  assert.is(run.fn(0).retry_count, 1);
  assert.is(run.fn(0).undoing, undefined);
  assert.is(run.done(0).undone, "begun -");
});

test("without an undo it is not waited for, and its late answer means nothing", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce), f("c", atOnce)]).done(0).fails(2);
  assert.equal(run.waits, ["undo 0 none"]);
  const before = run.state;
  assert.is(run.on({ type: "succeeded", index: 1, attempt: 1, result: 1 }).state, before);
});

// --- how an undo goes

test("an undo is tried ten times if it does not say, and then keeps no other from being done", () => {
  const run = saga().fails(3);
  for (let attempt = 1; attempt < 10; attempt++) {
    assert.equal(run.attempt(2), { index: 2, attempt, undo: true });
    run.fails(2, { retryable: true });
    assert.equal(run.waits, ["undo 2 backoff"]);
    assert.equal(run.told, ["retrying"]);
    run.due(60_000);
  }
  run.fails(2, { retryable: true });
  assert.equal(run.told, ["undo_failed"]);
  assert.equal(run.waits, ["undo 1 none"]);
  run.done(1).done(0);
  assert.is(run.state.state, "failed");
  assert.is(run.undone, "undone undone failed -");
  assert.equal(run.state.undo, { state: "failed", undone: 2, failed: 1, not_undone: 0 });
  assert.equal(run.fn(2).undoing?.error, BOOM);
  assert.equal(run.state.state === "failed" && run.state.error, BOOM);
});

test("an undo has retries of its own, and fails at once with an error that is final", () => {
  const undo = { name: "refund", retry_options: { retry_limit: 2 } };
  const run = new Run([u("a", { undo }), f("b")]).done(0).fails(1).fails(0, { retryable: true }).due(60_000);
  assert.is(run.fails(0, { retryable: true }).state.undo?.failed, 1);
  assert.is(saga().fails(3).fails(2).undone, "- begun failed -");
});

test("an undo that is lost, or times out, is tried again", () => {
  const run = saga().fails(3).lost(2);
  assert.equal(run.attempt(2), { index: 2, attempt: 2, undo: true });
  run.timesOut(2, { retryable: true });
  assert.equal(run.waits, ["undo 2 backoff"]);
  assert.is(run.due(60_000).done(2).undone, "- begun undone -");
});

test("a take-over begins the undo again, under another number if its start was recorded", () => {
  const run = saga().fails(3).resume();
  assert.equal(run.attempt(2), { index: 2, attempt: 1, undo: true });
  run.on({ type: "started", ...run.attempt(2) }).resume();
  assert.equal(run.attempt(2), { index: 2, attempt: 2, undo: true });
  const before = run.state;
  assert.is(run.on({ type: "succeeded", index: 2, attempt: 1, undo: true, result: null }).state, before);
  assert.is(run.on({ type: "succeeded", index: 2, attempt: 2, result: null }).state, before, "it is of the entry");
  assert.is(run.done(2).undone, "- begun undone -");
});

test("a backoff that was waited for outside of memory is over when the server says so", () => {
  const run = saga().fails(3).fails(2, { retryable: true });
  const due = run.branch(2)?.due_at ?? 0;
  assert.equal(run.resume().waits, ["undo 2 backoff"], "not before");
  assert.equal(run.resume(due).waits, ["undo 2 none"]);
});

test("an undo without a worker waits for one, and is tried again", () => {
  const run = saga().fails(3);
  run.on({ type: "no_room", ...run.attempt(2) });
  assert.equal(run.waits, ["undo 2 worker"]);
  assert.equal(run.due(4_999).waits, ["undo 2 worker"]);
  assert.equal(run.due(1).waits, ["undo 2 none"]);
  run.on({ type: "no_room", ...run.attempt(2) });
  assert.equal(run.resume().waits, ["undo 2 none"]);
});

test("a job that is late while it undoes says so once", () => {
  const run = saga({ warn_after_ms: 5_000 }).fails(3).due(5_000);
  assert.equal(run.told, ["late"]);
  assert.equal(run.waits, ["undo 2 none"]);
  assert.equal(run.due(5_000).told, []);
});

// --- cancel while it undoes

test("a plain cancel of a job that undoes changes nothing", () => {
  const run = saga().fails(3);
  const before = run.state;
  assert.is(run.cancel().state, before);
});

test("with skip the rest is left as it is, and the job ends as it would have", () => {
  const run = saga().fails(3).done(2).cancel("skip");
  assert.is(run.state.state, "failed");
  assert.equal(run.state.undo, { state: "skipped", undone: 1, failed: 0, not_undone: 2 });
  assert.is(viewOf(run.state).functions[1]?.undo_run?.state, "skipped", "it had begun");
  assert.is(viewOf(run.state).functions[0]?.undo_run, undefined);
  const atOnceSkipped = saga().cancel("skip");
  assert.is(atOnceSkipped.state.state, "cancelled");
  assert.equal(atOnceSkipped.state.undo, { state: "skipped", undone: 0, failed: 0, not_undone: 3 });
});

test("with skip it is not waited for what was told to stop; what that does is not known", () => {
  const run = new Run([u("a", atOnce), f("b", atOnce)]).fails(1).cancel("skip");
  assert.is(run.state.state, "failed");
  assert.is(run.fn(0).uncertain, true);
  assert.equal(run.state.undo, { state: "skipped", undone: 0, failed: 0, not_undone: 1 });
  const cancelled = new Run([u("a", atOnce), f("b", atOnce)]).cancel("skip");
  assert.is(cancelled.state.state, "cancelled");
  assert.is(cancelled.state.undo?.not_undone, 1);
});

test("a skip that comes when all is undone leaves nothing out", () => {
  const run = saga({ on_failure: "alert" }).fails(3).done(2).done(1).done(0).cancel("skip");
  assert.is(run.state.undo?.state, "done");
  assert.is(viewOf(run.state).on_failure_run?.state, "skipped");
});

// --- on_failure

test("on_failure is called once, when all is undone, and its result is kept", () => {
  const run = saga({ on_failure: "alert" }).fails(3).done(2).done(1);
  assert.is(run.state.failing, undefined);
  assert.equal(run.done(0).waits, ["4 none"]);
  run.done(4, "told");
  assert.is(run.state.state, "failed");
  assert.is(run.state.failing?.result, "told");
  assert.is(viewOf(run.state).on_failure_run?.state, "done");
});

test("on_failure is called where there is nothing to undo, and not after a cancel, nor with skip", () => {
  const run = new Run([f("a")], { on_failure: { name: "alert" } }).fails(0);
  assert.equal(run.waits, ["1 none"]);
  assert.equal(run.told, ["undoing"]);
  run.done(1);
  assert.is(run.state.state, "failed");
  assert.is(run.state.undo, undefined);
  assert.is(new Run([f("a")], { on_failure: "alert" }).cancel().state.state, "cancelled");
  assert.is(saga({ on_failure: "alert" }).fails(3).cancel("skip").state.failing, undefined);
});

test("the failure of on_failure is recorded and changes nothing", () => {
  const run = new Run([f("a")], { on_failure: "alert" }).fails(0).on({
    ...{ type: "failed", index: 1, attempt: 1, retryable: true, random: 0 },
    error: { code: "function_failed", name: "Error", message: "nobody is there" },
  });
  assert.equal(run.state.state === "failed" && run.state.error, BOOM);
  assert.is(run.state.failing?.error?.message, "nobody is there");
  assert.is(viewOf(run.state).on_failure_run?.state, "failed");
  assert.equal(run.log, ["undoing"]);
});

test("on_failure has an hour with all its retries, losses and waits, or what it says", () => {
  const many = {
    name: "alert",
    retry_options: { retry_limit: 1_000, backoff: { type: "fixed", delay_ms: 60_000, jitter: 0 } },
  };
  for (const [on_failure, ms] of [
    [many, 3_600_000],
    [{ ...many, timeout_ms: 100_000 }, 100_000],
  ] as const) {
    const run = new Run([f("a")], { on_failure }).fails(0);
    const from = run.now;
    run.lost(1);
    while (!isEnded(run.state)) {
      assert.ok(run.now <= from + ms, "its time is over");
      if (run.branch(1)?.wait === "none") run.fails(1, { retryable: true });
      else run.due(1_000);
    }
    assert.ok(run.now > from + ms - 120_000, "it had most of it");
  }
  const idle = new Run([f("a")], { on_failure: { name: "alert", timeout_ms: 20_000 } }).fails(0);
  idle.on({ type: "no_room", ...idle.attempt(1) });
  for (let turn = 0; turn < 3; turn++) idle.due(5_000).on({ type: "no_room", ...idle.attempt(1) });
  assert.is(idle.due(5_000).state.state, "failed");
  assert.is(idle.state.failing?.error?.code, "attempt_timeout");
  const silent = new Run([f("a")], { on_failure: { name: "alert", timeout_ms: 20_000 } }).fails(0).due(20_000);
  assert.is(silent.state.state, "failed", "also while it runs");
});

test("a job that fails as it is opened calls on_failure, also where it is taken from its submission once more", () => {
  const { state } = new Run([u("a", { when: "data.x" })], { on_failure: "alert" });
  assert.is(state.state, "undoing");
  assert.is(unheard(state as Graph & LiveJob), state);
});

test("on_failure is tried once, if it does not say", () => {
  const run = new Run([f("a")], { on_failure: "alert" }).fails(0).fails(1, { retryable: true });
  assert.is(run.state.state, "failed");
});

// --- when it cannot go on

test("an undo whose next attempt has no timer is given up, and the others are done", () => {
  const run = saga().fails(3).fails(2, { retryable: true }).on({ type: "refused", why: "no such time" });
  assert.equal(run.waits, ["undo 1 none"]);
  assert.is(run.fn(2).undoing?.error?.code, "schedule_refused");
  assert.equal(run.done(1).done(0).state.undo, { state: "failed", undone: 2, failed: 1, not_undone: 0 });
});

test("a job that cannot be stored, or has no timer, undoes what it has done; and ends at once if not even that can be stored", () => {
  for (const type of ["unstorable", "refused"] as const) {
    const run = saga().on({ type, why: "no" });
    assert.equal(run.waits, ["undo 2 none"], type);
    assert.is(run.done(2).done(1).done(0).state.undo?.state, "done");
    assert.is(run.code, type === "refused" ? "schedule_refused" : "payload_too_large");
  }
  const stuck = saga().on({ type: "unstorable", why: "no", again: true });
  assert.is(stuck.code, "payload_too_large");
  assert.is(stuck.undone, "- - - -");
});

test("an undo that cannot be stored, or has no timer, ends as it stands, and says so", () => {
  for (const type of ["unstorable", "refused"] as const) {
    const run = saga().fails(3).done(2).on({ type, why: "too large" });
    assert.equal(run.state.state === "failed" && run.state.error, BOOM);
    const { state, undone, not_undone, error } = run.state.undo ?? {};
    assert.equal([state, undone, not_undone], ["failed", 1, 2]);
    assert.match(error?.message ?? "", /too large/);
  }
  const alerting = new Run([f("a")], { on_failure: "alert" }).fails(0).on({ type: "unstorable", why: "too large" });
  assert.match(alerting.state.failing?.error?.message ?? "", /too large/);
});

// --- what is told of the end

test("the event of the end names the entry that failed, also after its undo", () => {
  const run = new Run([u("a"), u("b", { expect: "false" })]).done(0).done(1).done(1).done(0);
  const event = endEvent(ended(run.state));
  assert.is(event.type === "failed" && event.id, "b");
});

test("while it undoes a job is shown as undoing, and each entry how its undo goes", () => {
  const run = saga().fails(3).done(2).fails(1, { retryable: true });
  const { state, functions, undo, waiting_for } = viewOf(run.state);
  assert.is(state, "undoing");
  assert.is(waiting_for, undefined);
  assert.is(undo, undefined);
  assert.is(functions[2]?.undo_run?.state, "done");
  assert.is(functions[1]?.undo_run?.state, "running");
  assert.is(functions[1]?.undo_run?.name, "undo-b");
  assert.is(functions[0]?.undo_run, undefined);
  assert.equal(functions[3]?.error, BOOM);
  assert.is(functions[0]?.undo, "undo-a");
});

test("a timeout of the entry itself fails the job, and is undone as uncertain", () => {
  const run = new Run([u("a")]).timesOut(0);
  assert.equal(run.waits, ["undo 0 none"]);
  assert.equal(run.done(0).state.state === "failed" && run.state.state === "failed" && run.state.error, TIMEOUT);
  assert.is(viewOf(run.state).functions[0]?.uncertain, true);
});

test.run();
