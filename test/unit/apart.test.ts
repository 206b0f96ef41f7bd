/** Results that are stored besides their job: what needs which, whose they are, and how they are shown. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { largestInline } from "../../src/actors/refusal.ts";
import { EncodedResults, encodeInvocation } from "../../src/bus/messages/invocation.ts";
import { inboxKey } from "../../src/bus/store/inbox.ts";
import { isNamed, ownerOf, packResult, readResult, resultKey, resultOf } from "../../src/bus/store/results.ts";
import { packState, readRecord, stateFrom } from "../../src/bus/store/stored-state.ts";
import { fitted } from "../../src/job/answer.ts";
import { apartFor, asApart, carriedApart, missingFor } from "../../src/job/apart.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { endEvent } from "../../src/job/events.ts";
import { LostValue } from "../../src/job/expression-error.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { functionAt, type Graph, withoutPayloads } from "../../src/job/state.ts";
import { MissingValue } from "../../src/job/values.ts";
import { viewOf } from "../../src/job/view.ts";
import { ended, live, NOW, ORIGIN } from "./support.ts";

const f = (id: string, more: FunctionSpec = {}): FunctionSpec => ({ id, name: "f", ...more });

function open(functions: FunctionSpec[]): Graph {
  return createJob(parseSubmission({ name: "test", functions }, NOW), ORIGIN, NOW).state as Graph;
}

function done(state: Graph, index: number, result: unknown, plan = planOf(state.functions)): Graph {
  const attempt = state.live.find((branch) => branch.index === index)?.attempt ?? 1;
  return reduce(state, { type: "succeeded", index, attempt, result }, NOW, plan).state as Graph;
}

/** The job with the result of that entry stored besides it. */
function apart(state: Graph, index: number, bytes = 100_000): Graph {
  return { ...state, functions: state.functions.with(index, asApart(functionAt(state, index), bytes)) };
}

const FAN = [f("a", { needs: [] }), f("b", { needs: [] }), f("c", { needs: ["b"] }), f("d")];

test("an attempt needs those that it is handed, by its needs or all before it, and those that its args name", () => {
  const state = apart(
    apart(done(done(open([...FAN, f("e", { needs: ["c"], args: { x: [{ $: "results.b.x + 1" }] } })]), 0, 1), 1, 2), 0),
    1,
  );
  const plan = planOf(state.functions);
  assert.equal(apartFor(state, { index: 2 }, plan), [1]);
  assert.equal(apartFor(state, { index: 3 }, plan), [0, 1]);
  assert.equal(apartFor(state, { index: 4 }, plan), [1]);
  assert.equal(carriedApart(state, { index: 4 }, plan), [], "what is named only is not carried");
  plan.loaded.set(0, "there");
  assert.equal(missingFor(state, { index: 3 }, plan), [1]);
});

test("an undo needs the result of what it undoes, what is called at the end those of all, an item those it is given", () => {
  const entries = [
    f("a", { needs: [] }),
    f("b", { needs: [], undo: "u" }),
    f("c", { needs: ["a", "b"], for_each: "results.a" }),
    f("d", { needs: ["a", "b"], for_each: "[1]", context: true }),
  ];
  const state = apart(apart(done(done(open(entries), 0, [1]), 1, 2), 0), 1);
  const plan = planOf(state.functions);
  assert.equal(apartFor(state, { index: 1, undo: true }, plan), [1]);
  assert.equal(apartFor({ ...state, failing: { name: "f", retry_count: 0 } }, { index: 4 }, plan), [0, 1]);
  assert.equal(apartFor(state, { index: 2 }, plan), [0], "its list is named, no result is carried");
  assert.equal(apartFor(state, { index: 3 }, plan), [0, 1]);
});

test("a condition that names one asks for it, decides when it is there, and fails its entry when it is lost", () => {
  const state = apart(done(open([f("a"), f("b"), f("c", { when: "results.a == 'x'" })]), 0, "x"), 0);
  const plan = planOf(state.functions);
  const end = () => done(state, 1, null, plan);
  assert.throws(end, (error: unknown) => error instanceof MissingValue && error.index === 0);
  plan.loaded.set(0, "x");
  assert.equal(
    end().live.map(({ index }) => index),
    [2],
  );
  plan.loaded.set(0, new LostValue(0));
  const failed = ended(end());
  assert.is(failed.state === "failed" && failed.error.code, "corrupt_state");
});

test("what is expected of the result of items is asked of them, and one that fails leaves nothing behind", () => {
  const job = open([f("a", { for_each: 3, expect: "size(result) == 3", on_error: "continue" }), f("b")]);
  const { items } = functionAt(job, 0);
  assert.ok(items);
  const plan = planOf(job.functions);
  const end = () => {
    const report = { items: items as NonNullable<typeof items>, end: { apart: 90_000 } };
    return reduce(job, { type: "items", index: 0, attempt: items?.run ?? 1, report }, NOW, plan).state as Graph;
  };
  assert.throws(end, (error: unknown) => error instanceof MissingValue && error.functions.at(0)?.apart === 90_000);
  plan.loaded.set(0, [1, 2, 3]);
  assert.equal([functionAt(end(), 0).apart, functionAt(end(), 0).result], [90_000, null]);
  plan.loaded.set(0, [1, 2]);
  const { apart: left, caught, result } = functionAt(end(), 0);
  assert.equal([left, caught?.code, result], [undefined, "expectation_failed", null]);
});

