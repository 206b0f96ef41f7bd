/** Records of graphs that nobody of ours has written: they end as `corrupt_state`, and neither hang nor go round for ever. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createJob, reduce } from "../../src/job/machine.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { type Branch, type Graph, isEnded, isGraph, type JobState, withoutPayloads } from "../../src/job/state.ts";
import { BOOM, NOW, ORIGIN } from "./support.ts";

/** A live graph, with other things in its record. */
function stored(functions: FunctionSpec[], more: object): Graph {
  const { state } = createJob({ name: "test", functions }, ORIGIN, NOW);
  assert.ok(isGraph(state));
  return { ...state, state: "running", ...more } as Graph;
}

/** What becomes of it when it is taken over. */
function takenOver(state: Graph): JobState {
  return reduce(state, { type: "resumed" }, NOW).state;
}

const branch = (wait: Branch["wait"], more: object = {}): Branch => ({
  index: 0,
  attempt: 1,
  wait,
  since: NOW,
  ...more,
});
const f: FunctionSpec = { id: "a", name: "f" };
const sleep: FunctionSpec = { id: "a", sleep_ms: 5_000 };
const signal: FunctionSpec = { id: "a", wait_for: "go" };

test("a branch that waits for what never comes is no state of a job", () => {
  const stuck: [FunctionSpec, Branch][] = [
    [f, branch("sleep", { due_at: NOW })],
    [f, branch("signal")],
    [f, branch("backoff")],
    [sleep, branch("sleep")],
    [sleep, branch("none")],
    [sleep, branch("signal")],
    [signal, branch("worker")],
    [signal, branch("backoff", { due_at: NOW })],
  ];
  for (const [entry, one] of stuck) {
    const state = takenOver(stored([entry], { live: [one] }));
    assert.is(state.state === "failed" && state.error.code, "corrupt_state", JSON.stringify([entry, one]));
  }
});

test("entries that are counted wrong, live before the job begins, or all gone, are no state of a job", () => {
  const all = [
    stored([f], { ended_count: 1 }),
    stored([f], { state: "scheduled", scheduled_at: NOW + 1_000 }),
    stored([f, { id: "b", name: "f", needs: [] }], {
      functions: [
        { ...f, retry_count: 1, finished_at: NOW, result: 1 },
        { id: "b", name: "f", retry_count: 0 },
      ],
      ended_count: 1,
      live: [],
    }),
    stored([f], {
      functions: [{ ...f, retry_count: 1, finished_at: NOW, result: 1 }],
      ended_count: 1,
      live: [branch("none")],
    }),
  ];
  for (const [index, state] of all.entries()) {
    const end = takenOver(state);
    assert.is(end.state === "failed" && end.error.code, "corrupt_state", String(index));
  }
});

test("what is stored as it should be goes on", () => {
  for (const [entry, wait] of [
    [f, branch("none")],
    [f, branch("worker")],
    [f, branch("backoff", { due_at: NOW + 1_000 })],
    [sleep, branch("sleep", { due_at: NOW + 1_000 })],
    [signal, branch("signal")],
  ] as const) {
    assert.not.ok(isEnded(takenOver(stored([entry], { live: [wait] }))), wait.wait);
  }
});

test("a circle of sleeps does not go round for ever", () => {
  const circle = [{ ...sleep, needs: ["b"] }, { id: "b", sleep_ms: 0, needs: ["a"] }, { name: "f" }];
  const state = takenOver(stored(circle, { live: [branch("sleep", { due_at: NOW })] }));
  assert.not.ok(isEnded(state));
  assert.equal(
    (state as Graph).live.map(({ index }) => index),
    [2],
  );
});

test("an end without payloads fits into a message however many errors there are, and whatever they are", () => {
  const text = "\u20ac".repeat(100);
  const error = { ...BOOM, name: text, message: text };
  const entries = Array.from({ length: 1_000 }, (_, index) => ({
    ...{ id: "i".repeat(60) + index, name: "n".repeat(200), retry_count: 1, caught: error, error },
  }));
  const state = stored([f], { functions: entries, live: [], state: "failed", finished_at: NOW, error: BOOM });
  const bytes = Buffer.byteLength(JSON.stringify([...withoutPayloads(state).functions]));
  assert.ok(bytes < 1_000_000, `${bytes} bytes`);
  const odd = stored([f], { functions: [{ ...f, retry_count: 1, error: {}, caught: { message: 5 } }] });
  assert.equal(withoutPayloads(odd).functions.at(0)?.caught?.message, "5");
});

test("what was called at the end is no larger than its name and its failure where a job does not fit", () => {
  const args = "x".repeat(500_000);
  const error = {
    code: "function_failed",
    name: "Error",
    message: "y".repeat(5_000),
    stack: "z".repeat(5_000),
  } as const;
  const failing = { name: "alert", args, retry_count: 2, given_up: true, error };
  const state = stored([f], { on_failure: { name: "alert", args }, failing });
  const short = withoutPayloads(state);
  assert.is(short.on_failure, "alert");
  assert.equal([short.failing?.name, short.failing?.retry_count, short.failing?.given_up], ["alert", 2, true]);
  assert.ok(JSON.stringify(short.failing).length < 500);
});

test.run();
