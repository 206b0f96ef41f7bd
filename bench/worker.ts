/** The worker of the load tests: does nothing, so that what is measured is the system. */
import { Worker } from "async";
import { monotonicUs } from "./clock.ts";

export default new Worker({ name: "bench" })
  .func("bench.add", ({ args }) => args[0] + args[1])
  .func("bench.clock", monotonicUs);
