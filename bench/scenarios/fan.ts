import type { Client } from "../../src/client/client.ts";
import { WrongResults } from "../contender.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { Latencies } from "../latencies.ts";
import { type Scenario, setupOf } from "../scenario.ts";
import { SUM_FUNCTION, WAIT_FUNCTION } from "../workers/names.ts";

const WIDTH = 50;
const ENTRY_MS = 100;
const END_LIMIT_MS = 60_000;
/** What 1 … 50 come to. */
const SUM = (WIDTH * (WIDTH + 1)) / 2;

export const fan: Scenario = {
  name: "fan",
  description: `jobs of ${WIDTH} entries of ${ENTRY_MS} ms that begin at once, and one that joins them; one job at a time`,
  numbers: { jobs: 30, workers: 1, supervisors: 1, concurrency: WIDTH },
  run: async ({ numbers, progress, scope, server }) => {
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    await runOne(system.client); // to warm up
    const latencies = new Latencies();
    for (let job = 0; job < numbers.jobs; job++) {
      progress.show("fan", job, numbers.jobs);
      latencies.record(await runOne(system.client));
    }
    const slots = numbers.workers * numbers.concurrency;
    return [
      {
        title: `fan: ${WIDTH} entries of ${ENTRY_MS} ms and their join, ${slots} slots`,
        columns: [
          { key: "count", title: "jobs" },
          { key: "p50Ms", title: "p50 ms", digits: 1 },
          { key: "p99Ms", title: "p99 ms", digits: 1 },
          { key: "maxMs", title: "max ms", digits: 1 },
        ],
        rows: [{ ...latencies.percentiles() }],
        notes: ["from the call that submits to the result, which was checked; meant to be under 300 ms"],
      },
    ];
  },
};

/** Returns how long it took, in ms. @throws WrongResults */
async function runOne(client: Client): Promise<number> {
  const entries = Array.from({ length: WIDTH }, (_, n) => ({ name: WAIT_FUNCTION, needs: [], args: [ENTRY_MS, n] }));
  const begun = performance.now();
  const document = { name: "bench-fan-out", functions: [...entries, { name: SUM_FUNCTION }] };
  const sum = await client.run(document, { timeoutMs: END_LIMIT_MS });
  const ms = performance.now() - begun;
  if (sum !== SUM) throw new WrongResults(`the join has the result ${JSON.stringify(sum)}, not ${SUM}`);
  return ms;
}
