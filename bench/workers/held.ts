/** A worker that is to be killed in the middle of attempts. */
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "async";
import { monotonicUs } from "../clock.ts";
import { HELD_FUNCTION, type HeldStart } from "./names.ts";

export default new Worker({ name: "bench-held" }).func(HELD_FUNCTION, async ({ args, jobId }) => {
  process.send?.({ jobId, pid: process.pid, atUs: monotonicUs() } satisfies HeldStart);
  await delay(args[0]);
  return args[1] + 1;
});
