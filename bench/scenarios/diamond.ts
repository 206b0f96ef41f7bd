import { AsyncSystem } from "../contenders/async-system.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { chainKind, DIAMOND, graphKind } from "../graphs.ts";
import { competitorsOn } from "../kinds.ts";
import { medianOf, ratioOf, runRounds, warmUp } from "../rounds.ts";
import { type Scenario, setupOf } from "../scenario.ts";

export const diamond: Scenario = {
  name: "diamond",
  description: "graphs of four entries (one, then two at a time, then one), in turn with chains of four functions",
  numbers: { jobs: 5_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5 },
  run: async (context) => {
    const { numbers, scope, server } = context;
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const kinds = [graphKind("diamond", DIAMOND), chainKind("chain of four", DIAMOND.length)];
    const competitors = competitorsOn(system, kinds);
    const load = { jobs: numbers.jobs, functions: DIAMOND.length, payloadBytes: 0 };
    await warmUp(context, competitors, load);
    await runRounds(context, competitors, load);
    const chains = competitors.at(-1)?.measurements;
    return [
      {
        title: "diamond: graphs of four entries against chains of four functions",
        columns: [
          { key: "kind", title: "" },
          { key: "jobsPerSecond", title: "jobs/s" },
          { key: "usPerJob", title: "µs/job", digits: 1 },
          { key: "ofChain", title: "x a chain's", digits: 2 },
          { key: "storedBytesPerJob", title: "stored B/job" },
          ...COST_COLUMNS,
        ],
        rows: competitors.map(({ name, measurements }) => ({
          kind: name,
          jobsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
          usPerJob: medianOf(measurements, (one) => 1e6 / one.jobsPerSecond),
          ofChain: ratioOf(measurements, chains, (one) => 1 / one.jobsPerSecond),
          storedBytesPerJob: medianOf(measurements, (one) => one.storedBytesPerJob),
          ...costsOf(measurements),
        })),
        notes: [
          "medians of the rounds, in turn; the ratio is that of the times per job in the same round, meant to be at most 1.3;",
          "every job, its results and its order were checked",
        ],
      },
    ];
  },
};
