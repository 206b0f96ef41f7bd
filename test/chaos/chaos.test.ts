/** The short form of the chaos test; `npm run chaos` is the long one. Seeds with which servers are hit as well. */
import { suite } from "uvu";
import { type ChaosOptions, runChaos } from "./chaos.ts";
import { commandOf } from "./report.ts";

const test = suite("chaos");
const OPTIONS = { supervisors: 2, workers: 3, maxPauseMs: 9_000, graphs: 0.5, sagas: 0.3, older: 0, keepLogs: false };

async function survive(options: ChaosOptions): Promise<void> {
  const { ok, table, explanation } = await runChaos(options);
  if (ok) return;
  throw new Error(`\n${table}${explanation}\nagain: ${commandOf(options)}`);
}

test("on one server every acknowledged job reaches its end once, whatever is killed, paused or drained", () =>
  survive({ ...OPTIONS, seed: 6, jobs: 300, nodes: 1, seconds: 15 }));

test("so it does on three servers, of which one at a time is killed, paused or drained", () =>
  survive({ ...OPTIONS, seed: 9, jobs: 200, nodes: 3, seconds: 17 }));

test.run();
