/** Every example prints what it says at its end that it prints. */
import { readdir, readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { startProcess } from "../support/process.ts";

const files = (await readdir("examples")).filter((file) => file.endsWith(".ts"));
const expected = new Map<string, string[]>();
for (const file of files) {
  const [, output] = (await readFile(`examples/${file}`, "utf8")).split("\n// Output:\n");
  if (output !== undefined)
    expected.set(
      file,
      output
        .trim()
        .split("\n")
        .map((line) => line.replace(/^\/\/ ?/, "")),
    );
}

test("the examples are found", () => {
  assert.ok(expected.size >= 24);
});

/** Numbers that are others each time stand as `<number>` in what is promised. */
const withoutNumbers = (promised: string[]) => (line: string, index: number) =>
  promised[index]?.includes("<number>") ? line.replaceAll(/\d+(\.\d+)?/g, "<number>") : line;

for (const [file, lines] of expected) {
  test(`examples/${file} prints what it promises`, async () => {
    const example = await startProcess(`examples/${file}`, [], { NATS_URL: "" });
    try {
      assert.is(await example.exit(), 0, example.output());
      assert.equal(example.output().split("\n").map(withoutNumbers(lines)), lines);
    } finally {
      await example.kill();
    }
  });
}

test("fifty calls of a tenth of a second at the same time take less than three times as long as one", async () => {
  const example = await startProcess("examples/scatter-gather.ts", [], { NATS_URL: "" });
  try {
    assert.is(await example.exit(), 0, example.output());
    const [, one = "", all = ""] = /one shop: (\d+) ms, all of them: (\d+) ms/.exec(example.output()) ?? [];
    assert.ok(Number(one) >= 100, example.output());
    assert.ok(Number(all) < 3 * Number(one), example.output());
  } finally {
    await example.kill();
  }
});

test("the demo runs the jobs of the original system, and ends with nothing left", async () => {
  const demo = await startProcess("examples/demo.ts");
  try {
    assert.is(await demo.exit(), 0, demo.output());
    const verdicts = demo
      .output()
      .split("\n")
      .filter((line) => /^[✓✗]/u.test(line));
    assert.is(verdicts.length, 4);
    assert.ok(verdicts.every((line) => line.startsWith("✓")));
    assert.match(demo.output(), /progress +\/v1\/test-1 \(attempt 1\): \{"percent":50\}/);
    assert.match(demo.output(), "everything is stopped");
  } finally {
    await demo.kill();
  }
});

test.run();
