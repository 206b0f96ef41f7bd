import type { Running } from "../contender.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { floor } from "../contenders/floor.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { chainKind } from "../graphs.ts";
import { itemsKind } from "../items.ts";
import { type Competitor, medianOf, ratioOf, runRounds, warmUp } from "../rounds.ts";
import { type Context, type Scenario, setupOf } from "../scenario.ts";

/** Of the chains, and of the floor's: the items come to as many functions as all of these together. */
const CHAIN_LENGTH = 10;

export const items: Scenario = {
  name: "items",
  description: "a job for each of many items, one function each, in turn with as many functions in chains of ten",
  numbers: { items: 10_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5 },
  against: ["floor"],
  run: async (context) => {
    const { numbers } = context;
    const competitors = await competitorsOf(context);
    // What is counted as a job is a function here, of whichever job.
    const load = { jobs: numbers.items, functions: 1, payloadBytes: 0 };
    await warmUp(context, competitors, load);
    await runRounds(context, competitors, load);
    const of = (name: string) => competitors.find((one) => one.name === name)?.measurements;
    return [
      {
        title: `items: a for_each of ${numbers.items} numbers, ${numbers.concurrency} at a time, against chains of ${CHAIN_LENGTH}`,
        columns: [
          { key: "kind", title: "" },
          { key: "itemsPerSecond", title: "items/s" },
          { key: "ofChain", title: "x a chain's", digits: 2 },
          { key: "ofFloor", title: "of floor", digits: 2 },
          { key: "storedBytes", title: "stored B", digits: 1 },
          ...COST_COLUMNS,
        ],
        rows: competitors.map(({ name, measurements }) => ({
          kind: name,
          itemsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
          ofChain: ratioOf(measurements, of(CHAINS)),
          ofFloor: of("floor") && ratioOf(measurements, of("floor")),
          storedBytes: medianOf(measurements, (one) => one.storedBytesPerJob),
          ...costsOf(measurements),
        })),
        notes: [
          "medians of the rounds, in turn, each per item or function; a ratio is that of the throughputs of the same round, more is faster;",
          "every item and job was checked; meant to be at least 8,000 items/s",
        ],
      },
    ];
  },
};

const CHAINS = `chains of ${CHAIN_LENGTH}`;

async function competitorsOf({ server, numbers, against, scope }: Context): Promise<Competitor[]> {
  const system = await AsyncSystem.start(server, setupOf(numbers));
  await scope.add(() => system.close());
  const own = (name: string, run: Running["run"]): Competitor => ({
    name,
    measurements: [],
    running: { processes: system.processes, run, storedBytes: () => system.storedBytes(), close: async () => {} },
  });
  const itemsOf = (results: "keep" | "none") =>
    own(`for_each, results ${results}`, ({ jobs }) =>
      system.run({ jobs: 1, ...itemsKind("items", jobs, numbers.concurrency, results) }),
    );
  const chains = own(CHAINS, ({ jobs }) => system.run({ jobs: chainsFor(jobs), ...chainKind("chains", CHAIN_LENGTH) }));
  return [itemsOf("none"), itemsOf("keep"), chains, ...(against.includes("floor") ? [await floorOf()] : [])];

  async function floorOf(): Promise<Competitor> {
    const running = await floor(server).start(setupOf(numbers));
    await scope.add(() => running.close());
    const run: Running["run"] = ({ jobs, payloadBytes }) =>
      running.run({ jobs: chainsFor(jobs), functions: CHAIN_LENGTH, payloadBytes });
    return { name: "floor", measurements: [], running: { ...running, run } };
  }
}

function chainsFor(functions: number): number {
  return Math.max(1, Math.round(functions / CHAIN_LENGTH));
}
