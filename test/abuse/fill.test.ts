/**
 * Storage that fills: each stream by its limit, and the disk below all of them. What was accepted ends, what cannot be is refused,
 * and `/readyz` and doctor say so. (`test/integration/storage.test.ts` fills the bucket inside one process.)
 */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isAsyncError } from "../../src/job/errors.ts";
import { startCli } from "../support/process.ts";
import { eventually } from "../support/waiting.ts";
import { onSmallDisk } from "./small-disk.ts";
import { Target } from "./target.ts";

const test = suite("fill");
const REFUSALS = ["storage_full", "jobs_full"];

interface Ready {
  status: number;
  reason?: string;
}

async function ready({ http }: Target): Promise<Ready> {
  const response = await fetch(`${http}/readyz`);
  const { reason } = (await response.json()) as { reason?: string };
  return { status: response.status, ...(reason !== undefined && { reason }) };
}

async function post({ http }: Target, name: string): Promise<{ status: number; jobId?: string }> {
  const response = await fetch(`${http}/v1/job`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, functions: [{ name, args: "x".repeat(2_000) }] }),
  });
  const { job_id } = (await response.json()) as { job_id?: string };
  return { status: response.status, ...(job_id !== undefined && { jobId: job_id }) };
}

/** The problems that it tells, and its exit code. */
async function doctor({ url }: Target): Promise<{ code: number | null; problems: string }> {
  const run = await startCli(["doctor", "--nats", url]);
  const code = await run.exit();
  const lines = run.output().split("\n");
  return { code, problems: lines.filter((line) => !line.startsWith("ok ")).join("\n") };
}

test("streams of a few hundred kB: what is accepted is executed, the rest refused for being too much", async () => {
  const limits = ["--state-max-bytes", "600K", "--jobs-max-bytes", "200K", "--events-max-bytes", "60K"];
  const target = await Target.start({ supervisors: 2, flags: [...limits, "--store-completed", "--retention", "2s"] });
  try {
    const executed = new Set<string>();
    const serve = () =>
      target.bus.nc.subscribe("fn.fill", {
        queue: "fn",
        callback: (_, message) => {
          executed.add(message.json<{ job_id: string }>().job_id);
          message.respond('"done"');
        },
      });
    const job = { name: "fill", functions: [{ name: "fill", args: "x".repeat(1_500) }] };
    const accepted: string[] = [];
    const refused = new Set<string>();
    const submit = async (count: number) => {
      for (const { job_id, error } of await target.client.submitMany(Array.from({ length: count }, () => job))) {
        if (error) refused.add(error.code);
        else accepted.push(job_id);
      }
    };
    // Nobody serves it: states, then submissions pile up.
    const full = await eventually(
      "it refuses, and is not ready",
      async () => {
        await submit(50);
        const now = await ready(target);
        return refused.size > 0 && now.status === 503 ? now : undefined;
      },
      60_000,
    );
    assert.ok(
      [...refused].every((code) => REFUSALS.includes(code)),
      [...refused].join(),
    );
    assert.match(full.reason ?? "", /full/);
    const told = await doctor(target);
    assert.is(told.code, 1);
    assert.match(told.problems, /full/);
    const served = serve();
    await eventually("all that was accepted is executed", () => accepted.every((id) => executed.has(id)), 60_000);
    await eventually("it takes jobs again", async () => (await post(target, "fill")).status === 200, 30_000);
    served.unsubscribe();
    assert.equal(target.dead(), []);
    assert.equal(target.faults(), []);
  } finally {
    await target.close();
  }
});

test("a disk that is full, and has room again: refused, named by /readyz and doctor, and all ends after a restart", async () => {
  const why = await onSmallDisk(32, async (disk) => {
    const limits = ["--state-max-bytes", "4M", "--jobs-max-bytes", "4M", "--events-max-bytes", "2M"];
    const target = await Target.start({ supervisors: 1, storeDir: join(disk.folder, "store"), flags: limits });
    try {
      const accepted: string[] = [];
      const submit = async () => {
        const { status, jobId } = await post(target, "later");
        if (status === 200 && jobId !== undefined) accepted.push(jobId);
        return status;
      };
      for (let i = 0; i < 10; i++) assert.is(await submit(), 200);
      assert.is((await ready(target)).status, 200);
      disk.fill();
      // What fits into the last page is stored still.
      await eventually("it refuses", async () => (await submit()) === 503, 30_000);
      disk.free();
      assert.is(await submit(), 503, "nats-server writes again by itself: then nobody has to restart it");
      const { status, reason = "" } = await ready(target);
      assert.is(status, 503);
      assert.match(reason, /takes no writes.*restart nats-server/);
      const told = await doctor(target);
      assert.is(told.code, 1);
      assert.match(told.problems, /takes no writes.*restart nats-server/);

      await target.restartNats();
      await eventually("it is ready", async () => (await ready(target)).status === 200, 30_000);
      const served = target.bus.nc.subscribe("fn.later", {
        queue: "fn",
        callback: (_, one) => void one.respond('"done"'),
      });
      assert.is(await submit(), 200);
      for (const jobId of accepted) {
        const { state } = await target.client.wait(jobId, { timeoutMs: 60_000 }).catch((error) => {
          if (isAsyncError(error)) throw new Error(`${jobId}: ${error.message}`);
          throw error;
        });
        assert.is(state, "completed");
      }
      served.unsubscribe();
      assert.equal(target.dead(), []);
    } finally {
      await target.close();
    }
  });
  if (why !== undefined) console.log(`  skipped: ${why}`);
});

test.run();
