/** The real thing: its own processes, as a user starts them. */
import { storedJob } from "../../src/bus/job-store.ts";
import { EVENTS, JOBS, KV_JOBS, KV_PREFIX, TIMERS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import {
  type Contender,
  functionsOf,
  type Load,
  payloadOf,
  type Round,
  type Running,
  resultOf,
  type Setup,
  WrongResults,
} from "../contender.ts";
import { type StartedProcess, startNode } from "../process.ts";
import { type NatsServer, Observer } from "./nats.ts";

const COMMAND = "dist/cli/main.js";
export const FUNCTION = "bench.add";

export function asyncSystem(server: NatsServer): Contender {
  return { name: "async", start: (setup) => start(server, setup) };
}

export function startSupervisor(url: string, args: string[] = ["--no-http"]): Promise<StartedProcess> {
  return startNode({
    role: "supervisor",
    args: [COMMAND, "server", ...args],
    env: { NATS_URL: url },
    ready: "supervisor is running",
  });
}

export function startWorker(url: string, concurrency: number, module = "bench/worker.ts"): Promise<StartedProcess> {
  return startNode({
    role: "worker",
    args: [COMMAND, "worker", module, "--concurrency", String(concurrency)],
    env: { NATS_URL: url },
    ready: "serving",
  });
}

async function start(server: NatsServer, { supervisors, workers, concurrency }: Setup): Promise<Running> {
  const started: StartedProcess[] = [];
  const { url } = server;
  for (let i = 0; i < supervisors; i++) started.push(await startSupervisor(url));
  for (let i = 0; i < workers; i++) started.push(await startWorker(url, concurrency));
  const observer = await Observer.on(url);
  const client = new Client(observer.bus);
  return {
    processes: [...started, ...server.processes, { role: "client", pid: process.pid }],
    run: (load) => runLoad(observer, client, load),
    storedBytes: () => observer.bytes([JOBS, KV_JOBS, EVENTS, TIMERS]),
    close: async () => {
      for (const one of started.reverse()) await one.stop();
      await observer.close();
    },
  };
}

async function runLoad(observer: Observer, client: Client, load: Load): Promise<Round> {
  const fromState = (await observer.lastSequence(KV_JOBS)) + 1;
  const fromEvent = (await observer.lastSequence(EVENTS)) + 1;
  const begun = performance.now();
  await submitAll(client, load);
  const submittedMs = performance.now() - begun;
  await observer.untilEmpty(JOBS);
  const doneMs = performance.now() - begun;
  const check = async () => {
    await checkStates(observer, fromState, load);
    await checkEnds(observer, fromEvent, load);
  };
  return { submittedMs, doneMs, check };
}

/** In portions, as a program does that reads its jobs from somewhere. */
const PORTION = 5_000;

async function submitAll(client: Client, { jobs, functions, payloadBytes }: Load): Promise<void> {
  const data = payloadOf(payloadBytes);
  for (let first = 0; first < jobs; first += PORTION) {
    const inputs = Array.from({ length: Math.min(PORTION, jobs - first) }, (_, index) => ({
      name: `bench-${first + index}`,
      functions: functionsOf(FUNCTION, first + index, functions),
      data,
    }));
    const failed = (await client.submitMany(inputs)).find(({ error }) => error);
    if (failed) throw failed.error;
  }
}

/** Every job has ended as it should have, with the right result of each function. */
export async function checkStates(observer: Observer, from: number, { jobs, functions }: Load): Promise<void> {
  let seen = 0;
  for await (const { sequence, data } of observer.messages(KV_JOBS, `${KV_PREFIX}.>`, from)) {
    const { state, problem } = storedJob(sequence, data);
    if (state?.state !== "completed") throw new WrongResults(`a job is ${state?.state ?? problem}`);
    const number = Number(state.name.slice("bench-".length));
    const right = state.functions.every((fn, i) => fn.result === resultOf(number, i) && fn.retry_count === 1);
    if (!right || state.functions.length !== functions)
      throw new WrongResults(`job ${state.job_id} has a wrong result`);
    seen += 1;
  }
  if (seen !== jobs) throw new WrongResults(`${seen} jobs are stored, ${jobs} were submitted`);
}

/** The end of every job is recorded, once. */
export async function checkEnds(observer: Observer, from: number, { jobs }: Pick<Load, "jobs">): Promise<void> {
  const ids = new Set<string>();
  for await (const { subject } of observer.messages(EVENTS, "job.event.*.completed", from)) {
    if (ids.has(subject)) throw new WrongResults(`an end is recorded twice: ${subject}`);
    ids.add(subject);
  }
  if (ids.size !== jobs) throw new WrongResults(`${ids.size} ends are recorded of ${jobs} jobs`);
}
