/** Children, as far as they are pure: ids, what submissions say of parents, documents, and what an end means (CHILD-1, ENDS-1 and -2). */
import type { Msg } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readSubmission } from "../../src/actors/submission.ts";
import { ChildEnds, endKey, endOf, packEnd, readEnd } from "../../src/bus/store/child-ends.ts";
import { FamilyFilter } from "../../src/bus/store/family-filter.ts";
import type { JobStore } from "../../src/bus/store/job-store.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { headersOf as rawHeaders } from "../../src/bus/wire/headers.ts";
import { JetStreamError } from "../../src/bus/wire/jetstream.ts";
import {
  branchOfChild,
  type ChildEnd,
  childDocument,
  childEndOf,
  childIdOf,
  childOrigin,
  isChildId,
  isEndFor,
  mayBegin,
  outcomeFor,
  parentOf,
  readOrigin,
} from "../../src/job/children.ts";
import { chosenJobIdProblem, jobIdProblem } from "../../src/job/names.ts";
import { planOf } from "../../src/job/plan.ts";
import { inPhase } from "../../src/job/record.ts";
import type { Submission } from "../../src/job/schema.ts";
import { type Graph, isGraph, type LiveJob } from "../../src/job/state.ts";
import { BOOM, NOW, newJob, ORIGIN } from "./support.ts";

const test = suite("children");

const CHILD = { functions: [{ name: "f" }] };

function graph(functions: Submission["functions"], more: Partial<Submission> = {}): LiveJob & Graph {
  const job = newJob({ name: "order", functions, ...more });
  assert.ok(isGraph(job));
  return job as LiveJob & Graph;
}

function documentOf(job: Graph, index = 0, more = {}) {
  return childDocument(job, index, planOf(job.functions), NOW, more);
}

const completed: ChildEnd = { run: 1, outcome: { state: "completed", result: [1, null] } };
const failed: ChildEnd = { run: 2, outcome: { state: "failed", error: BOOM } };

// --- ids

test("CHILD-1: the id follows from the parent, the entry, the item and how often these were run anew", () => {
  const origin = { job_id: "order", created_at: NOW, index: 0 };
  const id = childIdOf(origin);
  assert.is(id, childIdOf({ ...origin, depth: 3 } as typeof origin));
  assert.ok(isChildId(id));
  assert.is(jobIdProblem(id), undefined);
  assert.match(chosenJobIdProblem(id) ?? "", "children");
  const others = [
    { ...origin, job_id: "order2" },
    { ...origin, created_at: NOW + 1 },
    { ...origin, index: 1 },
    { ...origin, item: 0 },
    { ...origin, item: 1 },
    { ...origin, runs: 1 },
    { ...origin, item: 0, list: 1 },
    { ...origin, item: 0, list: 2 },
  ].map(childIdOf);
  assert.is(new Set([id, ...others]).size, others.length + 1);
  for (const no of ["sub-", "sub-x", `${id}x`, `seq-${1}`, id.toUpperCase()]) assert.not(isChildId(no), no);
});

test("what a submission says of its parent is read as it was written, and nonsense is nobody's", () => {
  const origin = { job_id: "order", created_at: NOW, index: 2, depth: 1, item: 7, runs: 1, list: 3, run: 2 };
  assert.equal(readOrigin(JSON.stringify(origin)), origin);
  assert.equal(parentOf(origin), { job_id: "order", created_at: NOW, index: 2, item: 7, depth: 1 });
  const bad = ["", "{", "[]", "null", '"x"'].concat(
    [
      { job_id: "a b" },
      { created_at: "x" },
      { index: -1 },
      { index: 1.5 },
      { depth: 0 },
      { depth: 9 },
      { item: -1 },
      { runs: 0 },
      { run: 1 },
    ].map((more) => JSON.stringify({ ...origin, ...more })),
  );
  for (const text of bad) assert.is(readOrigin(text), undefined, text);
});

