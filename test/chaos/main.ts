/**
 * The long form of the chaos test.
 *
 *   npm run chaos -- --seed 7 --nodes 3
 *   npm run chaos -- --seed 7 --graphs 1 --older 2
 *
 * The last line is `chaos: ok`, or what is wrong; then the logs are kept, and the exit code is 1.
 */
import { inspect, parseArgs } from "node:util";
import { messageOf } from "../../src/job/errors.ts";
import { type ChaosOptions, runChaos } from "./chaos.ts";
import { commandOf } from "./report.ts";

const DEFAULTS = {
  seed: Math.floor(Math.random() * 100_000),
  jobs: 8_000,
  graphs: 0.5,
  sagas: 0.3,
  nodes: 1,
  supervisors: 3,
  older: 0,
  workers: 4,
  seconds: 90,
  "max-pause-ms": 15_000,
};
type Name = keyof typeof DEFAULTS;
const SHARES: ReadonlySet<string> = new Set(["graphs", "sagas"]);
const NAMES = Object.keys(DEFAULTS) as Name[];

const options = optionsFrom(process.argv.slice(2));
if (!options) {
  const usage = NAMES.map((name) => `[--${name} ${name === "nodes" ? "1|3" : SHARES.has(name) ? "0..1" : "n"}]`).join(
    " ",
  );
  process.stderr.write(`usage: npm run chaos -- ${usage}\n`);
  process.exit(2);
}

const stopped = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => stopped.abort(new Error(`stopped by ${signal}`)));
}
const begun = performance.now();
const onProgress = (what: string) => {
  const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
  process.stderr.write(`${seconds.padStart(6)} s  ${what}\n`);
};
try {
  const report = await runChaos({ ...options, keepLogs: true, signal: stopped.signal, onProgress });
  process.stdout.write(report.table);
  if (report.ok) process.stdout.write("chaos: ok\n");
  else {
    process.stdout.write(`${report.explanation}\nagain: ${commandOf(options)}\n`);
    fail(`the logs are in ${report.folder}`);
  }
} catch (error) {
  if (!stopped.signal.aborted) process.stderr.write(`${inspect(error)}\n`);
  fail(messageOf(stopped.signal.aborted ? stopped.signal.reason : error));
}

function fail(why: string): void {
  process.stdout.write(`chaos: FAILED, ${why}\n`);
  process.exitCode = 1;
}

/** Undefined if they are used wrongly. */
function optionsFrom(args: string[]): Omit<ChaosOptions, "keepLogs"> | undefined {
  const given = parseArgs({
    args,
    options: Object.fromEntries(NAMES.map((name) => [name, { type: "string" }])),
  }).values;
  const of = (name: Name) => Number(given[name] ?? DEFAULTS[name]);
  const nodes = of("nodes");
  const isWell = (name: Name) => (SHARES.has(name) ? of(name) <= 1 : Number.isInteger(of(name))) && of(name) >= 0;
  if (!NAMES.every(isWell) || (nodes !== 1 && nodes !== 3)) return undefined;
  return {
    seed: of("seed"),
    jobs: of("jobs"),
    nodes,
    graphs: of("graphs"),
    sagas: of("sagas"),
    supervisors: of("supervisors"),
    older: of("older"),
    workers: of("workers"),
    seconds: of("seconds"),
    maxPauseMs: of("max-pause-ms"),
  };
}
