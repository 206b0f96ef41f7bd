/** The worker of the chaos test: does what the args say (see plan.ts, graph-plan.ts) and writes down each execution. */
import { setTimeout as delay } from "node:timers/promises";
import { type Context, Worker } from "../../src/index.ts";
import { FatalError } from "../../src/worker/errors.ts";
import { EXECUTION_LOG_ENV, type ExecutionLine, ExecutionLog } from "./execution-log.ts";
import { inputOf, resultFrom } from "./graph-end.ts";
import { type EntryArgs, MEND, WORK } from "./graph-plan.ts";
import { resultOf, STEP_NAMES, type StepArgs } from "./plan.ts";

const log = new ExecutionLog(process.env[EXECUTION_LOG_ENV] ?? "/dev/null");

type Orders = Pick<StepArgs, "ms" | "failures" | "fatal">;

/** Takes its time, and fails if it is to. */
async function execute(line: Omit<ExecutionLine, "at">, orders: Orders, signal: AbortSignal): Promise<void> {
  const note = (outcome?: ExecutionLine["outcome"]) =>
    log.write({ at: Date.now(), ...line, ...(outcome && { outcome }) });
  note();
  await delay(orders.ms, undefined, { signal }).catch((error) => {
    note("aborted");
    throw error;
  });
  if (line.attempt <= orders.failures) {
    note("threw");
    throw orders.fatal ? new FatalError("planned, and for good") : new Error("planned");
  }
  note("returned");
}

async function step({ jobId: job, args, attempt, results, signal }: Context<StepArgs>): Promise<number> {
  await execute({ job, index: results.length, attempt }, args, signal);
  return resultOf(args, Number(results.at(-1) ?? 0));
}

/** A function in a graph: how many results it is handed does not say which one it is. */
function entry(call: string) {
  return async ({ jobId: job, args, attempt, results, idempotencyKey, signal }: Context<EntryArgs>) => {
    const [, index] = idempotencyKey.split("/");
    const input = inputOf(args.inputs, results);
    await execute({ job, index: Number(index), attempt, call, input }, args, signal);
    return resultFrom(args.salt, input);
  };
}

const worker = new Worker({ name: "chaos" });
for (const name of STEP_NAMES) worker.func(name, step);
for (const name of [WORK, MEND]) worker.func(name, entry(name));
export default worker;
