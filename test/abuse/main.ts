/**
 * The long form of the abuse suite.
 *
 *   npm run abuse                                   # all attacks at full size, then the fuzz
 *   npm run abuse -- --seed 7 --rounds 200          # the fuzz alone
 *   npm run abuse -- --attack "connections"         # attacks whose name contains the words
 *   npm run abuse -- --attack "" --scale short      # all attacks as in the test command
 *
 * The last line is `abuse: ok`, or how to repeat what was wrong; then the exit code is 1.
 */
import { parseArgs } from "node:util";
import { messageOf } from "../../src/job/errors.ts";
import { ATTACKS, runAttacks } from "./attacks.ts";
import { runFuzz } from "./fuzz/fuzz.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    rounds: { type: "string", default: "100" },
    attack: { type: "string" },
    scale: { type: "string", default: "long" },
  },
});
const { attack, rounds, scale } = values;
const seed = Number(values.seed ?? Math.floor(Math.random() * 1_000_000));
const say = (line: string) => void process.stdout.write(`${line}\n`);
let failed = 0;

if (values.seed === undefined) {
  const attacks = ATTACKS.filter(({ name }) => name.includes(attack ?? ""));
  await runAttacks(attacks, scale === "short" ? "short" : "long", ({ problems }, line) => {
    say(line);
    for (const problem of problems) say(`     ${problem}`);
    failed += problems.length;
  });
}
if (attack === undefined) {
  try {
    say(`fuzz from seed ${seed}`);
    await runFuzz({ seed, rounds: Number(rounds), onProgress: say });
  } catch (error) {
    failed += 1;
    say(messageOf(error));
  }
}
say(failed === 0 ? "abuse: ok" : "abuse: FAILED");
process.exitCode = failed === 0 ? 0 : 1;
