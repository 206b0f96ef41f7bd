/**
 * A quick look at the peers alone. The figures that count come from the bench itself, where they alternate with ours.
 *
 *   npx tsx bench/peers/try.ts bullmq-bulk graphile-local
 *
 * Without names: all of them.
 */
import { type Contender, type Load, WrongResults } from "../contender.ts";
import { measure, median } from "../measure.ts";
import { isPeerName, PEER_NAMES, peers } from "./contenders.ts";

const ROUNDS = 3;
const SINGLES = 25;
const WARM_UP: Load = { jobs: 2_000, functions: 1, payloadBytes: 0 };
const LOADS: Record<string, Load> = {
  single: { jobs: 20_000, functions: 1, payloadBytes: 0 },
  chain: { jobs: 5_000, functions: 3, payloadBytes: 0 },
};

const names = process.argv.slice(2);
for (const contender of await peers(names.length > 0 ? names.filter(isPeerName) : PEER_NAMES)) {
  try {
    await tryOut(contender);
  } catch (error) {
    if (!(error instanceof WrongResults)) throw error;
    process.stdout.write(`${contender.name}: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function tryOut({ name, start }: Contender): Promise<void> {
  const running = await start({ supervisors: 1, workers: 1, concurrency: 100 });
  try {
    await measure(running, WARM_UP);
    for (const [title, load] of Object.entries(LOADS)) {
      for (let round = 0; round < ROUNDS; round++) {
        const { jobsPerSecond, submissionsPerSecond, cpuUsPerJob, storedBytesPerJob } = await measure(running, load);
        const cpu = Object.entries(cpuUsPerJob).map(([role, us]) => `${role} ${Math.round(us)} µs`);
        process.stdout.write(
          `${name}: ${title} ${Math.round(jobsPerSecond)} jobs/s, ${Math.round(submissionsPerSecond)} submitted/s, ` +
            `${cpu.join(", ")}, ${storedBytesPerJob === undefined ? "?" : Math.round(storedBytesPerJob)} bytes/job\n`,
        );
      }
    }
    const latencies: { startedMs: number; doneMs: number }[] = [];
    for (let i = 0; i < SINGLES; i++) if (running.once) latencies.push(await running.once());
    const started = median(latencies.map(({ startedMs }) => startedMs));
    const done = median(latencies.map(({ doneMs }) => doneMs));
    process.stdout.write(
      `${name}: one job starts after ${started.toFixed(2)} ms, is done after ${done.toFixed(2)} ms\n`,
    );
  } finally {
    await running.close();
  }
}
