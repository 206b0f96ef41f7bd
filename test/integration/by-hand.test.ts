/** Cancel and retry, in every state and from everywhere, and what a worker hears of it. */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import type { JobView } from "../../src/job/view.ts";
import { endsOf } from "../support/events.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("by-hand");
let system: System;
let bridge: Bridge;
let broken = true;
/** What the handlers have seen, by job id. */
const begun = new Map<string, unknown[]>();
const aborted = new Set<string>();

const note = (jobId: string, what: unknown) => begun.set(jobId, [...(begun.get(jobId) ?? []), what]);

test.before(async () => {
  // All ends are kept, so that they can be counted.
  system = await System.start({ parkAfterMs: 500, roomWaitMs: 300, topology: { storeCompleted: true } });
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (w) =>
      w
        .func("endless", ({ jobId, signal }) => {
          note(jobId, "endless");
          return once(signal, "abort").then(() => void aborted.add(jobId));
        })
        .func("quick", ({ jobId, args, data }) => {
          note(jobId, { args, data });
          return "quick";
        })
        .func("mended", ({ jobId, args, data }) => {
          note(jobId, { args, data });
          if (broken) throw new Error("still broken");
          return "mended";
        }),
    { concurrency: 50 },
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

const chain = (...names: string[]) => ({ name: names.join("-"), functions: names.map((name) => ({ name })) });

const endEvents = (jobId: string) => endsOf(system.bus, jobId);

/** Nothing is left that would bring the job back. */
async function tokenIsGone(jobId: string): Promise<void> {
  await eventually(`the token of ${jobId} goes`, async () => {
    const jobs = await readBatch(system.bus, "JOBS", { filter: `job.submit.${jobId}`, from: 1, batch: 1 });
    const wakes = await readBatch(system.bus, "TIMERS", { filter: `job.wake.${jobId}`, from: 1, batch: 1 });
    return jobs.messages.length + wakes.messages.length === 0;
  });
}

async function running(jobId: string): Promise<void> {
  await system.client.submit(chain("endless", "quick"), { jobId });
  await eventually("the attempt runs", () => begun.has(jobId));
}

test("a running job: the signal fires, the next function never begins, one end is recorded", async () => {
  await running("running");
  assert.is((await system.client.cancel("running")).state, "cancelled");
  await eventually("the signal fires", () => aborted.has("running"));
  await tokenIsGone("running");
  assert.equal(begun.get("running"), ["endless"]);
  assert.equal(await endEvents("running"), ["cancelled"]);
});

test("a job in a short wait, a parked one and one that is due later never begin again", async () => {
  const later = new Date(Date.now() + 3_600_000).toISOString();
  const retry_options = (delay_ms: number) => ({
    retry_limit: 2,
    backoff: { type: "fixed" as const, delay_ms, jitter: 0 },
  });
  const mended = (ms: number) => ({ name: "waits", functions: [{ name: "mended", retry_options: retry_options(ms) }] });
  await system.client.submit({ ...chain("quick"), scheduled_at: later }, { jobId: "due-later" });
  await system.client.submit(mended(400), { jobId: "in-memory" });
  await system.client.submit(mended(1_000), { jobId: "parked" });
  await eventually("the waits have begun", () => begun.has("in-memory") && begun.has("parked"));
  for (const jobId of ["due-later", "in-memory", "parked"]) {
    await eventually("it waits", async () => ["waiting", "scheduled"].includes((await system.client.get(jobId)).state));
    assert.is((await system.client.cancel(jobId)).state, "cancelled");
  }
  await delay(1_500);
  assert.not.ok(begun.has("due-later"));
  for (const jobId of ["in-memory", "parked"]) {
    assert.is(begun.get(jobId)?.length, 1);
    await tokenIsGone(jobId);
    assert.equal(await endEvents(jobId), ["cancelled"]);
  }
});

test("a job that waits for a worker, in memory or in the backlog, is never begun when one comes", async () => {
  for (const jobId of ["no-worker-1", "no-worker-2"]) await system.client.submit(chain("comes-late"), { jobId });
  await system.client.cancel("no-worker-1");
  await eventually("the other waits outside of memory", async () => {
    return (await system.client.get("no-worker-2")).waiting_for === "worker";
  });
  await system.client.cancel("no-worker-2");
  await system.client.submit(chain("comes-late"), { jobId: "no-worker-3" });
  await system.worker((w) => w.func("comes-late", ({ jobId }) => note(jobId, "late")));
  await system.client.wait("no-worker-3", { timeoutMs: 5_000 });
  assert.not.ok(begun.has("no-worker-1") || begun.has("no-worker-2"));
  assert.equal(await endEvents("no-worker-2"), ["cancelled"]);
});

test("a job that no supervisor has taken yet is cancelled as it lies in the stream", async () => {
  const full = await System.start({ maxLiveJobs: 1 });
  try {
    // The first one fills the supervisor; the second one stays in the stream.
    await full.client.submit(chain("nobody"), { jobId: "first" });
    await eventually("the first is live", () => full.supervisor.liveJobs === 1);
    await full.client.submit(chain("nobody"), { jobId: "second" });
    assert.is((await full.client.cancel("second")).state, "cancelled");
    assert.is((await full.client.get("second")).state, "cancelled");
    const { messages } = await readBatch(full.bus, "JOBS", { filter: "job.submit.second", from: 1, batch: 1 });
    assert.equal(messages, [], "it takes up no room any more");
    // Submitting the id again is the same job.
    await full.client.submit(chain("nobody"), { jobId: "second" });
    await full.client.cancel("first");
    await eventually("the repetition is dropped", async () => {
      const left = await readBatch(full.bus, "JOBS", { filter: ">", from: 1, batch: 10 });
      return left.messages.length === 0;
    });
    assert.is((await full.client.get("second")).state, "cancelled");
  } finally {
    await full.close();
  }
});

test("another supervisor than the owner can cancel", async () => {
  const other = await System.start("without supervisor");
  const owner = await Supervisor.start(other.bus);
  const worker = await other.worker((w) =>
    w.func("elsewhere", ({ jobId, signal }) => {
      note(jobId, "elsewhere");
      return once(signal, "abort").then(() => void aborted.add(jobId));
    }),
  );
  await other.client.submit(chain("elsewhere"), { jobId: "elsewhere" });
  await eventually("it runs", () => begun.has("elsewhere"));
  const second = await Supervisor.start(other.bus, { maxLiveJobs: 1 });
  // Requests go to either; with enough of them the other one has answered too.
  for (let i = 0; i < 10; i++) assert.is((await other.client.cancel("elsewhere")).state, "cancelled");
  await eventually("the signal fires", () => aborted.has("elsewhere"));
  await eventually("nobody holds it", () => owner.liveJobs + second.liveJobs === 0);
  await worker.close();
  await second.close();
  await owner.close();
  await other.close();
});

test("cancelling again changes nothing; a completed or unknown job cannot be cancelled", async () => {
  await running("twice");
  const first = await system.client.cancel("twice");
  assert.is((await system.client.cancel("twice")).finished_at, first.finished_at);
  await system.client.submit(chain("quick"), { jobId: "done" });
  await system.client.wait("done");
  assert.is(await system.client.cancel("done").catch((error) => error.code), "job_ended");
  assert.is(await system.client.cancel("nothing").catch((error) => error.code), "job_not_found");
  assert.equal(await endEvents("twice"), ["cancelled"]);
});

test("a failed job goes on at the function that failed; the steps before it are not run again", async () => {
  broken = true;
  await system.client.submit(chain("quick", "mended", "quick"), { jobId: "failed" });
  assert.is((await system.client.wait("failed", { timeoutMs: 5_000 })).state, "failed");
  assert.is((await system.client.retry("failed")).state, "pending");
  const again = await system.client.wait("failed", { timeoutMs: 5_000 });
  assert.is(again.state, "failed");
  assert.is(again.functions[1]?.retry_count, 2);
  broken = false;
  const retried = await system.client.retry("failed", { data: "new data", args: ["new args"] });
  assert.ok(retried.retried_at);
  const job = await system.client.wait("failed", { timeoutMs: 5_000 });
  assert.is(job.state, "completed");
  assert.equal(begun.get("failed"), [
    { args: null, data: null },
    { args: null, data: null },
    { args: null, data: null },
    { args: ["new args"], data: "new data" },
    { args: null, data: "new data" },
  ]);
  // It failed twice, for two different reasons as far as anyone can tell, and then was completed.
  await eventually("the ends are recorded", async () => (await endEvents("failed")).length === 3);
  assert.equal(await endEvents("failed"), ["failed", "failed", "completed"]);
});

test("a cancelled job can be retried, whatever it was doing", async () => {
  await system.client.submit(
    { ...chain("quick"), scheduled_at: new Date(Date.now() + 3_600_000).toISOString() },
    { jobId: "revived" },
  );
  await system.client.cancel("revived");
  await system.client.retry("revived");
  assert.is((await system.client.wait("revived", { timeoutMs: 5_000 })).state, "completed");
  assert.is(begun.get("revived")?.length, 1);
});

test("what cannot be retried is refused with the reason; a repetition of the same retry is not", async () => {
  await system.client.submit(chain("endless"), { jobId: "live" });
  assert.is(await system.client.retry("live").catch((error) => error.code), "job_not_ended");
  await system.client.cancel("live");
  await system.client.retry("live");
  await system.client.retry("live");
  await system.client.cancel("live");
  await system.client.submit(chain("quick"), { jobId: "completed" });
  await system.client.wait("completed");
  assert.is(await system.client.retry("completed").catch((error) => error.code), "job_ended");
  system.bus.nc.publish("job.submit.invalid-job", "{}");
  await system.event((event) => event.job_id === "invalid-job" && event.type === "failed");
  assert.is(await system.client.retry("invalid-job").catch((error) => error.code), "job_ended");
  assert.is(await system.client.retry("unheard-of").catch((error) => error.code), "job_not_found");
});

test("the same over HTTP", async () => {
  await running("http");
  const cancelled = await fetch(`${bridge.url}/v1/job/http`, { method: "DELETE" });
  assert.is(cancelled.status, 200);
  assert.is(((await cancelled.json()) as { Job: JobView }).Job.state, "cancelled");
  broken = true;
  await system.client.submit(chain("mended"), { jobId: "http-failed" });
  await system.client.wait("http-failed");
  const busy = await fetch(`${bridge.url}/v1/job/none/retry`, { method: "POST" });
  assert.is(busy.status, 404);
  broken = false;
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ args: 7 });
  const bad = await fetch(`${bridge.url}/v1/job/http-failed/retry`, { method: "POST", headers, body: '{"arg":1}' });
  assert.is(bad.status, 400);
  const retried = await fetch(`${bridge.url}/v1/job/http-failed/retry`, { method: "POST", headers, body });
  assert.is(retried.status, 200);
  assert.is((await system.client.wait("http-failed", { timeoutMs: 5_000 })).result, "mended");
  assert.equal(begun.get("http-failed")?.at(-1), { args: 7, data: null });
  const ended = await fetch(`${bridge.url}/v1/job/http-failed`, { method: "DELETE" });
  assert.is(ended.status, 409);
  assert.is(((await ended.json()) as { error: { code: string } }).error.code, "job_ended");
});

