/** The rules of graphs, one by one (JOB-MODEL 1). What holds for all of them together is in graph.properties.test.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Failure } from "../../src/job/failure.ts";
import { isAsSubmitted, reduce, untaken } from "../../src/job/machine.ts";
import { ROOM_RETRY_MS, rest, toBeParked } from "../../src/job/rest.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { isEnded } from "../../src/job/state.ts";
import { viewOf } from "../../src/job/view.ts";
import { asGraph, Run } from "../support/graph-run.ts";
import { BOOM, ended, live, NOW } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });

// --- order

test("without needs, an entry follows all entries before it in the list", () => {
  const run = new Run([f("a"), f("b"), f("c")]);
  assert.equal(run.live, [0]);
  assert.equal(run.done(0).live, [1]);
  assert.equal(run.done(1).live, [2]);
  assert.is(run.done(2, "last").state.state, "completed");
  assert.is(viewOf(run.state).result, "last");
});

test("with needs: [] an entry begins at once, and the next one without needs joins all of them", () => {
  const run = new Run([f("a", { needs: [] }), f("b", { needs: [] }), f("c", { needs: [] }), { name: "join" }]);
  assert.equal(run.live, [0, 1, 2]);
  assert.equal(run.done(1).done(2).live, [0]);
  assert.equal(run.done(0).live, [3]);
});

test("an entry begins when all that it needs have ended, also what stands later in the list", () => {
  const run = new Run([f("a", { needs: ["c"] }), f("b", { needs: [] }), f("c", { needs: ["b"] }), f("d")]);
  assert.equal(run.live, [1]);
  assert.equal(run.done(1).live, [2]);
  assert.equal(run.done(2).live, [0]);
  assert.equal(run.done(0).live, [3]);
});

test("a diamond is joined once, by the last of its sides", () => {
  const run = new Run([f("a"), f("b", { needs: ["a"] }), f("c", { needs: ["a"] }), f("d", { needs: ["b", "c"] })]);
  run.done(0);
  assert.equal(run.live, [1, 2]);
  assert.equal(run.done(2).live, [1]);
  assert.equal(run.done(1).live, [3]);
  assert.is(run.done(3).state.state, "completed");
  assert.equal(
    [0, 1, 2, 3].map((index) => run.fn(index).rank),
    [1, 3, 2, 4],
  );
});

test("current_function is the lowest index that has not ended, and the last one at the end", () => {
  const run = new Run([f("a", { needs: [] }), f("b", { needs: [] }), f("c")]);
  assert.is(run.done(1).state.current_function, 0);
  assert.is(run.done(0).state.current_function, 2);
  assert.is(run.done(2).state.current_function, 2);
});

test("a graph of which functions are due only is as it was submitted, and need not be stored before it begins", () => {
  assert.ok(isAsSubmitted(live(new Run([f("a")]).state)));
  assert.not.ok(isAsSubmitted(live(new Run([{ sleep_ms: 5 }]).state)));
  assert.not.ok(isAsSubmitted(live(new Run([f("a", { when: "false", needs: [] }), f("b", { needs: [] })]).state)));
});

// --- when, expect

test("an entry whose condition is not met is skipped: it is done with the result null, and what follows goes on", () => {
  const run = new Run([f("a"), f("b", { when: "results.a > 1.0" }), f("c")]);
  run.done(0, 1);
  assert.equal(run.told, ["skipped"]);
  assert.is(run.fn(1).skipped, true);
  assert.is(run.fn(1).result, null);
  assert.equal(run.live, [2], "nothing is skipped because something else was");
  assert.is(viewOf(run.state).functions[1]?.skipped, true);
});

test("skipped entries follow each other in one step, to the end of the job", () => {
  const run = new Run([f("a"), ...["b", "c", "d"].map((id) => f(id, { when: "data.go" }))], { data: { go: false } });
  run.done(0);
  assert.equal(run.told, ["skipped", "skipped", "skipped"]);
  assert.is(run.state.state, "completed");
  assert.is(run.state.ended_count, 4);
});

test("a graph that is not taken yet is pending: it does not sleep, wait or skip anything before it is taken", () => {
  for (const first of [{ sleep_ms: 1_000 }, { wait_for: "go" }, f("a", { when: "false" })]) {
    for (const functions of [[first], [first, f("b")]]) {
      const shown = viewOf(untaken(new Run(functions).last));
      assert.equal([shown.state, shown.waiting_for, shown.due_at], ["pending", undefined, undefined]);
      assert.is(shown.current_function, 0);
      for (const fn of shown.functions) assert.not.ok(fn.skipped || fn.finished_at);
    }
  }
  const { last } = new Run([f("a", { needs: [] }), f("b", { needs: [] })]);
  assert.is(untaken(last), last.state, "as it was submitted");
  const started = new Date(NOW + 60_000).toISOString();
  assert.is(untaken(new Run([{ wait_for: "go" }], { scheduled_at: started }).last).state, "scheduled");
});

test("what is cancelled before it is taken begins from the start when it is retried", () => {
  const { state } = reduce(untaken(new Run([{ wait_for: "go" }, f("a")]).last), { type: "cancelled" }, NOW);
  const again = asGraph(reduce(state, { type: "retried" }, NOW).state);
  assert.equal(
    again.live.map(({ index, wait }) => [index, wait]),
    [[0, "signal"]],
  );
});

test("a condition that cannot be evaluated fails its entry, and says nothing of the values", () => {
  const run = new Run([f("a", { when: "data.secret > 1.0" })], { data: { secret: "hunter2" } });
  assert.is(run.code, "expression_error");
  assert.not.match(JSON.stringify(run.state.functions.at(0)?.error), "hunter2");
});

test("a result that is not as expected fails its entry for good", () => {
  const spec = f("a", { expect: "result.ok", retry_options: { retry_limit: 5 } });
  assert.is(new Run([spec]).done(0, { ok: true }).state.state, "completed");
  const run = new Run([spec]).done(0, { ok: false });
  assert.is(run.code, "expectation_failed");
  assert.is(run.fn(0).retry_count, 1);
  assert.is(new Run([spec]).done(0, {}).code, "expression_error");
});

// --- on_error

test("by default nothing new begins when an entry has failed, and the job fails with its error", () => {
  for (const on_error of [undefined, "fail"] as const) {
    const more = on_error === undefined ? {} : { on_error };
    const run = new Run([f("a", { needs: [], ...more }), f("b", { needs: [] }), f("c")]).fails(0);
    assert.is(run.state.state, "failed");
    assert.equal(ended(run.state).state === "failed" && run.code, "function_failed");
    assert.equal(run.live, [0, 1], "what was live is kept for a retry");
  }
});

test("on_error: continue makes the entry done with the result null, keeps its error, and the job has a warning", () => {
  const run = new Run([f("a", { on_error: "continue" }), f("b", { when: "has(errors.a)" })]).fails(0);
  assert.equal(run.live, [1]);
  run.done(1, "b");
  assert.is(run.state.state, "completed");
  const view = viewOf(run.state);
  assert.is(view.warnings, 1);
  assert.equal(view.functions[0]?.error, BOOM);
  assert.is(view.functions[0]?.result, null);
});

test("an entry in on_error runs in its place, and its result is the entry's", () => {
  const handler = { name: "other", retry_options: { retry_limit: 2 } };
  const run = new Run([f("a", { on_error: handler, expect: "result == 1.0" }), f("b")]).fails(0);
  assert.equal(run.live, [0]);
  assert.is(run.fn(0).handling, true);
  assert.equal(run.fn(0).caught, BOOM);
  assert.equal(run.attempt(0), { index: 0, attempt: 2 }, "attempts go on being counted");
  run.fails(0, { retryable: true, retryAfterMs: 0 });
  assert.equal(run.told, ["retrying"], "it has executions of its own");
  assert.is(run.last.events[0]?.type === "retrying" && run.last.events[0].function, "other");
  run.done(0, "instead");
  assert.is(run.fn(0).result, "instead");
  assert.equal(run.live, [1]);
  assert.is(viewOf(run.done(1).state).warnings, undefined);
});

test("when the entry in on_error fails, the job does", () => {
  const run = new Run([f("a", { on_error: { name: "other" } })]).fails(0).fails(0);
  assert.is(run.state.state, "failed");
  assert.equal(run.fn(0).caught, BOOM);
});

test("the progress of a function is not handed to the one that runs in its place", () => {
  const run = new Run([f("a", { on_error: { name: "other" } })]);
  run.on({
    ...{ type: "failed", ...run.attempt(0), error: BOOM },
    ...{ retryable: false, random: 0, progress: { percent: 50 } },
  });
  assert.is(run.fn(0).last_progress, undefined);
});

test("a signal that does not come and a sleep without a date can be dealt with as well", () => {
  const run = new Run([
    { wait_for: "go", timeout_ms: 10, on_error: { name: "remind" } },
    { sleep_until: { $: "data.when" }, on_error: "continue" },
    f("c"),
  ]);
  run.due(10);
  assert.equal(run.branch(0)?.wait, "none");
  run.done(0);
  assert.is(run.fn(1).caught?.code, "expression_error");
  assert.equal(run.live, [2]);
});

// --- sleep

test("a sleep ends when its time has come, not before; one of no time ends at once", () => {
  const run = new Run([{ sleep_ms: 0 }, { sleep_ms: 1_000 }, f("a")]);
  assert.equal(run.live, [1]);
  assert.is(run.due(999).live[0], 1);
  assert.equal(rest(live(run.state), 0, run.now), { type: "attempts", attempts: [], until: NOW + 1_000 });
  assert.equal(run.due(1).live, [2]);
  assert.is(run.fn(1).result, null);
});

test("what a sleep is expected to give is looked at also where it ends at once", () => {
  for (const expect of ["result == null", "result != null"]) {
    const codes = [0, 1_000].map((sleep_ms) => {
      const run = new Run([{ sleep_ms, expect }, f("a")]);
      return (sleep_ms === 0 ? run : run.due(sleep_ms)).code;
    });
    assert.equal(codes, expect === "result == null" ? [undefined, undefined] : Array(2).fill("expectation_failed"));
  }
});

test("a sleep lasts until a date, or what an expression gives as one", () => {
  const at = new Date(NOW + 60_000).toISOString();
  for (const sleep_until of [at, { $: "data.at" }]) {
    const run = new Run([{ sleep_until }, f("a")], { data: { at } });
    assert.is(run.branch(0)?.due_at, NOW + 60_000);
    assert.equal(run.due(60_000).live, [1]);
  }
  const past = new Run([{ sleep_until: new Date(NOW - 1).toISOString() }, f("a")]);
  assert.equal(past.live, [1]);
});

test("a sleep whose expression gives no date fails, not retried", () => {
  for (const at of [5, "tomorrow", "2026-02-30T00:00:00Z"]) {
    assert.is(new Run([{ sleep_until: { $: "data.at" } }], { data: { at } }).code, "expression_error");
  }
  assert.is(new Run([{ sleep_until: { $: "data.at" } }]).code, "expression_error");
});

// --- signals

test("a signal ends the entry that waits for it, with its payload as the result", () => {
  const run = new Run([{ id: "approve", wait_for: "go", expect: "result.yes" }, f("a")]);
  run.signal(0, 1, { yes: true });
  assert.equal(run.told, ["signalled"]);
  assert.equal(run.fn(0).result, { yes: true });
  assert.equal(run.state.signals, { go: 1 });
  assert.equal(run.live, [1]);
});

test("a signal is used once, in order, by one entry (GRAPH-3)", () => {
  const run = new Run([{ wait_for: "go" }, { wait_for: "go" }, { wait_for: "constructor" }]).signal(0, 3);
  const { state } = run;
  assert.is(run.signal(1, 3).state, state, "it was used by the entry before");
  assert.is(run.signal(1, 2).state, state, "it came before that one");
  assert.is(run.signal(2, 4).state, state, "that entry does not wait yet");
  run.signal(1, 4).signal(2, 1);
  assert.is(run.state.state, "completed");
});

test("a signal may be named as what every object has", () => {
  const run = new Run([{ wait_for: "constructor" }, { wait_for: "constructor" }, f("a")]);
  const { state } = run;
  assert.is(run.signal(0, 0).state, state, "no signal has that number");
  assert.equal(run.signal(0, 1).live, [1]);
  assert.equal(run.signal(1, 1).live, [1], "it is used");
  assert.equal(run.signal(1, 2).live, [2]);
});

test("a signal that does not come in time fails its entry; without a timeout it is waited for for ever", () => {
  const run = new Run([{ wait_for: "go", timeout_ms: 1_000 }]);
  assert.is(run.due(999).state.state, "running");
  assert.is(run.due(1).code, "signal_timeout");
  const patient = new Run([{ wait_for: "go" }]);
  assert.equal(rest(live(patient.state), 0, NOW), { type: "attempts", attempts: [], until: undefined });
});

test("a payload that cannot be kept fails its entry, and the signal is used", () => {
  const unfit: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message: "too large" };
  const run = new Run([{ wait_for: "go" }]).on({ type: "signalled", index: 0, number: 1, payload: null, unfit });
  assert.is(run.code, "payload_too_large");
  assert.equal(run.state.signals, { go: 1 });
});

// --- times of the job

test("a deadline ends the job whatever it waits for, and an outcome that comes after it", () => {
  const specs = [f("a", { needs: [] }), { sleep_ms: 50_000, needs: [] }];
  const run = new Run(specs, { timeout_ms: 1_000 });
  const how = rest(live(run.state), 0, NOW);
  assert.is(how.type === "attempts" ? how.until : undefined, NOW + 1_000);
  assert.is(new Run(specs, { timeout_ms: 1_000 }).due(1_000).code, "job_timeout");
  const late = new Run([f("a"), f("b")], { timeout_ms: 1_000 }).after(1_000).done(0);
  assert.is(late.code, "job_timeout");
  assert.ok(late.fn(0).finished_at !== undefined, "its result is kept");
  assert.is(new Run([f("a")], { timeout_ms: 1_000 }).after(1_000).done(0).state.state, "completed");
});

test("a job that has not ended in time is told of as late, once", () => {
  const run = new Run([{ name: "a" }], { warn_after_ms: 5_000 });
  assert.equal(rest(live(run.state), 0, NOW), { type: "attempts", attempts: run.state.live, until: NOW + 5_000 });
  assert.equal(run.due(4_999).told, []);
  assert.equal(run.due(1).told, ["late"]);
  assert.is(run.state.late_at, NOW + 5_000);
  assert.equal(run.due(1).told, []);
});

test("a scheduled graph begins at its start", () => {
  const run = new Run([f("a")], { scheduled_at: new Date(NOW + 1_000).toISOString() });
  assert.is(run.state.state, "scheduled");
  assert.equal(run.live, []);
  assert.equal(run.due(999).live, []);
  assert.equal(run.due(1).live, [0]);
  const behind = new Run([f("a")], { scheduled_at: new Date(NOW + 1_000).toISOString() });
  assert.equal(behind.on({ type: "resumed", firedAt: NOW + 1_000 }).live, [0], "by the clock of the server");
});

// --- attempts

test("an attempt that fails is tried again after its backoff, while others go on", () => {
  const retry_options = { retry_limit: 2, backoff: { type: "fixed" as const, delay_ms: 1_000, jitter: 0 } };
  const run = new Run([f("a", { needs: [], retry_options }), f("b", { needs: [] })]).fails(0, { retryable: true });
  assert.equal(run.branch(0), { index: 0, attempt: 2, since: NOW, wait: "backoff", due_at: NOW + 1_000 });
  run.done(1);
  assert.equal(run.due(1_000).branch(0)?.wait, "none");
  assert.is(run.fails(0, { retryable: true }).code, "function_failed");
});

test("what is taken over is tried again under a new number, where its start is recorded (MACHINE-7)", () => {
  const run = new Run([f("a", { needs: [] }), f("b", { needs: [] }), { wait_for: "go", needs: [] }]);
  run.on({ type: "started", ...run.attempt(0) });
  assert.equal(run.told, ["started"]);
  const before = run.state;
  run.on({ type: "resumed" });
  assert.is.not(run.state, before);
  assert.equal(run.attempt(0), { index: 0, attempt: 2 });
  assert.equal(run.attempt(1), { index: 1, attempt: 1 });
  assert.equal(run.on({ type: "succeeded", index: 0, attempt: 1, result: 1 }).told, [], "of the owner before");
  assert.equal(run.live, [0, 1, 2]);
});

test("an attempt that is started does not wait any more", () => {
  const run = new Run([f("a")]);
  run.on({ type: "no_room", ...run.attempt(0) }).on({ type: "started", ...run.attempt(0) });
  assert.is(run.branch(0)?.wait, "none");
  assert.is(viewOf(run.state).state, "running");
});

test("an entry without room is tried again while the job is kept in memory, and parks the job if nothing else goes on", () => {
  const run = new Run([f("a", { needs: [] }), { id: "b", name: "g", needs: [] }]);
  run.on({ type: "no_room", ...run.attempt(0) });
  assert.equal(run.told, ["waiting"]);
  assert.is(toBeParked(run.state, 0, NOW, 0), run.state, "b may be executed");
  const how = rest(live(run.state), 0, NOW);
  assert.equal(how, { type: "attempts", attempts: [run.branch(1)], until: NOW + ROOM_RETRY_MS });
  assert.is(run.due(ROOM_RETRY_MS).branch(0)?.wait, "none");
  run.on({ type: "no_room", ...run.attempt(0) }).on({ type: "no_room", ...run.attempt(1) });
  const parked = live(toBeParked(run.state, 0, run.now, 1_000));
  assert.is(parked.token, 1);
  assert.equal(rest(parked, 0, run.now), {
    type: "parked",
    until: run.now + 24 * 3_600_000,
    functionNames: ["f", "g"],
  });
  run.state = asGraph(parked);
  assert.equal(
    run.on({ type: "resumed" }).state.live.map(({ wait }) => wait),
    ["none", "none"],
  );
});

test("a graph leaves memory where nothing is due for longer than it may stay, until the first thing is", () => {
  const run = new Run([
    { sleep_ms: 60_000, needs: [] },
    { wait_for: "go", timeout_ms: 30_000, needs: [] },
  ]);
  assert.is(toBeParked(run.state, 0, NOW, 30_000), run.state);
  const parked = live(toBeParked(run.state, 0, NOW, 29_999));
  assert.equal(rest(parked, 0, NOW), { type: "parked", until: NOW + 30_000, functionNames: [] });
});

test("a live graph that is cancelled ends, and what comes after that changes nothing", () => {
  const run = new Run([f("a", { needs: [] }), { sleep_ms: 5, needs: [] }]).on({ type: "cancelled" });
  assert.ok(isEnded(run.state));
  const { state } = run;
  assert.is(run.done(0).state, state);
  assert.is(run.due(10).state, state);
});

test("a view says what a waiting job waits for: what its lowest entry does, until the first time that is due", () => {
  const run = new Run([{ wait_for: "go", needs: [] }, { sleep_ms: 60_000, needs: [] }, f("a", { needs: [] })]);
  const view = viewOf(run.state);
  assert.equal(
    [view.state, view.waiting_for, view.due_at],
    ["waiting", "signal", new Date(NOW + 60_000).toISOString()],
  );
  assert.equal(
    view.functions.map(({ kind, name }) => [kind, name]),
    [
      ["wait", null],
      ["sleep", null],
      ["function", "f"],
    ],
  );
  run.on({ type: "started", ...run.attempt(2) });
  assert.is(viewOf(run.state).state, "running");
});

test("a signal that is named as what every object has is counted as any other (GRAPH-3)", () => {
  const wait = (wait_for: string): FunctionSpec => ({ wait_for, needs: [] });
  const run = new Run([wait("go"), wait("constructor"), { name: "f" }]).signal(0, 1);
  assert.equal(run.signal(1, 0).live, [1], "number 0 is none");
  assert.equal(run.signal(1, 1).state.signals, { go: 1, constructor: 1 });
});

test.run();
