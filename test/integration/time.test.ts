/** Clocks that differ, schedules that cannot be, ids that are used again: what a job waits for, on a real server. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
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

test.run();