test("a submission under the id of a child is one only with the header that the id follows from", () => {
  const origin = { job_id: "order", created_at: NOW, index: 0, depth: 2, run: 3 };
  const id = childIdOf(origin);
  const data = Buffer.from(JSON.stringify({ name: "n", ...CHILD }));
  const read = (subject: string, text?: string) => {
    const headers =
      text === undefined ? undefined : ({ get: () => text, has: () => true } as unknown as NonNullable<Msg["headers"]>);
    return readSubmission({ subject, data, sequence: 5, storedAt: NOW, ...(headers === undefined ? {} : { headers }) });
  };
  const made = read(`job.submit.${id}`, JSON.stringify(origin));
  assert.is(made.type, "job");
  if (made.type !== "job") return;
  const state = made.submitted(NOW);
  assert.equal(
    { parent: state.parent, format: state.format, retries: state.retries },
    { parent: parentOf(origin), format: 2, retries: 2 },
  );
  assert.equal(made.parent, parentOf(origin));
  assert.is(read(`job.submit.${id}`).type, "rejected");
  assert.is(read(`job.submit.${id}`, "nonsense").type, "rejected");
  assert.is(read(`job.submit.${id}`, JSON.stringify({ ...origin, index: 1 })).type, "rejected");
  const other = read("job.submit.other", JSON.stringify(origin));
  assert.is(other.type === "job" ? other.parent : "none", undefined, "another job is nobody's child");
  assert.throws(() => rawHeaders({ "Async-Parent": "a\nb" }));
});

// --- documents

test("a document has a name, the data of the parent or what the expressions in it give, and the tags of both", () => {
  const tags = { a: "1", b: "2" };
  const plain = graph([{ id: "pay", job: CHILD }, { job: CHILD }], { data: { n: 1 }, tags });
  assert.equal(documentOf(plain), { document: { name: "order/pay", ...CHILD, data: { n: 1 }, tags } });
  assert.equal(documentOf(plain, 1), { document: { name: "order/1", ...CHILD, data: { n: 1 }, tags } });
  const own = graph([{ job: { name: "own", ...CHILD, tags: { b: "3" }, data: { m: { $: "data.n + 1" }, k: "$" } } }], {
    data: { n: 1 },
    tags,
  });
  assert.equal(documentOf(own), {
    document: { name: "own", ...CHILD, data: { m: 2, k: "$" }, tags: { a: "1", b: "3" } },
  });
  const nothing = graph([{ job: { ...CHILD, data: null } }], { data: { n: 1 } });
  assert.equal(documentOf(nothing), { document: { name: "order/0", ...CHILD, data: null } });
});

test("what stands in the document of a child is left to it, but for its data", () => {
  const functions = [
    { id: "x", name: "f", args: { $: "data.deep" } },
    { name: "g", when: "results.x > 1" },
  ];
  const job = graph([{ job: { functions } }], { data: { deep: 1 } });
  assert.equal(documentOf(job).document?.functions, functions);
});

test("an item is the data of its child, unless that says otherwise", () => {
  const job = graph(
    [
      { for_each: "data.list", job: CHILD },
      { for_each: 2, job: { ...CHILD, data: { $: "item * 2 + item_index" } } },
    ],
    { data: { list: [7] } },
  );
  assert.is(documentOf(job, 0, { item: 7, item_index: 0 }).document?.data, 7);
  assert.is(documentOf(job, 1, { item: 7, item_index: 1 }).document?.data, 15);
});

test("a child has at most as many tags as a job: its own first", () => {
  const names = Array.from({ length: 8 }, (_, index) => [`t${index}`, "x"]);
  const job = graph([{ job: { ...CHILD, tags: { own: "1" } } }], { tags: Object.fromEntries(names) });
  const { tags = {} } = documentOf(job).document ?? {};
  assert.is(Object.keys(tags).length, 8);
  assert.is(tags.own, "1");
});

test("a long name is cut", () => {
  const job = graph([{ job: CHILD }]);
  const { document } = documentOf({ ...job, name: "n".repeat(256) } as typeof job);
  assert.is(document?.name.length, 256);
  assert.match(document?.name ?? "", /n\/0$/);
});

test("what cannot be used as a document fails the entry, and says all that is wrong", () => {
  const ofPlan = (plan: unknown) => {
    const job = graph([{ job: { $: "data.plan" } }], { data: { plan } });
    return documentOf(job).failure;
  };
  assert.is(ofPlan(CHILD), undefined);
  const bad: [plan: unknown, message: RegExp][] = [
    [1, /no object/],
    [{}, /functions/],
    [{ functions: [{}, { name: "a b" }] }, /functions\/0.*functions\/1\/name/],
    [{ ...CHILD, job_id: "x" }, /\/job_id is not for children/],
    [{ ...CHILD, notify: "x" }, /\/notify is not for children/],
    [{ ...CHILD, scheduled_at: "2026-12-01T00:00:00Z" }, /\/scheduled_at is not for children/],
  ];
  for (const [plan, message] of bad) {
    const failure = ofPlan(plan);
    assert.is(failure?.code, "invalid_child");
    assert.match(failure?.message ?? "", message);
  }
  const wrong = graph([{ job: { $: "data.plan.x" } }], { data: {} });
  assert.is(documentOf(wrong).failure?.code, "expression_error");
});

