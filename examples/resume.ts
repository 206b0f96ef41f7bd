/**
 * A long piece of work that goes on where it was: the handler tells its progress, and begins at what was told last. Here its worker is
 * told to stop in the middle (a deployment); the attempt is interrupted, uses up no retry, and the next one goes on elsewhere.
 */
import { Worker } from "async";
import { quiet, startPlayground } from "./playground.ts";

await using playground = await startPlayground();
let midway = () => {};
const isMidway = new Promise<void>((resolve) => {
  midway = resolve;
});

/** A worker; the first one to get so far waits in the middle, until it is told to stop. */
function importer(name: string): Worker {
  return new Worker({ url: playground.url, log: quiet }).func(
    "import",
    async ({ args, lastProgress, heartbeat, signal }) => {
      const first = (lastProgress as number | undefined) ?? 0;
      console.log(`${name} begins at row ${first}`);
      for (let row = first; row < args.rows; row++) {
        if (row === 60 && first === 0) {
          midway();
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
        }
        signal.throwIfAborted();
        heartbeat(row + 1);
      }
      return `${args.rows} rows`;
    },
  );
}

const first = await importer("the first worker").start();
const { job_id } = await playground.client.submit({
  name: "import",
  functions: [{ name: "import", args: { rows: 100 } }],
});
await isMidway;
await using second = importer("the second worker");
await second.start();
await first.close({ graceMs: 0 });

const job = await playground.client.wait(job_id);
console.log(job.state, job.result, "in", job.functions[0]?.retry_count, "executions, without a retry");

// Output:
// the first worker begins at row 0
// the second worker begins at row 60
// completed 100 rows in 2 executions, without a retry
