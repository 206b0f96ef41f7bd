/**
 * BullMQ on a redis-server of its own, as a user tunes it: concurrency, many submissions under way, nothing that is not
 * needed. Completed jobs are kept, which is its default, as ours are.
 *
 * A function is a job of BullMQ. A chain is a flow: the last function is the root, each is the parent of the one that
 * must be done before it.
 */
import type { Contender, Load, Round, Running, Setup } from "../../contender.ts";
import { type StartedProcess, startNode } from "../../process.ts";
import { untilNoneLeft } from "../../until-none-left.ts";
import { BullClient } from "./client.ts";
import { startRedis } from "./redis.ts";
import { type Submit, submitBatches, submitEach } from "./submit.ts";

/** Each job is submitted and acknowledged by itself. */
export function bullmq(): Contender {
  return { name: "BullMQ", start: (setup) => start(submitEach, setup) };
}

/** Jobs are submitted in batches, each acknowledged as a whole. */
export function bullmqBulk(): Contender {
  return { name: "BullMQ (bulk)", start: (setup) => start(submitBatches, setup) };
}

async function start(submit: Submit, { workers, concurrency }: Setup): Promise<Running> {
  const redis = await startRedis();
  const started: StartedProcess[] = [];
  const client = new BullClient(redis.port);
  const close = async () => {
    await client.close();
    for (const one of started.reverse()) await one.stop();
    await redis.close();
  };
  try {
    for (let i = 0; i < workers; i++) started.push(await startWorker(redis.port, concurrency));
  } catch (error) {
    await close();
    throw error;
  }
  let loads = 0;
  return {
    processes: [...started, { role: "server", pid: redis.pid }, { role: "client", pid: process.pid }],
    run: (load) => runLoad(client, submit, `l${loads++}`, load),
    storedBytes: () => client.storedBytes(),
    once: () => client.once(),
    close,
  };
}

function startWorker(port: number, concurrency: number): Promise<StartedProcess> {
  return startNode({
    role: "worker",
    args: ["--import", "tsx", "bench/peers/bullmq/worker.ts"],
    env: { REDIS_PORT: String(port), CONCURRENCY: String(concurrency) },
    ready: "the worker is ready",
  });
}

async function runLoad(client: BullClient, submit: Submit, label: string, load: Load): Promise<Round> {
  await client.stopListening();
  const before = await client.completed();
  const begun = performance.now();
  await submit(client, label, load);
  const submittedMs = performance.now() - begun;
  const all = before + load.jobs * load.functions;
  await untilNoneLeft("functions", async () => all - (await client.completed()));
  const doneMs = performance.now() - begun;
  return { submittedMs, doneMs, check: () => client.check(before, label, load) };
}
