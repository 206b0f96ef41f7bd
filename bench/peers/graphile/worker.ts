/**
 * A worker of graphile-worker whose functions do nothing, so that what is measured is the system.
 *
 * graphile-worker deletes a job that is done and keeps no result. So the results are kept here, in memory, for the bench
 * to ask for: an entry in an array for each function. Whoever needs results has to write them, which costs a statement
 * more per function than is measured.
 */
import { Logger, run, type TaskList } from "graphile-worker";
import { monotonicMs } from "../../clock.ts";
import type { Outcome } from "../outcomes.ts";
import { ADD, type Answers, type Question, START, type Step } from "./job.ts";
import { POOL, workerOptions } from "./options.ts";
import { openPool } from "./pool.ts";

const { DATABASE = "", CONCURRENCY, LOCAL_QUEUE } = process.env;
let outcomes: Outcome[] = [];

const taskList: TaskList = {
  [ADD]: async (payload, { addJob }) => {
    const { number, index, functions, args, data } = payload as Step;
    const next = index + 1;
    if (next < functions) await addJob(ADD, { number, index: next, functions, args: [number, next + 1], data });
    outcomes.push({ number, index, result: args[0] + args[1] });
  },
  [START]: async (payload, { query }) => {
    const { number } = payload as { number: string };
    await query("select pg_notify($1, $2)", [START, `${number} ${monotonicMs()}`]);
  },
};

/** Errors alone: a line for each job that is done would be most of what is measured. */
const logger = new Logger(() => (level, message) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});

const pgPool = await openPool(DATABASE, POOL);
const runner = await run({
  taskList,
  pgPool,
  noHandleSignals: true,
  preset: { worker: { logger, ...workerOptions(Number(CONCURRENCY), LOCAL_QUEUE === "yes") } },
});

const answers: { [Q in Question]: () => Answers[Q] } = {
  count: () => outcomes.length,
  take: () => {
    const taken = outcomes;
    outcomes = [];
    return taken;
  },
};
process.on("message", (question: Question) => process.send?.(answers[question]()));
process.once("disconnect", () => process.exit()); // the bench is gone
process.once("SIGTERM", () => void stop());
process.stdout.write("the worker is ready\n");

async function stop(): Promise<void> {
  await runner.stop();
  await pgPool.end();
  process.exit();
}
