/** Items of `for_each` on a real server: what they are, their order, failures, results, retries by hand, undo, waits. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownerOfItems } from "../../src/bus/store/item-parts.ts";
import { readItemResults, readItems } from "../../src/bus/store/item-store.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import { childIdOf, childOrigin } from "../../src/job/children.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("for_each");
let system: System;
let atOnce = 0;
let mostAtOnce = 0;
/** `<job name>/<item index>` of each execution. */
const begun: string[] = [];
const undone: { name: string; item: unknown; body: Record<string, unknown> }[] = [];
const troubles: string[] = [];
/** Items that fail as long as they are here. */
const broken = new Set<number>();

test.before(async () => {
  system = await System.start({ parkAfterMs: 700, roomWaitMs: 300 });
  system.supervisor.lifecycle.on("trouble", ({ what, error }) => void troubles.push(`${what}: ${error}`));
  await system.worker(
    (worker) =>
      worker
        .func("echo", ({ args, item }) => args ?? item)
        .func("square", ({ item }) => item * item)
        .func("gauge", async ({ item }) => {
          atOnce += 1;
          mostAtOnce = Math.max(mostAtOnce, atOnce);
          await delay(20);
          atOnce -= 1;
          return item;
        })
        .func("picky", ({ item, itemIndex, jobName, attempt }) => {
          begun.push(`${jobName}/${itemIndex}/${attempt}`);
          if (broken.has(item)) throw new Error(`item ${item} is broken`);
          return item;
        })
        .func("flaky", ({ item, attempt }) => {
          if (attempt <= item % 3) throw new Error("not yet");
          return attempt;
        })
        .func("context", ({ data, results, item, idempotencyKey }) => ({ data, results, item, idempotencyKey }))
        .func("large", ({ item }) => "x".repeat(item * 1_000))
        .func("files", ({ cursor }) => {
          const from = cursor ?? 0;
          const items = Array.from({ length: Math.min(1_000, 30_000 - from) }, (_, at) => `file-${from + at}`);
          return from + items.length < 30_000 ? { items, cursor: from + items.length } : { items };
        })
        .func("wrong-list", () => ({ files: [] }))
        .func("length", ({ item }) => item.length)
        .func("count", ({ results }) => results.length),
    { concurrency: 200 },
  );
  // An undo is told what it undoes; a plain service sees the whole of it.
  system.bus.nc.subscribe("fn.undo-it", {
    queue: "fn",
    callback: (_, message) => {
      const body = message.json<Record<string, unknown>>();
      undone.push({ name: String(body.job_name), item: body.item, body });
      message.respond("null");
    },
  });
});
test.after(() => system.close());

async function submit(document: JobDocument): Promise<string> {
  return (await system.client.submit(document)).job_id;
}

/** The job as it has ended. */
async function run(document: JobDocument): Promise<JobView> {
  return system.client.wait(await submit(document), { timeoutMs: 60_000 });
}

/** Whether lists are the same, without a difference of thousands of lines. */
function assertSame(actual: unknown, expected: unknown[]): void {
  if (!Array.isArray(actual)) throw new Error(`no list but ${JSON.stringify(actual)?.slice(0, 200)}`);
  assert.is(actual.length, expected.length);
  const at = expected.findIndex((one, index) => JSON.stringify(one) !== JSON.stringify(actual[index]));
  assert.is(at, -1, `item ${at} is ${JSON.stringify(actual[at])}, not ${JSON.stringify(expected[at])}`);
}

/** As soon as it is stored. */
async function stateOnce(jobId: string) {
  await eventually("it is stored", async () => (await system.supervisor.store.get(jobId))?.state !== undefined);
  return stateOf(jobId);
}

async function stateOf(jobId: string) {
  const state = (await system.supervisor.store.get(jobId))?.state;
  if (!state) throw new Error(`job ${jobId} is not there`);
  return state;
}

const numbers = (length: number) => Array.from({ length }, (_, n) => n);

test("each item of a list is done, and the results are in order", async () => {
  const items = numbers(300).map((n) => ({ sku: `s${n}` }));
  const { result, functions } = await run({
    name: "list",
    data: { items },
    functions: [
      { id: "pick", name: "echo", for_each: "data.items", args: { sku: { $: "item.sku" }, at: { $: "item_index" } } },
    ],
  });
  assertSame(
    result,
    items.map(({ sku }, at) => ({ sku, at })),
  );
  assert.equal(functions[0]?.items, { count: 300, done: 300, failed: 0 });
});

