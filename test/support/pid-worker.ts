/** Tells which process has executed: prints `begin <index>`, takes `args` ms, and returns its pid. */
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "../../src/worker/worker.ts";

export default new Worker({ name: "pid" }).func("pid", async ({ args, idempotencyKey }) => {
  process.stdout.write(`begin ${idempotencyKey.split("/")[1]}\n`);
  await delay(Number(args ?? 0));
  return process.pid;
});
