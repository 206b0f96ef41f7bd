/**
 * graphile-worker on a PostgreSQL of its own, as a user tunes it. A function is a job of graphile-worker; it has no
 * chains, so a function adds the job of the next one when it is done.
 */
import type { Contender, Load, Round, Running, Setup } from "../../contender.ts";
import { type ProcessHandle, type StartedProcess, startNode } from "../../process.ts";
import { untilNoneLeft } from "../../until-none-left.ts";
import { checkOutcomes } from "../outcomes.ts";
import { GraphileClient } from "./client.ts";
import { startPostgres } from "./postgres.ts";
import { countOf, takeOutcomes } from "./reports.ts";

/** Each job is taken and deleted by statements of its own: the default. */
export function graphile(): Contender {
  return { name: "graphile-worker", start: (setup) => start(setup, false) };
}

/** Jobs are taken by the hundred, and deleted as many at a time as have ended meanwhile. */
export function graphileLocal(): Contender {
  return { name: "graphile-worker (local queue)", start: (setup) => start(setup, true) };
}

async function start({ workers, concurrency }: Setup, localQueue: boolean): Promise<Running> {
  const postgres = await startPostgres();
  const started: StartedProcess[] = [];
  let client: GraphileClient | undefined;
  const close = async () => {
    for (const one of started.reverse()) await one.stop();
    await client?.close();
    await postgres.close();
  };
  try {
    const submitter = await GraphileClient.on(postgres.url);
    client = submitter;
    for (let i = 0; i < workers; i++) started.push(await startWorker(postgres.url, concurrency, localQueue));
    return {
      get processes(): ProcessHandle[] {
        return [...started, ...postgres.processes(), { role: "client", pid: process.pid }];
      },
      run: (load) => runLoad(submitter, started, load),
      // What is done is deleted. What the tables take is what the vacuum has not yet made free.
      storedBytes: async () => undefined,
      once: () => submitter.once(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function startWorker(url: string, concurrency: number, localQueue: boolean): Promise<StartedProcess> {
  return startNode({
    role: "worker",
    args: ["--import", "tsx", "bench/peers/graphile/worker.ts"],
    env: {
      DATABASE: url,
      CONCURRENCY: String(concurrency),
      LOCAL_QUEUE: localQueue ? "yes" : "no",
      NO_LOG_SUCCESS: "1",
    },
    ready: "the worker is ready",
  });
}

/**
 * The workers say how many functions they have run. Only when that is all, PostgreSQL is asked whether all are deleted:
 * to look for what is left among what is deleted is dear.
 */
async function runLoad(client: GraphileClient, workers: StartedProcess[], load: Load): Promise<Round> {
  const begun = performance.now();
  await client.submit(load);
  const submittedMs = performance.now() - begun;
  await untilNoneLeft("functions", async () => load.jobs * load.functions - (await countOf(workers)));
  await untilNoneLeft("functions", () => client.left());
  const doneMs = performance.now() - begun;
  return { submittedMs, doneMs, check: async () => checkOutcomes(await takeOutcomes(workers), load) };
}
