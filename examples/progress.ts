/** Watching jobs: the events of their lives, and what handlers tell of their progress. */
import { setTimeout as delay } from "node:timers/promises";
import { type JobEvent, Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet }).func("copy", async ({ heartbeat }) => {
  for (const percent of [25, 50, 75]) {
    heartbeat({ percent });
    await delay(150);
  }
  return "copied";
});
await worker.start();

// Any NATS client can do this: nats sub 'job.event.>'. What passes quickly is not told, but the end of a job always is.
playground.bus.nc.subscribe("job.event.>", {
  callback: (_, message) => {
    const event = message.json<JobEvent>();
    if (event.type === "progress") console.log("progress", event.progress);
    else if (event.type === "completed") console.log("completed with", event.result);
  },
});
const { job_id } = await playground.client.submit({ name: "copy", functions: [{ name: "copy" }] });
const job = await playground.client.wait(job_id);
console.log(job.result);

// Output:
// progress { percent: 25 }
// progress { percent: 50 }
// progress { percent: 75 }
// completed with copied
// copied
