/** Items of `for_each` whose supervisor dies, drains, or is not the only one; and what is left of jobs that are gone. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sweepItems } from "../../src/actors/part-sweep.ts";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import { itemKey, itemResultKey, partKey } from "../../src/bus/store/item-parts.ts";
import { ItemStore, readItemResults, readItems } from "../../src/bus/store/item-store.ts";
import { JobStore } from "../../src/bus/store/job-store.ts";
import { functionAt, type JobState } from "../../src/job/state.ts";
import { type Running, startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("for_each recovery");
let system: System;
let store: JobStore;
const running: Running[] = [];
/** How often each item of a job was executed, by name of the job. */
const runs = new Map<string, number[]>();
const undone = new Map<string, number[]>();
let paceMs = 0;

test.before(async () => {
  system = await System.start("without supervisor");
  store = new JobStore(system.bus, { replicas: 1 });
  const first = await Supervisor.start(system.bus, { topology: { ackWaitMs: 2_000 } });
  await first.close();
  await system.worker(
    (worker) =>
      worker
        .func("work", async ({ item, jobName, itemIndex }) => {
          count(runs, jobName, itemIndex ?? -1);
          if (paceMs > 0) await delay(paceMs);
          return { item, twice: itemIndex === undefined ? null : itemIndex * 2 };
        })
        .func("undo-work", async ({ jobName, itemIndex }) => {
          count(undone, jobName, itemIndex ?? -1);
          await delay(5);
        })
        .func("pages", ({ cursor }) => {
          const from = cursor ?? 0;
          const items = Array.from({ length: 100 }, (_, at) => `item-${from + at}`);
          return from + 100 < 1_500 ? { items, cursor: from + 100 } : { items };
        })
        .func("fails", () => {
          throw new Error("no luck");
        }),
    { concurrency: 50 },
  );
});
test.after(async () => {
  await killAll();
  await system.close();
});

function count(of: Map<string, number[]>, name: string, item: number): void {
  const counts = of.get(name) ?? [];
  counts[item] = (counts[item] ?? 0) + 1;
  of.set(name, counts);
}

const total = (of: Map<string, number[]>, name: string) =>
  (of.get(name) ?? []).reduce((sum, one) => sum + (one ?? 0), 0);

async function startServer(): Promise<Running> {
  const server = await startCli(["server", "--nats", system.url, "--no-http"]);
  running.push(server);
  await server.line("supervisor is running");
  return server;
}

async function killAll(): Promise<void> {
  for (const one of running.splice(0)) await one.kill();
}

async function stateOf(jobId: string): Promise<JobState> {
  const state = (await store.get(jobId))?.state;
  if (!state) throw new Error(`job ${jobId} is not there`);
  return state;
}

/** Each item has its own result, once. */
async function assertWhole(jobId: string, length: number): Promise<void> {
  const results = (await readItemResults(store, await stateOf(jobId), 0)) as { twice: number }[];
  assert.is(results.length, length);
  assert.is(
    results.findIndex((one, item) => one?.twice !== item * 2),
    -1,
  );
}

test("a supervisor that is killed in the middle: each item has one result, and few are done again", async () => {
  paceMs = 5;
  await startServer();
  const entry = { name: "work", for_each: 2_000, concurrency: 20 };
  await system.client.submit({ name: "killed", functions: [entry] }, { jobId: "killed" });
  await eventually("some are done", () => total(runs, "killed") > 500, 20_000);
  await killAll();
  await startServer();
  assert.is((await system.client.wait("killed", { timeoutMs: 40_000 })).state, "completed");
  await assertWhole("killed", 2_000);
  const counts = runs.get("killed") ?? [];
  assert.is(counts.length, 2_000);
  // What was in flight, and what was done in the last 10 ms.
  const again = counts.filter((one) => one > 1).length;
  assert.ok(again <= 150, `${again} items were done again`);
  assert.ok(counts.every((one) => one <= 2));
});

test("a supervisor that is killed while items are listed: none is left out, and none is there twice", async () => {
  paceMs = 1;
  const document = { name: "listed", functions: [{ name: "work", for_each: { name: "pages" }, concurrency: 20 }] };
  await system.client.submit(document, { jobId: "listed" });
  await eventually("some are done", () => total(runs, "listed") > 300, 20_000);
  await killAll();
  await startServer();
  assert.is((await system.client.wait("listed", { timeoutMs: 40_000 })).state, "completed");
  await assertWhole("listed", 1_500);
  const results = (await readItemResults(store, await stateOf("listed"), 0)) as { item: string }[];
  assert.is(
    results.findIndex(({ item }, at) => item !== `item-${at}`),
    -1,
  );
});

