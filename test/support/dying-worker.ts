/**
 * A worker for tests to stop or kill in the middle of an attempt: prints `executing`, then takes `ASYNC_TEST_MS`, or for
 * ever.
 */
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

await new Worker({ log: pino({ level: "silent" }), heartbeatMs: 300 })
  .func("mortal", () => {
    process.stdout.write("executing\n");
    const ms = process.env.ASYNC_TEST_MS;
    return ms ? delay(Number(ms), "finished") : new Promise(() => {});
  })
  .run();
