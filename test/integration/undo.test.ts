/** Undo on a real server: sagas, attempts that may have done something, cancels, take-overs, on_failure, services without the SDK. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isAsyncError } from "../../src/job/errors.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("undo");
let system: System;
/** What was executed, in order: `<job name> <function>`. */
const begun: string[] = [];
/** Bodies of the invocations of a service without the SDK. */
const plain: Record<string, unknown>[] = [];
const hasRoom = true;

test.before(async () => {
  system = await System.start({ parkAfterMs: 700, briefAboveBytes: 2_048, roomWaitMs: 500 });
  const log =
    (work: (context: { args: unknown; signal: AbortSignal; attempt: number }) => unknown = () => "ok") =>
    (context: { jobName: string; functionName?: string; args: unknown; signal: AbortSignal; attempt: number }) => {
      const { functionName = "" } = context;
      begun.push(`${context.jobName} ${functionName}`);
      return work(context);
    };
  await system.worker(
    (worker) =>
      worker
        .func("reserve", log())
        .func(
          "charge",
          log(() => ({ charge: 7 })),
        )
        .func("release", log())
        .func(
          "ship",
          log(() => {
            throw new Error("no truck");
          }),
        )
        // It answers when it is told to stop: with what it has done.
        .func(
          "answers",
          log(({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve("just done")))),
        )
        .func(
          "refuses",
          log(
            ({ signal }) =>
              new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("not done")))),
          ),
        )
        .func(
          "silent",
          log(() => delay(60_000, undefined, { ref: false })),
        )
        .func(
          "slow-undo",
          log(() => delay(400)),
        )
        .func(
          "fails-first",
          log(({ attempt }) => {
            if (attempt === 1) throw new Error("not yet");
          }),
        )
        .func("alert", log()),
    { concurrency: 30 },
  );
  // A service that knows nothing of the SDK.
  system.bus.nc.subscribe("fn.refund", {
    queue: "refund",
    callback: (_error, message) => {
      if (!hasRoom) return;
      plain.push(message.json());
      begun.push(`${message.json<{ job_name: string }>().job_name} refund`);
      message.respond("null");
    },
  });
});
test.after(() => system.close());

const submit = async (document: JobDocument): Promise<string> => (await system.client.submit(document)).job_id;
const ended = async (id: string): Promise<JobView> => {
  await system.client.wait(id).catch((error: unknown) => {
    if (!isAsyncError(error, "job_failed") && !isAsyncError(error, "job_cancelled")) throw error;
  });
  return system.client.get(id);
};
const doneBy = (name: string) =>
  begun.filter((one) => one.startsWith(`${name} `)).map((one) => one.slice(name.length + 1));
/** Ended by a cancel that leaves as it is what has been done, by a request as anyone may send it. */
const skipped = async (id: string): Promise<JobView> => {
  const reply = await system.bus.nc.request(`job.cancel.${id}`, JSON.stringify({ undo: "skip" }), { timeout: 3_000 });
  assert.not.ok(reply.headers?.get("Nats-Service-Error-Code"), reply.string());
  return ended(id);
};
const inState = (id: string, state: string) =>
  eventually(`it is ${state}`, async () => (await system.client.get(id)).state === state);
/** Until that function of the job has begun. */
const hasBegun = (name: string, fn: string) => eventually(`${fn} has begun`, async () => doneBy(name).includes(fn));

const saga = (name: string, more: Partial<JobDocument> = {}): JobDocument => ({
  name,
  functions: [
    { id: "reserve", name: "reserve", undo: "release" },
    { id: "charge", name: "charge", args: { amount: 5 }, undo: "refund" },
    { id: "ship", name: "ship" },
  ],
  ...more,
});