test("a number stands for the items from 0 on, also one that an expression gives", async () => {
  const functions = [
    { name: "square", for_each: 1_000, concurrency: 50 },
    { name: "square", for_each: "data.n", needs: [] },
  ];
  const { result } = await run({ name: "number", data: { n: 130 }, functions: functions.slice(0, 1) });
  assertSame(
    result,
    numbers(1_000).map((n) => n * n),
  );
  const { result: given } = await run({ name: "number", data: { n: 130 }, functions: functions.slice(1) });
  assertSame(
    given,
    numbers(130).map((n) => n * n),
  );
});

test("no items are done at once", async () => {
  const { result } = await run({ name: "none", data: [], functions: [{ name: "square", for_each: "data" }] });
  assert.equal(result, []);
});

test("30,000 files are listed by a function, page after page", async () => {
  const { result, functions } = await run({
    name: "files",
    functions: [{ name: "length", for_each: { name: "files" }, concurrency: 200, results: "none" }],
  });
  assert.is(result, null);
  assert.equal(functions[0]?.items, { count: 30_000, done: 30_000, failed: 0 });
});

test("what lists nothing sensible fails the entry", async () => {
  const job = await run({ name: "wrong", functions: [{ name: "length", for_each: { name: "wrong-list" } }] });
  assert.is(job.error?.code, "invalid_items");
  assert.match(job.error?.message ?? "", "must have a list in items");
});

test("a slice is a list of up to so many items", async () => {
  const { result } = await run({
    name: "slices",
    functions: [{ name: "echo", for_each: 25, slice: 10 }],
  });
  assert.equal(result, [numbers(10), numbers(10).map((n) => 10 + n), numbers(5).map((n) => 20 + n)]);
  const listed = await run({
    name: "sliced files",
    functions: [{ name: "length", for_each: { name: "files" }, slice: 300, concurrency: 50 }],
  });
  assert.is((listed.result as number[]).length, 120);
  assert.is(
    (listed.result as number[]).reduce((sum, n) => sum + n, 0),
    30_000,
  );
});

test("no more are under way than the entry says", async () => {
  mostAtOnce = 0;
  await run({ name: "narrow", functions: [{ name: "gauge", for_each: 60, concurrency: 7 }] });
  assert.is(mostAtOnce, 7);
  mostAtOnce = 0;
  await run({ name: "default", functions: [{ name: "gauge", for_each: 40 }] });
  assert.is(mostAtOnce, 10);
});

test("an item gets data and results only where the entry says so, and a key of its own", async () => {
  const first = { id: "first", name: "echo", args: 7 };
  const { job_id, result } = await run({
    name: "context",
    data: { a: 1 },
    functions: [first, { name: "context", for_each: 2 }],
  });
  assert.equal(
    result,
    [0, 1].map((item) => ({ data: null, results: [], item, idempotencyKey: `${job_id}/1/${item}` })),
  );
  const whole = await run({
    name: "context",
    data: { a: 1 },
    functions: [first, { name: "context", for_each: 1, context: true }],
  });
  assert.equal(whole.result, [{ data: { a: 1 }, results: [7], item: 0, idempotencyKey: `${whole.job_id}/1/0` }]);
});

test("each item is tried again by itself", async () => {
  const { result } = await run({
    name: "flaky",
    functions: [{ name: "flaky", for_each: 200, retry_options: { retry_limit: 3, backoff: { delay_ms: 10 } } }],
  });
  assertSame(
    result,
    numbers(200).map((n) => (n % 3) + 1),
  );
});

test("as many items may fail as the entry tolerates, by count and by share", async () => {
  for (const n of [3, 5, 150]) broken.add(n);
  const entry = { name: "picky", for_each: 200 };
  const few = await run({ name: "count", functions: [{ ...entry, tolerate: 3 }] });
  assert.is(few.state, "completed");
  assertSame(
    few.result,
    numbers(200).map((n) => (broken.has(n) ? null : n)),
  );
  assert.equal(few.functions[0]?.items, { count: 200, done: 197, failed: 3 });
  const share = await run({ name: "share", functions: [{ ...entry, tolerate: "1.5%" }] });
  assert.is(share.state, "completed");
  const beyond = await run({ name: "beyond", functions: [{ ...entry, tolerate: "1%" }] });
  assert.is(beyond.state, "failed");
  assert.is(beyond.error?.code, "too_many_failures");
  assert.is(beyond.error?.message, "3 of 200 items have failed; the last one: item 150 is broken");
  const none = await run({ name: "no failure", functions: [entry] });
  assert.is(none.error?.message, "1 of 200 items have failed; the last one: item 3 is broken");
  assert.ok(system.told(beyond.job_id).filter((type) => type === "item_failed").length >= 2);
  broken.clear();
});

