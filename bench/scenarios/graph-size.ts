import { AsyncSystem } from "../contenders/async-system.ts";
import { chainKind, graphKind, randomShape } from "../graphs.ts";
import { competitorsOn } from "../kinds.ts";
import type { Measurement } from "../measure.ts";
import { type Competitor, medianOf, ratioOf, runRounds, warmUp } from "../rounds.ts";
import { type Context, type Scenario, setupOf } from "../scenario.ts";
import type { Cell } from "../table.ts";

const SIZES = [30, 100, 300, 1_000];
const LARGEST = 1_000;

export const graphSize: Scenario = {
  name: "graph-size",
  description: `graphs of ${SIZES.join(", ")} entries with random needs, in turn with chains of the same length`,
  numbers: { jobs: 100, workers: 1, supervisors: 1, concurrency: 100, rounds: 3 },
  run: async (context) => {
    const system = await AsyncSystem.start(context.server, setupOf(context.numbers));
    await context.scope.add(() => system.close());
    const rows: Record<string, Cell>[] = [];
    for (const size of SIZES) rows.push(...(await measureSize(context, system, size)));
    return [
      {
        title: "graph-size: graphs with random needs, and chains of the same length",
        columns: [
          { key: "entries", title: "entries" },
          { key: "kind", title: "" },
          { key: "jobs", title: "jobs" },
          { key: "usPerEntry", title: "µs/entry", digits: 1 },
          { key: "ofChain", title: "x a chain's", digits: 2 },
          { key: "supervisorUs", title: "supervisor µs/entry", digits: 1 },
          { key: "supervisorOfChain", title: "x a chain's", digits: 2 },
          { key: "workerUs", title: "worker µs", digits: 1 },
          { key: "serverUs", title: "server µs", digits: 1 },
        ],
        rows,
        notes: [
          "as many entries at each size; medians of the rounds, in turn, ratios of the same round; CPU time is per entry.",
          "Meant to be flat, and at most twice a chain's at 1,000 entries; every job, its results and its order were checked",
        ],
      },
    ];
  },
};

async function measureSize(context: Context, system: AsyncSystem, size: number): Promise<Record<string, Cell>[]> {
  const jobs = Math.max(1, Math.round((context.numbers.jobs * LARGEST) / size));
  const kinds = [graphKind(`graph of ${size}`, randomShape(size)), chainKind(`chain of ${size}`, size)];
  const competitors = competitorsOn(system, kinds);
  const load = { jobs, functions: size, payloadBytes: 0 };
  await warmUp(context, competitors, { ...load, jobs: Math.ceil(jobs / 4) });
  await runRounds(context, competitors, load);
  return competitors.map((one) => rowOf(one, competitors.at(-1)?.measurements, { jobs, size }));
}

function rowOf(
  { name, measurements }: Competitor,
  chains: readonly Measurement[] | undefined,
  { jobs, size }: { jobs: number; size: number },
): Record<string, Cell> {
  const cpuUs = (role: "supervisor" | "worker" | "server") => (one: Measurement) =>
    (one.cpuUsPerJob[role] ?? Number.NaN) / size;
  const usPerEntry = (one: Measurement) => 1e6 / one.jobsPerSecond / size;
  return {
    entries: size,
    kind: name,
    jobs,
    usPerEntry: medianOf(measurements, usPerEntry),
    ofChain: ratioOf(measurements, chains, usPerEntry),
    supervisorUs: medianOf(measurements, cpuUs("supervisor")),
    supervisorOfChain: ratioOf(measurements, chains, cpuUs("supervisor")),
    workerUs: medianOf(measurements, cpuUs("worker")),
    serverUs: medianOf(measurements, cpuUs("server")),
  };
}
