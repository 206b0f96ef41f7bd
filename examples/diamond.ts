/**
 * A diamond with data flow: one entry, two that follow it and run at the same time, and one that joins them. Each takes from the
 * job's data and from earlier results what it needs.
 */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
const waiting: (() => void)[] = [];
/** Comes when two have asked for it: alone, neither would go on. */
function together(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 2) for (const goOn of waiting) goOn();
  });
}
await using worker = new Worker({ url: playground.url, log: quiet })
  .func("load-order", ({ args }) => ({ id: args.id, items: ["book", "pen"], country: "NL" }))
  .func("price", async ({ args }) => {
    await together();
    return args.items.length * 10;
  })
  .func("tax", async ({ args }) => {
    await together();
    return args.country === "NL" ? 0.21 : 0;
  })
  .func("invoice", ({ args, result }) => `${args.customer} pays ${Number(result("price")) * (1 + args.tax)}`);
await worker.start();

const invoice = await playground.client.run({
  name: "invoice",
  data: { order: 4711, customer: "Ada" },
  functions: [
    { id: "order", name: "load-order", args: { id: { $: "data.order" } } },
    { id: "price", name: "price", needs: ["order"], args: { items: { $: "results.order.items" } } },
    { id: "tax", name: "tax", needs: ["order"], args: { country: { $: "results.order.country" } } },
    {
      name: "invoice",
      needs: ["price", "tax"],
      args: { customer: { $: "data.customer" }, tax: { $: "results.tax" } },
    },
  ],
});
console.log(invoice);

// Output:
// Ada pays 24.2
