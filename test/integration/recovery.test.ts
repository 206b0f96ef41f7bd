/** Processes that die at bad moments: what was committed stays, what was not is done again. */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import { Worker } from "../../src/worker/worker.ts";
import { inTempFolder } from "../support/folder.ts";
import { startTestServer } from "../support/nats.ts";
import { type Running, startCli } from "../support/process.ts";
import { System, silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("recovery");
let system: System;
const running: Running[] = [];

/** A supervisor in a process of its own, to be killed. */
async function startServer(): Promise<Running> {
  const server = await startCli(["server", "--nats", system.url, "--no-http"]);
  running.push(server);
  await server.line("supervisor is running");
  return server;
}

/** Kills every supervisor that runs. */
async function killAll(): Promise<void> {
  for (const one of running.splice(0)) await one.kill();
}

test.before(async () => {
  system = await System.start("without supervisor");
  // A short lease, so that the tests need not wait for the default one; supervisors take it as they find it.
  const first = await Supervisor.start(system.bus, { topology: { ackWaitMs: 2_000 } });
  await first.close();
});
test.after(async () => {
  await killAll();
  await system.close();
});

test("a supervisor killed in the middle of a chain: another goes on at the step it had reached", async () => {
  const runs: string[] = [];
  let reached = () => {};
  const inSecond = new Promise<void>((resolve) => {
    reached = resolve;
  });
  await system.worker((w) =>
    w
      .func("first", () => runs.push("first"))
      .func("second", async () => {
        runs.push("second");
        reached();
        await delay(600);
      })
      .func("third", () => runs.push("third")),
  );
  await startServer();
  const functions = ["first", "second", "third"].map((name) => ({ name }));
  await system.client.submit({ name: "chain", functions }, { jobId: "chain" });
  await inSecond;
  await killAll();
  await startServer();
  const job = await system.client.wait("chain", { timeoutMs: 20_000 });
  assert.is(job.state, "completed");
  assert.is(runs.filter((name) => name === "first").length, 1, "the committed step ran again");
  assert.is(runs.filter((name) => name === "third").length, 1);
  assert.equal(runs.slice(-1), ["third"]);
});

test("submissions accepted while no supervisor runs are seen, and done by the next one", async () => {
  await killAll();
  await system.worker((w) => w.func("patient", () => "done"));
  await system.client.submit({ name: "patient", functions: [{ name: "patient" }] }, { jobId: "patient" });
  await startServer();
  assert.is((await system.client.wait("patient", { timeoutMs: 10_000 })).result, "done");
});

test("a killed supervisor's job in a durable wait is woken for another supervisor", async () => {
  await killAll();
  await system.worker((w) => w.func("woken", () => "awake"));
  const scheduled_at = new Date(Date.now() + 12_000).toISOString();
  const supervisor = await Supervisor.start(system.bus, { parkAfterMs: 100 });
  const parked = once(supervisor.lifecycle as unknown as NodeJS.EventEmitter, "released");
  await system.client.submit({ name: "woken", functions: [{ name: "woken" }], scheduled_at }, { jobId: "woken" });
  assert.equal(await parked, ["woken", "parked"]);
  await supervisor.close();
  await startServer();
  const job = await system.client.wait("woken", { timeoutMs: 30_000 });
  assert.is(job.result, "awake");
  assert.ok(Date.parse(job.finished_at ?? "") >= Date.parse(scheduled_at));
});

test("two supervisors share the jobs, and each job has one end", async () => {
  await startServer();
  const ends: string[] = [];
  const events = system.bus.nc.subscribe("job.event.*.completed", {
    callback: (_, message) => void ends.push(message.subject.split(".")[2] ?? ""),
  });
  await system.worker((w) => w.func("shared", () => 1), { concurrency: 20 });
  const jobs = Array.from({ length: 300 }, (_, i) => `shared-${i}`);
  await Promise.all(
    jobs.map((jobId) => system.client.submit({ name: "shared", functions: [{ name: "shared" }] }, { jobId })),
  );
  await eventually("all have ended", () => ends.length >= jobs.length, 20_000);
  await delay(200);
  assert.equal(ends.sort(), jobs.sort());
  events.unsubscribe();
});

test("a drained supervisor hands over what waits and finishes what runs", async () => {
  await killAll();
  const attempts: number[] = [];
  await system.worker((w) =>
    w
      .func("in-flight", async ({ attempt }) => {
        attempts.push(attempt);
        await delay(700);
      })
      .func("after", () => "next"),
  );
  const drained = await startServer();
  await system.client.submit(
    { name: "drain", functions: [{ name: "in-flight" }, { name: "after" }] },
    { jobId: "drain" },
  );
  await eventually("the attempt runs", () => attempts.length === 1);
  drained.child.kill("SIGTERM");
  assert.is(await drained.exit(), 0);
  await startServer();
  const job = await system.client.wait("drain", { timeoutMs: 10_000 });
  assert.is(job.result, "next");
  assert.equal(attempts, [1]);
});

test("a killed and restarted NATS server loses no job, and everyone goes on by themselves", () =>
  inTempFolder(async (storeDir) => {
    await using first = await startTestServer({ storeDir });
    await using bus = await Bus.open({ url: first.url, name: "test" });
    await using supervisor = await Supervisor.start(bus, { heartbeatMs: 300 });
    const client = new Client(bus);
    await using worker = new Worker({ url: first.url, log: silent, heartbeatMs: 300, concurrency: 5 });
    await worker.func("survivor", () => delay(300, "alive")).start();
    const jobs = Array.from({ length: 20 }, (_, i) => `survivor-${i}`);
    const job = { name: "survivor", functions: [{ name: "survivor" }] };
    for (const jobId of jobs) await client.submit(job, { jobId });
    process.kill(first.pid, "SIGKILL");
    await first.exited;
    await eventually("the loss is noticed", () => !bus.connected);
    const refused = await client.submit(job, { timeoutMs: 50 }).catch((error) => error.code);
    assert.is(refused, "not_connected");
    await using second = await startTestServer({ port: first.port, storeDir });
    assert.is(second.port, first.port);
    for (const jobId of jobs) {
      assert.is((await client.wait(jobId, { timeoutMs: 30_000 })).state, "completed");
    }
    // In reverse order: the server last, so that the others can say goodbye.
    await worker.close();
    await supervisor.close();
    await bus.close();
  }));

test.run();
