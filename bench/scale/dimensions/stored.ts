/** Two servers, measured in turn: one that holds few finished jobs, and one that holds ever more of them. */

import { asyncSystem } from "../../contenders/async.ts";
import { Observer } from "../../contenders/nats.ts";
import { type Measurement, median } from "../../measure.ts";
import { ratioOf, ratiosOf } from "../../rounds.ts";
import type { Cell } from "../../table.ts";
import { calibrate } from "../counts.ts";
import { type Dimension, type Findings, growthTable, type ScaleContext, startServer, totalOf } from "../dimension.ts";
import { FinishedJobs } from "../finished-jobs.ts";
import type { Series } from "../plot.ts";
import { alternate, CPU_COLUMNS, cpuUsOf, figuresOf, type Party } from "../rounds.ts";

const FULL = {
  held: [1_000, 10_000, 100_000, 300_000, 1_000_000],
  rounds: 4,
  lastRounds: 12,
  targetMs: 1_500,
  limits: { minimum: 500, maximum: 20_000 },
};
const QUICK = {
  held: [100, 300, 1_000],
  rounds: 1,
  lastRounds: 2,
  targetMs: 10,
  limits: { minimum: 50, maximum: 100 },
};
const SETUP = { supervisors: 1, workers: 1, concurrency: 100 };
const ONE_FUNCTION = { functions: 1, payloadBytes: 0 };
/** What the throughput with the most jobs must be of that with the fewest. */
const TARGET = 0.9;

export const stored: Dimension = {
  name: "stored",
  question: "What does a new job cost when many finished ones are stored?",
  measure: async (context) => {
    const { held, rounds, lastRounds, targetMs, limits } = context.quick ? QUICK : FULL;
    const [fewest = 0] = held;
    const few = await startShelf(context, "few");
    const many = await startShelf(context, "many");
    const jobs = await calibrate(few.running, ONE_FUNCTION, targetMs, limits);
    await calibrate(many.running, ONE_FUNCTION, targetMs, limits);
    const rows: Row[] = [];
    for (const [i, count] of held.entries()) {
      context.progress.show(`stored: ${count}`, i, held.length);
      const parties = [prepared(few, fewest), prepared(many, count)];
      // The last point decides about the target.
      const times = i === held.length - 1 ? lastRounds : rounds;
      const found = [...(await alternate(parties, () => ({ ...ONE_FUNCTION, jobs }), times)).values()];
      rows.push(rowOf(count, found[1], found[0]));
    }
    return findingsOf(rows, { jobs, rounds, lastRounds, fewest });
  },
};

interface Shelf extends Party {
  finished: FinishedJobs;
}

async function startShelf(context: ScaleContext, name: string): Promise<Shelf> {
  const server = await startServer(context);
  const running = await asyncSystem(server).start(SETUP);
  await context.scope.add(() => running.close());
  const observer = await Observer.on(server.url);
  await context.scope.add(() => observer.close());
  return { name, running, finished: await FinishedJobs.on(observer) };
}

function prepared({ name, running, finished }: Shelf, count: number): Party {
  return { name, running, prepare: () => finished.hold(count) };
}

interface Row extends Record<string, Cell> {
  stored: number;
  cpuUs: number;
  wallUs: number;
  fewCpuUs: number;
  /** Throughput and CPU time in units of those of the other server. */
  ofFew: number;
  cpuOfFew: number;
}

function rowOf(count: number, many: Measurement[] = [], few: Measurement[] = []): Row {
  const figures = figuresOf(many);
  return {
    stored: count,
    ...figures,
    wallUs: 1e6 / figures.jobsPerSecond,
    fewCpuUs: figuresOf(few).cpuUs,
    ofFew: ratioOf(many, few),
    ...rangeOf(many, few),
    cpuOfFew: ratioOf(many, few, cpuUsOf),
    serverMb: median(many.map(({ peakMb }) => peakMb.server ?? Number.NaN)),
  };
}

/** The least and the most of the ratios: what the noise of the machine is. */
function rangeOf(many: readonly Measurement[], few: readonly Measurement[]) {
  const ratios = ratiosOf(many, few);
  return { ofFewLeast: Math.min(...ratios), ofFewMost: Math.max(...ratios) };
}

function findingsOf(
  rows: readonly Row[],
  run: { jobs: number; rounds: number; lastRounds: number; fewest: number },
): Findings {
  const series = (name: string, figure: (row: Row) => number): Series => ({
    name,
    points: rows.map((row) => [row.stored, figure(row)]),
  });
  const cpu = series("CPU", (row) => row.cpuUs);
  const wall = series("time", (row) => row.wallUs);
  const ratio = rows.at(-1)?.ofFew ?? Number.NaN;
  const verdict = ratio >= TARGET ? "met" : "missed";
  const few = run.fewest.toLocaleString("en");
  return {
    tables: [
      {
        title: "stored: new jobs of one function, by how many finished ones are stored",
        columns: [
          { key: "stored", title: "stored jobs" },
          { key: "jobsPerSecond", title: "new jobs/s" },
          { key: "ofFew", title: `x that with ${few}`, digits: 2 },
          { key: "ofFewLeast", title: "least", digits: 2 },
          { key: "ofFewMost", title: "most", digits: 2 },
          ...CPU_COLUMNS,
          { key: "cpuOfFew", title: `x CPU with ${few}`, digits: 2 },
          { key: "serverMb", title: "server's peak MB" },
        ],
        rows: [...rows],
        notes: [
          `two servers in turn, ${run.rounds} round(s) of ${run.jobs.toLocaleString("en")} jobs each (${run.lastRounds} with the most stored), which are stored as well`,
          "medians; ratios are within a round, and of these also the least and the most",
          `target: with the most at least ${TARGET} of the throughput with ${few}: ${ratio.toFixed(2)}, ${verdict}`,
        ],
      },
      growthTable(
        "as many jobs as are stored, if each costs what a new one does; in units of the other server's cost",
        [totalOf(series("CPU", (row) => row.cpuOfFew)), totalOf(series("time", (row) => 1 / row.ofFew))],
      ),
    ],
    plots: [
      {
        file: "stored",
        title: "A new job, by how many finished jobs are stored",
        xTitle: "finished jobs stored",
        yTitle: "µs per new job",
        series: [cpu, series(`CPU, other server with ${few}`, (row) => row.fewCpuUs), wall],
      },
    ],
  };
}
