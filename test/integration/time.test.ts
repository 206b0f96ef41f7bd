/** Clocks that differ, schedules that cannot be, ids that are used again: what a job waits for, on a real server. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { InvalidInputError, isAsyncError } from "../../src/job/errors.ts";
import { type EndedJob, isEnded } from "../../src/job/state.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer } from "../support/nats.ts";
import { System, silent } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("time");
let system: System;
const realNow = Date.now;

test.before(async () => {
  system = await System.start({ parkAfterMs: 2_000 });
  await system.worker((worker) =>
    worker
      .func("quick", () => "done")
      .func("fails-once", ({ attempt }) => {
        if (attempt === 1) throw new Error("not yet");
        return attempt;
      }),
  );
});
test.after.each(() => {
  Date.now = realNow;
});
test.after(() => system.close());

/** The clock of supervisor, worker and client; that of nats-server is right. */
function skewClock(ms: number): void {
  Date.now = () => realNow() + ms;
}

async function ended(jobId: string, ms = 10_000): Promise<EndedJob> {
  const found: EndedJob[] = [];
  const look = async () => {
    const state = (await system.supervisor.store.get(jobId))?.state;
    if (state && isEnded(state)) found.push(state);
    return found.length > 0;
  };
  await eventually(`the end of ${jobId}`, look, ms);
  return found[0] as EndedJob;
}

for (const skewMs of [-3_600_000, -20_000, -15, 20_000, 3_600_000]) {
  test(`a job without a start begins at once where the supervisor's clock is ${skewMs} ms off`, async () => {
    skewClock(skewMs);
    const job = { name: "skewed", functions: [{ name: "quick" }], timeout_ms: 8_000 };
    const sequence = await system.bus.mux.publish("job.submit", JSON.stringify(job));
    const chosen = `skewed${skewMs}`;
    await system.bus.mux.publish(`job.submit.${chosen}`, JSON.stringify(job));
    const madeUp = await system.client.submit(job);
    for (const id of [`seq-${sequence}`, chosen, madeUp.job_id]) {
      const state = await ended(id, 5_000);
      assert.is(state.state, "completed");
      assert.is(state.token, 0, "it was not parked");
      assert.ok(state.version <= 3, `${state.version} states`);
      assert.not.ok(system.told(id).includes("accepted"));
    }
  });

  test(`a retry by hand goes on at once where the supervisor's clock is ${skewMs} ms off`, async () => {
    skewClock(skewMs);
    const { job_id } = await system.client.submit({ name: "again", functions: [{ name: "fails-once" }] });
    assert.is((await ended(job_id)).state, "failed");
    await system.client.retry(job_id);
    await eventually("its second end", async () => (await system.client.get(job_id)).state === "completed", 8_000);
  });
}

test("what is set for a time that the server's clock has reached is due, however far ours is behind", async () => {
  skewClock(-20_000);
  const at = new Date(realNow() + 500).toISOString();
  const { job_id } = await system.client.submit({ name: "late", functions: [{ name: "quick" }], scheduled_at: at });
  const state = await ended(job_id, 8_000);
  assert.is(state.state, "completed");
  assert.is(state.token, 1, "one timer");
  assert.ok(state.version <= 4, `${state.version} states`);
});

/** Makes the server refuse all timers but those of other jobs. Returns how to undo it. */
function refuseTimersOf(jobId: string): () => void {
  const { mux } = system.bus;
  const none = headersOf({
    "Nats-Schedule": "@at +010000-01-01T00:00:00.000Z",
    "Nats-Schedule-Target": `job.wake.${jobId}`,
  });
  const publish = mux.publish.bind(mux);
  mux.publish = (subject, payload, headers, timeoutMs) => {
    const isRefused = subject === `job.timer.${jobId}`;
    return publish(subject, payload, isRefused ? none : headers, timeoutMs);
  };
  return () => {
    mux.publish = publish;
  };
}

test("a job whose timer the server refuses for good fails, and says why; others go on", async () => {
  const undo = refuseTimersOf("refused");
  try {
    const scheduled_at = new Date(realNow() + 60_000).toISOString();
    const job = { name: "refused", functions: [{ name: "quick" }], scheduled_at };
    await system.client.submit(job, { jobId: "refused" });
    const state = await ended("refused");
    assert.is(state.state === "failed" && state.error.code, "schedule_refused");
    assert.match(state.state === "failed" ? state.error.message : "", /10189/);
    await system.event((event) => event.job_id === "refused" && event.type === "failed");
  } finally {
    undo();
  }
});

