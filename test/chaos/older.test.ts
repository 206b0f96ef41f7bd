/**
 * Supervisors of this version beside those of the version before graphs, with documents of both kinds, while processes are killed, paused
 * and drained: the older ones leave alone what they do not know, and take part in what they do.
 */
import { suite } from "uvu";
import { runChaos } from "./chaos.ts";
import { commandOf } from "./report.ts";

const test = suite("older");

test("beside supervisors that do not know graphs every acknowledged job reaches its end once, whichever kind it is", async () => {
  const fleet = { supervisors: 2, older: 2, workers: 2, nodes: 1 } as const;
  const options = {
    ...fleet,
    seed: 11,
    jobs: 80,
    graphs: 0.5,
    sagas: 0.1,
    seconds: 8,
    maxPauseMs: 4_000,
    keepLogs: false,
  };
  const { ok, table, explanation } = await runChaos(options);
  if (!ok) throw new Error(`\n${table}${explanation}\nagain: ${commandOf(options)}`);
});

test.run();
