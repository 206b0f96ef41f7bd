/** A worker for tests to kill in the middle of an attempt: prints `executing`, then never ends. */
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

await new Worker({ log: pino({ level: "silent" }), heartbeatMs: 300 })
  .func("mortal", () => {
    process.stdout.write("executing\n");
    return new Promise(() => {});
  })
  .start();
