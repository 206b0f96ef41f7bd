/** A job is a list of functions; each sees the shared data and the results of those before it. */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("price", ({ args }) => args.items.length * 10)
  .func("discount", ({ data, results }) => (data.member ? Number(results[0]) * 0.9 : results[0]))
  .func("invoice", ({ results }) => `please pay ${results[1]}`);
await worker.start();

const { job_id } = await playground.client.submit({
  name: "order",
  data: { member: true },
  functions: [{ name: "price", args: { items: ["book", "pen"] } }, { name: "discount" }, { name: "invoice" }],
});
const job = await playground.client.wait(job_id);
console.log(
  job.state,
  job.functions.map((fn) => fn.result),
);

// Output:
// completed [ 20, 18, 'please pay 18' ]
