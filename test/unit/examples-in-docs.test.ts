/** How examples are found in documents: none is left out in silence. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { comparable, examplesIn } from "../support/examples-in-docs.ts";

const fence = (info: string, text: string) => `\`\`\`${info}\n${text}\n\`\`\`\n`;
const JOB = fence("json job", '{"functions": []}');

test("an example is a job with all that follows it, up to the next one", () => {
  const page = `${JOB}\nEnds \`completed\` with \`[1,2]\`.\n\n${fence("sh", "ls")}${JOB}\nEnds \`cancelled\`.\n`;
  const examples = examplesIn(page);
  assert.equal(
    examples.map((steps) => steps.map(({ kind, line }) => `${kind} ${line}`)),
    [
      ["job 1", "ends 5"],
      ["job 10", "ends 14"],
    ],
  );
  const [, ends] = examples[0] ?? [];
  assert.is(ends?.kind === "ends" && ends.outcome, "[1,2]");
});

test("a job that is not run, a block of no kind, and an example without an outcome are errors", () => {
  assert.throws(() => examplesIn(fence("json", '{"functions": []}')), "a job that is not run");
  assert.throws(() => examplesIn(fence("json jop", "{}")), "no kind of block is `json jop`");
  assert.throws(() => examplesIn(JOB), "what comes of it");
});

test("outputs are compared without their times and the width of their columns", () => {
  assert.equal(comparable("a   b\n2026-11-29T12:00:00.000Z  x \n"), ["a b", "<time> x"]);
  assert.not.equal(comparable("a b"), comparable("a c"));
});

test.run();
