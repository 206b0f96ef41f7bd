import { setTimeout as delay } from "node:timers/promises";
import { batchOf } from "../contenders/async.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { type ProcessHandle, usageOf } from "../process.ts";
import { type Scenario, setupOf } from "../scenario.ts";
import type { Cell } from "../table.ts";

/** What a system that has never done anything would not have in memory. */
const JOBS_BEFORE = 1_000;
/** What the jobs before leave to be collected, and the first sweep of a supervisor, are no part of being idle. */
const SETTLE_MS = 12_000;

export const idle: Scenario = {
  name: "idle",
  description: "CPU time of supervisor, worker and server while there is nothing to do",
  numbers: { workers: 1, supervisors: 1, seconds: 20 },
  run: async ({ numbers, progress, scope, server }) => {
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const { check } = await system.run(batchOf({ jobs: JOBS_BEFORE, functions: 1, payloadBytes: 0 }));
    await check();
    progress.show("idle: settling", 0, 1);
    await delay(SETTLE_MS);
    const processes = system.processes.filter(({ role }) => role !== "client");
    const before = await cpuOf(processes);
    const begun = performance.now();
    progress.show("idle", 0, 1);
    await delay(numbers.seconds * 1_000);
    const elapsedUs = (performance.now() - begun) * 1_000;
    const after = await cpuOf(processes);
    const rows: Record<string, Cell>[] = [];
    for (const [i, { role, pid }] of processes.entries()) {
      const usage = await usageOf(pid);
      rows.push({
        role,
        cpuPercent: (((after[i] ?? Number.NaN) - (before[i] ?? Number.NaN)) / elapsedUs) * 100,
        residentMb: usage && usage.residentBytes / 1e6,
      });
    }
    return [
      {
        title: `idle: ${numbers.seconds} s without a job, after ${JOBS_BEFORE.toLocaleString("en")} of them`,
        columns: [
          { key: "role", title: "" },
          { key: "cpuPercent", title: "% of a core", digits: 2 },
          { key: "residentMb", title: "MB" },
        ],
        rows,
        notes: ["meant to be under 1 % each for supervisor and worker"],
      },
    ];
  },
};

async function cpuOf(processes: readonly ProcessHandle[]): Promise<(number | undefined)[]> {
  return Promise.all(processes.map(async ({ pid }) => (await usageOf(pid))?.cpuUs));
}