test("deeper than eight there is no child", () => {
  const job = graph([{ job: CHILD }]);
  const at = (depth: number) =>
    documentOf({ ...job, parent: { job_id: "p", created_at: 1, index: 0, depth } } as typeof job);
  assert.is(at(7).failure, undefined);
  assert.match(at(8).failure?.message ?? "", "8 others");
});

// --- who waits for it

test("a parent waits for the child of a live entry, until it only wants its end", () => {
  const job = graph([{ job: CHILD }]);
  const origin = childOrigin(job, 0);
  const id = childIdOf(origin);
  assert.ok(mayBegin(job, id, origin));
  assert.equal(branchOfChild(job, id, origin), { index: 0, attempt: 1, wait: "child", since: NOW });
  assert.not(mayBegin(job, childIdOf({ ...origin, index: 1 }), origin), "another id");
  assert.not(mayBegin(job, id, { ...origin, depth: 2 }), "another depth");
  assert.not(mayBegin({ ...job, created_at: NOW - 1 }, id, origin), "another job with that id");
  const stopping = { ...job, live: [{ index: 0, attempt: 1, wait: "stopping" as const, since: NOW }] };
  assert.not(mayBegin(stopping, id, origin));
  assert.ok(branchOfChild(stopping, id, origin), "it waits for its end");
  assert.is(branchOfChild({ ...job, live: [] }, id, origin), undefined);
  assert.is(branchOfChild(inPhase(job, { state: "cancelled", finished_at: NOW }), id, origin), undefined);
  assert.is(branchOfChild(newJob({ name: "chain", functions: [{ name: "f" }] }), id, origin), undefined);
});

// --- ends

test("what an end means for its entry", () => {
  const job = { ...newJob({ name: "child", ...CHILD }), job_id: "sub-x" };
  const done = { ...job, functions: [{ name: "f", retry_count: 1, finished_at: NOW, result: 3 }] };
  const end = childEndOf(inPhase(done, { state: "completed", finished_at: NOW }));
  assert.equal(end, { run: 1, outcome: { state: "completed", result: 3 } });
  const boom = childEndOf({ ...inPhase(job, { state: "failed", finished_at: NOW, error: BOOM }), retries: 2 });
  assert.is(boom.run, 3);
  assert.equal(boom.outcome.state === "failed" && boom.outcome.error, {
    code: "child_failed",
    name: "ChildFailed",
    message: "the child job sub-x has failed with function_failed: boom",
  });
  const undo = { state: "done", undone: 1, failed: 0, not_undone: 0 } as const;
  const undone = childEndOf({ ...inPhase(done, { state: "completed", finished_at: NOW }), undo });
  assert.equal({ undo: undone.undo, undone: undone.undone }, { undo, undone: true });
});

test("an end counts from the run on that is waited for; that of an undo only where one is", () => {
  const forward = { attempt: 2 };
  const back = { attempt: 2, undo: true as const };
  assert.not(isEndFor(forward, completed));
  assert.ok(isEndFor(forward, failed));
  assert.ok(isEndFor(forward, { ...completed, run: 3 }));
  assert.not(isEndFor(forward, { ...completed, run: 3, undone: true }));
  assert.not(isEndFor(back, { ...completed, run: 3 }));
  assert.ok(isEndFor(back, { ...completed, run: 2, undone: true }));
  assert.ok(isEndFor(back, failed));
  assert.equal(outcomeFor({}, failed), failed.outcome);
  assert.equal(outcomeFor(back, { ...completed, undone: true }), { state: "completed", result: null });
  const undo = { state: "failed", undone: 0, failed: 1, not_undone: 0 } as const;
  assert.equal(outcomeFor(back, { ...failed, undo }), { state: "completed", result: null, undo });
});

