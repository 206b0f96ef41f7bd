import { functionsOf } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { chainKind } from "../graphs.ts";
import { itemsProblem } from "../items.ts";
import { competitorsOn } from "../kinds.ts";
import { type Competitor, medianOf, ratioOf, runRounds, warmUp } from "../rounds.ts";
import { type Scenario, setupOf } from "../scenario.ts";

const CHILD_LENGTH = 2;

export const children: Scenario = {
  name: "children",
  description:
    "a job with a child for each of many items, two functions each, in turn with the same jobs by themselves",
  numbers: { items: 1_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5 },
  run: async (context) => {
    const { numbers, scope, server } = context;
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const [own] = competitorsOn(system, [chainKind("jobs by themselves", CHILD_LENGTH)]) as [Competitor];
    const document = { functions: functionsOf(FUNCTION, 1, CHILD_LENGTH) };
    const nested: Competitor = {
      name: "children",
      measurements: [],
      running: {
        ...own.running,
        // A child is what is counted as a job.
        run: ({ jobs }) =>
          system.run({
            jobs: 1,
            job: () => ({
              name: "bench-children",
              functions: [{ for_each: jobs, job: document, concurrency: numbers.concurrency, results: "none" }],
            }),
            problem: (state) => itemsProblem(state, jobs),
          }),
      },
    };
    const competitors = [nested, own];
    const load = { jobs: numbers.items, functions: CHILD_LENGTH, payloadBytes: 0 };
    await warmUp(context, competitors, load);
    await runRounds(context, competitors, load);
    return [
      {
        title: `children: one for each of ${numbers.items} items, ${numbers.concurrency} at a time, ${CHILD_LENGTH} functions each`,
        columns: [
          { key: "kind", title: "" },
          { key: "childrenPerSecond", title: "jobs/s" },
          { key: "ofOwn", title: "x the time", digits: 2 },
          { key: "storedBytes", title: "stored B/job" },
          ...COST_COLUMNS,
        ],
        rows: competitors.map(({ name, measurements }) => ({
          kind: name,
          childrenPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
          ofOwn: ratioOf(measurements, own.measurements, (one) => 1 / one.jobsPerSecond),
          storedBytes: medianOf(measurements, (one) => one.storedBytesPerJob),
          ...costsOf(measurements),
        })),
        notes: [
          "medians of the rounds, in turn; the ratio is that of the times per job of the same round. Of the jobs by themselves each is checked,",
          "of the children, that all have completed",
        ],
      },
    ];
  },
};