test("too many failures are dealt with as any failure of an entry is", async () => {
  broken.add(1);
  const job = await run({
    name: "handled",
    functions: [
      { name: "picky", for_each: 3, on_error: "continue" },
      { name: "picky", for_each: 3, on_error: { name: "echo", args: "instead" } },
    ],
  });
  assert.is(job.state, "completed");
  assert.is(job.result, "instead");
  broken.clear();
});

test("results that are small together are in the record, others are read from the parts", async () => {
  const { job_id, result } = await run({
    name: "large",
    functions: [
      { id: "big", name: "large", for_each: 40 },
      { name: "count", needs: ["big"] },
    ],
  });
  assert.is(result, 1);
  const state = await stateOf(job_id);
  assert.is(state.functions.at(0)?.result, null);
  assert.ok((state.functions.at(0)?.apart ?? 0) > 700_000);
  const results = (await readItemResults(system.supervisor.store, state, 0)) as string[];
  assertSame(
    results.map((one) => one.length),
    numbers(40).map((n) => n * 1_000),
  );
});

test("a result that cannot be stored fails its item", async () => {
  const size = system.bus.maxPayload - 100;
  await system.worker((worker) => worker.func("too-large", ({ item }) => (item === 1 ? "x".repeat(size) : item)));
  const { result, functions } = await run({
    name: "too large",
    functions: [{ name: "too-large", for_each: 3, tolerate: 1 }],
  });
  assert.equal(result, [0, null, 2]);
  assert.is(functions[0]?.items?.failed, 1);
});

test("items can be read in pages, by state", async () => {
  broken.add(130).add(131);
  const { job_id } = await run({
    name: "pages",
    functions: [{ name: "picky", for_each: 300, tolerate: 2, results: "none" }],
  });
  broken.clear();
  const state = await stateOf(job_id);
  const { store } = system.supervisor;
  const first = await readItems(store, state, 0, { limit: 100 });
  assert.is(first.items.length, 100);
  assert.is(first.next, 100);
  assert.equal(first.items[7], { item: 7, state: "completed", retry_count: 1, result: 7 });
  const failed = await readItems(store, state, 0, { limit: 100, state: "failed" });
  assert.equal(
    failed.items.map(({ item, error }) => [item, error?.message]),
    [
      [130, "item 130 is broken"],
      [131, "item 131 is broken"],
    ],
  );
  assert.is(failed.next, undefined);
});

test("failed items are done again by hand, and no others", async () => {
  for (const n of [2, 140, 290]) broken.add(n);
  begun.length = 0;
  const { job_id } = await run({
    name: "again",
    functions: [
      { id: "all", name: "picky", for_each: 300, tolerate: 10 },
      { name: "count", needs: ["all"] },
    ],
  });
  const first = begun.filter((one) => one.startsWith("again/"));
  assert.is(first.length, 300);
  broken.clear();
  broken.add(290);
  begun.length = 0;
  await system.client.retry(job_id, { failed: true });
  const second = await system.client.wait(job_id);
  assert.is(second.state, "completed");
  assert.equal(begun.sort(), ["again/140/2", "again/2/2", "again/290/2"]);
  assert.equal(second.functions[0]?.items, { count: 300, done: 299, failed: 1 });
  broken.clear();
});

test("a job that failed at an item goes on by hand where it was", async () => {
  broken.add(250);
  begun.length = 0;
  const { job_id, state } = await run({ name: "goes on", functions: [{ name: "picky", for_each: 300 }] });
  assert.is(state, "failed");
  broken.clear();
  await system.client.retry(job_id);
  const { result } = await system.client.wait(job_id);
  assertSame(result, numbers(300));
  const counts = new Map<string, number>();
  for (const one of begun) counts.set(one.split("/")[1] ?? "", (counts.get(one.split("/")[1] ?? "") ?? 0) + 1);
  const again = [...counts].filter(([, count]) => count > 1).map(([item]) => Number(item));
  assert.ok(again.includes(250));
  assert.ok(
    again.every((item) => item >= 240 && item <= 260),
    `${again} were done again`,
  );
});

