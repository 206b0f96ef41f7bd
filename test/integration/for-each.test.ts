/** Items of `for_each` on a real server. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { System } from "../support/system.ts";

const test = suite("for_each");
let system: System;

test.before(async () => {
  system = await System.start({ parkAfterMs: 700 });
  await system.worker(
    (worker) => worker.func("echo", ({ args, item }) => args ?? item).func("square", ({ item }) => item * item),
    {
      concurrency: 60,
    },
  );
});
test.after(() => system.close());

/** The job as it has ended. */
async function run(document: JobDocument): Promise<JobView> {
  const { job_id } = await system.client.submit(document);
  return system.client.wait(job_id);
}

test("each item of a list is done, and the results are in order", async () => {
  const items = Array.from({ length: 300 }, (_, n) => ({ sku: `s${n}` }));
  const { result, functions } = await run({
    name: "list",
    data: { items },
    functions: [
      { id: "pick", name: "echo", for_each: "data.items", args: { sku: { $: "item.sku" }, at: { $: "item_index" } } },
    ],
  });
  assert.equal(
    result,
    items.map(({ sku }, at) => ({ sku, at })),
  );
  assert.equal(functions[0]?.items, { count: 300, done: 300, failed: 0 });
});

test("a number stands for the items from 0 on", async () => {
  const { result } = await run({ name: "number", functions: [{ name: "square", for_each: 1000, concurrency: 50 }] });
  assert.equal(
    result,
    Array.from({ length: 1000 }, (_, n) => n * n),
  );
});

test.run();
