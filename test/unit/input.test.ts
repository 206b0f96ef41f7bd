/** What an entry of a graph is handed, as it stands in its invocation. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EncodedResults, encodeInvocation } from "../../src/bus/messages/invocation.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { inputOf } from "../../src/job/input.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import type { Graph } from "../../src/job/state.ts";
import { Run } from "../support/graph-run.ts";
import { BOOM, live, NOW, ORIGIN } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });

function open(functions: FunctionSpec[], data: unknown = null): Graph {
  return createJob(parseSubmission({ name: "test", functions, data }, NOW), ORIGIN, NOW).state as Graph;
}

const done = (state: Graph, index: number, result: unknown): Graph => {
  const attempt = state.live.find((branch) => branch.index === index)?.attempt ?? 1;
  return reduce(state, { type: "succeeded", index, attempt, result }, NOW).state as Graph;
};

/** The invocation of the next attempt of an entry, and its bytes. */
function invocation(state: Graph, index: number, results?: EncodedResults) {
  const attempt = state.live.find((branch) => branch.index === index)?.attempt ?? 1;
  const plan = planOf(state.functions);
  const payload = encodeInvocation(live(state), { index, attempt }, NOW, undefined, results, plan);
  const text = typeof payload === "string" ? payload : Buffer.from(payload).toString();
  return { text, body: JSON.parse(text) };
}

test("results are those of all before it, or of its needs in the order in which it names them, with their ids", () => {
  let state = open([
    f("a", { needs: [] }),
    { name: "g", needs: [] },
    f("c", { needs: [] }),
    f("d", { needs: ["c", "a"] }),
    f("e"),
  ]);
  state = done(done(done(state, 0, "A"), 1, "B"), 2, "C");
  assert.equal(invocation(state, 3).body.results, ["C", "A"]);
  assert.equal(invocation(state, 3).body.result_ids, ["c", "a"]);
  state = done(state, 3, "D");
  assert.equal(invocation(state, 4).body.results, ["A", "B", "C", "D"]);
  assert.equal(invocation(state, 4).body.result_ids, ["a", null, "c", "d"]);
});

test("there are no result_ids where nothing of what it gets has an id", () => {
  const state = done(open([{ name: "a", needs: [] }, { name: "b" }, f("c")]), 0, 1);
  assert.not.ok("result_ids" in invocation(state, 1).body);
  const empty = open([f("a", { needs: [] })]);
  assert.not.ok("result_ids" in invocation(empty, 0).body);
});

test("expressions in args are replaced, and all else is as it was submitted", () => {
  const args = { n: { $: "data.n" }, list: [{ $: "results.a" }, "data.n", { $: 5 }] };
  const state = done(open([f("a"), f("b", { args })], { n: 3 }), 0, { x: 1 });
  assert.equal(invocation(state, 1).body.args, { n: 3, list: [{ x: 1 }, "data.n", { $: 5 }] });
});

test("an expression that cannot be evaluated throws, and names no value", () => {
  const state = open([f("a", { args: { $: "data.missing" } })], { secret: "hunter2" });
  assert.throws(
    () => inputOf(state, { index: 0 }, planOf(state.functions)),
    /expression "data.missing": there is no key/,
  );
});

test("an entry that runs in place of one that failed gets its error and the results that it would have got", () => {
  let state = open([f("a"), f("b", { on_error: { name: "other", args: { why: { $: "error.message" } } } })]);
  state = done(state, 0, "A");
  const failed = { type: "failed", index: 1, attempt: 1, error: BOOM, retryable: false, random: 0 } as const;
  state = reduce(state, failed, NOW).state as Graph;
  const { body } = invocation(state, 1);
  assert.equal([body.function, body.attempt, body.args], ["other", 2, { why: "boom" }]);
  assert.equal(body.error, BOOM);
  assert.equal(body.results, ["A"]);
});

test("an idempotency key is told only where it is another one than the id and the index", () => {
  let state = open([f("a")]);
  assert.not.ok("idempotency_key" in invocation(state, 0).body);
  state = reduce(done(state, 0, 1), { type: "retried", from: "a" }, NOW).state as Graph;
  assert.is(invocation(state, 0).body.idempotency_key, "job-1/0/r1");
});

test("the progress that was told last is told to the next attempt", () => {
  const state = open([f("a", { retry_options: { retry_limit: 2 } })]);
  const lost = reduce(state, { type: "lost", index: 0, attempt: 1, progress: { percent: 50 } }, NOW).state as Graph;
  assert.equal(invocation(lost, 0).body.last_progress, { percent: 50 });
  assert.not.ok("last_progress" in invocation(state, 0).body);
});

