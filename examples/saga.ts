/**
 * A saga: an order is reserved, charged and shipped. When one of these fails, what was done before is undone, the last first. A charge of which
 * nobody knows whether it went through (its answer did not come in time) is undone as well, and its undo is told that it has to find out.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type JobDocument, JobFailedError, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const { client } = playground;
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("reserve-stock", ({ data }) => `reservation of ${data.sku}`)
  .func("release-stock", (context) =>
    console.log("  undo: release", context.undone, "because of:", context.error?.message),
  )
  .func("charge", async ({ data }) => {
    if (data.bank === "slow") await delay(400);
    return `charge ${data.amount}`;
  })
  .func("refund", (context) => console.log("  undo: refund", context.uncertain ? "if it was charged" : context.undone))
  .func("ship", ({ data }) => {
    if (data.to === "nowhere") throw new Error("there is no such place");
    return `shipped to ${data.to}`;
  })
  .func("alert", (context) => console.log("  alert:", context.failed, "failed"));
await worker.start();

const order = (data: object): JobDocument => ({
  name: "order",
  data,
  functions: [
    { id: "reserve", name: "reserve-stock", undo: "release-stock" },
    { id: "charge", name: "charge", timeout_ms: 200, undo: { name: "refund", retry_options: { retry_limit: 20 } } },
    { id: "ship", name: "ship" },
  ],
  on_failure: "alert",
});

for (const data of [
  { sku: "a", amount: 20, to: "Paris" },
  { sku: "b", amount: 30, to: "nowhere" },
  { sku: "c", amount: 40, to: "Paris", bank: "slow" },
]) {
  console.log("order of", data.sku);
  try {
    console.log(" ", await client.run(order(data)));
  } catch (error) {
    if (!(error instanceof JobFailedError)) throw error;
    const job = await client.get(error.jobId);
    console.log(" ", job.state, "with", job.error?.code, "undo", job.undo?.state);
  }
}

// Output:
// order of a
//   shipped to Paris
// order of b
//   undo: refund charge 30
//   undo: release reservation of b because of: there is no such place
//   alert: [ 'ship' ] failed
//   failed with function_failed undo done
// order of c
//   undo: refund if it was charged
//   undo: release reservation of c because of: no result within 200 ms
//   alert: [ 'charge' ] failed
//   failed with attempt_timeout undo done
