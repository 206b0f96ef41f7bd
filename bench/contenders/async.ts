/** The real thing as a contender. */
import { ensureTopology } from "../../src/bus/topology.ts";
import type { JobState } from "../../src/job/state.ts";
import { type Contender, functionsOf, type Load, payloadOf, type Running, resultOf, type Setup } from "../contender.ts";
import { AsyncSystem, type Batch, BENCH_WORKER } from "./async-system.ts";
import { type NatsServer, useServer } from "./nats.ts";
import { runOnce } from "./single-jobs.ts";

export const FUNCTION = "bench.add";

export function asyncSystem(server: NatsServer): Contender {
  return { name: "async", start: async (setup) => running(await AsyncSystem.start(server, setup)) };
}

/** Supervisors that execute the functions themselves; on a server of their own, as jobs belong to all supervisors of one. */
export function asyncInOneProcess(): Contender {
  return { name: "async, one process", start: startInOneProcess };
}

async function startInOneProcess({ supervisors, concurrency }: Setup): Promise<Running> {
  const server = await useServer(undefined);
  const system = await AsyncSystem.on(server);
  try {
    await ensureTopology(system.observer.bus);
    const args = ["--no-http", BENCH_WORKER, "--concurrency", String(concurrency)];
    for (let i = 0; i < supervisors; i++) await system.startSupervisor(args);
  } catch (error) {
    await system.close();
    await server.close();
    throw error;
  }
  const started = running(system);
  return {
    ...started,
    close: async () => {
      await started.close();
      await server.close();
    },
  };
}

function running(system: AsyncSystem): Running {
  return {
    processes: system.processes,
    run: (load) => system.run(batchOf(load)),
    once: () => runOnce(system.client),
    storedBytes: () => system.storedBytes(),
    close: () => system.close(),
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
