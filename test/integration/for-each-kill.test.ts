/** `kill -9` of supervisors and workers in the middle of a `for_each` of 20,000 items: every item has exactly one result. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { type Running, startCli, startProcess } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("for_each, killed");
const ITEMS = 20_000;
let system: System;
const running = new Set<Running>();

async function start(starting: Promise<Running>, readyText: string): Promise<Running> {
  const one = await starting;
  running.add(one);
  await one.line(readyText);
  return one;
}

const supervisor = () => start(startCli(["server", "--nats", system.url, "--no-http"]), "supervisor is running");
const worker = () => start(startProcess("test/support/item-worker.ts", [], { NATS_URL: system.url }), "serving");

test.before(async () => {
  system = await System.start("without supervisor");
  // A short lease, so that the test need not wait for the default one; supervisors take it as they find it.
  await (await Supervisor.start(system.bus, { topology: { ackWaitMs: 2_000 } })).close();
});
test.after(async () => {
  for (const one of running) await one.kill();
  await system.close();
});

test("each item has exactly one result, whichever of them is killed in the middle", async () => {
  const supervisors = await Promise.all([supervisor(), supervisor()]);
  const workers = await Promise.all([worker(), worker()]);
  const { job_id } = await system.client.submit({
    name: "killed",
    functions: [{ id: "all", name: "square", for_each: ITEMS, concurrency: 200, retry_options: { retry_limit: 1 } }],
  });
  const done = async () => (await system.client.get(job_id)).functions[0]?.items?.done ?? 0;
  const starting: Promise<Running>[] = [];
  // Both supervisors, one after the other, as it is not known which has the job; and one of the workers each time.
  for (const share of [0.2, 0.5]) {
    await eventually(`${share} of them are done`, async () => (await done()) >= share * ITEMS, 60_000);
    assert.ok((await done()) < ITEMS, "it is in the middle");
    await Promise.all([supervisors.shift()?.kill(), workers.shift()?.kill()]);
    // The others go on meanwhile: it is not waited for those that come in their place.
    starting.push(supervisor(), worker());
  }
  await Promise.all(starting);
  const job = await system.client.wait(job_id, { timeoutMs: 90_000 });
  assert.is(job.state, "completed", JSON.stringify(job.error));
  assert.equal(job.functions[0]?.items, { count: ITEMS, done: ITEMS, failed: 0 });
  assert.equal(
    await system.client.result(job_id),
    Array.from({ length: ITEMS }, (_, n) => n * n),
  );
});

test.run();
