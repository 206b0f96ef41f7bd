/** Ever more jobs wait for a function that nobody serves, while others are done; in turn with a server where none wait. */
import { setTimeout as delay } from "node:timers/promises";
import { JOBS, TIMERS } from "../../../src/bus/topology.ts";
import { type Running, WrongResults } from "../../contender.ts";
import { batchOf } from "../../contenders/async.ts";
import { AsyncSystem } from "../../contenders/async-system.ts";
import type { Observer } from "../../contenders/nats.ts";
import { type ProcessHandle, usageOf } from "../../process.ts";
import { ratioOf } from "../../rounds.ts";
import { Scope } from "../../scope.ts";
import type { Cell } from "../../table.ts";
import { STALL_MS } from "../../until-none-left.ts";
import { calibrate } from "../counts.ts";
import { type Dimension, type Findings, growthTable, type ScaleContext, startServer, totalOf } from "../dimension.ts";
import type { Point } from "../growth.ts";
import type { Series } from "../plot.ts";
import { alternate, CPU_COLUMNS, cpuUsOf, type Figures, figuresOf, type Party } from "../rounds.ts";

const FULL = {
  waiting: [100, 1_000, 10_000, 30_000, 100_000],
  rounds: 4,
  targetMs: 800,
  limits: { minimum: 500, maximum: 20_000 },
};
const QUICK = { waiting: [30, 100], rounds: 1, targetMs: 10, limits: { minimum: 50, maximum: 100 } };
const CONCURRENCY = 100;
const ONE_FUNCTION = { functions: 1, payloadBytes: 0 };
const UNSERVED = "bench.nobody";
const LOOK_EVERY_MS = 100;
/** What has not moved for that long, with nothing left to take, has settled. */
const QUIET_MS = 1_000;

export const waiting: Dimension = {
  name: "waiting",
  question: "What do jobs cost that wait for a function which nobody serves, and what do they cost the others?",
  measure: async (context) => {
    const plan = context.quick ? QUICK : FULL;
    const free = await startHouse(context, "none waiting");
    const jobs = await calibrate(free.running, ONE_FUNCTION, plan.targetMs, plan.limits);
    const rows: Row[] = [];
    for (const [i, count] of plan.waiting.entries()) {
      context.progress.show(`waiting: ${count}`, i, plan.waiting.length);
      const scope = new Scope();
      await context.scope.add(() => scope.close());
      const house = await startHouse({ ...context, scope }, `${count} waiting`);
      await calibrate(house.running, ONE_FUNCTION, plan.targetMs, plan.limits); // to warm up
      const parking = await park(house, count);
      const found = await alternate([free, house], () => ({ ...ONE_FUNCTION, jobs }), plan.rounds);
      await checkTokens(house, count);
      const mine = found.get(house);
      rows.push({
        waiting: count,
        ...parking,
        settledMb: await residentMbOf(house),
        ofFree: ratioOf(mine, found.get(free)),
        cpuOfFree: ratioOf(mine, found.get(free), cpuUsOf),
        ...figuresOf(mine),
      });
      await scope.close();
    }
    return findingsOf(rows, { jobs, rounds: plan.rounds });
  },
};

/** A server with a supervisor and a worker, whose other jobs may wait. */
interface House extends Party {
  system: AsyncSystem;
  supervisor: ProcessHandle;
}

async function startHouse(context: ScaleContext, name: string): Promise<House> {
  const system = await AsyncSystem.on(await startServer(context));
  await context.scope.add(() => system.close());
  const supervisor = await system.startSupervisor();
  await system.startWorker(CONCURRENCY);
  const running: Running = {
    processes: system.processes,
    run: (load) => system.run(batchOf(load)),
    storedBytes: async () => undefined, // what waits is stored as well
    close: () => system.close(),
  };
  return { name, running, system, supervisor };
}

/** Submits the jobs that are going to wait, and waits until they have found their places. */
async function park({ system, running, supervisor }: House, count: number) {
  const cpuBefore = await cpuUsIn(running.processes);
  const begun = performance.now();
  await system.submit({ jobs: count, job: () => ({ name: "bench", functions: [{ name: UNSERVED }] }) });
  const settledMs = (await untilSettled(system.observer)) - begun;
  const usage = await usageOf(supervisor.pid);
  return {
    settledSeconds: settledMs / 1_000,
    parkingUs: ((await cpuUsIn(running.processes)) - cpuBefore) / count,
    peakMb: (usage?.peakBytes ?? Number.NaN) / 1e6,
  };
}

