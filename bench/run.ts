/**
 * Load tests, against NATS servers of their own or the one at --nats.
 *
 *   npm run bench                                   lists the scenarios
 *   npm run bench -- single --jobs 20000            runs one of them
 *   npm run bench -- all --json figures.json        all of them, one after the other
 *   npm run bench -- scale                          what grows how fast, see scale/run.ts
 *
 * Supervisors and workers are processes of their own. Every job's end and result are checked, or the run fails. The
 * figures depend on the machine: compare ratios within one run, not numbers of different days.
 *
 * Exit codes: 0 done, 1 a result was wrong or something failed, 2 wrong use, 130 interrupted.
 */
import { writeFile } from "node:fs/promises";
import { ensureTopology } from "../src/bus/topology.ts";
import { isAsyncError, messageOf } from "../src/job/errors.ts";
import { WrongResults } from "./contender.ts";
import { Observer, useServer } from "./contenders/nats.ts";
import { describeMachine, type Machine, machineLines } from "./machine.ts";
import { type Asked, type Numbers, parseCommandLine, type Rival, UsageError } from "./options.ts";
import { type Plan, planOf } from "./plan.ts";
import { Progress } from "./progress.ts";
import { SCALE } from "./scale/options.ts";
import { runScale } from "./scale/run.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { Scope } from "./scope.ts";
import { renderTable, type Table } from "./table.ts";
import { usage } from "./usage.ts";

const WRONG_USE = 2;
const INTERRUPTED = 130;

/** What --json writes. */
interface Report {
  date: string;
  machine: Machine | undefined;
  asked: Asked;
  scenarios: { name: string; numbers: Numbers; against: readonly Rival[]; seconds: number; tables: Table[] }[];
}

const progress = new Progress();
const scope = new Scope();
let interruptions = 0;
process.setMaxListeners(200); // one for each process that is started, see process.ts
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void interrupt());
const code = await main(process.argv.slice(2));
// The interruption, if there is one, has the last word.
if (interruptions === 0) process.exitCode = code;

/** Ends everything that was started, then this process; the second signal does not wait for that. */
async function interrupt(): Promise<void> {
  interruptions += 1;
  if (interruptions > 1) process.exit(INTERRUPTED);
  progress.clear();
  process.stderr.write("interrupted; ending what was started\n");
  // What was being waited for fails now, wherever it was, and is of no interest any more.
  process.on("unhandledRejection", () => {});
  await scope.close().catch(() => {});
  process.exit(INTERRUPTED);
}

async function main(args: string[]): Promise<number> {
  try {
    if (args.includes("--help") || args.includes("-h")) {
      process.stdout.write(`${usage(SCENARIOS)}\n`);
      return 0;
    }
    if (args[0] === SCALE) {
      await runScale(args.slice(1), { progress, scope });
      return 0;
    }
    const asked = parseCommandLine(args);
    if (asked.scenario === undefined) {
      process.stdout.write(`${usage(SCENARIOS)}\n`);
      return 0;
    }
    const report: Report = { date: new Date().toISOString(), machine: undefined, asked, scenarios: [] };
    const plans = planOf(asked, SCENARIOS);
    await write(report, asked.json); // a file that cannot be written is to be known before the work is done
    for (const plan of plans) {
      await run(plan, asked.nats, report);
      await write(report, asked.json);
    }
    return 0;
  } catch (error) {
    if (interruptions === 0) explain(error);
    return error instanceof UsageError ? WRONG_USE : 1;
  }
}

async function write(report: Report, file: string | undefined): Promise<void> {
  if (file === undefined) return;
  try {
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
  } catch (error) {
    throw new UsageError(`--json cannot be written: ${messageOf(error)}`);
  }
}

/** On a server that is new, unless it is the user's. */
async function run({ scenario, numbers, against }: Plan, url: string | undefined, report: Report): Promise<void> {
  const own = new Scope();
  await scope.add(() => own.close());
  try {
    const server = await useServer(url);
    await own.add(() => server.close());
    const observer = await Observer.on(server.url);
    await own.add(() => observer.close());
    await ensureTopology(observer.bus);
    if (!report.machine) {
      report.machine = await describeMachine(observer);
      process.stdout.write(`${machineLines(report.machine)}\n`);
    }
    const begun = performance.now();
    const context = { numbers, against, server, progress, scope: own };
    const tables = await scenario.run(context);
    const seconds = Math.round((performance.now() - begun) / 1_000);
    progress.clear();
    for (const table of tables) process.stdout.write(`\n${renderTable(table)}\n`);
    report.scenarios.push({ name: scenario.name, numbers, against, seconds, tables });
  } finally {
    await own.close();
  }
}

function explain(error: unknown): void {
  progress.clear();
  if (error instanceof UsageError) process.stderr.write(`${error.message}\n\n${usage(SCENARIOS)}\n`);
  else if (error instanceof WrongResults) process.stderr.write(`the results are wrong: ${error.message}\n`);
  else if (isAsyncError(error)) process.stderr.write(`${error.message}\n`);
  else process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
}
