/** A worker of BullMQ whose functions do nothing, so that what is measured is the system. */
import { Worker } from "bullmq";
import { monotonicMs } from "../../clock.ts";
import { QUEUE, START, type Step } from "./job.ts";

const { REDIS_PORT, CONCURRENCY } = process.env;

const worker = new Worker<Step, number>(
  QUEUE,
  async ({ name, data }) => (name === START ? monotonicMs() : data.args[0] + data.args[1]),
  {
    connection: { host: "127.0.0.1", port: Number(REDIS_PORT) },
    concurrency: Number(CONCURRENCY),
  },
);
worker.on("error", (error) => process.stderr.write(`${error.stack}\n`));
process.once("disconnect", () => process.exit()); // the bench is gone
process.once("SIGTERM", () => void worker.close().then(() => process.exit()));
await worker.waitUntilReady();
process.stdout.write("the worker is ready\n");
