/** The real thing as a contender. */
import type { JobState } from "../../src/job/state.ts";
import { type Contender, functionsOf, type Load, payloadOf, type Running, resultOf, type Setup } from "../contender.ts";
import { AsyncSystem, type Batch } from "./async-system.ts";
import type { NatsServer } from "./nats.ts";
import { SingleJobs } from "./single-jobs.ts";

export const FUNCTION = "bench.add";

export function asyncSystem(server: NatsServer): Contender {
  return { name: "async", start: (setup) => start(server, setup) };
}

async function start(server: NatsServer, setup: Setup): Promise<Running> {
  const system = await AsyncSystem.start(server, setup);
  let single: Promise<SingleJobs> | undefined;
  return {
    processes: system.processes,
    run: (load) => system.run(batchOf(load)),
    // Heard of only by those who ask: events cost the client time.
    once: async () => {
      single ??= SingleJobs.open(system.client);
      return (await single).once();
    },
    storedBytes: () => system.storedBytes(),
    close: async () => {
      (await single)?.close();
      await system.close();
    },
  };
}

export function batchOf({ jobs, functions, payloadBytes }: Load): Batch {
  const data = payloadOf(payloadBytes);
  return {
    jobs,
    job: (number) => ({ name: "bench", functions: functionsOf(FUNCTION, number, functions), data }),
    problem: (state, number) => sumProblem(state, number, functions),
  };
}

/** Each function has run once, and returned its sum. */
export function sumProblem(state: JobState, number: number, functions: number): string | undefined {
  if (state.functions.length !== functions) return `it has ${state.functions.length} functions, not ${functions}`;
  for (const [index, { result, retry_count, lost = 0 }] of [...state.functions].entries()) {
    const right = resultOf(number, index);
    if (result !== right) return `function ${index} has the result ${JSON.stringify(result)}, not ${right}`;
    if (retry_count !== 1) return `function ${index} has been run ${retry_count} times, ${lost} lost`;
  }
  return undefined;
}