test("an invocation has what was read, also of a job whose results are kept encoded", () => {
  const state = apart(done(done(open([f("a"), f("b"), f("c")]), 0, "large"), 1, "small"), 0);
  const plan = planOf(state.functions);
  const encoded = new EncodedResults("json");
  const invocation = () =>
    JSON.parse(String(encodeInvocation(live(state), { index: 2, attempt: 1 }, NOW, undefined, encoded, plan)));
  assert.throws(invocation, (error: unknown) => error instanceof MissingValue);
  plan.loaded.set(0, "large");
  assert.equal(invocation().results, ["large", "small"]);
  plan.loaded.clear();
  assert.throws(invocation, (error: unknown) => error instanceof MissingValue, "it is not taken for null");
});

test("a key names a job and an entry, and no inbox is taken for one", () => {
  assert.equal(resultOf(resultKey("job-1", 12)), { jobId: "job-1", index: 12 });
  for (const key of [inboxKey("job-1", "result"), "job-1.result.x", "job-1.result", ".result.1", "job-1.result.1.2"]) {
    assert.is(resultOf(key), undefined, key);
  }
});

test("what is stored counts for that job, that run and that attempt only (RESULTS-1)", () => {
  const state = apart(done(open(FAN), 0, "x"), 0);
  const fn = functionAt(state, 0);
  const owner = ownerOf(state, fn);
  assert.equal(owner, { created_at: NOW, runs: 0, attempt: 1 });
  assert.ok(isNamed(state, 0, packResult(owner, "x")));
  const others = [
    { ...owner, created_at: NOW + 1 },
    { ...owner, runs: 1 },
    { ...owner, attempt: 2 },
  ];
  for (const other of others) assert.not(isNamed(state, 0, packResult(other, "x")), JSON.stringify(other));
  assert.not(isNamed(state, 1, packResult(owner, "x")), "its result is in the state");
  for (const bytes of [Buffer.of(), Buffer.from("no"), Buffer.of(0x94, 0xc0, 1, 1, 1)])
    assert.is(readResult(bytes), undefined);
});

test("the record keeps how large it is, and what does not fit keeps it as well", () => {
  const state = apart(done(open(FAN), 0, "x"), 0, 70_000);
  const record = readRecord(state.job_id, packState(state));
  const read = record.type === "fields" ? (stateFrom(record.fields) as Graph) : undefined;
  assert.is(functionAt(read as Graph, 0).apart, 70_000);
  assert.is(functionAt(withoutPayloads(state), 0).apart, 70_000);
});

test("it is shown as omitted, as is the result of a job whose last one is, and the event of its end says so", () => {
  let state = apart(done(open([f("a", { needs: [] }), f("b", { needs: [] })]), 0, "x"), 0);
  state = done(state, 1, "y");
  const view = viewOf(state);
  assert.equal(Object.hasOwn(view.functions[0] ?? {}, "result"), false);
  assert.is(view.functions[0]?.result_omitted, true);
  assert.equal([view.result, view.functions[1]?.result], ["y", "y"]);
  const whole = apart(state, 1);
  assert.equal([viewOf(whole).result_omitted, Object.hasOwn(viewOf(whole), "result")], [true, false]);
  const event = endEvent(ended(whole));
  assert.equal(event.type === "completed" && [event.result, event.result_omitted], [null, true]);
});

test("an answer that is too long leaves out the largest results, that of the job last among equals", () => {
  const state = done(done(done(open([f("a"), f("b"), f("c")]), 0, "x".repeat(500)), 1, "y"), 2, "z".repeat(700));
  const view = viewOf(state);
  const bytes = Buffer.byteLength(JSON.stringify(view));
  assert.is(fitted(viewOf(state), bytes), JSON.stringify(view), "what fits is as it was");
  const shown = JSON.parse(fitted(viewOf(state), bytes - 1));
  assert.equal([shown.result, shown.functions[2].result_omitted], ["z".repeat(700), true]);
  const less = JSON.parse(fitted(viewOf(state), bytes - 1_000));
  assert.equal([less.result_omitted, less.functions[0].result.length, less.functions[1].result], [true, 500, "y"]);
  assert.equal(JSON.parse(fitted(viewOf(state), 1)).functions[1].result_omitted, true);
});

test("the largest results of a state come first, as many as are too much; small ones are not worth it", () => {
  const sizes = [400, 9_000, 100, 5_000];
  let state = open(sizes.map((_, index) => f(`n${index}`)));
  for (const [index, length] of sizes.entries()) state = done(state, index, "x".repeat(length));
  assert.equal(largestInline(state), [1]);
  assert.equal(largestInline(state, 12_000), [1, 3]);
  assert.equal(largestInline(state, 1e9), [1, 3, 0]);
  assert.equal(largestInline(apart(state, 1)), [3]);
});

test.run();
