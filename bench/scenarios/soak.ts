import type { JobState } from "../../src/job/state.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { CLOCK_FUNCTION, runOnce } from "../contenders/single-jobs.ts";
import { Latencies, PERCENTILE_COLUMNS } from "../latencies.ts";
import { openLoop } from "../open-loop.ts";
import { UsageError } from "../options.ts";
import { type ProcessHandle, usageOf } from "../process.ts";
import { type Context, type Scenario, setupOf } from "../scenario.ts";
import type { Table } from "../table.ts";

const WINDOW_SECONDS = 10;
/** Each is remembered until it has been checked. */
const MAX_JOBS = 5_000_000;

export const soak: Scenario = {
  name: "soak",
  description: "a steady rate for a while: latencies of each 10 s, memory at the start and at the end, nothing lost",
  numbers: { seconds: 60, rate: 500, workers: 1, supervisors: 1, concurrency: 100 },
  run: async (context) => {
    const { numbers, scope, server } = context;
    const { rate, seconds } = numbers;
    if (rate * seconds > MAX_JOBS) throw new UsageError(`--rate times --seconds must be at most ${MAX_JOBS}`);
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const mark = await system.mark();
    const memoryBefore = await memoryOf(system.processes);
    const { ledger, windows } = await load(context, system);
    const memoryAfter = await memoryOf(system.processes);
    await system.untilEnded(ledger, mark);
    await system.check(ledger, mark, problem);
    return [windowTable(rate, ledger.size, windows), memoryTable(system.processes, memoryBefore, memoryAfter)];
  },
};

async function load({ numbers: { rate, seconds }, progress }: Context, system: AsyncSystem) {
  const ledger = new Map<string, number>();
  const windows = Array.from({ length: Math.ceil(seconds / WINDOW_SECONDS) }, () => new Latencies());
  await openLoop({
    rate,
    seconds,
    once: async () => {
      const timed = await runOnce(system.client);
      ledger.set(timed.id, ledger.size);
      return timed;
    },
    onJob: (dueMs, _, doneMs) => {
      windows[Math.floor(dueMs / 1_000 / WINDOW_SECONDS)]?.record(doneMs);
      progress.show("soak", dueMs, seconds * 1_000);
    },
  });
  return { ledger, windows };
}

/** What the function returns was looked at when the end was heard of. */
function problem({ functions: [fn] }: JobState): string | undefined {
  if (fn?.name !== CLOCK_FUNCTION) return `its function is ${fn?.name}`;
  return fn.retry_count === 1 ? undefined : `its function has been run ${fn.retry_count} times`;
}

function windowTable(rate: number, jobs: number, windows: readonly Latencies[]): Table {
  return {
    title: `soak: ${rate.toLocaleString("en")} jobs/s, ${jobs.toLocaleString("en")} jobs, from submission to end`,
    columns: [{ key: "window", title: "seconds" }, ...PERCENTILE_COLUMNS],
    rows: windows.map((latencies, i) => ({
      window: `${i * WINDOW_SECONDS} to ${(i + 1) * WINDOW_SECONDS}`,
      ...latencies.percentiles(),
    })),
    notes: [
      "Poisson arrivals, delays from the time at which each job was meant to be submitted; none lost, all checked",
    ],
  };
}

type Memory = (number | undefined)[];

function memoryOf(processes: readonly ProcessHandle[]): Promise<Memory> {
  return Promise.all(processes.map(async ({ pid }) => (await usageOf(pid))?.residentBytes));
}

function memoryTable(processes: readonly ProcessHandle[], before: Memory, after: Memory): Table {
  return {
    title: "soak: resident memory",
    columns: [
      { key: "role", title: "" },
      { key: "startMb", title: "start MB" },
      { key: "endMb", title: "end MB" },
    ],
    rows: processes.map(({ role }, i) => ({
      role,
      startMb: (before[i] ?? Number.NaN) / 1e6,
      endMb: (after[i] ?? Number.NaN) / 1e6,
    })),
  };
}
