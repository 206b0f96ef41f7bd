/**
 * A disk that was full and has room again, which nats-server does not get over by itself: who asks is told, and what to do. On a
 * small file system of its own, so only where this process may mount one.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import { startBridge } from "../../src/http/bridge.ts";
import { inTempFolder } from "../support/folder.ts";
import { startTestServer } from "../support/nats.ts";
import { startCli } from "../support/process.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("disk full");

function mount(folder: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], { stdio: "ignore" });
    return true;
  } catch {
    return false; // not permitted here
  }
}

/** Until nothing more fits. Returns how to make room again. */
function fill(folder: string): () => void {
  const filling = join(folder, "filling");
  mkdirSync(filling);
  for (const size of [500_000, 4_096]) {
    try {
      for (let count = 0; ; count++) writeFileSync(join(filling, `${size}-${count}`), Buffer.alloc(size));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }
  return () => rmSync(filling, { recursive: true });
}

test("a stream that was written to while the disk was full is named by /readyz and doctor until nats-server is restarted", async () => {
  await inTempFolder(async (folder) => {
    if (!mount(folder)) {
      console.log("skipped: no file system can be mounted here");
      return;
    }
    const storeDir = join(folder, "store");
    let nats = await startTestServer({ storeDir });
    const bus = await Bus.open({ url: nats.url, name: "test" });
    const client = new Client(bus);
    const topology = { stateMaxBytes: 5_000_000, jobsMaxBytes: 5_000_000, eventsMaxBytes: 2_000_000 };
    const supervisor = await Supervisor.start(bus, { topology });
    const bridge = await startBridge({ client, port: 0 });
    const readiness = async () => {
      const reply = await fetch(`${bridge.url}/readyz`);
      return { status: reply.status, ...((await reply.json()) as { reason?: string }) };
    };
    try {
      assert.is((await readiness()).status, 200);
      const makeRoom = fill(folder);
      const job = { name: "in vain", functions: [{ name: "any" }], data: "x".repeat(50_000) };
      const refused = await client.submit(job, { timeoutMs: 1_500 }).catch((error) => error);
      assert.is(refused.code, "bus_timeout");
      assert.match(refused.message, "async doctor");
      makeRoom();
      const unready = await readiness();
      assert.is(unready.status, 503);
      assert.match(unready.reason ?? "", "stream JOBS takes no writes");
      assert.match(unready.reason ?? "", "restart nats-server");
      const doctor = await startCli(["doctor", "--nats", nats.url]);
      assert.is(await doctor.exit(), 1);
      assert.match(doctor.output(), "stream JOBS takes no writes");

      process.kill(nats.pid, "SIGKILL");
      await nats.exited;
      nats = await startTestServer({ storeDir, port: nats.port });
      await eventually("it is ready again", async () => (await readiness()).status === 200, 20_000);
      await eventually("the probes are gone", async () => {
        const { state } = (
          await bus.mux.request("$JS.API.STREAM.INFO.JOBS", '{"subjects_filter":"job.submit.probe.>"}', 2_000)
        ).json<{
          state: { subjects?: object };
        }>();
        return state.subjects === undefined;
      });
    } finally {
      await bridge.close();
      await supervisor.close({ graceMs: 0 });
      await bus.close();
      await nats.close();
      execFileSync("umount", [folder]);
    }
  });
});

test.run();