test("the same from a shell", async () => {
  await running("shell");
  const cancelled = await startCli(["cancel", "shell", "--nats", system.url]);
  assert.is(await cancelled.exit(), 0);
  assert.match(cancelled.output(), "cancelled");
  broken = true;
  await system.client.submit(chain("mended"), { jobId: "shell-failed" });
  await system.client.wait("shell-failed");
  broken = false;
  const retried = await startCli(["retry", "shell-failed", "--args", "[1]", "--wait", "--nats", system.url]);
  assert.is(await retried.exit(), 0);
  assert.match(retried.output(), "completed");
  const refused = await startCli(["cancel", "shell-failed", "--nats", system.url]);
  assert.is(await refused.exit(), 1);
  assert.match(refused.output(), "job_ended");
});

test("an attempt that goes on although nobody waits for it is stopped at its next heartbeat", async () => {
  const impatient = await System.start("without supervisor");
  const stopped = new Promise<void>((resolve) => {
    void impatient.worker((w) => w.func("orphan", ({ signal }) => once(signal, "abort").then(() => resolve())), {
      heartbeatMs: 100,
    });
  });
  const supervisor = await Supervisor.start(impatient.bus);
  await impatient.client.submit(chain("orphan"), { jobId: "orphan" });
  await eventually("it runs", async () => (await impatient.client.get("orphan")).state === "running");
  // A worker that missed the nudge: the supervisor gives the job away without one.
  const { nc } = impatient.bus;
  const publish = nc.publish.bind(nc);
  nc.publish = (subject, ...rest) => subject === "job.ctl.stop" || publish(subject, ...rest);
  await impatient.client.cancel("orphan");
  nc.publish = publish;
  await within(5_000, "the stop", stopped);
  await supervisor.close();
  await impatient.close();
});

test.run();
