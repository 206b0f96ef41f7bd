/** How the load tests show what they have found, and how far they are. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Progress } from "../../bench/progress.ts";
import { renderTable } from "../../bench/table.ts";

test("numbers are to the right, texts to the left, columns as wide as they must be", () => {
  const text = renderTable({
    title: "two",
    columns: [
      { key: "who", title: "" },
      { key: "rate", title: "jobs/s" },
      { key: "ratio", title: "of x", digits: 2 },
    ],
    rows: [
      { who: "async", rate: 1234.6, ratio: 0.5 },
      { who: "b", rate: 99, ratio: null },
    ],
    notes: ["a note"],
  });
  assert.equal(text.split("\n"), [
    "two",
    "         jobs/s  of x",
    "  async   1,235  0.50",
    "  b          99     -",
    "  a note",
  ]);
});

test("a column without any value is left out", () => {
  const columns = [
    { key: "a", title: "a" },
    { key: "b", title: "b" },
    { key: "c", title: "c" },
  ];
  assert.is(renderTable({ title: "t", columns, rows: [{ a: 1, b: Number.NaN }] }), "t\n  a\n  1");
});

test("on a terminal progress is a bar, redrawn ten times a second at most, and goes without a trace", () => {
  let now = 0;
  const written: string[] = [];
  const progress = new Progress({ isTTY: true, write: (text) => written.push(text) }, () => now);
  progress.show("x", 1, 2);
  now = 50;
  progress.show("x", 2, 2);
  assert.is(written.length, 1);
  assert.match(written[0] ?? "", /\[#{15}\.{15}\] {2}50 % x$/);
  now = 100;
  progress.show("x", 2, 2);
  assert.match(written[1] ?? "", /\[#{30}\] 100 % x$/);
  progress.clear();
  progress.clear();
  assert.equal(written.slice(2), ["\r\x1b[K"]);
});

test("elsewhere it is a line now and then", () => {
  let now = 0;
  const written: string[] = [];
  const progress = new Progress({ write: (text) => written.push(text) }, () => now);
  progress.show("x", 0, 4);
  now = 10_000;
  progress.show("x", 1, 4);
  progress.show("x", 2, 4);
  now = 20_000;
  progress.show("y", 9, 4);
  progress.clear();
  assert.equal(written, ["x: 25 %\n", "y: 100 %\n"]);
});

test.run();
