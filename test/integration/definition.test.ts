/** Long jobs that have parked: what they are defined to be is stored once, under a key of its own (DEFINITION-1, -2; BRIEF-1). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor, type SupervisorOptions } from "../../src/actors/supervisor.ts";
import { sweep } from "../../src/actors/sweep.ts";
import { Bus } from "../../src/bus/connection.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { deleteMessage, readLast } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { KV_JOBS } from "../../src/bus/topology.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("definition");
const OPTIONS: SupervisorOptions = { parkAfterMs: 50, topology: { ackWaitMs: 1_000 } };
const PARKING = { retry_limit: 2, backoff: { type: "fixed", delay_ms: 300 } } as const;
let system: System;
/** Bytes written for a job's state and definition, by key. */
const written = new Map<string, number[]>();
/** Attempts of `held` that wait to be let go. */
const held = new Map<string, () => void>();

test.before(async () => {
  system = await System.start(OPTIONS);
  system.bus.nc.subscribe("$KV.jobs.>", {
    callback: (_, { subject, data }) => {
      const key = subject.slice("$KV.jobs.".length);
      written.set(key, [...(written.get(key) ?? []), data.length]);
    },
  });
  await system.worker((w) =>
    w
      .func("step", ({ args }) => args)
      .func("once", ({ attempt }) => {
        if (attempt === 1) throw new Error("once");
        return "again";
      })
      .func("held", ({ jobId }) => new Promise((resolve) => held.set(jobId, () => resolve("let go"))))
      .func("fails", ({ data }) => {
        if (data === "good") return "good";
        throw new Error("bad data");
      }),
  );
});
test.after(() => system.close());

const text = "x".repeat(100);
const steps = (count: number) => Array.from({ length: count }, (_, index) => ({ name: "step", args: [index, text] }));
const parking = { name: "once", retry_options: PARKING };
const definition = (jobId: string) => readLast(system.bus, KV_JOBS, `$KV.jobs.${jobId}.definition`);
const isThere = async (jobId: string) => ((await definition(jobId))?.data.length ?? 0) > 0;
const sum = (bytes: number[] = []) => bytes.reduce((a, b) => a + b, 0);

async function sweepNow(fix: boolean) {
  const { bus, supervisor } = system;
  const eventLog = new EventLog(bus, { storesCompleted: false });
  return sweep({ bus, store: supervisor.store, tokens: new Tokens(bus), eventLog, writer: "test/sweep" }, { fix });
}

function requireCorrupt(error: unknown): undefined {
  assert.ok(isAsyncError(error, "corrupt_state"), String(error));
  return undefined;
}

/** Waits until `held` runs in a job that has parked before. */
async function untilHeld(jobId: string): Promise<void> {
  await eventually("it is held", () => held.has(jobId), 20_000);
  assert.ok(await isThere(jobId), "its definition is stored");
}

function letGo(jobId: string): void {
  held.get(jobId)?.();
  held.delete(jobId);
}

test("a long job that parks in the middle writes little more than one that does not", async () => {
  const total: Record<string, number> = {};
  for (const [jobId, middle] of Object.entries({ straight: { name: "step" }, parks: parking })) {
    const job = { name: "long", functions: [...steps(50), middle, ...steps(50)] };
    await system.client.submit(job, { jobId });
    const done = await system.client.wait(jobId, { timeoutMs: 60_000 });
    assert.is(done.state, "completed");
    assert.equal(done.functions[100]?.result, [49, text]);
    total[jobId] = sum(written.get(jobId)) + sum(written.get(`${jobId}.definition`));
  }
  const { straight = 0, parks = 0 } = total;
  // The state that parks and its definition are as large as the job; they are written once.
  assert.ok(parks < 1.5 * straight, `${parks} bytes instead of ${straight}`);
  assert.is(written.get("parks.definition")?.length, 2, "made and removed");
  await eventually("the definition has gone", async () => !(await isThere("parks")));
});

test("a job that leans on its definition is shown, listed, swept, cancelled and counted like any other", async () => {
  const jobId = "shown";
  await system.client.submit(
    { name: "shown", data: 7, functions: [parking, { name: "held" }, ...steps(30)] },
    { jobId },
  );
  await untilHeld(jobId);
  const job = await system.client.get(jobId);
  assert.is(job.data, 7);
  assert.equal(job.functions[31]?.args, [29, text]);
  assert.is(job.functions[0]?.result, "again");
  const { jobs } = await system.client.list();
  assert.equal(
    jobs.map(({ job_id }) => job_id).filter((id) => id.includes(".")),
    [],
  );
  assert.ok(jobs.some((one) => one.job_id === jobId));
  const newest = await system.client.list({ order: "newest" });
  assert.ok(newest.jobs.every(({ job_id }) => !job_id.includes(".")));
  assert.equal((await sweepNow(true)).stranded, []);
  assert.ok(await isThere(jobId), "the sweep leaves it, as the job lives");
  await system.client.cancel(jobId);
  await eventually("it has gone", async () => !(await isThere(jobId)));
  letGo(jobId);
  assert.equal((await system.client.get(jobId)).functions[31]?.args, [29, text]);
});

