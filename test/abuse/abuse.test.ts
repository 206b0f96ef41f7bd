/** The short form of the attacks: each while an innocent job is timed. `npm run abuse` has them at full size. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeOutcome } from "./attack.ts";
import { ATTACKS, runAttacks } from "./attacks.ts";

const test = suite("abuse");

test("whatever one user does, others are served, supervisors live in their memory, and /readyz tells the truth", async () => {
  const failed: string[] = [];
  let done = 0;
  await runAttacks(ATTACKS, "short", (outcome) => {
    done += 1;
    if (outcome.problems.length > 0) failed.push([describeOutcome(outcome), ...outcome.problems].join("\n  "));
  });
  assert.is(done, ATTACKS.length);
  assert.is(failed.join("\n"), "");
});

test.run();
