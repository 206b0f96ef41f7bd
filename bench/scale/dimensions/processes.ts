/** The same load on ever more supervisors, and on ever more workers. */
import type { Setup } from "../../contender.ts";
import { asyncSystem } from "../../contenders/async.ts";
import type { NatsServer } from "../../contenders/nats.ts";
import type { Measurement } from "../../measure.ts";
import { Scope } from "../../scope.ts";
import type { Cell } from "../../table.ts";
import { calibrate } from "../counts.ts";
import { type Dimension, type Findings, growthTable, type ScaleContext, startServer } from "../dimension.ts";
import type { Series } from "../plot.ts";
import { alternate, CPU_COLUMNS, type Figures, figuresOf } from "../rounds.ts";

interface Case {
  of: "supervisors" | "workers";
  supervisors: number;
  workers: number;
}

const FULL = {
  supervisors: [1, 2, 3, 4],
  workers: [1, 2, 4, 8, 16],
  rounds: 3,
  targetMs: 1_500,
  limits: { minimum: 500, maximum: 20_000 },
};
const QUICK = { supervisors: [1, 2], workers: [1, 2], rounds: 1, targetMs: 10, limits: { minimum: 50, maximum: 100 } };
/** So that they are not what holds several supervisors back. */
const WORKERS_OF_SUPERVISORS = 2;
const CONCURRENCY = 100;
const ONE_FUNCTION = { functions: 1, payloadBytes: 0 };

export const processes: Dimension = {
  name: "processes",
  question: "What do more supervisors and workers bring, and what do they cost?",
  measure: async (context) => {
    const plan = context.quick ? QUICK : FULL;
    const cases: Case[] = [
      ...plan.supervisors.map((n): Case => ({ of: "supervisors", supervisors: n, workers: WORKERS_OF_SUPERVISORS })),
      ...plan.workers.map((n): Case => ({ of: "workers", supervisors: 1, workers: n })),
    ];
    const server = await startServer(context);
    const rows: Row[] = [];
    for (const [i, one] of cases.entries()) {
      context.progress.show(`processes: ${one.supervisors} and ${one.workers}`, i, cases.length);
      const setup = { supervisors: one.supervisors, workers: one.workers, concurrency: CONCURRENCY };
      rows.push({ ...one, ...figuresOf(await measureSetup(context, server, setup, plan)) });
    }
    return findingsOf(rows, plan.rounds);
  },
};

/** Its processes are ended again: the next one has the machine for itself. */
async function measureSetup(
  context: ScaleContext,
  server: NatsServer,
  setup: Setup,
  { rounds, targetMs, limits }: Pick<typeof FULL, "rounds" | "targetMs" | "limits">,
): Promise<Measurement[]> {
  const scope = new Scope();
  await context.scope.add(() => scope.close());
  const running = await asyncSystem(server).start(setup);
  await scope.add(() => running.close());
  const jobs = await calibrate(running, ONE_FUNCTION, targetMs, limits);
  const party = { name: "async", running };
  const found = await alternate([party], () => ({ ...ONE_FUNCTION, jobs }), rounds);
  await scope.close();
  return found.get(party) ?? [];
}

interface Row extends Case, Figures {
  [other: string]: Cell;
}

function findingsOf(rows: readonly Row[], rounds: number): Findings {
  const series = (figure: (row: Row) => number): Series[] =>
    (["supervisors", "workers"] as const).map((of) => ({
      name: of === "supervisors" ? `supervisors, with ${WORKERS_OF_SUPERVISORS} workers` : "workers, with 1 supervisor",
      points: rows.filter((row) => row.of === of).map((row) => [row[of], figure(row)]),
    }));
  const cpu = series((row) => row.cpuUs);
  return {
    tables: [
      {
        title: "processes: jobs of one function, by how many supervisors and workers there are",
        columns: [
          { key: "supervisors", title: "supervisors" },
          { key: "workers", title: "workers" },
          { key: "jobsPerSecond", title: "jobs/s" },
          ...CPU_COLUMNS,
        ],
        rows: [...rows],
        notes: [
          `workers of ${CONCURRENCY} attempts at a time, medians of ${rounds} round(s); every job and result was checked`,
          "all processes share the cores of the machine: with more of them than cores it is the cost that tells",
        ],
      },
      growthTable("CPU time of a job with the number of processes", cpu),
    ],
    plots: [
      {
        file: "processes-cpu",
        title: "A job, by how many processes there are",
        xTitle: "supervisors, or workers",
        yTitle: "CPU µs per job, of all processes",
        series: cpu,
      },
      {
        file: "processes-rate",
        title: "Throughput, by how many processes there are",
        xTitle: "supervisors, or workers",
        yTitle: "jobs/s",
        series: series((row) => row.jobsPerSecond),
      },
    ],
  };
}
