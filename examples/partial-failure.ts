/**
 * Partial failure: of twenty parcels one cannot be sent. The entry tolerates that, so the job completes; the one that failed is looked at, and
 * sent again when what was wrong is mended. The others are not sent twice.
 */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const { client } = playground;
let sent = 0;
let isMended = false;
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("send", ({ item }) => {
    if (item === 7 && !isMended) throw new Error("no such address");
    sent += 1;
    return `sent ${item}`;
  })
  .func("count", ({ results }) => (results[0] as (string | null)[]).filter((one) => one !== null).length);
await worker.start({ concurrency: 10 });

const { job_id } = await client.submit({
  name: "parcels",
  functions: [{ id: "send", for_each: 20, name: "send", tolerate: "5%" }, { name: "count" }],
});
const job = await client.wait(job_id);
console.log(job.state, job.result, "of", job.functions[0]?.items?.count);

const { items } = await client.items(job_id, "send", { state: "failed" });
for (const { item, error } of items) console.log("item", item, "failed:", error?.message);

isMended = true;
await client.retry(job_id, { failed: true });
const again = await client.wait(job_id);
console.log(again.state, again.result, "of", again.functions[0]?.items?.count, "and", sent, "were sent");

// Output:
// completed 19 of 20
// item 7 failed: no such address
// completed 20 of 20 and 20 were sent
