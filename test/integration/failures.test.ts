/**
 * The failure model, with real processes: who is hung, paused, cut off or slow, as opposed to dead (`recovery`). Every job
 * ends once, and whoever comes back too late changes nothing.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { endsOf } from "../support/events.ts";
import { NetworkLink } from "../support/network-link.ts";
import { type Running, startCli, startProcess } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("failures");
const ACK_WAIT_MS = 2_000;
let system: System;
let running: Running[] = [];
let links: NetworkLink[] = [];

test.before(async () => {
  system = await System.start("without supervisor");
  // A short lease, so that the tests need not wait for the default one; supervisors take it as they find it.
  await (await Supervisor.start(system.bus, { topology: { ackWaitMs: ACK_WAIT_MS, storeCompleted: true } })).close();
});
test.after.each(async () => {
  for (const one of running) {
    one.child.kill("SIGCONT");
    await one.kill();
  }
  for (const link of links) await link.close();
  running = [];
  links = [];
});
test.after(async () => {
  await system.close();
});

async function startServer(url = system.url): Promise<Running> {
  const server = await startCli(["server", "--nats", url, "--no-http"], { ASYNC_LOG_LEVEL: "debug" });
  running.push(server);
  await server.line("supervisor is running");
  return server;
}

async function startWorker(url = system.url): Promise<Running> {
  const worker = await startProcess("test/support/counting-worker.ts", [], { NATS_URL: url });
  running.push(worker);
  await eventually("the worker is there", async () =>
    (await system.client.workers()).some(({ Pid }) => Pid === worker.child.pid),
  );
  return worker;
}

async function linkTo(port: number): Promise<NetworkLink> {
  const link = await NetworkLink.start(port);
  links.push(link);
  return link;
}

const counted = (ms: number | number[], count = 1) => ({
  name: "counted",
  functions: Array.from({ length: count }, () => ({ name: "counted", args: ms })),
});

const lines = (process: Running, word: string) =>
  process
    .output()
    .split("\n")
    .filter((line) => line.startsWith(`${word} `));

test("a hung worker: its attempt is run again elsewhere, and is stopped when it comes to itself", async () => {
  await startServer();
  const hung = await startWorker();
  await system.client.submit(counted([30_000, 100]), { jobId: "hung" });
  await hung.line("begin hung 0 1");
  hung.child.kill("SIGSTOP");
  const other = await startWorker();
  const job = await system.client.wait("hung", { timeoutMs: 20_000 });
  // It may have swallowed another one before the server dropped it.
  const lost = job.functions[0]?.lost_count ?? 0;
  assert.ok(lost >= 1);
  assert.is(job.result, lost + 1);
  assert.equal(lines(other, "begin"), [`begin hung 0 ${lost + 1}`]);
  hung.child.kill("SIGCONT");
  await hung.line("abort hung 0 1");
  assert.equal(await endsOf(system.bus, "hung"), ["completed"]);
});

test("a worker that is cut off in an attempt: the attempt is run elsewhere; it serves again when it is back", async () => {
  await startServer();
  const link = await linkTo(system.server.port);
  const alone = await startWorker(link.url);
  await system.client.submit(counted(12_000), { jobId: "cut-off" });
  await alone.line("begin cut-off 0 1");
  link.cut();
  const other = await startWorker();
  await other.line("begin cut-off 0 ");
  link.mend();
  // Its attempt is one that nobody waits for: it is told so at its first heartbeat.
  await alone.line("abort cut-off 0 1");
  await other.kill();
  await system.client.submit(counted(0), { jobId: "back-again" });
  await alone.line("begin back-again 0 1");
  await system.client.wait("back-again", { timeoutMs: 20_000 });
  await system.client.cancel("cut-off");
});

test("a supervisor that was paused beyond its lease changes nothing when it wakes up", async () => {
  const worker = await startWorker();
  const paused = await startServer();
  await system.client.submit(counted(1_500, 2), { jobId: "paused" });
  await worker.line("begin paused 0 1");
  await eventually("the start is recorded", async () => (await system.client.get("paused")).state === "running");
  paused.child.kill("SIGSTOP");
  const other = await startServer();
  await other.line('"how":"resumed"');
  await worker.line("begin paused 0 2");
  paused.child.kill("SIGCONT");
  // It wakes up with the result of its own attempt; the job belongs to the other one.
  await paused.line('"why":"superseded"');
  const job = await system.client.wait("paused", { timeoutMs: 20_000 });
  assert.is(job.state, "completed");
  assert.equal(
    job.functions.map((fn) => fn.result),
    [2, 1],
  );
  assert.equal(lines(worker, "begin"), ["begin paused 0 1", "begin paused 0 2", "begin paused 1 1"]);
  assert.equal(await endsOf(system.bus, "paused"), ["completed"]);
});

test("a supervisor that is cut off loses its jobs to another one, and works on new ones when it is back", async () => {
  const worker = await startWorker();
  const link = await linkTo(system.server.port);
  const alone = await startServer(link.url);
  await system.client.submit(counted(1_500, 2), { jobId: "isolated" });
  await worker.line("begin isolated 0 1");
  link.cut();
  const other = await startServer();
  assert.is((await system.client.wait("isolated", { timeoutMs: 20_000 })).state, "completed");
  link.mend();
  await alone.line('"msg":"released"');
  await other.kill();
  await system.client.submit(counted(0), { jobId: "after-isolation" });
  assert.is((await system.client.wait("after-isolation", { timeoutMs: 20_000 })).state, "completed");
  assert.equal(await endsOf(system.bus, "isolated"), ["completed"]);
});

test("a NATS server that does not answer for a while: everything goes on where it was", async () => {
  const worker = await startWorker();
  await startServer();
  for (let i = 0; i < 20; i++) await system.client.submit(counted(50, 3), { jobId: `frozen-${i}` });
  process.kill(system.server.pid, "SIGSTOP");
  try {
    await new Promise((resolve) => setTimeout(resolve, 6_000));
  } finally {
    process.kill(system.server.pid, "SIGCONT");
  }
  for (let i = 0; i < 20; i++) {
    assert.is((await system.client.wait(`frozen-${i}`, { timeoutMs: 40_000 })).state, "completed");
    assert.equal(await endsOf(system.bus, `frozen-${i}`), ["completed"]);
  }
  assert.ok(lines(worker, "end").length >= 60);
});

test("a rolling restart of all processes under load: every job is completed, and nothing counts as failed", async () => {
  const servers = [await startServer(), await startServer()];
  const workers = [await startWorker(), await startWorker()];
  const ids = Array.from({ length: 400 }, (_, i) => `rolling-${i}`);
  const submitting = (async () => {
    for (const jobId of ids) {
      await system.client.submit(counted(20, 2), { jobId });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  for (let round = 0; round < 2; round++) {
    await startServer();
    const server = servers[round] as Running;
    server.child.kill("SIGTERM");
    assert.is(await server.exit(), 0);
    await startWorker();
    const worker = workers[round] as Running;
    worker.child.kill("SIGTERM");
    assert.is(await worker.exit(), 0);
  }
  await submitting;
  for (const id of ids) {
    const job = await system.client.wait(id, { timeoutMs: 20_000 });
    assert.is(job.state, "completed");
    // Nothing failed, nothing was lost, nothing was run twice.
    for (const fn of job.functions) assert.equal([fn.retry_count, fn.lost_count], [1, undefined]);
  }
  const begun = running.flatMap((one) => lines(one, "begin").filter((line) => line.includes("rolling")));
  assert.is(new Set(begun).size, begun.length);
  assert.is(begun.length, 2 * ids.length);
});

test.run();
