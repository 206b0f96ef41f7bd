/**
 * Scale measurements: how the cost of jobs grows with what there is more of.
 *
 *   npm run bench -- scale                          all dimensions, some 8 minutes, results in bench/results
 *   npm run bench -- scale --dimension stored       one of them; may be given several times
 *   npm run bench -- scale --quick                  a few hundred jobs each, to see that it works; keeps nothing
 *   npm run bench -- scale --out folder             keeps the results there
 *
 * Exit codes: 0 done, 1 a result was wrong or something failed, 2 wrong use, 130 interrupted.
 */
import { ensureTopology } from "../../src/bus/topology.ts";
import { WrongResults } from "../contender.ts";
import { Observer, useServer } from "../contenders/nats.ts";
import { describeMachine, type Machine, machineLines } from "../machine.ts";
import { Progress } from "../progress.ts";
import { Scope } from "../scope.ts";
import { renderTable } from "../table.ts";
import { type AskedOfScale, askedOf } from "./options.ts";
import { measureScale } from "./scale.ts";

const WRONG_USE = 2;
const INTERRUPTED = 130;

/** Until the measurements are done. Returns the exit code. */
export async function runScale(args: string[]): Promise<number> {
  let asked: AskedOfScale;
  try {
    asked = askedOf(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return WRONG_USE;
  }
  const progress = new Progress();
  const scope = new Scope();
  process.setMaxListeners(200); // one for each process that is started, see process.ts
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void interrupt(scope));
  try {
    const machine = await machineHere();
    process.stdout.write(`${machineLines(machine)}\n`);
    await measureScale({
      ...asked,
      machine,
      progress,
      scope,
      onTables: (tables) => {
        progress.clear();
        for (const table of tables) process.stdout.write(`\n${renderTable(table)}\n`);
      },
    });
    return 0;
  } catch (error) {
    progress.clear();
    const wrong = error instanceof WrongResults;
    process.stderr.write(wrong ? `the results are wrong: ${error.message}\n` : `${(error as Error).stack}\n`);
    return 1;
  } finally {
    await scope.close();
  }
}

/** With a server of the kind that is going to be measured. */
async function machineHere(): Promise<Machine> {
  const server = await useServer(undefined);
  try {
    const observer = await Observer.on(server.url);
    try {
      await ensureTopology(observer.bus);
      return await describeMachine(observer);
    } finally {
      await observer.close();
    }
  } finally {
    await server.close();
  }
}

/** What was being waited for fails now, wherever it was, and is of no interest any more. */
async function interrupt(scope: Scope): Promise<void> {
  process.on("unhandledRejection", () => {});
  await scope.close().catch(() => {});
  process.exit(INTERRUPTED);
}
