/** The worker of the load tests: does next to nothing, so that what is measured is the system. */
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "async";
import { monotonicUs } from "./clock.ts";
import { ITEM_FUNCTION, SUM_FUNCTION, WAIT_FUNCTION } from "./workers/names.ts";

export default new Worker({ name: "bench" })
  .func("bench.add", ({ args }) => args[0] + args[1])
  .func("bench.clock", monotonicUs)
  .func(WAIT_FUNCTION, async ({ args }) => {
    await delay(args[0]);
    return args[1] + 1;
  })
  .func(ITEM_FUNCTION, ({ item }) => (item as number) + 1)
  .func(SUM_FUNCTION, ({ results }) => (results as number[]).reduce((sum, result) => sum + result, 0));