test("items are undone, the last ones first, each with its own result", async () => {
  const { job_id, undo } = await run({
    name: "undo",
    functions: [
      { name: "square", for_each: 150, undo: "undo-it", concurrency: 1, args: { at: { $: "item_index" } } },
      { name: "picky", for_each: 1, expect: "false" },
    ],
  });
  assert.equal(undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  const mine = undone.filter(({ name }) => name === "undo");
  assertSame(
    mine.map(({ item }) => item),
    numbers(150).reverse(),
  );
  const body = mine[0]?.body ?? {};
  assert.is(body.undo, true);
  assert.is(body.result, 149 * 149);
  assert.equal(body.args, { at: 149 });
  assert.is(body.undo_of, `${job_id}/0/149`);
  assert.is(body.idempotency_key, `${job_id}/0/149/undo`);
  assert.is((body.error as { code: string }).code, "expectation_failed");
  const { items } = await readItems(system.supervisor.store, await stateOf(job_id), 0, { limit: 200 });
  assert.ok(items.every(({ state }) => state === "undone"));
});

test("only what was done of an entry is undone when it fails itself", async () => {
  broken.add(30);
  const { undo, state } = await run({
    name: "part undo",
    functions: [{ name: "picky", for_each: 300, undo: "undo-it", concurrency: 5 }],
  });
  broken.clear();
  assert.is(state, "failed");
  assert.is(undo?.state, "done");
  const items = undone.filter(({ name }) => name === "part undo").map(({ item }) => Number(item));
  assert.ok(items.length >= 25 && items.length <= 40, `${items.length} items were undone`);
  assert.not.ok(items.includes(30));
  assert.is(new Set(items).size, items.length);
});

test("a cancelled job tells all its live items, and they stop", async () => {
  let stopped = 0;
  let patient = 0;
  const jobId = await submit({ name: "cancel", functions: [{ name: "patient", for_each: 3_000, concurrency: 1_000 }] });
  // Its room is announced when the items wait for it already, so they need not find out how much there is.
  await system.worker(
    (worker) =>
      worker.func("patient", async ({ signal }) => {
        patient += 1;
        await delay(60_000, undefined, { signal }).catch(() => {
          stopped += 1;
        });
      }),
    { concurrency: 1_000 },
  );
  await eventually("all are under way", () => patient >= 1_000);
  await system.client.cancel(jobId);
  await eventually("all have stopped", () => stopped === 1_000, 5_000);
  assert.is((await system.client.wait(jobId)).state, "cancelled");
});

test("a job whose items find no worker leaves memory, and goes on when there is one", async () => {
  const jobId = await submit({ name: "unserved", functions: [{ name: "nobody-yet", for_each: 20 }] });
  await eventually(
    "it waits for a worker",
    async () => {
      const state = (await system.supervisor.store.get(jobId))?.state;
      return state !== undefined && state.token > 0 && state.live?.[0]?.wait === "worker";
    },
    15_000,
  );
  await system.worker((worker) => worker.func("nobody-yet", ({ item }) => item), { concurrency: 5 });
  const { result } = await system.client.wait(jobId, { timeoutMs: 20_000 });
  assertSame(result, numbers(20));
});

test("items that all wait for their next attempt leave memory", async () => {
  let failures = 0;
  await system.worker((worker) =>
    worker.func("later", ({ item, attempt }) => {
      if (attempt > 1) return item;
      failures += 1;
      throw new Error("later");
    }),
  );
  const jobId = await submit({
    name: "backoff",
    functions: [
      {
        name: "later",
        for_each: 5,
        retry_options: { retry_limit: 2, backoff: { delay_ms: 2_500, type: "fixed", jitter: 0 } },
      },
    ],
  });
  await eventually("it has left memory", async () => {
    const state = (await system.supervisor.store.get(jobId))?.state;
    return state !== undefined && state.token > 0 && state.live?.[0]?.wait === "backoff";
  });
  assert.is(failures, 5);
  const { result } = await system.client.wait(jobId, { timeoutMs: 20_000 });
  assert.equal(result, numbers(5));
  assert.is(failures, 5);
});

test("a plain service can be what the items are done by", async () => {
  const subscription = system.bus.nc.subscribe("fn.plain-item", {
    queue: "fn",
    callback: (_, message) => void message.respond(String(message.json<{ item: number }>().item + 1)),
  });
  const { result } = await run({ name: "plain", functions: [{ name: "plain-item", for_each: 200 }] });
  assertSame(
    result,
    numbers(200).map((n) => n + 1),
  );
  subscription.unsubscribe();
});

test("a MessagePack job keeps bytes in the results of its items", async () => {
  const { result } = await run({
    name: "json",
    functions: [{ name: "echo", for_each: 3, args: { n: { $: "item_index" } } }],
  });
  assert.equal(result, [{ n: 0 }, { n: 1 }, { n: 2 }]);
});

test("parts are few bytes more than their results", async () => {
  const { job_id } = await run({
    name: "small",
    functions: [{ name: "echo", for_each: 1_280, args: 1, concurrency: 100 }],
  });
  const { messages } = await readBatch(system.bus, KV_JOBS, {
    from: 1,
    batch: 10_000,
    filter: `${KV_PREFIX}.${job_id}.items.0.*`,
  });
  assert.is(messages.length, 10);
  for (const { data, subject } of messages) {
    assert.ok(data.length < 128 * 2 + 60, `${data.length} bytes for 128 results of one byte`);
    assert.is(ownerOfItems(subject.slice(KV_PREFIX.length + 1)), job_id);
  }
});

test("each item may be a job of its own, and waits for it outside of memory", async () => {
  let isOpen = false;
  await system.worker((worker) =>
    worker.func("gate", async ({ data }) => {
      if (!isOpen && data.slow) await eventually("it may go on", () => isOpen, 20_000);
      return data.n * 10;
    }),
  );
  const items = [{ n: 1, slow: true }, { n: 2, slow: true }, ...numbers(10).map((n) => ({ n: 3 + n, slow: false }))];
  const jobId = await submit({
    name: "children",
    data: { items },
    functions: [{ job: { functions: [{ name: "gate" }] }, for_each: "data.items", concurrency: 4 }],
  });
  await eventually(
    "it has left memory",
    async () => {
      const state = (await system.supervisor.store.get(jobId))?.state;
      return state !== undefined && state.token > 0 && state.live?.[0]?.wait === "child";
    },
    15_000,
  );
  isOpen = true;
  const { result } = await system.client.wait(jobId, { timeoutMs: 20_000 });
  assert.equal(
    result,
    items.map(({ n }) => n * 10),
  );
});

test("children of items that fail are retried with their parent, and others are not", async () => {
  broken.add(3);
  begun.length = 0;
  const document = {
    functions: [
      { name: "echo", args: { $: "data" }, id: "first" },
      { name: "picky", for_each: "[results.first]" },
    ],
  };
  const job = await run({ name: "retried children", functions: [{ job: document, for_each: 5, concurrency: 1 }] });
  assert.is(job.error?.code, "too_many_failures");
  const before = begun.length;
  broken.clear();
  await system.client.retry(job.job_id);
  const { result } = await system.client.wait(job.job_id);
  assert.equal(
    result,
    numbers(5).map((n) => [n]),
  );
  assert.is(before, 4);
  assert.is(begun.length - before, 2);
});

test("children of items are cancelled with their parent, and undo what they have done", async () => {
  const document = { functions: [{ name: "square", for_each: 1, undo: "undo-it" }, { wait_for: "never" }] };
  const jobId = await submit({ name: "cancelled children", functions: [{ job: document, for_each: 3 }] });
  let state = await stateOnce(jobId);
  const children = async () => {
    const ids = numbers(3).map((item) => childIdOf(childOrigin(state, 0, item)));
    return Promise.all(ids.map(async (id) => (await system.supervisor.store.get(id))?.state));
  };
  await eventually("they wait", async () => {
    state = await stateOf(jobId);
    const waiting = (await children()).filter((child) => child?.live?.[0]?.wait === "signal");
    return waiting.length === 3;
  });
  await system.client.cancel(jobId);
  const job = await system.client.wait(jobId, { timeoutMs: 20_000 });
  assert.is(job.state, "cancelled");
  const ended = await children();
  assert.equal(
    ended.map((child) => child?.state),
    ["cancelled", "cancelled", "cancelled"],
  );
  assert.is(undone.filter(({ name }) => name === "cancelled children/0").length, 3);
});

test("completed children of items undo themselves when their parent fails", async () => {
  const document = { functions: [{ name: "echo", args: 1, undo: "undo-it" }] };
  const job = await run({
    name: "undone children",
    functions: [
      { job: document, for_each: 20 },
      { name: "echo", expect: "false" },
    ],
  });
  assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  assert.is(undone.filter(({ name }) => name === "undone children/0").length, 20);
  const { items } = await readItems(system.supervisor.store, await stateOf(job.job_id), 0, { limit: 200 });
  assert.ok(items.every(({ state }) => state === "undone"));
});

test("nothing of this was any trouble", () => {
  assert.equal(troubles, []);
});

test.run();
