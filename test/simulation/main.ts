/**
 * Random histories of the whole system, see `history.ts`.
 *
 *   npm run simulate -- --seeds 100000 [--from 1]     many, on all cores; ends with 1 at the first that fails
 *   npm run simulate -- --seed 4711                   one, with everything that happened
 *   npm run simulate -- --seed 4711 --stacks          with the stack of what failed
 *   npm run simulate -- --jobs graphs                 with graphs only (or chains, sagas, families, items); any if nothing is said
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import "./small-parts.ts";
import type { Jobs } from "./surroundings.ts";

interface Totals {
  seeds: number;
  jobs: number;
  executions: number;
  events: number;
  virtualMs: number;
  definitions: number;
  faults: Record<string, number>;
  failed: { seed: number; message: string }[];
}

// Not above: what is imported there is loaded before parts are small.
const { runHistory } = await import("./history.ts");

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "20000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    jobs: { type: "string", default: "any" },
    /** So many failures end a lane, and those beside it: more would be the same fault again. */
    failures: { type: "string", default: "5" },
    stacks: { type: "boolean", default: false },
    lanes: { type: "string", default: String(Math.min(2, availableParallelism())) },
  },
});
/** A history leaves nothing behind, so it had better be gone before anything of it is copied. */
const YOUNG_MIB = 32;
const jobs = values.jobs as Jobs;

// Most errors are none of ours, and their stacks are stored: with them a history in a small bucket is another one.
if (!values.stacks) Error.stackTraceLimit = 0;
if (process.send) process.send(await runLane(Number(values.from), Number(values.seeds)));
else if (values.seed !== undefined) process.exitCode = await replay(Number(values.seed));
else process.exitCode = await runAll(Number(values.from), Number(values.seeds), Number(values.lanes));

/** Seeds one after the other. */
async function runLane(from: number, count: number): Promise<Totals> {
  const totals = nothing();
  for (let seed = from; seed < from + count && totals.failed.length < Number(values.failures); seed++) {
    const report = await runHistory(seed, { jobs });
    add(totals, {
      seeds: 1,
      jobs: report.jobs,
      executions: report.executions,
      events: report.events,
      virtualMs: report.ms,
      definitions: report.definitions,
      faults: report.faults,
      failed: report.failure ? [{ seed, message: report.failure.message }] : [],
    });
  }
  return totals;
}

async function runAll(from: number, seeds: number, lanes: number): Promise<number> {
  const begun = performance.now();
  const totals = nothing();
  const share = Math.ceil(seeds / lanes);
  const enough = new AbortController();
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      const count = Math.min(share, seeds - lane * share);
      if (count <= 0) return;
      add(totals, await startLane(from + lane * share, count, enough.signal));
      if (totals.failed.length >= Number(values.failures)) enough.abort();
    }),
  );
  const seconds = (performance.now() - begun) / 1_000;
  const number = (value: number) => Math.round(value).toLocaleString("en");
  const faults = Object.entries(totals.faults).sort(([a], [b]) => a.localeCompare(b));
  process.stdout.write(
    [
      `seeds       ${number(totals.seeds)} (from ${from}), ${(totals.seeds / seconds).toFixed(0)}/s`,
      `jobs        ${number(totals.jobs)}`,
      `executions  ${number(totals.executions)}`,
      `events      ${number(totals.events)}`,
      `simulated   ${number(totals.virtualMs / 3_600_000)} hours`,
      `definitions ${number(totals.definitions)} states lean on`,
      `faults      ${faults.map(([kind, count]) => `${kind} ${number(count)}`).join(", ")}`,
      `failed      ${totals.failed.length}`,
      ...totals.failed.flatMap(({ seed, message }) => [
        `  seed ${seed}: ${message}`,
        `    npm run simulate -- --seed ${seed}${jobs === "any" ? "" : ` --jobs ${jobs}`}`,
      ]),
      "",
    ].join("\n"),
  );
  return totals.failed.length === 0 && totals.seeds === seeds ? 0 : 1;
}

/** A part of the seeds, in a process of its own. */
async function startLane(from: number, count: number, enough: AbortSignal): Promise<Totals> {
  const options = ["--from", String(from), "--seeds", String(count), "--jobs", jobs, "--failures", values.failures];
  const child = fork(import.meta.filename, options, {
    execArgv: [...process.execArgv, `--max-semi-space-size=${YOUNG_MIB}`],
  });
  const end = () => child.kill();
  enough.addEventListener("abort", end);
  const [totals] = (await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => {
      if (enough.aborted) return [nothing()];
      throw new Error(`a lane has gone with exit code ${code}`);
    }),
  ])) as [Totals];
  enough.removeEventListener("abort", end);
  if (child.connected) child.disconnect();
  return totals;
}

async function replay(seed: number): Promise<number> {
  const report = await runHistory(seed, { fullTrace: true, jobs });
  process.stdout.write(`${report.trace.join("\n")}\n`);
  const verdict = report.failure ? (report.failure.stack ?? report.failure.message) : "every invariant held";
  process.stdout.write(`seed ${seed}: ${verdict}\n`);
  return report.failure ? 1 : 0;
}

function nothing(): Totals {
  return { seeds: 0, jobs: 0, executions: 0, events: 0, virtualMs: 0, definitions: 0, faults: {}, failed: [] };
}

function add(totals: Totals, more: Totals): void {
  totals.seeds += more.seeds;
  totals.jobs += more.jobs;
  totals.executions += more.executions;
  totals.events += more.events;
  totals.virtualMs += more.virtualMs;
  totals.definitions += more.definitions;
  for (const [kind, count] of Object.entries(more.faults)) totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
  totals.failed.push(...more.failed);
}
