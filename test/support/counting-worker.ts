/**
 * A worker for tests that count executions: prints `begin <job id> <index> <attempt>` and `end …`, and takes
 * `args` ms, or, if `args` is a list, that many ms in each attempt.
 */
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { Worker } from "../../src/worker/worker.ts";

await new Worker({ log: pino({ level: "silent" }), heartbeatMs: Number(process.env.ASYNC_TEST_HEARTBEAT_MS ?? 300) })
  .func("counted", async ({ jobId, attempt, args, idempotencyKey, signal }) => {
    const about = `${jobId} ${idempotencyKey.split("/")[1]} ${attempt}`;
    process.stdout.write(`begin ${about}\n`);
    signal.addEventListener("abort", () => process.stdout.write(`abort ${about}\n`));
    const ms = Array.isArray(args) ? (args[attempt - 1] ?? args.at(-1)) : args;
    await delay(Number(ms ?? 0));
    process.stdout.write(`end ${about}\n`);
    return attempt;
  })
  .run();
