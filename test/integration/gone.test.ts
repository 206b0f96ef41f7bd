/** What the system rests on is deleted under way, by hand. */
import { jetstreamManager } from "@nats-io/jetstream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { JOBS, SUPERVISOR_CONSUMER, TIMERS } from "../../src/bus/topology.ts";
import { startBridge } from "../../src/http/bridge.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("gone");

test("[SUPERVISOR-3] consumers that someone deletes are made anew: what was acknowledged is done, and nothing twice", async () => {
  const system = await System.start({ parkAfterMs: 100 });
  const runs: string[] = [];
  try {
    await system.worker(
      (w) =>
        w.func<string>("note", async ({ args, attempt }) => {
          runs.push(`${args} ${attempt}`);
          await new Promise((resolve) => setTimeout(resolve, args === "long" ? 3_000 : 10));
          return args;
        }),
      { concurrency: 4 },
    );
    const job = (args: string, more: object = {}) => ({ name: args, functions: [{ name: "note", args }], ...more });
    const long = await system.client.submit(job("long"));
    const later = await system.client.submit(
      job("later", { scheduled_at: new Date(Date.now() + 1_500).toISOString() }),
    );
    await eventually("it runs", () => runs.includes("long 1"));
    const manager = await jetstreamManager(system.bus.nc);
    for (const stream of [JOBS, TIMERS]) await manager.consumers.delete(stream, SUPERVISOR_CONSUMER);
    const next = await system.client.submit(job("next"));
    for (const { job_id } of [long, later, next]) {
      assert.is((await system.client.wait(job_id, { timeoutMs: 15_000 })).state, "completed");
    }
    assert.equal(runs.sort(), ["later 1", "long 1", "next 1"]);
  } finally {
    await system.close();
  }
});

test("a consumer that is missing, and nobody makes, is why it is not ready", async () => {
  const system = await System.start();
  const bridge = await startBridge({ client: system.client, port: 0 });
  try {
    const ready = async () =>
      (await fetch(`${bridge.url}/readyz`)).json() as Promise<{ ready: boolean; reason?: string }>;
    await eventually("it is ready", async () => (await ready()).ready);
    await system.supervisor.close();
    await (await jetstreamManager(system.bus.nc)).consumers.delete(JOBS, SUPERVISOR_CONSUMER);
    const { ready: isReady, reason } = await ready();
    assert.is(isReady, false);
    assert.match(reason ?? "", /consumer of stream JOBS is missing/);
  } finally {
    await bridge.close();
    await system.close();
  }
});

test.run();
