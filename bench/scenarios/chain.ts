import { compare } from "../comparison.ts";
import { contendersOf, type Scenario } from "../scenario.ts";

export const chain: Scenario = {
  name: "chain",
  description: "jobs of three functions, one after the other, in turn with the floor or peers",
  numbers: { jobs: 5_000, workers: 1, supervisors: 1, concurrency: 100, payload: 0, rounds: 5 },
  against: ["floor"],
  run: async (context) =>
    compare(context, await contendersOf(context), { title: "chain: jobs of three functions", functions: 3 }),
};