test("a supervisor that is killed while items are undone: all that were done are undone, and nothing else", async () => {
  paceMs = 0;
  const document = {
    name: "unwound",
    functions: [{ name: "work", for_each: 600, undo: "undo-work", concurrency: 20 }, { name: "fails" }],
  };
  await system.client.submit(document, { jobId: "unwound" });
  await eventually("some are undone", () => total(undone, "unwound") > 150, 30_000);
  await killAll();
  await startServer();
  const job = await system.client.wait("unwound", { timeoutMs: 40_000 });
  assert.is(job.state, "failed");
  assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  const counts = undone.get("unwound") ?? [];
  assert.is(counts.filter((one) => one >= 1).length, 600);
  assert.ok(counts.filter((one) => one > 1).length <= 100);
  const state = await stateOf("unwound");
  let from: number | undefined = 0;
  while (from !== undefined) {
    const page: Awaited<ReturnType<typeof readItems>> = await readItems(store, state, 0, { from, limit: 200 });
    assert.ok(page.items.every((item) => item.state === "undone"));
    from = page.next;
  }
});

test("a supervisor that drains lets items in flight end, and none is done twice", async () => {
  paceMs = 40;
  const entry = { name: "work", for_each: 300, concurrency: 10 };
  await system.client.submit({ name: "drained", functions: [entry] }, { jobId: "drained" });
  await eventually("some are done", () => total(runs, "drained") > 60, 20_000);
  const [drained] = running.splice(0);
  drained?.child.kill("SIGTERM");
  assert.is(await drained?.exit(), 0);
  const before = total(runs, "drained");
  await startServer();
  assert.is((await system.client.wait("drained", { timeoutMs: 30_000 })).state, "completed");
  await assertWhole("drained", 300);
  assert.ok(before < 300);
  assert.is(total(runs, "drained"), 300);
});

test("what somebody else has stored of an item counts, and its attempt here is told to stop", async () => {
  await killAll();
  let stopped = 0;
  const open = new Set([0]);
  await system.worker(
    (worker) =>
      worker.func("gated", async ({ item, signal }) => {
        while (!open.has(item) && !signal.aborted) await delay(10);
        if (signal.aborted) stopped += 1;
        return `ours ${item}`;
      }),
    { concurrency: 20 },
  );
  const supervisor = await Supervisor.start(system.bus, {});
  try {
    await system.client.submit({ name: "shared", functions: [{ name: "gated", for_each: 6 }] }, { jobId: "shared" });
    const read = async () => {
      const state = (await store.get("shared"))?.state;
      if (!state) return undefined;
      const items = new ItemStore(store, state, 0, functionAt(state, 0));
      return { items, ...(await items.read(0)) };
    };
    await eventually("the first is stored", async () => (await read())?.part?.done === 1, 10_000);
    // Another supervisor, which believes to be the owner.
    const other = await read();
    if (!other?.part) throw new Error("there is no part");
    other.part.setDone(2, encode("theirs 2", "msgpack"), 1);
    other.part.setDone(3, encode("theirs 3", "msgpack"), 1);
    assert.ok(await other.items.write(other.part, other.sequence));
    // The runner finds out with its next write.
    open.add(1);
    await eventually("those that have ended elsewhere have stopped", () => stopped === 2);
    for (const item of [2, 3, 4, 5]) open.add(item);
    const { result } = await system.client.wait("shared", { timeoutMs: 20_000 });
    assert.is((result as string[])[0], "ours 0");
    assert.equal([(result as string[])[2], (result as string[])[3]], ["theirs 2", "theirs 3"]);
    assert.equal([(result as string[])[1], (result as string[])[5]], ["ours 1", "ours 5"]);
    assert.is(stopped, 2);
  } finally {
    await supervisor.close();
  }
});

test("a result that is stored by itself is stored once", async () => {
  const state = { job_id: "values", created_at: Date.now() };
  const items = { run: 1, list: 1, count: 1, next: 1, open: [], done: 0, failed: 0 };
  const entry = new ItemStore(store, state, 0, { name: "f", retry_count: 0, items });
  const first = encode("a".repeat(5_000), "msgpack");
  const second = encode("b".repeat(6_000), "msgpack");
  assert.is(await entry.putResult(0, 0, first), first.length);
  assert.is(await entry.putResult(0, 0, second), first.length); // that is its result, whoever comes later
  assert.is(await entry.readResult(0), "a".repeat(5_000));
  assert.is(await entry.putResult(0, 2, second), second.length); // it was undone, and done anew
  assert.is(await entry.readResult(0), "b".repeat(6_000));
  await entry.putItem(0, first);
  await entry.putItem(0, second);
  assert.is(await entry.readItem(0), "b".repeat(6_000));
});

test("items of jobs that are gone are removed, and no others", async () => {
  const body = encode([1], "msgpack");
  const gone = [partKey("gone", 0, 0), partKey("gone", 0, 1), itemKey("gone", 0, 5), itemResultKey("gone", 0, 6)];
  for (const key of gone) await store.putPart(key, body, 0);
  await store.putPart("gone.result.0", body, 0); // none of items
  assert.is(await sweepItems({ bus: system.bus, store }), 1);
  for (const key of gone) assert.is(await store.part(key), undefined);
  assert.ok(await store.part("gone.result.0"));
  assert.ok(await store.part(partKey("killed", 0, 0)));
  await assertWhole("killed", 2_000);
  assert.is(await sweepItems({ bus: system.bus, store }), 0);
});

test.run();