test("ends are stored as they are; what somebody else has written is none", () => {
  const undo = { state: "done", undone: 1, failed: 0, not_undone: 0 } as const;
  for (const end of [completed, failed, { ...completed, undo, undone: true as const }]) {
    assert.equal(readEnd(packEnd({ job_id: "p", created_at: NOW }, end)), { created_at: NOW, ...end });
  }
  for (const bytes of [Buffer.of(), Buffer.from("x"), Buffer.of(0x80), Buffer.of(0xc1), Buffer.from('{"run":1}')]) {
    assert.is(readEnd(bytes), undefined);
  }
  const id = childIdOf({ job_id: "p", created_at: 1, index: 0 });
  assert.equal(endOf(endKey("p", id)), { parentId: "p", childId: id });
  for (const key of ["p", "p.end", "p.end.x", `p.signal.${id}`, `p.end.${id}.x`, `.end.${id}`])
    assert.is(endOf(key), undefined, key);
});

/** A store of one key. */
function storeOf(): Pick<JobStore, "part" | "putPart" | "removePart"> & { refuses?: boolean } {
  const parts = new Map<string, { sequence: number; data: Uint8Array }>();
  let last = 0;
  return {
    part: async (key) => parts.get(key),
    putPart: async function (this: { refuses?: boolean }, key, data, after) {
      if (data.length > 1_000)
        throw new JetStreamError("jetstream_error", 10054, "message size exceeds maximum allowed");
      if ((parts.get(key)?.sequence ?? 0) !== after)
        throw new JetStreamError("jetstream_error", 10071, "wrong last sequence");
      last += 1;
      parts.set(key, { sequence: last, data });
      return last;
    },
    removePart: (key, sequence) => {
      last += 1;
      if (parts.get(key)?.sequence === sequence) parts.set(key, { sequence: last, data: Buffer.of() });
    },
  };
}

test("ENDS-1, ENDS-2: the newest run is kept, one of another parent with the id is none, and one that is too large is a failure", async () => {
  const ends = new ChildEnds(storeOf());
  const parent = { job_id: "p", created_at: NOW };
  const id = childIdOf({ ...parent, index: 0 });
  const first = await ends.put(parent, id, completed);
  assert.is(await ends.put(parent, id, completed), first, "again");
  assert.ok((await ends.put(parent, id, failed)) > first);
  await ends.put(parent, id, completed);
  assert.is((await ends.read(parent, id))?.end.run, 2, "an older one changes nothing");
  assert.is(await ends.read({ ...parent, created_at: 1 }, id), undefined);
  await ends.put({ ...parent, created_at: NOW + 5 }, id, completed);
  assert.is(await ends.read(parent, id), undefined);
  const stored = await ends.read({ ...parent, created_at: NOW + 5 }, id);
  ends.remove("p", id, (stored?.sequence ?? 0) - 1);
  assert.ok(await ends.read({ ...parent, created_at: NOW + 5 }, id), "another one is not removed");
  ends.remove("p", id, stored?.sequence ?? 0);
  assert.is(await ends.read({ ...parent, created_at: NOW + 5 }, id), undefined);
  await ends.put(parent, id, { run: 3, outcome: { state: "completed", result: "x".repeat(2_000) } });
  const large = (await ends.read(parent, id))?.end;
  assert.is(large?.outcome.state === "failed" && large.outcome.error.code, "payload_too_large");
});

// --- lists

test("a list leaves children out by their ids, and finds those of one parent by the bytes of their records", () => {
  const job = newJob({ name: "n", ...CHILD });
  const parent = { job_id: "order-1", created_at: NOW, index: 0, depth: 1 };
  const id = childIdOf(parent);
  const child = { ...job, job_id: id, parent, format: 2 as const };
  const none = new FamilyFilter(undefined);
  assert.ok(none.mayBeRecord(ORIGIN.jobId, packState(job)) && none.matches(job));
  assert.not(none.mayBeRecord(id, packState(child)));
  assert.not(none.matches(child));
  const ofOrder = new FamilyFilter("order-1");
  assert.ok(ofOrder.mayBeRecord(id, packState(child)) && ofOrder.matches(child));
  assert.not(ofOrder.mayBeRecord(ORIGIN.jobId, packState({ ...job, data: { job_id: "order-1" } })));
  const other = { ...child, parent: { ...parent, job_id: "order-12" } };
  assert.not(ofOrder.mayBeRecord(id, packState(other)));
  assert.not(ofOrder.matches(other));
});

test.run();
