import type { JobState } from "../../src/job/state.ts";
import { functionsOf, resultOf } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { competitorsOn, type Kind } from "../kinds.ts";
import { medianOf, ratioOf, runRounds, warmUp } from "../rounds.ts";
import { type Scenario, setupOf } from "../scenario.ts";
import { FAIL_FUNCTION, UNDO_FUNCTION } from "../workers/names.ts";

/** Functions that return, before the one that fails. */
const DONE = 3;

export const undo: Scenario = {
  name: "undo",
  description: "chains of four functions of which the last one fails, with and without undo of the other three",
  numbers: { jobs: 3_000, workers: 1, supervisors: 1, concurrency: 100, rounds: 5 },
  run: async (context) => {
    const { numbers, scope, server } = context;
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const competitors = competitorsOn(system, [failing("undone", true), failing("not undone", false)]);
    const load = { jobs: numbers.jobs, functions: DONE + 1, payloadBytes: 0 };
    await warmUp(context, competitors, load);
    await runRounds(context, competitors, load);
    const without = competitors.at(-1)?.measurements;
    return [
      {
        title: "undo: chains of four functions of which the last one fails",
        columns: [
          { key: "kind", title: "" },
          { key: "jobsPerSecond", title: "jobs/s" },
          { key: "ofWithout", title: "x not undone", digits: 2 },
          { key: "callOfWithout", title: "per call", digits: 2 },
          { key: "storedBytesPerJob", title: "stored B/job" },
          ...COST_COLUMNS,
        ],
        rows: competitors.map(({ name, measurements }, at) => {
          const ofWithout = ratioOf(measurements, without, (one) => 1 / one.jobsPerSecond);
          const calls = at === 0 ? 2 * DONE + 1 : DONE + 1;
          return {
            kind: name,
            jobsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
            ofWithout,
            callOfWithout: (ofWithout * (DONE + 1)) / calls,
            storedBytesPerJob: medianOf(measurements, (one) => one.storedBytesPerJob),
            ...costsOf(measurements),
          };
        }),
        notes: [
          "medians of the rounds, in turn; ratios of the times per job of the same round, and of those per function called: seven and four;",
          "every job was checked, and that each of its functions was undone",
        ],
      },
    ];
  },
};

function failing(name: string, isUndone: boolean): Kind {
  return {
    name,
    end: "failed",
    job: (number) => {
      const functions = functionsOf(FUNCTION, number, DONE).map((fn) =>
        isUndone ? { ...fn, undo: UNDO_FUNCTION } : fn,
      );
      return { name: "bench-undo", functions: [...functions, { name: FAIL_FUNCTION }] };
    },
    problem: (state, number) => problemOf(state, number, isUndone),
  };
}

function problemOf(state: JobState, number: number, isUndone: boolean): string | undefined {
  for (let index = 0; index < DONE; index++) {
    const fn = state.functions.at(index);
    const right = resultOf(number, index);
    if (fn?.result !== right) return `function ${index} has the result ${JSON.stringify(fn?.result)}, not ${right}`;
    if ((fn.undoing?.finished_at !== undefined) !== isUndone)
      return `function ${index} is ${isUndone ? "not " : ""}undone`;
  }
  return undefined;
}
