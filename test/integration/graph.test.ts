/** Graphs on a real server: order, data flow, sleeps that leave memory, errors, take-over, long documents, retries by hand. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { JobStore } from "../../src/bus/store/job-store.ts";
import { Signals } from "../../src/bus/store/signals.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { TIMERS } from "../../src/bus/topology.ts";
import { isAsyncError, JobFailedError } from "../../src/job/errors.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("graph");
let system: System;
/** What was executed, in order: `<job name>/<function>`. */
const begun: string[] = [];
let atOnce = 0;
let mostAtOnce = 0;

test.before(async () => {
  system = await System.start({ parkAfterMs: 700, briefAboveBytes: 2_048 });
  await system.worker(
    (worker) =>
      worker
        .func("echo", ({ args, jobName, results }) => {
          begun.push(`${jobName}/echo`);
          return args ?? results;
        })
        .func("add", ({ args }) => args.a + args.b)
        .func("slow", async ({ args }) => {
          atOnce += 1;
          mostAtOnce = Math.max(mostAtOnce, atOnce);
          await delay(150);
          atOnce -= 1;
          return args;
        })
        .func("fails", () => {
          throw new Error("no luck");
        })
        .func("fallback", ({ error, args }) => ({ because: error?.message, args }))
        .func("named", ({ result }) => [result("a"), result("b")]),
    { concurrency: 60 },
  );
});
test.after(() => system.close());

/** The job as it has ended. */
async function run(document: JobDocument): Promise<JobView> {
  const { job_id } = await system.client.submit(document);
  return system.client.wait(job_id);
}

test("a diamond passes its data along, and the join gets the results of what it needs by id", async () => {
  const { result, functions } = await run({
    name: "diamond",
    data: { n: 1 },
    functions: [
      { id: "first", name: "add", args: { a: { $: "data.n" }, b: 1 } },
      { id: "a", name: "add", needs: ["first"], args: { a: { $: "results.first" }, b: 10 } },
      { id: "b", name: "add", needs: ["first"], args: { a: { $: "results.first" }, b: 100 } },
      { name: "named", needs: ["a", "b"] },
    ],
  });
  assert.equal(result, [12, 102]);
  assert.equal(
    functions.map(({ retry_count }) => retry_count),
    [1, 1, 1, 1],
  );
});

test("entries that are ready run together", async () => {
  mostAtOnce = 0;
  const fan = Array.from({ length: 50 }, (_, n) => ({ name: "slow", needs: [], args: n }));
  const { result } = await run({ name: "fan", functions: [...fan, { name: "echo" }] });
  assert.equal(
    result,
    Array.from({ length: 50 }, (_, n) => n),
  );
  assert.ok(mostAtOnce >= 40, `only ${mostAtOnce} at once`);
});

test("an entry whose condition is not met is skipped, and counts as done", async () => {
  const { functions, result } = await run({
    name: "skipping",
    data: { total: 10 },
    functions: [
      { id: "a", name: "echo", when: "data.total > 100" },
      { name: "echo", args: { $: "skipped.a" } },
    ],
  });
  assert.is(functions[0]?.skipped, true);
  assert.is(result, true);
});

test("an entry that fails may be passed over, or another one runs in its place", async () => {
  const job = await run({
    name: "passing",
    functions: [
      { id: "a", name: "fails", on_error: "continue" },
      { id: "b", name: "fails", on_error: { name: "fallback", args: { $: "error.message" } } },
    ],
  });
  assert.is(job.warnings, 1);
  assert.is(job.functions[0]?.error?.message, "no luck");
  assert.equal(job.result, { because: "no luck", args: "no luck" });
});

test("an entry that fails ends the job, and what runs is told to stop", async () => {
  const running = system.client.run({
    name: "failing",
    functions: [
      { name: "slow", needs: [] },
      { name: "fails", needs: [] },
    ],
  });
  const error = await running.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, JobFailedError);
});

test("a result that is not as expected fails its entry", async () => {
  const job = { name: "expecting", functions: [{ name: "add", args: { a: 1, b: 1 }, expect: "result > 5" }] };
  const error = await system.client.run(job).catch((thrown: unknown) => thrown);
  assert.ok(isAsyncError(error, "job_failed"));
  assert.match((error as Error).message, /result > 5/);
});

test("a job that sleeps leaves memory, and goes on in time", async () => {
  const { job_id } = await system.client.submit({
    name: "sleeping",
    functions: [{ name: "echo" }, { sleep_ms: 1_500 }, { name: "echo" }],
  });
  await eventually("it sleeps", async () => (await system.client.get(job_id)).due_at !== undefined);
  await eventually("it has left memory", async () => system.supervisor.liveJobs === 0);
  const asleep = await system.client.get(job_id);
  assert.is(asleep.state, "waiting");
  assert.is(asleep.waiting_for, "sleep");
  assert.ok(asleep.due_at);
  const job = await system.client.wait(job_id);
  assert.is(job.state, "completed");
});

test("a sleep of 30 days is set and shown right", async () => {
  const thirtyDaysMs = 30 * 24 * 3_600_000;
  const { job_id } = await system.client.submit({ name: "month", functions: [{ sleep_ms: thirtyDaysMs }] });
  await eventually("it sleeps", async () => (await system.client.get(job_id)).due_at !== undefined);
  const job = await system.client.get(job_id);
  const inMs = Date.parse(job.due_at ?? "") - Date.now();
  assert.ok(Math.abs(inMs - thirtyDaysMs) < 60_000, `${inMs} ms ahead`);
  assert.is((await system.client.cancel(job_id)).state, "cancelled");
});

