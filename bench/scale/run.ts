/**
 * The scale measurements as a command: how the cost of jobs grows with what there is more of.
 *
 *   npm run bench -- scale                          all dimensions, some 7 minutes, results in bench/results
 *   npm run bench -- scale --dimension stored       one of them; may be given several times
 *   npm run bench -- scale --quick                  a few hundred jobs each, to see that it works; keeps nothing
 *   npm run bench -- scale --out folder             keeps the results there, next to those of other dimensions
 */
import { Observer } from "../contenders/nats.ts";
import { describeMachine, type Machine, machineLines } from "../machine.ts";
import type { Progress } from "../progress.ts";
import { Scope } from "../scope.ts";
import { renderTable } from "../table.ts";
import { startServer } from "./dimension.ts";
import { askedOf } from "./options.ts";
import { measureScale } from "./scale.ts";

/** Until the measurements are done. @throws UsageError or WrongResults */
export async function runScale(
  args: string[],
  { progress, scope }: { progress: Progress; scope: Scope },
): Promise<void> {
  const asked = askedOf(args);
  const machine = await machineHere(scope);
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
}

/** With a server of the kind that is going to be measured. */
async function machineHere(scope: Scope): Promise<Machine> {
  const own = new Scope();
  await scope.add(() => own.close());
  try {
    const server = await startServer({ scope: own });
    const observer = await Observer.on(server.url);
    await own.add(() => observer.close());
    return await describeMachine(observer);
  } finally {
    await own.close();
  }
}