test("a saga whose last step fails undoes what it has done, the last first, by a plain service too", async () => {
  const job = await ended(await submit(saga("saga")));
  assert.is(job.state, "failed");
  assert.is(job.error?.message, "no truck");
  assert.equal(doneBy("saga"), ["reserve", "charge", "ship", "refund", "release"]);
  assert.equal(job.undo, { state: "done", undone: 2, failed: 0, not_undone: 0 });
  assert.is(job.functions[1]?.undo_run?.state, "done");
  const body = plain.find(({ job_name }) => job_name === "saga") ?? {};
  assert.is(body.undo, true);
  assert.equal(body.args, { amount: 5 });
  assert.equal(body.result, { charge: 7 });
  assert.is((body.error as { message: string }).message, "no truck");
  assert.is(body.undo_of, `${job.job_id}/1`);
  assert.is(body.idempotency_key, `${job.job_id}/1/undo`);
  assert.equal(Object.keys(body).at(-1), "results");
  assert.equal(
    system.told(job.job_id).filter((type) => type !== "accepted"),
    ["undoing", "undone", "undone", "failed"],
  );
});

test("a charge that was done, and whose answer never came, is undone as uncertain, before all else", async () => {
  const functions: JobDocument["functions"] = [
    { id: "reserve", name: "reserve", undo: "release" },
    { id: "charge", name: "silent", timeout_ms: 150, undo: "refund" },
  ];
  const job = await ended(await submit({ name: "uncertain", functions }));
  assert.is(job.error?.code, "attempt_timeout");
  assert.equal(doneBy("uncertain"), ["reserve", "silent", "refund", "release"]);
  const body = plain.find(({ job_name }) => job_name === "uncertain") ?? {};
  assert.is(body.uncertain, true);
  assert.is(body.result, null);
});

test("an attempt that is told to stop, and answers with what it has done, is undone with its result", async () => {
  const functions: JobDocument["functions"] = [
    { name: "answers", needs: [], undo: "refund" },
    { name: "refuses", needs: [], undo: "release" },
  ];
  const id = await submit({ name: "stopped", functions });
  await hasBegun("stopped", "answers");
  await hasBegun("stopped", "refuses");
  await system.client.cancel(id);
  const job = await ended(id);
  assert.is(job.state, "cancelled");
  assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  const body = plain.find(({ job_name }) => job_name === "stopped") ?? {};
  assert.is(body.result, "just done");
  assert.is(body.uncertain, undefined);
  assert.not.ok(doneBy("stopped").includes("release"), "it said that it has done nothing");
});

test("an attempt that does not answer for ten seconds is undone as uncertain; with skip it is not waited for", async () => {
  const functions: JobDocument["functions"] = [{ name: "silent", undo: "refund" }];
  const [waits, skips] = [await submit({ name: "waits", functions }), await submit({ name: "skips", functions })];
  await hasBegun("waits", "silent");
  await hasBegun("skips", "silent");
  await system.client.cancel(waits);
  const cancelled = await within(5_000, "the end", skipped(skips));
  assert.equal(cancelled.undo, { state: "skipped", undone: 0, failed: 0, not_undone: 1 });
  assert.is((await system.client.get(waits)).state, "undoing");
  const job = await within(15_000, "the end", ended(waits));
  assert.is(job.undo?.undone, 1);
  assert.is(plain.find(({ job_name }) => job_name === "waits")?.uncertain, true);
});

test("an attempt in line that nobody has got is not undone when its job is cancelled", async () => {
  const id = await submit({ name: "in line", functions: [{ name: "nobody", undo: "refund" }] });
  await delay(50);
  await system.client.cancel(id);
  const job = await ended(id);
  assert.is(job.state, "cancelled");
  assert.is(job.undo, undefined);
});

test("a cancel of a job that sleeps outside of memory undoes it at once", async () => {
  const functions: JobDocument["functions"] = [{ name: "reserve", undo: "release" }, { sleep_ms: 3_600_000 }];
  const id = await submit({ name: "asleep", functions });
  await hasBegun("asleep", "reserve");
  await eventually("it has left memory", async () => system.supervisor.liveJobs === 0);
  const answer = await system.client.cancel(id);
  assert.is(answer.state, "undoing");
  const job = await ended(id);
  assert.is(job.state, "cancelled");
  assert.equal(doneBy("asleep"), ["reserve", "release"]);
});

test("an undo that fails is tried again, and one that takes long leaves memory and comes back", async () => {
  const backoff = { type: "fixed", delay_ms: 1_500, jitter: 0 } as const;
  const functions: JobDocument["functions"] = [
    { name: "reserve", undo: { name: "fails-first", retry_options: { backoff } } },
    { name: "ship" },
  ];
  const id = await submit({ name: "again", functions });
  await inState(id, "undoing");
  await eventually("it has left memory", async () => system.supervisor.liveJobs === 0);
  assert.is((await system.client.get(id)).state, "undoing");
  const job = await ended(id);
  assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  assert.is(job.functions[0]?.undo_run?.retry_count, 2);
});