/** When the last one came to the place where it waits: in memory, or in the backlog. */
async function untilSettled(observer: Observer): Promise<number> {
  let seen = "";
  for (let movedAt = performance.now(); ; await delay(LOOK_EVERY_MS)) {
    const now = performance.now();
    const pending = await observer.notTaken();
    const places = `${pending} ${await observer.count(JOBS)} ${await observer.count(TIMERS)}`;
    if (places !== seen) movedAt = now;
    seen = places;
    if (pending === 0 && now - movedAt >= QUIET_MS) return movedAt;
    if (now - movedAt > STALL_MS) throw new WrongResults(`${pending} submissions are not taken`);
  }
}

/** Each live job has one token: its submission, or a place in the backlog. @throws WrongResults */
async function checkTokens({ system: { observer } }: House, count: number): Promise<void> {
  await untilSettled(observer);
  const tokens = (await observer.count(JOBS)) + (await observer.count(TIMERS));
  if (tokens !== count) throw new WrongResults(`${tokens} jobs wait, ${count} should`);
}

async function cpuUsIn(processes: readonly ProcessHandle[]): Promise<number> {
  const usages = await Promise.all(processes.map(({ pid }) => usageOf(pid)));
  return usages.reduce((sum, usage) => sum + (usage?.cpuUs ?? Number.NaN), 0);
}

async function residentMbOf({ supervisor }: House): Promise<number> {
  return ((await usageOf(supervisor.pid))?.residentBytes ?? Number.NaN) / 1e6;
}

interface Row extends Figures {
  waiting: number;
  /** CPU time of all processes, per job that waits. */
  parkingUs: number;
  /** Of the supervisor: the most until all had settled, and what is resident in the end. */
  peakMb: number;
  settledMb: number;
  ofFree: number;
  cpuOfFree: number;
  [other: string]: Cell;
}

function findingsOf(rows: readonly Row[], run: { jobs: number; rounds: number }): Findings {
  const series = (name: string, figure: (row: Row) => number): Series => ({
    name,
    points: rows.map((row): Point => [row.waiting, figure(row)]),
  });
  const parking = series("CPU of a job that waits", (row) => row.parkingUs);
  const others = series("CPU of another job", (row) => row.cpuUs);
  const peak = series("peak", (row) => row.peakMb);
  return {
    tables: [
      {
        title: "waiting: jobs of a function that nobody serves, and the supervisor's memory",
        columns: [
          { key: "waiting", title: "waiting jobs" },
          { key: "settledSeconds", title: "settled after s", digits: 1 },
          { key: "parkingUs", title: "CPU µs/waiting job" },
          { key: "peakMb", title: "supervisor's peak MB" },
          { key: "settledMb", title: "settled MB" },
        ],
        rows: [...rows],
        notes: [
          "when memory is full, jobs that have waited for 5 s make room: where more than that wait, settling takes as long;",
          "settled memory is that after the rounds of the other jobs; none of those that wait was lost",
        ],
      },
      {
        title: "waiting: other jobs of one function meanwhile",
        columns: [
          { key: "waiting", title: "waiting jobs" },
          { key: "jobsPerSecond", title: "other jobs/s" },
          { key: "ofFree", title: "x that with none", digits: 2 },
          ...CPU_COLUMNS,
          { key: "cpuOfFree", title: "x CPU with none", digits: 2 },
        ],
        rows: [...rows],
        notes: [
          `in turn with a server where none wait, ${run.rounds} round(s) of ${run.jobs.toLocaleString("en")} jobs; medians, ratios within a round`,
        ],
      },
      growthTable("as many jobs as wait, each at its cost; and the supervisor's memory", [
        totalOf(parking),
        totalOf(series("CPU of another job, in units of that with none", (row) => row.cpuOfFree)),
        { ...peak, name: "supervisor's peak memory" },
      ]),
    ],
    plots: [
      {
        file: "waiting-memory",
        title: "Memory of the supervisor, by how many jobs wait",
        xTitle: "waiting jobs",
        yTitle: "MB",
        series: [peak, series("settled", (row) => row.settledMb)],
      },
      {
        file: "waiting-cpu",
        title: "CPU time, by how many jobs wait",
        xTitle: "waiting jobs",
        yTitle: "CPU µs per job",
        series: [parking, others],
      },
    ],
  };
}
