/** How a job that undoes waits: in memory, or outside of it (MACHINE-6); and records of one that nobody of ours has written. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { explain } from "../../src/job/explain.ts";
import { STOP_MS } from "../../src/job/graph-undo.ts";
import { reduce } from "../../src/job/machine.ts";
import { rest, toBeParked, wakeAt } from "../../src/job/rest.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { soundnessProblem } from "../../src/job/sound.ts";
import type { Graph, LiveJob } from "../../src/job/state.ts";
import { asGraph, Run } from "../support/graph-run.ts";
import { BOOM, live, NOW } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });
const PARK_AFTER_MS = 10_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const parked = (run: Run) => live(toBeParked(run.state, run.state.token, run.now, PARK_AFTER_MS));
const isParked = (run: Run) => parked(run) !== run.state;
const placeOf = (run: Run) => rest(parked(run), run.state.token, run.now);
const held = (run: Run) => rest(live(run.state), run.state.token, run.now);

const undo = { name: "refund", retry_options: { backoff: { type: "fixed", delay_ms: HOUR_MS, jitter: 0 } as const } };
const undoing = () => new Run([f("a", { undo }), f("b")]).done(0).fails(1);

test("an undo that is due is executed, and keeps the job in memory", () => {
  const run = undoing();
  assert.not.ok(isParked(run));
  const how = held(run);
  assert.equal(how.type === "attempts" && how.attempts, run.state.live);
});

test("the backoff of an undo is waited for outside of memory, for its time", () => {
  const run = undoing().fails(0, { retryable: true });
  assert.ok(isParked(run));
  assert.equal(placeOf(run), { type: "parked", until: NOW + HOUR_MS, functionNames: [] });
  assert.is(wakeAt(parked(run)), NOW + HOUR_MS);
});

test("an undo without a worker waits at the place of its own function", () => {
  const run = undoing();
  run.on({ type: "no_room", ...run.attempt(0) });
  assert.ok(isParked(run));
  assert.equal(placeOf(run), { type: "parked", until: NOW + DAY_MS, functionNames: ["refund"] });
});

test("what was told to stop is waited for in memory, for ten seconds", () => {
  const run = new Run([f("a", { undo, needs: [] }), f("b", { needs: [] })]).fails(1);
  assert.not.ok(isParked(run));
  assert.equal(held(run), { type: "attempts", attempts: [], until: NOW + STOP_MS });
});

test("a child that ends, or undoes itself, may take days: the parent leaves memory after a moment", () => {
  const job = { functions: [{ name: "g", undo: "undo-g" }] };
  const stopping = new Run([{ id: "a", job }]).cancel();
  const undone = new Run([{ id: "a", job }, f("b")]).childEnds(0, { state: "completed", result: 1 }).fails(1);
  for (const run of [stopping, undone]) {
    assert.not.ok(isParked(run), "most children are quick");
    assert.equal(held(run), { type: "attempts", attempts: [], until: NOW + 1_000 });
    run.due(1_000);
    assert.ok(isParked(run));
    assert.equal(placeOf(run), { type: "parked", until: run.now + DAY_MS, functionNames: [] });
  }
});

test("on_failure has an end, in memory and outside of it", () => {
  const run = new Run([f("a")], { on_failure: "alert" }).fails(0);
  assert.equal(held(run), { type: "attempts", attempts: run.state.live, until: NOW + HOUR_MS });
  run.on({ type: "no_room", ...run.attempt(1) });
  assert.ok(isParked(run));
  assert.equal(placeOf(run), { type: "parked", until: NOW + HOUR_MS, functionNames: ["alert"] });
});

test("items that are undone keep the job in memory while they are at it, and park with what they wait for", () => {
  const run = new Run([f("a", { for_each: 3, undo }), f("b")]);
  const items = { run: 1, list: 1, count: 3, next: 1, open: [], done: 3, failed: 0 };
  run.items(0, { items, end: { result: [1, 2, 3] } }).fails(1);
  assert.not.ok(isParked(run));
  run.items(0, { wait: { type: "worker" } });
  const how = placeOf(run);
  assert.equal(how.type === "parked" && how.functionNames, ["refund"]);
});

test("each job that undoes says why it has not ended", () => {
  const stopping = new Run([f("a", { undo, needs: [] }), f("b", { needs: [] })]).fails(1);
  const runs = [
    undoing(),
    undoing().fails(0, { retryable: true }),
    stopping,
    new Run([f("a")], { on_failure: "alert" }).fails(0),
  ];
  for (const { state, now } of runs) {
    const { entries } = explain(state, () => undefined, now, undefined, true);
    assert.ok(entries.length > 0, JSON.stringify(state.live));
    assert.ok(entries.every(({ text }) => text !== ""));
  }
});

// --- records

test("what is stored of a job that undoes comes back as it was", () => {
  const runs = [
    undoing(),
    undoing().fails(0, { retryable: true }),
    undoing().cancel("skip"),
    undoing().done(0),
    new Run([f("a", { undo, needs: [] }), f("b", { needs: [] })], { on_failure: "alert" }).fails(1),
    new Run([f("a")], { on_failure: "alert" }).fails(0),
    new Run([f("a")], { on_failure: "alert" }).fails(0).done(1),
  ];
  for (const { state } of runs) {
    const read = storedJob(state.job_id, 1, packState(state));
    assert.is(read.problem, undefined);
    assert.equal(read.state, state);
  }
});

const onFailure = () => new Run([f("a")], { on_failure: "alert" }).fails(0).state;
const stopping = () => new Run([f("a", { undo, needs: [] }), f("b", { needs: [] })]).fails(1).state;

/** The same job, with something else in its record. */
function spoilt(state: Graph, more: object, without?: "outcome" | "failing"): Graph & LiveJob {
  const next = { ...state, ...more } as Graph & LiveJob;
  if (without) delete next[without];
  return next;
}

