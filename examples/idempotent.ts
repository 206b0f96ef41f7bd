/** Submitting the same id again is the same job: repeat a submission whenever you are not sure that it arrived. */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
let executions = 0;
await using worker = new Worker({ url: playground.url, log: quiet }).func("charge", ({ idempotencyKey }) => {
  executions += 1;
  return idempotencyKey;
});
await worker.start();

const jobId = `order-${Date.now()}`;
for (let i = 0; i < 3; i++) {
  await playground.client.submit({ name: "charge", functions: [{ name: "charge" }] }, { jobId });
  await playground.client.wait(jobId);
}
const job = await playground.client.get(jobId);
console.log(executions, "execution,", job.result === `${jobId}/0` ? "one key" : "another key");

// Output:
// 1 execution, one key
