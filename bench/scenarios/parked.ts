/**
 * Jobs that wait outside of memory, half of them asleep and half for a signal: what they take of the supervisor's memory; then
 * one signal at a time, and how long it is until the job goes on. The function that comes next tells when it begins, on the
 * clock that all processes of a Linux machine have in common (see clock.ts).
 */
import { setTimeout as delay } from "node:timers/promises";
import { JOBS, TIMERS } from "../../src/bus/topology.ts";
import { monotonicUs } from "../clock.ts";
import { WrongResults } from "../contender.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { pooled } from "../contenders/nats.ts";
import { CLOCK_FUNCTION } from "../contenders/single-jobs.ts";
import { Latencies, PERCENTILE_COLUMNS } from "../latencies.ts";
import { type ProcessHandle, type Usage, usageOf } from "../process.ts";
import { type Scenario, setupOf } from "../scenario.ts";
import { submitBulk } from "../submissions.ts";
import type { Cell, Table } from "../table.ts";
import { STALL_MS } from "../until-none-left.ts";

const SLEEP_MS = 30 * 24 * 3_600_000;
const SIGNAL = "go";
const LOOK_EVERY_MS = 100;
/** What is still being released, or read, when the last one is parked is no part of it. */
const SETTLE_MS = 3_000;
const END_LIMIT_MS = 60_000;
const CANCELS_IN_FLIGHT = 100;
/** Memory is looked at when so much of the jobs is parked: what grows after the first part grows with the jobs. */
const SHARES = [0.25, 0.5, 1];

interface Delays {
  /** Until the client knows that the signal is stored. */
  stored: Latencies;
  /** Until the function after it begins. */
  invoked: Latencies;
}

/** How many messages are in the streams of tokens. */
interface Tokens {
  submissions: number;
  timers: number;
}

export const parked: Scenario = {
  name: "parked",
  description:
    "many jobs sleep or wait for signals outside of memory: its growth, and how long a signal takes to wake one",
  numbers: { jobs: 100_000, workers: 1, supervisors: 1, signals: 500 },
  run: async ({ numbers, progress, scope, server }) => {
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const supervisors = system.processes.filter(({ role }) => role === "supervisor");
    const before = await tokensIn(system);
    const rows = [await memoryRow(0, 0, supervisors)];
    const ids: string[] = [];
    for (const share of SHARES) {
      progress.show("parked: parking", ids.length, numbers.jobs);
      const begun = performance.now();
      const first = ids.length;
      const count = Math.ceil(numbers.jobs * share) - first;
      ids.push(...(await submitBulk(system.client, count, (number) => documentOf(first + number))));
      await untilParked(system, before, ids.length);
      const seconds = (performance.now() - begun) / 1_000;
      await delay(SETTLE_MS);
      rows.push(await memoryRow(ids.length, seconds, supervisors));
    }
    const waiting = ids.filter((_, number) => waitsForSignal(number)).slice(0, numbers.signals);
    const delays: Delays = { stored: new Latencies(), invoked: new Latencies() };
    for (const [number, id] of waiting.entries()) {
      progress.show("parked: signals", number, waiting.length);
      await signalOne(system, id, number, delays);
    }
    // A server of the user's is left without them.
    if (server.processes.length === 0) await cancelAll(system, ids, waiting);
    return [memoryTable(rows), delayTable(delays)];
  },
};

function waitsForSignal(number: number): boolean {
  return number % 2 === 0;
}

function documentOf(number: number): object {
  const wait = waitsForSignal(number) ? { wait_for: SIGNAL } : { sleep_ms: SLEEP_MS };
  return { name: "bench-parked", functions: [wait, { name: CLOCK_FUNCTION }] };
}

async function tokensIn({ observer }: AsyncSystem): Promise<Tokens> {
  return { submissions: await observer.count(JOBS), timers: await observer.count(TIMERS) };
}

/** Each job that is parked has one token, a timer. @throws WrongResults if they do not all come to rest */
async function untilParked(system: AsyncSystem, before: Tokens, count: number): Promise<void> {
  let seen = "";
  for (let movedAt = performance.now(); ; await delay(LOOK_EVERY_MS)) {
    const now = await tokensIn(system);
    const timers = now.timers - before.timers;
    const submissions = now.submissions - before.submissions;
    if (submissions === 0 && timers === count) return;
    const places = `${submissions} ${timers}`;
    if (places !== seen) movedAt = performance.now();
    seen = places;
    if (performance.now() - movedAt > STALL_MS) {
      throw new WrongResults(`${timers} jobs are parked and ${submissions} are not, ${count} should be parked`);
    }
  }
}

/** The next one is sent when this job has ended, so there is nothing else to do. @throws WrongResults */
async function signalOne({ client }: AsyncSystem, id: string, number: number, delays: Delays): Promise<void> {
  const calledUs = monotonicUs();
  await client.signal(id, SIGNAL, number);
  delays.stored.record((monotonicUs() - calledUs) / 1_000);
  const { state, functions, result: startedUs } = await client.wait(id, { timeoutMs: END_LIMIT_MS });
  if (state !== "completed") throw new WrongResults(`job ${id} is ${state}`);
  if (functions[0]?.result !== number) throw new WrongResults(`job ${id} got ${functions[0]?.result}, not ${number}`);
  if (typeof startedUs !== "number" || !(startedUs >= calledUs && startedUs <= monotonicUs())) {
    throw new WrongResults(`job ${id} has a wrong result: ${JSON.stringify(startedUs)}`);
  }
  delays.invoked.record((startedUs - calledUs) / 1_000);
}

async function cancelAll({ client }: AsyncSystem, ids: readonly string[], ended: readonly string[]): Promise<void> {
  const gone = new Set(ended);
  const left = ids.filter((id) => !gone.has(id));
  await pooled(left.length, CANCELS_IN_FLIGHT, async (index) => {
    await client.cancel(left[index] ?? "");
  });
}

/** Of the largest supervisor. */
async function memoryRow(
  jobs: number,
  seconds: number,
  supervisors: readonly ProcessHandle[],
): Promise<Record<string, Cell>> {
  const usages = await Promise.all(supervisors.map(({ pid }) => usageOf(pid)));
  const most = (bytesOf: (usage: Usage) => number) =>
    Math.max(...usages.map((usage) => (usage ? bytesOf(usage) / 1e6 : Number.NaN)));
  return {
    jobs,
    seconds,
    residentMb: most(({ residentBytes }) => residentBytes),
    peakMb: most(({ peakBytes }) => peakBytes),
  };
}

function memoryTable(rows: Record<string, Cell>[]): Table {
  return {
    title: "parked: jobs that sleep for 30 days or wait for a signal, half of each, and the supervisor's memory",
    columns: [
      { key: "jobs", title: "parked jobs" },
      { key: "seconds", title: "parked after s", digits: 1 },
      { key: "residentMb", title: "resident MB" },
      { key: "peakMb", title: "peak MB" },
    ],
    rows,
    notes: [
      `of the largest supervisor, ${SETTLE_MS / 1_000} s after the last was parked; meant not to grow with the jobs`,
    ],
  };
}

function delayTable({ stored, invoked }: Delays): Table {
  return {
    title: "parked: from a signal to a parked job, one at a time",
    columns: [{ key: "to", title: "from the request to" }, ...PERCENTILE_COLUMNS],
    rows: [
      { to: "the next invocation", ...invoked.percentiles() },
      { to: "the answer (client.signal)", ...stored.percentiles() },
    ],
    notes: ["the p50 of the first is meant to be under 20 ms; every job has got its signal, and completed"],
  };
}
