import type { JobState } from "../../src/job/state.ts";
import { functionsOf, payloadOf, resultOf } from "../contender.ts";
import { AsyncSystem, type Batch } from "../contenders/async-system.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { type Measurement, measure } from "../measure.ts";
import { medianOf } from "../rounds.ts";
import { type Context, type Scenario, setupOf } from "../scenario.ts";
import type { Table } from "../table.ts";
import { FAN_FUNCTIONS, fanFunction } from "../workers/names.ts";

/** Completed jobs by the worker's process. */
type Shares = Map<number, number>;

export const fanout: Scenario = {
  name: "fanout",
  description: `bursts spread over ${FAN_FUNCTIONS} functions and several workers, and how evenly these are used`,
  numbers: { jobs: 10_000, workers: 4, supervisors: 1, concurrency: 10, payload: 0, rounds: 5 },
  run: async (context) => {
    const { numbers, progress, scope, server } = context;
    const system = await AsyncSystem.start(server, setupOf(numbers), "bench/workers/fan.ts");
    await scope.add(() => system.close());
    const shares: Shares = new Map();
    const measurements: Measurement[] = [];
    for (let round = 0; round <= numbers.rounds; round++) {
      progress.show("fanout", round, numbers.rounds + 1);
      if (round === 1) shares.clear(); // the first is to warm up
      const measurement = await burst(system, numbers.jobs, payloadOf(numbers.payload), shares);
      if (round > 0) measurements.push(measurement);
    }
    return [tableOf(context, measurements, shares)];
  },
};

function burst(system: AsyncSystem, jobs: number, data: string | null, shares: Shares): Promise<Measurement> {
  const batch: Batch = {
    jobs,
    job: (number) => ({ name: "bench-fan", functions: functionsOf(fanFunction(number), number, 1), data }),
    problem: (state, number) => countShare(state, number, shares),
  };
  const { processes } = system;
  const running = { processes, run: () => system.run(batch), storedBytes: () => system.storedBytes() };
  return measure({ ...running, close: () => system.close() }, { jobs, functions: 1, payloadBytes: 0 });
}

function countShare(state: JobState, number: number, shares: Shares): string | undefined {
  const { sum, pid } = (state.functions.at(0)?.result ?? {}) as { sum?: number; pid?: number };
  if (sum !== resultOf(number, 0) || pid === undefined) return `it has the result ${sum} of ${pid}`;
  shares.set(pid, (shares.get(pid) ?? 0) + 1);
  return undefined;
}

function tableOf({ numbers }: Context, measurements: readonly Measurement[], shares: Shares): Table {
  const { workers, concurrency } = numbers;
  const counts = [...shares.values()];
  while (counts.length < workers) counts.push(0); // one that got nothing
  const total = counts.reduce((sum, count) => sum + count, 0);
  return {
    title: `fanout: ${FAN_FUNCTIONS} functions, ${workers} workers of ${concurrency}`,
    columns: [
      { key: "jobsPerSecond", title: "jobs/s" },
      { key: "smallestSharePercent", title: "least of a worker %", digits: 1 },
      { key: "largestSharePercent", title: "most %", digits: 1 },
      ...COST_COLUMNS,
    ],
    rows: [
      {
        jobsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
        smallestSharePercent: (Math.min(...counts) / total) * 100,
        largestSharePercent: (Math.max(...counts) / total) * 100,
        ...costsOf(measurements),
      },
    ],
    notes: [
      `median of the bursts, shares of all of them (even is ${(100 / workers).toFixed(1)} %); CPU time is per job`,
    ],
  };
}