test("an undo without a worker waits for one outside of memory", async () => {
  const functions: JobDocument["functions"] = [{ name: "reserve", undo: "late-service" }, { name: "ship" }];
  const id = await submit({ name: "waiting", functions });
  await inState(id, "undoing");
  await eventually("it has left memory", async () => system.supervisor.liveJobs === 0);
  await system.worker((worker) => worker.func("late-service", () => "at last"));
  const job = await ended(id);
  assert.is(job.undo?.state, "done");
});

test("a supervisor that closes in the middle of an undo leaves the rest to another one", async () => {
  const functions: JobDocument["functions"] = [
    { name: "reserve", undo: "release" },
    { name: "reserve", undo: "slow-undo" },
    { name: "ship" },
  ];
  const id = await submit({ name: "handed over", functions });
  await hasBegun("handed over", "slow-undo");
  const closing = system.supervisor;
  await Promise.all([closing.close({ graceMs: 50 }), system.startSupervisor({ parkAfterMs: 700 })]);
  const job = await ended(id);
  assert.is(job.state, "failed");
  assert.equal(job.undo, { state: "done", undone: 2, failed: 0, not_undone: 0 });
  assert.is(doneBy("handed over").at(-1), "release");
});

test("on_failure is called when all is undone, and a retry does what was undone anew", async () => {
  const id = await submit(saga("alerting", { on_failure: { name: "alert", args: { why: { $: "error.message" } } } }));
  const job = await ended(id);
  assert.equal(doneBy("alerting"), ["reserve", "charge", "ship", "refund", "release", "alert"]);
  assert.is(job.on_failure_run?.state, "done");
  await system.client.retry(id);
  await eventually("it has failed again", async () => doneBy("alerting").length === 12);
  await ended(id);
  const keys = plain.filter(({ job_name }) => job_name === "alerting").map(({ idempotency_key }) => idempotency_key);
  assert.equal(keys, [`${id}/1/undo`, `${id}/1/r1/undo`]);
});

test("a plain cancel of a job that undoes is refused, and one with skip ends it", async () => {
  const functions: JobDocument["functions"] = [
    { name: "reserve", undo: "release" },
    { name: "reserve", undo: "nobody-undoes" },
    { name: "ship" },
  ];
  const id = await submit({ name: "skipping", functions });
  await inState(id, "undoing");
  const refused = await system.client.cancel(id).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(isAsyncError(refused, "job_undoing"), String(refused));
  const job = await skipped(id);
  assert.is(job.state, "failed");
  assert.is(job.error?.message, "no truck");
  assert.equal(job.undo, { state: "skipped", undone: 0, failed: 0, not_undone: 2 });
  assert.not.ok(doneBy("skipping").includes("release"));
});

test("a failed job whose undo is skipped is told of at once, while the undo is still executed", async () => {
  const functions: JobDocument["functions"] = [{ name: "reserve", undo: "silent" }, { name: "ship" }];
  const id = await submit({ name: "told", functions });
  // Until its owner has no more to write.
  await eventually("its start is recorded", async () => {
    return (await system.client.get(id)).functions[0]?.undo_run?.retry_count === 1;
  });
  const told = new Promise<string>((resolve) => {
    system.bus.nc.subscribe(`job.event.${id}.*`, { callback: (_error, { subject }) => resolve(subject) });
  });
  await system.bus.flush();
  const job = await system.client.cancel(id, { undo: "skip" });
  assert.is(job.state, "failed");
  assert.is(await within(5_000, "the event of the end", told), `job.event.${id}.failed`);
});

test("the time of the job ends when its undo begins", async () => {
  const functions: JobDocument["functions"] = [{ name: "reserve", undo: "slow-undo" }, { name: "silent" }];
  const job = await ended(await submit({ name: "late", timeout_ms: 300, functions }));
  assert.is(job.error?.code, "job_timeout");
  assert.is(job.undo?.state, "done");
});

test.run();
