/** The worker of the load tests: does next to nothing, so that what is measured is the system. */
import { setTimeout as delay } from "node:timers/promises";
import { FatalError, Worker } from "async";
import { monotonicUs } from "./clock.ts";
import {
  FAIL_FUNCTION,
  ITEM_FUNCTION,
  LIST_FUNCTION,
  SUM_FUNCTION,
  TAKE_FUNCTION,
  UNDO_FUNCTION,
  WAIT_FUNCTION,
} from "./workers/names.ts";

/** Items that the function that lists them answers at a time. */
const PAGE_ITEMS = 1_000;

export default new Worker({ name: "bench" })
  .func("bench.add", ({ args }) => args[0] + args[1])
  .func("bench.clock", monotonicUs)
  .func(WAIT_FUNCTION, async ({ args }) => {
    await delay(args[0]);
    return args[1] + 1;
  })
  .func(ITEM_FUNCTION, ({ item }) => (item as number) + 1)
  .func(FAIL_FUNCTION, () => {
    throw new FatalError("as it is to");
  })
  .func(UNDO_FUNCTION, ({ result }) => result)
  .func(LIST_FUNCTION, ({ args: [count, bytes], cursor }) => {
    const from = (cursor as number | null) ?? 0;
    const to = Math.min(count, from + PAGE_ITEMS);
    const items = Array.from({ length: to - from }, (_, at) => String(from + at).padStart(bytes));
    return to < count ? { items, cursor: to } : { items };
  })
  .func(TAKE_FUNCTION, ({ item, itemIndex }) => {
    if (Number(item) !== itemIndex) throw new Error(`item ${itemIndex} is ${item}`);
  })
  .func(SUM_FUNCTION, ({ results }) => (results as number[]).reduce((sum, result) => sum + result, 0));