test("a start beyond the longest duration is refused, by the client and by who gets it on the bus", async () => {
  const job = { name: "far", functions: [{ name: "quick" }] };
  for (const scheduled_at of ["2300-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"]) {
    try {
      await system.client.submit({ ...job, scheduled_at });
      assert.unreachable("it was taken");
    } catch (error) {
      assert.instance(error, InvalidInputError);
      const { code, reasons } = error as InvalidInputError;
      assert.is(code, "invalid_submission");
      assert.equal(reasons, [{ path: "/scheduled_at", message: "must be at most ten years ahead" }]);
    }
    const sequence = await system.bus.mux.publish("job.submit", JSON.stringify({ ...job, scheduled_at }));
    const state = await ended(`seq-${sequence}`);
    assert.is(state.state === "failed" && state.error.code, "invalid_submission");
  }
});

/** What is left of an ended job when its retention is over. */
async function forget(jobId: string): Promise<void> {
  await system.bus.mux.request("$JS.API.STREAM.PURGE.KV_jobs", JSON.stringify({ filter: `$KV.jobs.${jobId}` }), 2_000);
}

const ahead = (ms: number) => new Date(realNow() + ms).toISOString();

async function parked(jobId: string, token = 1): Promise<void> {
  const look = async () => (await system.supervisor.store.get(jobId))?.state?.token === token;
  await eventually(`${jobId} is parked`, look);
  await eventually("it has left memory", () => system.supervisor.liveJobs === 0);
}

test("an id that is used again does not wait for the timer of the job that was cancelled", async () => {
  const job = { name: "reused", functions: [{ name: "quick" }] };
  await system.client.submit({ ...job, scheduled_at: ahead(3_600_000) }, { jobId: "reused" });
  await parked("reused");
  await system.client.cancel("reused");
  await forget("reused");
  await system.client.submit({ ...job, scheduled_at: ahead(3_500) }, { jobId: "reused" });
  await parked("reused");
  const state = await ended("reused", 8_000);
  assert.is(state.state, "completed");
  assert.ok(state.finished_at >= state.scheduled_at);
});

test("an id that is used again is not woken by the timer of the job that was cancelled", async () => {
  const job = { name: "reused", functions: [{ name: "quick" }] };
  const wake = headersOf({ "Nats-Expected-Last-Subject-Sequence": "0" });
  await system.client.submit({ ...job, scheduled_at: ahead(3_600_000) }, { jobId: "woken" });
  await parked("woken");
  const first = await system.client.cancel("woken");
  await forget("woken");
  const scheduled = await system.client.submit({ ...job, scheduled_at: ahead(5_000) }, { jobId: "woken" });
  await parked("woken");
  // The old timer fires now; its number is that of the new one.
  await system.bus.mux.publish("job.wake.woken", `1 ${Date.parse(first.created_at)}`, wake);
  await eventually("the old wake is dropped", async () => {
    const { state } = (
      await system.bus.mux.request("$JS.API.STREAM.INFO.TIMERS", '{"subjects_filter":"job.wake.>"}', 2_000)
    ).json<{ state: { subjects?: Record<string, number> } }>();
    return state.subjects?.["job.wake.woken"] === undefined;
  });
  assert.is((await system.supervisor.store.get("woken"))?.state?.version, 1, "nobody has taken it over");
  const state = await ended("woken", 9_000);
  assert.is(state.state, "completed");
  assert.ok(state.finished_at >= Date.parse(scheduled.scheduled_at));
});

test("when stream JOBS was made anew, a new job with an old sequence is not swallowed by the old one", async () => {
  const own = await System.start({ parkAfterMs: 500 });
  try {
    await own.worker((worker) => worker.func("echo", ({ data }) => data));
    const post = async (data: string, more: object = {}) => {
      const job = { name: "numbered", data, functions: [{ name: "echo" }], ...more };
      return `seq-${await own.bus.mux.publish("job.submit", JSON.stringify(job))}`;
    };
    const becomes = (id: string, result: string) =>
      eventually(
        `${id} is done`,
        async () => {
          const { state, functions } = await own.client.get(id);
          return state === "completed" && functions[0]?.result === result;
        },
        25_000,
      );
    assert.is(await post("old 1"), "seq-1");
    assert.is(await post("old 2", { scheduled_at: ahead(7_000) }), "seq-2");
    await becomes("seq-1", "old 1");
    await eventually("seq-2 is parked", async () => (await own.supervisor.store.get("seq-2"))?.state?.token === 1);
    await own.supervisor.close();
    await own.bus.mux.request("$JS.API.STREAM.DELETE.JOBS", "", 2_000);
    await own.startSupervisor({ parkAfterMs: 500 });
    assert.is(await post("new 1"), "seq-1");
    assert.is(await post("new 2"), "seq-2");
    await becomes("seq-1", "new 1");
    await becomes("seq-2", "old 2"); // it is live: the new one waits for its end
    await becomes("seq-2", "new 2");
  } finally {
    await own.close();
  }
});