test("a record of a job that undoes, and could never go on, ends as it stands", () => {
  const state = undoing().state;
  const [branch] = state.live;
  const nonsense: (Graph & LiveJob)[] = [
    spoilt(state, {}, "outcome"),
    spoilt(state, { live: [] }),
    spoilt(state, { live: [{ ...branch, wait: "child" }] }),
    spoilt(state, { live: [{ ...branch, wait: "signal" }] }),
    spoilt(state, { live: [{ ...branch, wait: "items" }] }),
    spoilt(state, { live: [{ ...branch, wait: "backoff" }] }),
    spoilt(state, { live: [{ ...branch, index: 1 }] }),
    spoilt(state, { live: [{ ...branch, undo: undefined }] }),
    spoilt(state, { live: [branch, { ...branch, index: 1, wait: "stopping", undo: undefined, due_at: NOW }] }),
    spoilt(state, { halted: [{ index: 7, attempt: 1, wait: "none", since: NOW }] }),
    spoilt(state, { ended_count: 2 }),
    spoilt(stopping(), { live: [{ ...stopping().live[0], due_at: undefined }] }),
    spoilt(onFailure(), {}, "failing"),
    spoilt(onFailure(), { live: [{ ...onFailure().live[0], undo: true }] }),
  ];
  for (const [at, one] of nonsense.entries()) {
    assert.ok(soundnessProblem(one), `${at}`);
    const end = asGraph(reduce(one, { type: "resumed" }, NOW).state);
    assert.is(end.state, "failed", `${at}`);
    assert.not.ok(
      end.live.some(({ index }) => index >= end.functions.length),
      `${at}: a retry can go on with it`,
    );
  }
  assert.equal(state.state === "undoing" && state.outcome?.error, BOOM);
});

test("a branch that is undone is nothing for a job that does not undo", () => {
  const running = new Run([f("a", { undo })]).state;
  assert.is(soundnessProblem(running as Graph & LiveJob), undefined);
  const [branch] = running.live;
  assert.ok(soundnessProblem(spoilt(running, { live: [{ ...branch, undo: true }] })));
  assert.ok(soundnessProblem(spoilt(running, { live: [{ ...branch, wait: "stopping", due_at: NOW }] })));
});

test.run();
