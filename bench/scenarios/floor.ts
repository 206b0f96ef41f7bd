import { compare } from "../comparison.ts";
import { floor as floorContender } from "../contenders/floor.ts";
import type { Scenario } from "../scenario.ts";

export const floor: Scenario = {
  name: "floor",
  description: "the floor alone: the bare loops that single and chain are measured against",
  numbers: { jobs: 10_000, workers: 1, supervisors: 1, payload: 0, rounds: 5 },
  run: async (context) => {
    const contender = floorContender(context.server);
    return [
      ...(await compare(context, [contender], { title: "floor: jobs of one function", functions: 1 })),
      ...(await compare(context, [contender], { title: "floor: jobs of three functions", functions: 3 })),
    ];
  },
};
