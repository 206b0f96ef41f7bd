/** The fuzz as one run from a seed: everything at once, while an innocent is measured. */
import { Random } from "../../simulation/random.ts";
import { type Attack, describeOutcome, type Outcome, runAttack } from "../attack.ts";
import { Target } from "../target.ts";
import { BusFuzz } from "./bus.ts";
import { HttpFuzz } from "./http.ts";
import { Ledger } from "./ledger.ts";

export interface FuzzOptions {
  seed: number;
  rounds: number;
  onProgress?: (line: string) => void;
}

const MESSAGES = 150;
const REQUESTS = 40;
const SETTLE_MS = 60_000;
/** After so many rounds everything that was accepted is to end, and it begins anew. */
const ROUNDS_EACH = 10;

/** @throws Error with the problems, and how to repeat it */
export async function runFuzz({ seed, rounds, onProgress }: FuzzOptions): Promise<Outcome[]> {
  const randoms = [0, 1, 2].map((n) => new Random(seed * 3 + n)) as [Random, Random, Random];
  const target = await Target.start({ hostileProcess: true });
  const outcomes: Outcome[] = [];
  const forged = new Set<string>();
  try {
    for (let done = 0; done < rounds; done += ROUNDS_EACH) {
      const outcome = await runAttack(fuzz(randoms, forged, Math.min(ROUNDS_EACH, rounds - done)), target, "short");
      outcomes.push(outcome);
      onProgress?.(describeOutcome(outcome));
      if (outcome.problems.length > 0) {
        const repeat = `npm run abuse -- --seed ${seed} --rounds ${rounds}`;
        throw new Error(`${outcome.problems.join("\n")}\nto repeat it: ${repeat}`);
      }
    }
    return outcomes;
  } finally {
    await target.close();
  }
}

function fuzz([messages, answers, requests]: [Random, Random, Random], forged: Set<string>, rounds: number): Attack {
  return {
    name: `fuzz of ${rounds} rounds`,
    // What is sent there makes no sense on purpose.
    natsMaySay: /Parser|protocol|\[ERR\]/i,
    async run(target) {
      const ledger = new Ledger(forged);
      const bus = new BusFuzz(target, messages, answers, ledger);
      const http = new HttpFuzz(target, requests, ledger);
      try {
        for (let round = 0; round < rounds && ledger.problems.length === 0; round++) {
          await Promise.all([bus.send(MESSAGES), http.send(REQUESTS)]);
        }
        await ledger.settle(target, SETTLE_MS);
      } finally {
        bus.close();
        http.close();
      }
      if (ledger.size === 0) ledger.problems.push("nothing was accepted");
      if (ledger.problems.length > 0) throw new Error(ledger.problems.slice(0, 10).join("\n"));
    },
  };
}
