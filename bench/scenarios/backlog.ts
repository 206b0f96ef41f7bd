/** More jobs than memory holds wait for a function that nobody serves; then workers join. */
import { setTimeout as delay } from "node:timers/promises";
import { JOBS } from "../../src/bus/topology.ts";
import { batchOf } from "../contenders/async.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import type { Observer } from "../contenders/nats.ts";
import { type StartedProcess, type Usage, usageOf } from "../process.ts";
import type { Context, Scenario } from "../scenario.ts";
import type { Table } from "../table.ts";

const LOOK_EVERY_MS = 500;
/** Longer than a line waits before its jobs leave memory: what has not moved for that long does not. */
const QUIET_MS = 6_000;
const SETTLE_LIMIT_MS = 300_000;

interface Figures {
  submittedMs: number;
  settledMs: number;
  /** Of the largest supervisor. */
  memory: Partial<Usage>;
  drainedMs: number;
}

export const backlog: Scenario = {
  name: "backlog",
  description: "many jobs wait without a worker, then workers join: memory meanwhile, and how fast they are done",
  numbers: { jobs: 100_000, workers: 1, supervisors: 1, concurrency: 100, payload: 0 },
  run: async (context) => {
    const { numbers, progress, scope, server } = context;
    const { jobs, supervisors, workers, payload: payloadBytes } = numbers;
    const batch = batchOf({ jobs, functions: 1, payloadBytes });
    const system = await AsyncSystem.on(server);
    await scope.add(() => system.close());
    const started: StartedProcess[] = [];
    for (let i = 0; i < supervisors; i++) started.push(await system.startSupervisor());

    const mark = await system.mark();
    const begun = performance.now();
    progress.show("backlog: submitting", 0, 3);
    const ledger = await system.submit(batch);
    const submittedMs = performance.now() - begun;
    progress.show("backlog: waiting", 1, 3);
    const settledMs = (await untilQuiet(system.observer)) - begun;
    const memory = await largest(started);

    progress.show("backlog: draining", 2, 3);
    const joining = Array.from({ length: workers }, () => system.startWorker(numbers.concurrency));
    await Promise.race(joining);
    const joined = performance.now();
    await Promise.all(joining);
    await system.untilEnded(ledger, mark);
    const drainedMs = performance.now() - joined;
    await system.check(ledger, mark, batch.problem);
    return [tableOf(context, { submittedMs, settledMs, memory, drainedMs })];
  },
};

/** When the last submission was taken out of the stream for the time being. */
async function untilQuiet(observer: Observer): Promise<number> {
  const limit = performance.now() + SETTLE_LIMIT_MS;
  let movedAt = performance.now();
  for (let left = await observer.count(JOBS); ; ) {
    await delay(LOOK_EVERY_MS);
    const now = await observer.count(JOBS);
    if (now !== left) movedAt = performance.now();
    left = now;
    if (performance.now() - movedAt >= QUIET_MS || performance.now() > limit) return movedAt;
  }
}

async function largest(processes: readonly StartedProcess[]): Promise<Partial<Usage>> {
  const usages = await Promise.all(processes.map(({ pid }) => usageOf(pid)));
  const [first] = usages.filter((usage) => usage !== undefined).sort((a, b) => b.peakBytes - a.peakBytes);
  return first ?? {};
}

function tableOf({ numbers: { jobs, workers } }: Context, figures: Figures): Table {
  const { submittedMs, settledMs, memory, drainedMs } = figures;
  const mb = (bytes: number | undefined) => (bytes === undefined ? undefined : bytes / 1e6);
  return {
    title: `backlog: ${jobs.toLocaleString("en")} jobs wait, then ${workers} worker(s) join`,
    columns: [
      { key: "submittedSeconds", title: "submitted in s", digits: 1 },
      { key: "settledSeconds", title: "settled after s", digits: 1 },
      { key: "supervisorPeakMb", title: "supervisor's peak MB" },
      { key: "supervisorSettledMb", title: "settled MB" },
      { key: "drainedSeconds", title: "from the join to the last end s", digits: 1 },
      { key: "jobsPerSecond", title: "jobs/s" },
    ],
    rows: [
      {
        submittedSeconds: submittedMs / 1_000,
        settledSeconds: settledMs / 1_000,
        supervisorPeakMb: mb(memory.peakBytes),
        supervisorSettledMb: mb(memory.residentBytes),
        drainedSeconds: drainedMs / 1_000,
        jobsPerSecond: (jobs / drainedMs) * 1_000,
      },
    ],
    notes: ["every job and result checked; memory is that of the largest supervisor before the workers joined"],
  };
}
