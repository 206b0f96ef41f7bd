/** A job that starts later. Long waits are kept by the server's timers, not by any process of ours. */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet }).func("remind", ({ args }) => `remember ${args}`);
await worker.start();

const scheduled_at = new Date(Date.now() + 1_000).toISOString();
const submitted = await playground.client.submit({
  name: "later",
  scheduled_at,
  functions: [{ name: "remind", args: "the milk" }],
});
console.log(submitted.state);
const job = await playground.client.wait(submitted.job_id);
console.log(job.result, Date.parse(job.finished_at ?? "") >= Date.parse(scheduled_at) ? "in time" : "too early");

// Output:
// scheduled
// remember the milk in time