test("results are the last field of the bytes, whatever else there is, also where they are encoded once for all", () => {
  let state = open([
    f("a"),
    f("b", { on_error: { name: "other" }, retry_options: { retry_limit: 1 } }),
    f("c", { needs: ["b"] }),
  ]);
  const results = new EncodedResults("json");
  assert.match(invocation(state, 0, results).text, /"results":\[\]\}$/);
  state = done(state, 0, "A");
  const failed = {
    type: "failed",
    index: 1,
    attempt: 1,
    error: BOOM,
    retryable: false,
    random: 0,
    progress: 1,
  } as const;
  state = reduce(state, failed, NOW).state as Graph;
  for (const encoded of [undefined, results]) assert.match(invocation(state, 1, encoded).text, /,"results":\["A"\]\}$/);
  assert.is(invocation(state, 1, results).text, invocation(state, 1).text);
  state = reduce(done(state, 1, "B"), { type: "cancelled" }, NOW).state as Graph;
  state = reduce(state, { type: "retried", from: "c" }, NOW).state as Graph;
  assert.match(invocation(state, 2).text, /,"results":\["B"\]\}$/);
});

// --- undo, and what is called once the job has failed

/** The invocation of what is live of an entry, or of what is called at the end, with its bytes. */
function nextOf(run: Run, index: number) {
  const plan = planOf(run.state.functions);
  const payload = encodeInvocation(live(run.state), run.attempt(index), NOW, undefined, undefined, plan);
  const text = typeof payload === "string" ? payload : Buffer.from(payload).toString();
  return JSON.parse(text);
}

test("an undo gets the args of its entry, its result, why the job has failed, and no results; these stay last", () => {
  const run = new Run([f("a", { args: { n: { $: "data.n" } }, undo: "refund" }), f("b")], { data: { n: 3 } });
  const body = nextOf(run.done(0, { id: 7 }).fails(1), 0);
  assert.equal(body, {
    ...{ job_id: "job-1", job_name: "test", function: "refund", index: 0, attempt: 1, args: { n: 3 }, data: { n: 3 } },
    ...{ deadline: null, timeout_ms: null, undo: true, result: { id: 7 }, error: BOOM },
    ...{ idempotency_key: "job-1/0/undo", undo_of: "job-1/0", results: [] },
  });
  assert.is(Object.keys(body).at(-1), "results");
});

test("args of an undo may be its own, and see the result of its entry and the error of the job", () => {
  const undo = { name: "refund", args: { was: { $: "result.id" }, why: { $: "error.message" }, n: { $: "data.n" } } };
  const run = new Run([f("a", { args: 1, undo }), f("b")], { data: { n: 3 } }).done(0, { id: 7 }).fails(1);
  assert.equal(nextOf(run, 0).args, { was: 7, why: "boom", n: 3 });
  const cancelled = new Run([f("a", { undo: "refund" }), f("b")]).done(0).cancel();
  assert.not.ok("error" in nextOf(cancelled, 0), "a cancelled job has none");
});

test("the undo of what may have been done says so, and has no result", () => {
  const body = nextOf(new Run([f("a", { undo: "refund" })]).timesOut(0), 0);
  assert.is(body.uncertain, true);
  assert.is(body.result, null);
  const known = nextOf(new Run([f("a", { undo: "refund" }), f("b")]).done(0).fails(1), 0);
  assert.not.ok("uncertain" in known);
});

test("keys of undos follow those of what they undo: of another run, or of what ran in its place", () => {
  const handled = new Run([f("a", { undo: "u", on_error: { name: "g" } }), f("b")]).fails(0).done(0).fails(1);
  assert.is(nextOf(handled, 0).undo_of, "job-1/0/on_error");
  assert.is(nextOf(handled, 0).idempotency_key, "job-1/0/on_error/undo");
  const again = new Run([f("a", { undo: "u" }), f("b")]).done(0).fails(1).done(0).retry().resume().done(0).fails(1);
  assert.is(nextOf(again, 0).idempotency_key, "job-1/0/r1/undo");
});

test("on_failure gets the error of the job, the entries that failed, and all results with their ids", () => {
  const functions = [
    f("a"),
    f("b", { needs: ["a"], retry_options: { retry_limit: 3 } }),
    f("c", { needs: ["a"] }),
    { name: "f", needs: [] },
  ];
  const run = new Run(functions, { on_failure: { name: "alert", args: { why: { $: "error.message" } } } });
  run
    .done(0, "A")
    .fails(1, { retryable: true, error: { ...BOOM, message: "only once" } })
    .fails(2);
  const body = nextOf(run, 4);
  assert.equal(body.args, { why: "boom" });
  assert.equal(body.error, BOOM);
  assert.equal(body.failed, ["c"], "b would have been tried again");
  assert.equal(
    [body.results, body.result_ids],
    [
      ["A", null, null, null],
      ["a", "b", "c", null],
    ],
  );
  assert.is(body.idempotency_key, "job-1/on_failure");
  assert.is(body.index, 4);
  assert.is(Object.keys(body).at(-1), "results");
});

test.run();
