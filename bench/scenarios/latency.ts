/**
 * How long one job takes: alone, at half of the throughput that was measured just before, and, to compare systems that are
 * not equally fast, all at half of the least throughput. All with the same calls, so that hearing of the ends is a part of
 * it. The start is told by the function itself, on the clock that all processes of a
 * Linux machine have in common (see clock.ts); the end is when the client has heard of it.
 */
import type { Running } from "../contender.ts";
import { pooled } from "../contenders/nats.ts";
import { Latencies, medianPercentiles, PERCENTILE_COLUMNS } from "../latencies.ts";
import { median } from "../measure.ts";
import { type OpenLoopResult, openLoop } from "../open-loop.ts";
import { type Competitor, startAll } from "../rounds.ts";
import { type Context, contendersOf, type Scenario } from "../scenario.ts";
import type { Cell, Table } from "../table.ts";

/** Of its throughput: enough to make jobs meet each other, and too little for lines to grow. */
const LOAD_SHARE = 0.5;
const MAX_THROUGHPUT_JOBS = 5_000;
const THROUGHPUT_IN_FLIGHT = 500;
const THROUGHPUT_ROUNDS = 3;

/** All lists have an entry for each round. */
interface Measured {
  name: string;
  once: NonNullable<Running["once"]>;
  /** Jobs per second. */
  throughputs: number[];
  alone: Omit<OpenLoopResult, "late" | "jobs">[];
  loaded: OpenLoopResult[];
  /** At the same rate as all others; not if there are none. */
  sameLoad: OpenLoopResult[];
}

export const latency: Scenario = {
  name: "latency",
  description: "from submission to start and to end: one job at a time, and at half of the throughput",
  numbers: { jobs: 10_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5, seconds: 10 },
  against: ["one-process", "floor"],
  run: async (context) => {
    const { numbers, progress } = context;
    const all = (await startAll(context, await contendersOf(context))).map(begin);
    await measureThroughput(context, all);
    const sameRate = sameLoadOf(all);
    const seconds = numbers.seconds / numbers.rounds;
    for (let round = 0; round < numbers.rounds; round++) {
      for (const [i, one] of all.entries()) {
        progress.show(`latency: ${one.name}`, round * all.length + i, numbers.rounds * all.length);
        const { once } = one;
        one.alone.push(await oneByOne(once, Math.ceil(numbers.jobs / numbers.rounds)));
        one.loaded.push(await openLoop({ once, rate: halfLoad(one), seconds }));
        if (sameRate !== undefined) one.sameLoad.push(await openLoop({ once, rate: sameRate, seconds }));
      }
    }
    return [tableOf(all)];
  },
};

function begin({ name, running }: Competitor): Measured {
  if (!running.once) throw new Error(`${name} cannot be asked for the latency of a single job`);
  return { name, once: running.once.bind(running), throughputs: [], alone: [], loaded: [], sameLoad: [] };
}

async function measureThroughput({ numbers, progress }: Context, all: readonly Measured[]): Promise<void> {
  const rounds = Math.min(THROUGHPUT_ROUNDS, numbers.rounds);
  const jobs = Math.min(MAX_THROUGHPUT_JOBS, numbers.jobs * 5);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, { name, once, throughputs }] of all.entries()) {
      progress.show(`throughput: ${name}`, round * all.length + i, (rounds + 1) * all.length);
      const begun = performance.now();
      await pooled(jobs, THROUGHPUT_IN_FLIGHT, async () => {
        await once();
      });
      // The first is to warm up.
      if (round > 0) throughputs.push((jobs / (performance.now() - begun)) * 1_000);
    }
  }
}

function halfLoad({ throughputs }: Measured): number {
  return median(throughputs) * LOAD_SHARE;
}

/** Half of the least throughput; undefined if there is nobody to compare with. */
function sameLoadOf(all: readonly Measured[]): number | undefined {
  return all.length > 1 ? Math.min(...all.map(halfLoad)) : undefined;
}

async function oneByOne(once: Measured["once"], jobs: number): Promise<Measured["alone"][number]> {
  const latencies = { started: new Latencies(), done: new Latencies() };
  for (let i = 0; i < jobs; i++) {
    const { startedMs, doneMs } = await once();
    latencies.started.record(startedMs);
    latencies.done.record(doneMs);
  }
  return latencies;
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
      { key: "p50Ratio", title: "x async's p50", digits: 2 },
      { key: "p99Ratio", title: "x p99", digits: 2 },
    ],
    rows: all.flatMap((one) => rowsOf(one, all[0] ?? one, sameLoadOf(all))),
    notes: [
      "in turn; medians of the rounds, and of the ratios to async in the same round. Half load: Poisson arrivals at half of",
      "the throughput measured just before; same load: at half of the least throughput of all. Delays are from the time at",
      "which each job was meant to be submitted; `late` is the load generator's own part of them",
    ],
  };
}

function rowsOf(measured: Measured, async: Measured, sameRate: number | undefined): Record<string, Cell>[] {
  const row = (load: string, rate: number | undefined, from: string, latenciesOf: (one: Measured) => Latencies[]) => {
    const latencies = latenciesOf(measured);
    const ratioOf = (key: "p50Ms" | "p99Ms") => ratio(latencies, latenciesOf(async), key);
    const ratios = { p50Ratio: ratioOf("p50Ms"), p99Ratio: ratioOf("p99Ms") };
    return { contender: measured.name, load, rate, from, ...medianPercentiles(latencies), ...ratios };
  };
  const rowsUnder = (load: string, rate: number, resultsOf: (one: Measured) => OpenLoopResult[]) => [
    row(load, rate, "start", (one) => resultsOf(one).map(({ started }) => started)),
    row(load, rate, "end", (one) => resultsOf(one).map(({ done }) => done)),
    row(load, rate, "(late)", (one) => resultsOf(one).map(({ late }) => late)),
  ];
  return [
    row("one at a time", undefined, "start", ({ alone }) => alone.map(({ started }) => started)),
    row("one at a time", undefined, "end", ({ alone }) => alone.map(({ done }) => done)),
    ...rowsUnder("half load", halfLoad(measured), ({ loaded }) => loaded),
    ...(sameRate === undefined ? [] : rowsUnder("same load", sameRate, ({ sameLoad }) => sameLoad)),
  ];
}

/** The median of the ratios within each round. */
function ratio(those: readonly Latencies[], ofThese: readonly Latencies[], key: "p50Ms" | "p99Ms"): number {
  const of = (round: Latencies | undefined) => round?.percentiles()[key] ?? Number.NaN;
  return median(those.map((round, i) => of(round) / of(ofThese[i])));
}
