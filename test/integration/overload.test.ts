/** More jobs than fit into memory, functions that nobody serves, streams that are full, payloads that do not fit. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { Client } from "../../src/client/client.ts";
import { startBridge } from "../../src/http/bridge.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { startTestServer } from "../support/nats.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("overload");
const MAX_LIVE = 100;
let system: System;

test.before(async () => {
  const topology = { storeCompleted: true };
  system = await System.start({ maxLiveJobs: MAX_LIVE, relieveAfterMs: 300, roomWaitMs: 2_000, topology });
});
test.after(async () => {
  await system.close();
});

const job = (name: string) => ({ name, functions: [{ name }] });

async function submitMany(name: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, i) => `${name}-${i}`);
  await Promise.all(ids.map((jobId) => system.client.submit(job(name), { jobId, timeoutMs: 20_000 })));
  return ids;
}

async function allCompleted(ids: string[]): Promise<void> {
  for (const id of ids) assert.is((await system.client.wait(id, { timeoutMs: 30_000 })).state, "completed");
}

test("a function without workers and a slow one hold up nobody else, and memory stays bounded", async () => {
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, system.supervisor.liveJobs);
  }, 5);
  const begun: string[] = [];
  await system.worker((w) => w.func("quick", () => 1), { concurrency: 10 });
  await system.worker((w) => w.func("slow", () => delay(20)), { concurrency: 1 });
  const [absent, slow] = [await submitMany("absent", 700), await submitMany("slow", 300)];
  const quick = await submitMany("quick", 200);
  await allCompleted(quick);
  const { messages } = await readBatch(system.bus, "TIMERS", { filter: "job.wait.absent.*", from: 1, batch: 1 });
  assert.is(messages.length, 1, "those nobody serves wait outside of memory");
  assert.is((await system.client.get("slow-299")).finished_at, undefined, "the slow ones were not all done first");
  await system.worker(
    (w) =>
      w.func("absent", ({ jobId }) => {
        begun.push(jobId);
      }),
    { concurrency: 5 },
  );
  await allCompleted(absent);
  await allCompleted(slow);
  clearInterval(watch);
  assert.is(begun.length, absent.length, "each was executed once");
  assert.ok(most <= MAX_LIVE, `${most} jobs were in memory`);
  await eventually("no token is left", async () => {
    const timers = await readBatch(system.bus, "TIMERS", { filter: ">", from: 1, batch: 1 });
    return timers.messages.length === 0;
  });
});

test("jobs in a backlog are found by supervisors that start later, also for a worker that announces nothing", async () => {
  const ids = await submitMany("left-behind", 20);
  await eventually("they wait outside of memory", async () => {
    const { messages } = await readBatch(system.bus, "TIMERS", { filter: "job.wait.*.*", from: 1, batch: 100 });
    return messages.length >= 19;
  });
  await system.supervisor.close();
  await system.startSupervisor({ maxLiveJobs: MAX_LIVE });
  const plain = system.bus.nc.subscribe("fn.left-behind", {
    queue: "fn",
    callback: (_, message) => void message.respond('"plain"'),
  });
  await allCompleted(ids);
  plain.unsubscribe();
});

test("a job that waits in a backlog ends at its deadline", async () => {
  const short = { ...job("deadline"), timeout_ms: 4_000 };
  await system.client.submit(short, { jobId: "deadline" });
  const ended = await system.client.wait("deadline", { timeoutMs: 15_000 });
  assert.is(ended.error?.code, "job_timeout");
});

test("a full stream refuses with a clear error, over HTTP with 503 and Retry-After, and takes jobs again later", async () => {
  await using server = await startTestServer();
  await using bus = await Bus.open({ url: server.url, name: "test" });
  const supervisor = await Supervisor.start(bus, { topology: { jobsMaxBytes: 20_000 } });
  await supervisor.close();
  const client = new Client(bus);
  const bridge = await startBridge({ client, port: 0 });
  const large = { ...job("large"), data: "x".repeat(1_000) };
  let refused: { code?: string; message?: string } | undefined;
  let accepted = 0;
  while (!refused && accepted < 100) {
    await client.submit(large).then(
      () => accepted++,
      (error) => {
        refused = error;
      },
    );
  }
  assert.is(refused?.code, "jobs_full");
  assert.match(refused?.message ?? "", /maximum|full/);
  const response = await fetch(`${bridge.url}/v1/job`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(large),
  });
  assert.is(response.status, 503);
  assert.ok(Number(response.headers.get("retry-after")) >= 1);
  assert.is(((await response.json()) as { error: { code: string } }).error.code, "jobs_full");
  const again = await Supervisor.start(bus, { maxLiveJobs: 1_000 });
  bus.nc.subscribe("fn.large", { queue: "fn", callback: (_, message) => void message.respond() });
  await eventually("there is room again", () =>
    client.submit(large).then(
      () => true,
      () => false,
    ),
  );
  await again.close();
  await bridge.close();
  await bus.close();
});

test("payloads over the limit fail the right function, or are refused, and crash nothing", async () => {
  const limit = system.bus.nc.info?.max_payload ?? 0;
  const almost = (bytes: number) => "x".repeat(bytes);
  await system.worker((w) =>
    w
      .func("grow", ({ args }) => almost(args))
      .func("binary", ({ args }) => randomBytes(args))
      .func("shout", () => {
        throw new Error(almost(limit * 2));
      })
      .func("chatter", ({ heartbeat }) => heartbeat(almost(limit - 50)))
      .func("after", () => "after"),
  );
  const submit = (functions: FunctionSpec[], data: unknown = null) =>
    system.client.submit({ name: "size", functions, data }).then(({ job_id }) => system.client.wait(job_id));
  const refused = await submit([{ name: "after" }], almost(limit)).catch((error) => error.code);
  assert.is(refused, "payload_too_large", "a submission");
  const failedAt = async (index: number, ended: Promise<JobView>) => {
    const view = await ended;
    assert.is(view.state, "failed");
    assert.is(view.current_function, index);
    return view;
  };
  // A result that no reply can carry.
  const result = await failedAt(1, submit([{ name: "after" }, { name: "grow", args: limit * 2 }]));
  assert.match(result.error?.message ?? "", "cannot be sent");
  // Results that fit each, but not together into the state.
  const half = { name: "grow", args: Math.floor(limit * 0.45) };
  const state = await failedAt(2, submit([half, half, half, { name: "after" }]));
  assert.is(state.error?.code, "payload_too_large");
  // An invocation that is larger than what is stored: results in JSON, next to data and args.
  const invocation = await submit([{ name: "after" }], { text: almost(limit - 2_000) });
  assert.is(invocation.state, "completed");
  assert.is((await submit([{ name: "shout" }])).state, "failed");
  assert.is((await submit([{ name: "chatter" }])).state, "completed");
  // The event of the end is JSON, where bytes take more room than in the state.
  const { job_id } = await system.client.submit(
    { name: "size", functions: [{ name: "binary", args: Math.floor(limit * 0.9) }] },
    { encoding: "msgpack" },
  );
  const end = await eventually("the end is recorded", async () => {
    const { messages } = await readBatch(system.bus, "EVENTS", {
      filter: `job.event.${job_id}.completed`,
      from: 1,
      batch: 1,
    });
    return messages[0];
  });
  assert.is(JSON.parse(Buffer.from(end.data).toString()).result_omitted, true);
  // So it is in the view: that is shown without the result, which cannot be had as JSON by itself either.
  assert.is((await system.client.get(job_id)).result_omitted, true);
  assert.is(await system.client.result(job_id).catch((error) => error.code), "payload_too_large");
});

test("a job whose deadline passes while there is no room for it has not ended before it is taken", async () => {
  const system = await System.start({ maxLiveJobs: 1 });
  try {
    let release = () => {};
    const holding = new Promise<void>((resolve) => {
      release = resolve;
    });
    await system.worker((w) =>
      w.func("held", () => holding).func("endless", ({ signal }) => once(signal, "abort").then(() => undefined)),
    );
    const held = { name: "held", functions: [{ name: "held" }] };
    await system.client.submit(held, { jobId: "first" });
    await eventually("it is taken", () => system.supervisor.liveJobs === 1);
    await system.client.submit({ name: "late", functions: [{ name: "endless" }], timeout_ms: 1 }, { jobId: "late" });
    await delay(20);
    assert.is((await system.client.get("late")).state, "pending");
    assert.equal((await system.client.list({ state: "failed" })).jobs, []);
    release();
    assert.is((await system.client.wait("late", { timeoutMs: 10_000 })).error?.code, "job_timeout");
  } finally {
    await system.close();
  }
});

test.run();