const job = { name: "timed", functions: [{ name: "quick" }] };

for (const timeoutMs of [Number.NaN, -1, Number.NEGATIVE_INFINITY, "1000" as unknown as number]) {
  test(`a time of ${timeoutMs} ms (${typeof timeoutMs}) is refused wherever one can be given`, async () => {
    const { client, bus } = system;
    const worker = new Worker({ bus, log: silent }).func("timed", () => {});
    const calls: [string, () => unknown][] = [
      ["submit", () => client.submit(job, { timeoutMs })],
      ["run", () => client.run(job, { timeoutMs })],
      ["submitMany", () => client.submitMany([job], { timeoutMs })],
      ["wait", () => client.wait("any", { timeoutMs })],
      ["Worker.close", () => worker.close({ graceMs: timeoutMs })],
      ["Worker.start", () => worker.start({ heartbeatMs: timeoutMs })],
      ["Supervisor.close", () => system.supervisor.close({ graceMs: timeoutMs })],
      ["Worker.start", () => worker.start({ abandonedAfterMs: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { parkAfterMs: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { topology: { ackWaitMs: timeoutMs } })],
      ["Supervisor.start", () => Supervisor.start(bus, { maxLiveJobs: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { maxMemoryBytes: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { briefAboveBytes: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { sweepMs: timeoutMs })],
      ["Supervisor.start", () => Supervisor.start(bus, { retentionMs: timeoutMs })],
    ];
    for (const [what, call] of calls) {
      try {
        await call();
        assert.unreachable(`${what} takes it`);
      } catch (error) {
        assert.ok(isAsyncError(error, "invalid_option"), `${what}: ${error}`);
      }
    }
  });
}

test("an infinite time is for ever, without a busy loop while NATS is away", async () => {
  const own = await startTestServer();
  const client = await Client.connect({ url: own.url });
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  try {
    await ensureTopology(client.bus);
    const timeoutMs = Number.POSITIVE_INFINITY;
    assert.is((await client.submit(job, { timeoutMs })).state, "pending");
    await own.close();
    await eventually("it is noticed", () => !client.bus.connected);
    const before = process.cpuUsage();
    const waits = [
      client.submit(job, { timeoutMs }),
      client.run(job, { timeoutMs }),
      client.wait("nobody", { timeoutMs }),
    ].map((wait) =>
      wait.then(
        () => "done",
        (error) => error.code,
      ),
    );
    await delay(1_000);
    const { user, system: kernel } = process.cpuUsage(before);
    assert.ok(user + kernel < 700_000, `${user + kernel} us of CPU time`);
    assert.equal(warnings, []);
    await client.close();
    assert.equal(await within(3_000, "their end", Promise.all(waits)), ["closed", "closed", "closed"]);
  } finally {
    process.off("warning", onWarning);
    await client.close();
    await own.close();
  }
});

test("whatever is asked of a closed client fails at once", async () => {
  const client = await Client.connect({ url: system.url });
  await client.close();
  const begun = performance.now();
  for (const ask of [
    () => client.get("any"),
    () => client.cancel("any"),
    () => client.list(),
    () => client.submit(job),
    () => client.run(job),
    () => client.wait("any"),
  ]) {
    try {
      await ask();
      assert.unreachable("it was answered");
    } catch (error) {
      assert.ok(isAsyncError(error, "closed"), `${ask}: ${error}`);
    }
  }
  const [outcome] = await client.submitMany([job]);
  assert.is(outcome?.error?.code, "closed");
  assert.ok(performance.now() - begun < 1_000);
});

test("a submission that is in flight when its client is closed settles", async () => {
  const own = await startTestServer();
  const client = await Client.connect({ url: own.url });
  try {
    await ensureTopology(client.bus);
    process.kill(own.pid, "SIGSTOP"); // nothing is answered any more
    const submitted = client.submit(job, { timeoutMs: 60_000 }).then(
      () => "stored",
      (error) => error.code,
    );
    const closing = client.close();
    assert.is(await within(2_000, "its end", submitted), "closed");
    process.kill(own.pid, "SIGCONT");
    await within(5_000, "the end of the client", closing);
  } finally {
    process.kill(own.pid, "SIGCONT");
    await own.close();
  }
});

test.run();
