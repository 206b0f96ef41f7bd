/** The worker of the chaos test: does what the args say (see plan.ts, graph-plan.ts, saga-plan.ts) and writes down each execution. */
import { setTimeout as delay } from "node:timers/promises";
import { type Context, Worker } from "../../src/index.ts";
import { FatalError } from "../../src/worker/errors.ts";
import { EXECUTION_LOG_ENV, type ExecutionLine, ExecutionLog } from "./execution-log.ts";
import { inputOf, resultFrom } from "./graph-end.ts";
import { type EntryArgs, MEND, WORK } from "./graph-plan.ts";
import { resultOf, STEP_NAMES, type StepArgs } from "./plan.ts";
import { padded } from "./saga-end.ts";
import { ALERT, GIVE, ITEM, type ItemArgs, LIST, type ListArgs, UNDO } from "./saga-plan.ts";

const log = new ExecutionLog(process.env[EXECUTION_LOG_ENV] ?? "/dev/null");

type Orders = Pick<StepArgs, "ms" | "failures" | "fatal"> & Pick<EntryArgs, "stubborn">;

/** Takes its time, and fails if it is to. */
async function execute(line: Omit<ExecutionLine, "at">, orders: Orders, signal: AbortSignal): Promise<void> {
  const note = (outcome?: ExecutionLine["outcome"]) =>
    log.write({ at: Date.now(), ...line, ...(outcome && { outcome }) });
  note();
  await delay(orders.ms, undefined, orders.stubborn ? {} : { signal }).catch((error) => {
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
    const input = inputOf(args.inputs, results);
    await execute({ job, index: indexIn(idempotencyKey), attempt, call, input }, args, signal);
    return padded(resultFrom(args.salt, input), args.pad_bytes ?? 0);
  };
}

/** How many results it is handed does not say which entry it is of: its key does. Of what is called once the job has failed: -1. */
function indexIn(idempotencyKey: string): number {
  const index = Number(idempotencyKey.split("/")[1]);
  return Number.isInteger(index) ? index : -1;
}

async function item(context: Context<ItemArgs>): Promise<number> {
  const { jobId: job, args, attempt, itemIndex = -1, idempotencyKey, signal } = context;
  const input = inputOf([context.item, itemIndex], []);
  const { ms, salt, failing, flaky } = args;
  const failures = failing.includes(itemIndex) ? args.failures : flaky.includes(itemIndex) ? 1 : 0;
  const line = { job, index: indexIn(idempotencyKey), attempt, call: ITEM, input, item: itemIndex };
  await execute(line, { ms, failures, fatal: false }, signal);
  return resultFrom(salt, input);
}

/** It undoes an entry, or an item of it, with the args of that unless it has its own. */
async function undo(context: Context<{ ms: number; inputs?: unknown[]; undo_failures: number }>): Promise<void> {
  const { jobId: job, args, attempt, itemIndex, idempotencyKey, signal } = context;
  const line = {
    job,
    index: indexIn(idempotencyKey),
    attempt,
    call: UNDO,
    input: inputOf(args.inputs ?? [], []),
    ...(itemIndex !== undefined && { item: itemIndex }),
  };
  await execute(line, { ms: Math.min(args.ms, UNDO_MS), failures: args.undo_failures, fatal: false }, signal);
}

const UNDO_MS = 60;

/** Lists numbers, so many at a time. */
function list({ args: { count, page, base }, cursor }: Context<ListArgs>): { items: number[]; cursor?: number } {
  const from: number = cursor ?? 0;
  const to = Math.min(count, from + page);
  const items = Array.from({ length: to - from }, (_, n) => base + from + n);
  return { items, ...(to < count && { cursor: to }) };
}

const worker = new Worker({ name: "chaos" });
for (const name of STEP_NAMES) worker.func(name, step);
for (const name of [WORK, MEND, ALERT]) worker.func(name, entry(name));
worker.func(ITEM, item).func(UNDO, undo).func(LIST, list);
worker.func<{ text: string }>(GIVE, ({ args }) => JSON.parse(args.text));
export default worker;
