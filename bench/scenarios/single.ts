import { compare } from "../comparison.ts";
import { contendersOf, type Scenario } from "../scenario.ts";

export const single: Scenario = {
  name: "single",
  description: "jobs of one function, from the submission to the end, in turn with the floor or peers",
  numbers: { jobs: 10_000, workers: 1, supervisors: 1, concurrency: 100, payload: 0, rounds: 5 },
  against: ["floor"],
  run: async (context) =>
    compare(context, await contendersOf(context), { title: "single: jobs of one function", functions: 1 }),
};
