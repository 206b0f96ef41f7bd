/**
 * Jobs that are done while others on the same server wait: their ends are looked for among the events, since the streams do not
 * become empty. Polled like the streams are elsewhere, so that a figure here is to be compared with others from here.
 */
import { setTimeout as delay } from "node:timers/promises";
import { readJsonObject } from "../../src/bus/codec.ts";
import { storedJob } from "../../src/bus/job-store.ts";
import { EVENTS, KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { functionsOf, type Load, payloadOf, type Round, resultOf, WrongResults } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { type Observer, POLL_MS, STALL_MS } from "../contenders/nats.ts";

/** As many are submitted at a time. */
const PORTION = 5_000;

/** Jobs of one function that has a worker. @throws WrongResults if they do not end as they should */
export async function runForeground(
  observer: Observer,
  { jobs, payloadBytes }: Omit<Load, "functions">,
): Promise<Round> {
  const fromState = (await observer.lastSequence(KV_JOBS)) + 1;
  const fromEvent = (await observer.lastSequence(EVENTS)) + 1;
  const begun = performance.now();
  const numbers = await submitAll(new Client(observer.bus), jobs, payloadBytes);
  const submittedMs = performance.now() - begun;
  await untilEnded(observer, fromEvent, numbers);
  const doneMs = performance.now() - begun;
  return { submittedMs, doneMs, check: () => check(observer, fromState, numbers) };
}

/** The number of each job by its id. */
type Numbers = ReadonlyMap<string, number>;

async function submitAll(client: Client, jobs: number, payloadBytes: number): Promise<Numbers> {
  const data = payloadOf(payloadBytes);
  const numbers = new Map<string, number>();
  for (let first = 0; first < jobs; first += PORTION) {
    const inputs = Array.from({ length: Math.min(PORTION, jobs - first) }, (_, i) => ({
      name: "bench",
      functions: functionsOf(FUNCTION, first + i, 1),
      data,
    }));
    for (const [i, { job_id, error }] of (await client.submitMany(inputs)).entries()) {
      if (error) throw error;
      numbers.set(job_id, first + i);
    }
  }
  return numbers;
}

/** Until the end of each is recorded, once and with the right result. */
async function untilEnded(observer: Observer, from: number, numbers: Numbers): Promise<void> {
  const missing = new Set(numbers.keys());
  let next = from;
  for (let movedAt = performance.now(); missing.size > 0; await delay(POLL_MS)) {
    for await (const { sequence, data } of observer.messages(EVENTS, "job.event.*.completed", next)) {
      next = sequence + 1;
      movedAt = performance.now();
      const { job_id: id, result } = readJsonObject(data) as { job_id: string; result: unknown };
      const number = numbers.get(id);
      if (number === undefined || !missing.delete(id))
        throw new WrongResults(`job ${id} has ended twice, or is not ours`);
      if (result !== resultOf(number, 0)) throw new WrongResults(`job ${id} has the result ${result}`);
    }
    if (performance.now() - movedAt > STALL_MS) throw new WrongResults(`${missing.size} jobs do not end`);
  }
}

async function check(observer: Observer, from: number, numbers: Numbers): Promise<void> {
  const missing = new Set(numbers.keys());
  for await (const { subject, sequence, data } of observer.messages(KV_JOBS, `${KV_PREFIX}.>`, from)) {
    const id = subject.slice(KV_PREFIX.length + 1);
    const number = numbers.get(id);
    if (number === undefined) continue;
    const { state, problem } = storedJob(sequence, data);
    const [fn] = state?.functions ?? [];
    if (state?.state !== "completed" || fn?.result !== resultOf(number, 0) || fn.retry_count !== 1) {
      throw new WrongResults(`job ${id} is stored as ${JSON.stringify(state ?? problem)}`);
    }
    missing.delete(id);
  }
  if (missing.size > 0) throw new WrongResults(`${missing.size} of ${numbers.size} jobs are not stored`);
}
