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
  assert.ok(expected.size >= 8);
});

for (const [file, lines] of expected) {
  test(`examples/${file} prints what it promises`, async () => {
    const example = await startProcess(`examples/${file}`, [], { NATS_URL: "" });
    try {
      assert.is(await example.exit(), 0, example.output());
      assert.equal(example.output().split("\n"), lines);
    } finally {
      await example.kill();
    }
  });
}

test.run();
