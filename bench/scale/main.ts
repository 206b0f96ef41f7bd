/**
 * The entry of the scale measurements alone: `npm run build && npx tsx bench/scale/main.ts`, with the options of run.ts.
 *
 * Exit codes: 0 done, 1 a result was wrong or something failed, 2 wrong use, 130 interrupted.
 */
import { WrongResults } from "../contender.ts";
import { Progress } from "../progress.ts";
import { Scope } from "../scope.ts";
import { runScale } from "./run.ts";

const INTERRUPTED = 130;

const progress = new Progress();
const scope = new Scope();
process.setMaxListeners(200); // one for each process that is started, see process.ts
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void interrupt());
try {
  process.exitCode = await runScale(process.argv.slice(2), { progress, scope });
} catch (error) {
  progress.clear();
  const wrong = error instanceof WrongResults;
  process.stderr.write(wrong ? `the results are wrong: ${error.message}\n` : `${(error as Error).stack}\n`);
  process.exitCode = 1;
} finally {
  await scope.close();
}

/** What was being waited for fails now, wherever it was, and is of no interest any more. */
async function interrupt(): Promise<void> {
  process.on("unhandledRejection", () => {});
  await scope.close().catch(() => {});
  process.exit(INTERRUPTED);
}
