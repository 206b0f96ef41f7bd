/** When storage fills: ended jobs are kept for less long, new ones are refused, and live ones end all the same (STORAGE-1, -2). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bucketUse } from "../../src/bus/bucket-use.ts";
import { Bus } from "../../src/bus/connection.ts";
import { retentionAt } from "../../src/bus/store/storage.ts";
import { Client } from "../../src/client/client.ts";
import { startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("storage");
const DAY_MS = 86_400_000;

test("ended jobs are kept for less long the fuller the bucket is, but for half a minute and three leases (STORAGE-3)", () => {
  const week = 7 * DAY_MS;
  const never = Number.POSITIVE_INFINITY;
  const at = (fill: number, untilFullMs = never, ackWaitMs = 10_000) => retentionAt(fill, week, untilFullMs, ackWaitMs);
  assert.is(at(0.6, 40_000), 40_000, "no longer than until it would be full");
  assert.is(at(0.6, 1), 30_000);
  assert.is(at(0), week);
  assert.is(at(0.5, 1), week);
  assert.is(Math.round(at(0.9)), 60_000);
  assert.is(at(0.99), 30_000);
  assert.is(at(0.99, never, 20_000), 60_000);
  assert.is(at(0.6, 1, 20_000), 60_000);
  let before = week;
  for (let fill = 0.51; fill < 1; fill += 0.01) {
    const now = at(fill);
    assert.ok(now < before || fill > 0.9, `${fill}: ${now}`);
    before = now;
  }
  const small = (fill: number) => retentionAt(fill, week, never, 10_000, 0.8);
  assert.is(Math.round(small(0.75)), 60_000, "also in a small bucket, before anything is refused");
  assert.is(small(0.8), 30_000);
  assert.is(retentionAt(0.7, 1_000, never, 10_000), 1_000, "never for longer than where there is room");
});

test("a bucket takes more jobs than fit into it, as ended ones expire", async () => {
  const system = await System.start({ topology: { stateMaxBytes: 400_000 }, maxLiveJobs: 20, retentionMs: 3_000 });
  try {
    const troubles: string[] = [];
    system.supervisor.lifecycle.on("trouble", ({ what }) => troubles.push(what));
    let ended = 0;
    system.supervisor.lifecycle.on("released", (_, why) => {
      if (why === "ended") ended += 1;
    });
    await system.worker((w) => w.func("echo", ({ args }) => args), { concurrency: 20 });
    const body = JSON.stringify({ name: "raw", functions: [{ name: "echo", args: "x".repeat(2_000) }] });
    // Twice as many as fit: what is published directly waits in JOBS until there is room.
    for (let i = 0; i < 180; i++) await system.bus.mux.publish(`job.submit.raw-${i}`, body);
    await eventually("all have ended", () => ended === 180, 120_000);
    const { bytes, maxBytes } = await bucketUse(system.bus);
    assert.ok(bytes <= maxBytes);
    assert.equal(
      troubles.filter((what) => what.includes("unexpected")),
      [],
    );
  } finally {
    await system.close();
  }
});

test("full of live jobs, it refuses new ones and is not ready; each that was accepted ends, and then it takes more", async () => {
  const system = await System.start({
    topology: { stateMaxBytes: 100_000 },
    maxLiveJobs: 50,
    roomWaitMs: 100,
    retentionMs: 2_000,
  });
  const bridge = await startBridge({ client: system.client, port: 0 });
  try {
    const job = { name: "filling", functions: [{ name: "nobody-yet", args: "x".repeat(1_000) }] };
    const accepted: string[] = [];
    const submit = () =>
      system.client.submit(job).then(
        async ({ job_id }) => {
          accepted.push(job_id);
          await new Promise((resolve) => setTimeout(resolve, 20)); // so that the supervisor keeps up
          return "accepted";
        },
        (error) => (isAsyncError(error) ? error.code : String(error)),
      );
    await eventually("it refuses", async () => (await submit()) === "storage_full", 60_000);
    assert.ok(accepted.length > 20, `${accepted.length}`);
    const ready = await fetch(`${bridge.url}/readyz`);
    assert.is(ready.status, 503);
    assert.match(((await ready.json()) as { reason: string }).reason, "the bucket of states is full");
    const posted = await fetch(`${bridge.url}/v1/job`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(job),
    });
    assert.is(posted.status, 503);
    assert.is(((await posted.json()) as { error: { code: string } }).error.code, "storage_full");
    await system.bus.mux.publish("job.submit.raw", JSON.stringify(job));

    await system.worker((w) => w.func("nobody-yet", () => "done"), { concurrency: 10 });
    for (const jobId of [...accepted, "raw"]) {
      const job = await system.client.wait(jobId, { timeoutMs: 60_000 }).catch((error) => error);
      // Those that ended first may have expired by now, to make room.
      assert.ok(job.state === "completed" || job.code === "job_not_found", `${jobId}: ${job.state ?? job}`);
    }
    await eventually("it takes jobs again", async () => (await submit()) === "accepted", 60_000);
  } finally {
    await bridge.close();
    await system.close();
  }
});

test("a stranger who says that the storage is full is not believed", async () => {
  const system = await System.start();
  try {
    await system.worker((w) => w.func("echo", ({ args }) => args));
    const job = { name: "x", functions: [{ name: "echo", args: 1 }] };
    const lie = setInterval(() => system.bus.nc.publish("job.ctl.storage", '{"full":true}'), 5);
    for (const end = performance.now() + 500; performance.now() < end; ) assert.is(await system.client.run(job), 1);
    clearInterval(lie);
  } finally {
    await system.close();
  }
});

test("a stream that answers but takes no writes is named, with what to do", async () => {
  const system = await System.start();
  const bus = await Bus.open({ url: system.url, name: "bridge" });
  const bridge = await startBridge({ client: new Client(bus), port: 0 });
  try {
    assert.is((await fetch(`${bridge.url}/readyz`)).status, 200);
    // As a stream that is frozen after a write error does.
    const { store } = bus.mux;
    bus.mux.store = (subject, payload, headers, timeoutMs, done) =>
      store.call(bus.mux, subject.startsWith("$KV.") ? "job.nobody" : subject, payload, headers, timeoutMs, done);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const reply = await fetch(`${bridge.url}/readyz`);
    const { reason } = (await reply.json()) as { reason: string };
    assert.is(reply.status, 503);
    assert.match(reason, "stream KV_jobs takes no writes");
    assert.match(reason, "restart nats-server");
  } finally {
    await bridge.close();
    await bus.close();
    await system.close();
  }
});

test.run();
