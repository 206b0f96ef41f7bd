/** A function's timeout limits one attempt, a job's timeout the whole job; both fire the handler's signal. */
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet });
worker.func("endless", async ({ signal }) => {
  await delay(3_600_000, undefined, { signal });
});
await worker.start();

const jobs = [
  { name: "function timeout", functions: [{ name: "endless", timeout_ms: 200 }] },
  { name: "job timeout", timeout_ms: 200, functions: [{ name: "endless" }] },
];
for (const definition of jobs) {
  const { job_id } = await playground.client.submit(definition);
  const job = await playground.client.wait(job_id);
  console.log(`${job.name}: ${job.state}, ${job.error?.code}`);
}

// Output:
// function timeout: failed, attempt_timeout
// job timeout: failed, job_timeout