test("another supervisor goes on with it, and it may park and be taken over again", async () => {
  const jobId = "taken-over";
  const functions = [parking, { name: "held" }, ...steps(30), parking, ...steps(5)];
  await system.client.submit({ name: "long", functions }, { jobId });
  await untilHeld(jobId);
  const before = await definition(jobId);
  await system.supervisor.close({ graceMs: 0 });
  letGo(jobId);
  held.clear();
  const bus = await Bus.open({ url: system.url, name: "other" });
  const other = await Supervisor.start(bus, OPTIONS);
  try {
    await eventually("it is held again", () => held.has(jobId), 20_000);
    assert.is((await definition(jobId))?.sequence, before?.sequence, "it is not written again");
    letGo(jobId);
    const done = await system.client.wait(jobId, { timeoutMs: 30_000 });
    assert.is(done.state, "completed");
    assert.is(done.functions[32]?.result, "again");
    assert.is(written.get(`${jobId}.definition`)?.length, 2, "once made, once removed");
  } finally {
    await other.close();
    await bus.close();
    await system.startSupervisor(OPTIONS);
  }
});

test("a retry by hand with other data has a definition of its own", async () => {
  const jobId = "retried";
  const functions = [parking, ...steps(20), { name: "fails" }, { ...parking }, { name: "held" }, ...steps(10)];
  await system.client.submit({ name: "long", data: "bad", functions }, { jobId });
  assert.is((await system.client.wait(jobId, { timeoutMs: 30_000 })).state, "failed");
  await system.client.retry(jobId, { data: "good" });
  await untilHeld(jobId);
  assert.is((await system.client.get(jobId)).data, "good");
  letGo(jobId);
  const done = await system.client.wait(jobId, { timeoutMs: 30_000 });
  assert.is(done.state, "completed");
  assert.is(done.functions[21]?.result, "good");
  assert.is(done.data, "good");
});

test("what is left of a job that ended without its owner is removed by the sweep", async () => {
  const jobId = "left";
  const functions = [
    parking,
    ...steps(20),
    { name: "once", retry_options: { ...PARKING, backoff: { type: "fixed" as const, delay_ms: 3_600_000 } } },
    ...steps(10),
  ];
  await system.client.submit({ name: "long", functions }, { jobId });
  await eventually(
    "it is parked again",
    async () => {
      const job = await system.client.get(jobId);
      return job.current_function === 21 && job.waiting_for === "backoff" && system.supervisor.liveJobs === 0;
    },
    30_000,
  );
  assert.ok(await isThere(jobId));
  const stored = await readLast(system.bus, KV_JOBS, `$KV.jobs.${jobId}`);
  assert.is(
    stored && storedJob(jobId, stored.sequence, stored.data).brief?.leansOn,
    "definition",
    "parked, it is brief",
  );
  assert.equal((await sweepNow(false)).stranded, []);
  await system.client.cancel(jobId);
  assert.ok(await isThere(jobId), "nobody has the job in memory");
  await eventually(
    "the sweep has removed it",
    async () => {
      await sweepNow(true);
      return !(await isThere(jobId));
    },
    20_000,
  );
});

test("a job whose definition is deleted by hand has failed, and says why", async () => {
  const jobId = "lost";
  await system.client.submit({ name: "long", functions: [parking, { name: "held" }, ...steps(30)] }, { jobId });
  await untilHeld(jobId);
  await system.supervisor.close({ graceMs: 0 });
  const found = await definition(jobId);
  // Deletions are denied, so it is overwritten.
  await system.bus.mux.publish(`$KV.jobs.${jobId}.definition`, "");
  await deleteMessage(system.bus, KV_JOBS, found?.sequence ?? 0);
  await system.startSupervisor(OPTIONS);
  // Until somebody takes it over, that is what is said of it.
  const job = await eventually("it has failed", () => system.client.get(jobId).catch(requireCorrupt), 20_000);
  assert.is(job.state, "failed");
  assert.is(job.error?.code, "corrupt_state");
  assert.match(job.error?.message ?? "", /definition, number \d+ in stream KV_jobs, is gone/);
  letGo(jobId);
});

test.run();
