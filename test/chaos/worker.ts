/** The worker of the chaos test: does what the args say (see plan.ts) and writes down each execution. */
import { setTimeout as delay } from "node:timers/promises";
import { type Context, Worker } from "../../src/index.ts";
import { FatalError } from "../../src/worker/errors.ts";
import { EXECUTION_LOG_ENV, ExecutionLog, type ExecutionOutcome } from "./execution-log.ts";
import { resultOf, STEP_NAMES, type StepArgs } from "./plan.ts";

const log = new ExecutionLog(process.env[EXECUTION_LOG_ENV] ?? "/dev/null");

async function step({ jobId: job, args, attempt, results, signal }: Context<StepArgs>): Promise<number> {
  const note = (outcome?: ExecutionOutcome) =>
    log.write({ at: Date.now(), job, index: results.length, attempt, ...(outcome && { outcome }) });
  note();
  await delay(args.ms, undefined, { signal }).catch((error) => {
    note("aborted");
    throw error;
  });
  if (attempt <= args.failures) {
    note("threw");
    throw args.fatal ? new FatalError("planned, and for good") : new Error("planned");
  }
  note("returned");
  return resultOf(args, Number(results.at(-1) ?? 0));
}

const worker = new Worker({ name: "chaos" });
for (const name of STEP_NAMES) worker.func(name, step);
export default worker;
