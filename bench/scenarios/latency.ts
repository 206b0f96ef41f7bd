/**
 * How long one job takes: alone, and at half of the throughput that was measured just before. The start is told by the
 * function itself, on the clock that all processes of a Linux machine have in common (see clock.ts); the end is when the
 * client has heard of it.
 */
import type { Running } from "../contender.ts";
import { Latencies, PERCENTILE_COLUMNS } from "../latencies.ts";
import { type OpenLoopResult, openLoop } from "../open-loop.ts";
import { type Competitor, medianOf, runRounds, startAll, warmUp } from "../rounds.ts";
import { contendersOf, type Scenario } from "../scenario.ts";
import type { Cell, Table } from "../table.ts";

/** Of its throughput: enough to make jobs meet each other, and too little for lines to grow. */
const LOAD_SHARE = 0.5;
/** Jobs of a round that measures the throughput. */
const THROUGHPUT_JOBS = 5_000;

type Once = NonNullable<Running["once"]>;

interface Measured {
  competitor: Competitor;
  once: Once;
  rate: number;
  alone: Omit<OpenLoopResult, "late">;
  loaded: OpenLoopResult;
}

export const latency: Scenario = {
  name: "latency",
  description: "from submission to start and to end: one job at a time, and at half of the throughput",
  numbers: { jobs: 2_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5, seconds: 10 },
  against: [],
  notAgainst: ["floor"], // it tells nobody that a job has ended
  run: async (context) => {
    const { numbers, progress } = context;
    const competitors = await startAll(context, await contendersOf(context));
    const load = { jobs: THROUGHPUT_JOBS, functions: 1, payloadBytes: 0 };
    await warmUp(context, competitors, load);
    await runRounds({ ...context, numbers: { ...numbers, rounds: Math.min(3, numbers.rounds) } }, competitors, load);
    const all = competitors.map(begin);
    for (let round = 0; round < numbers.rounds; round++) {
      for (const [i, one] of all.entries()) {
        progress.show(`latency: ${one.competitor.name}`, round * all.length + i, numbers.rounds * all.length);
        await oneByOne(one, Math.ceil(numbers.jobs / numbers.rounds));
        await underLoad(one, numbers.seconds / numbers.rounds);
      }
    }
    return [tableOf(all)];
  },
};

function begin(competitor: Competitor): Measured {
  const { name, running, measurements } = competitor;
  if (!running.once) throw new Error(`${name} cannot be asked for the latency of a single job`);
  const none = () => ({ jobs: 0, started: new Latencies(), done: new Latencies() });
  return {
    competitor,
    once: () => (running.once as Once)(),
    rate: medianOf(measurements, (one) => one.jobsPerSecond) * LOAD_SHARE,
    alone: none(),
    loaded: { ...none(), late: new Latencies() },
  };
}

async function oneByOne({ once, alone }: Measured, jobs: number): Promise<void> {
  for (let i = 0; i < jobs; i++) {
    const { startedMs, doneMs } = await once();
    alone.jobs += 1;
    alone.started.record(startedMs);
    alone.done.record(doneMs);
  }
}

async function underLoad({ once, rate, loaded }: Measured, seconds: number): Promise<void> {
  const result = await openLoop({ once, rate, seconds });
  loaded.jobs += result.jobs;
  loaded.started.add(result.started);
  loaded.done.add(result.done);
  loaded.late.add(result.late);
}

function tableOf(all: readonly Measured[]): Table {
  return {
    title: "latency of jobs of one function",
    columns: [
      { key: "contender", title: "" },
      { key: "load", title: "load" },
      { key: "rate", title: "jobs/s" },
      { key: "from", title: "from submission to" },
      ...PERCENTILE_COLUMNS,
    ],
    rows: all.flatMap(rowsOf),
    notes: [
      "in turn. Half load: Poisson arrivals at half of the throughput measured just before, delays",
      "from the time at which each job was meant to be submitted; `late` is the load generator's own part of them",
    ],
  };
}

function rowsOf({ competitor, rate, alone, loaded }: Measured): Record<string, Cell>[] {
  const row = (load: string, jobsPerSecond: number | undefined, from: string, latencies: Latencies) => ({
    contender: competitor.name,
    load,
    rate: jobsPerSecond,
    from,
    ...latencies.percentiles(),
  });
  return [
    row("one at a time", undefined, "start", alone.started),
    row("one at a time", undefined, "end", alone.done),
    row("half load", rate, "start", loaded.started),
    row("half load", rate, "end", loaded.done),
    row("half load", rate, "(late)", loaded.late),
  ];
}