test("a long graph is stored in brief, and taken over by another supervisor where it was", async () => {
  const names = Array.from({ length: 40 }, (_, n) => ({
    id: `e${n}`,
    name: "slow",
    args: { n, text: "x".repeat(100) },
    needs: n < 4 ? [] : [`e${n - 4}`],
  }));
  const { job_id } = await system.client.submit({ name: "long", functions: names });
  await delay(500);
  const bus = await Bus.open({ url: system.url, name: "second" });
  const second = await Supervisor.start(bus, { parkAfterMs: 700 });
  try {
    await system.supervisor.close();
    const job = await system.client.wait(job_id);
    assert.is(job.state, "completed");
    assert.equal((job.result as { n: number }).n, 39);
    await system.startSupervisor({ parkAfterMs: 700 });
  } finally {
    await second.close();
    await bus.close();
  }
});

test("a job is retried from an entry, with other data", async () => {
  const first = await run({
    name: "again",
    data: { n: 1 },
    functions: [
      { id: "a", name: "add", args: { a: { $: "data.n" }, b: 1 } },
      { id: "b", name: "add", args: { a: { $: "results.a" }, b: { $: "data.n" } } },
    ],
  });
  assert.is(first.result, 3);
  await system.client.retry(first.job_id, { from: "b", data: { n: 5 } });
  const second = await system.client.wait(first.job_id);
  assert.is(second.result, 7);
  assert.is(second.functions[0]?.result, 2);
});

test("a job that waits for a signal leaves memory, and goes on with it", async () => {
  const { job_id } = await system.client.submit({
    name: "waiting",
    functions: [
      { id: "approval", wait_for: "approval" },
      { name: "echo", args: { $: "results.approval" } },
    ],
  });
  await eventually("it has left memory", async () => system.supervisor.liveJobs === 0);
  assert.is((await system.client.get(job_id)).waiting_for, "signal");
  await system.client.signal(job_id, "approval", { by: "me" });
  assert.equal((await system.client.wait(job_id)).result, { by: "me" });
});

test("signals that come early are kept in order, and each is used once", async () => {
  const { job_id } = await system.client.submit({
    name: "early",
    functions: [
      { name: "slow" },
      { id: "a", wait_for: "go" },
      { id: "b", wait_for: "go" },
      { name: "named", needs: ["a", "b"] },
    ],
  });
  await system.client.signal(job_id, "go", 1, { key: "one" });
  await system.client.signal(job_id, "go", 2);
  assert.is((await system.client.signal(job_id, "go", 9, { key: "one" })).repeated, true);
  assert.equal((await system.client.wait(job_id)).result, [1, 2]);
});

test("a signal that came before its job failed is there when that is retried", async () => {
  const { job_id } = await system.client.submit({
    name: "kept",
    functions: [{ name: "slow" }, { id: "failing", name: "fails" }, { wait_for: "go" }],
  });
  await system.client.signal(job_id, "go", "early");
  assert.is((await system.client.wait(job_id)).state, "failed");
  await system.client.retry(job_id, { data: 1 });
  assert.is((await system.client.wait(job_id)).state, "failed");
  await system.client.retry(job_id, { from: "failing" });
  assert.is((await system.client.wait(job_id)).state, "failed");
  const store = new JobStore(system.bus, { replicas: 1 });
  const created = (await store.get(job_id))?.state?.created_at ?? 0;
  const kept = await new Signals(system.bus, store, () => {}).read(job_id, created, "go", 0);
  assert.is(kept?.n, 1);
});

test("a signal that does not come in time fails its entry", async () => {
  const job = await run({
    name: "late",
    functions: [{ wait_for: "go", timeout_ms: 300, on_error: { name: "fallback" } }],
  });
  assert.is((job.result as { because: string }).because, "signal go did not come within 300 ms");
});

test("WATCH-2: a signal that was stored in time counts, also where its job hears of it only when that is over", async () => {
  const { job_id } = await system.client.submit(
    { name: "unheard", functions: [{ wait_for: "go", timeout_ms: 600, on_error: "continue" }] },
    { jobId: "unheard" },
  );
  const store = new JobStore(system.bus, { replicas: 1 });
  const created = await eventually("it is stored", async () => (await store.get(job_id))?.state?.created_at);
  const signals = new Signals(system.bus, store, () => {});
  // As who sends it does, but for telling of it.
  await signals.send({ job_id, created_at: created, encoding: "json" }, "go", Buffer.from('"in time"'));
  const job = await system.client.wait(job_id);
  assert.is(job.result, "in time");
  assert.is(job.warnings ?? 0, 0);
});

test("the timer of a job that something else has woken goes when the job ends", async () => {
  const { job_id } = await system.client.submit({ name: "woken", functions: [{ wait_for: "go" }] }, { jobId: "woken" });
  const timer = () => readLast(system.bus, TIMERS, `job.timer.${job_id}`);
  await eventually("it rests on its timer", timer);
  await system.client.signal(job_id, "go");
  assert.is((await system.client.wait(job_id)).state, "completed");
  await eventually("its timer is gone", async () => (await timer()) === undefined);
});

test.run();
