/** A worker whose handlers never end, whatever their signal says. */
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

await new Worker({ log: pino(), heartbeatMs: 200, abandonedAfterMs: 1_000, exitWhenStuck: true, concurrency: 2 })
  .func("stuck", () => new Promise(() => {}))
  .run();
