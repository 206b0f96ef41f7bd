/**
 * A map within a map: each customer is a child job, which has an entry for each of the customer's orders. Every child can be looked at, cancelled
 * and retried by itself.
 */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const { client } = playground;
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("price", ({ item }) => 10 * (item as { amount: number }).amount)
  .func("bill", ({ args }) => `${args.customer}: ${args.total}`);
await worker.start({ concurrency: 20 });

const customers = [
  { name: "Ada", orders: [{ amount: 1 }, { amount: 2 }] },
  { name: "Ben", orders: [{ amount: 3 }] },
  { name: "Cyd", orders: [] },
];
const { job_id } = await client.submit({
  name: "bills",
  data: { customers },
  functions: [
    {
      id: "bills",
      for_each: "data.customers",
      concurrency: 2,
      job: {
        name: "bill",
        functions: [
          { id: "prices", for_each: "data.orders", name: "price" },
          {
            name: "bill",
            args: { customer: { $: "data.name" }, total: { $: "size(results.prices)" } },
          },
        ],
      },
    },
  ],
});
const job = await client.wait(job_id);
console.log(job.state, job.result);

const { jobs } = await client.list({ parent: job_id });
console.log(
  jobs.length,
  "children:",
  jobs
    .map(({ name, state }) => `${name} ${state}`)
    .sort()
    .join(", "),
);

// Output:
// completed [ 'Ada: 2', 'Ben: 1', 'Cyd: 0' ]
// 3 children: bill completed, bill completed, bill completed
