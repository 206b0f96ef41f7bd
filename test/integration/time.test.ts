/** Clocks that differ, schedules that cannot be, ids that are used again: what a job waits for, on a real server. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { InvalidInputError } from "../../src/job/errors.ts";
import { type EndedJob, isEnded } from "../../src/job/state.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

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

test.run();
