/** How `async check` draws the order of a job. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { drawGraph } from "../../src/cli/graph.ts";
import { textWidth } from "../../src/cli/table.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";

const lines = (functions: FunctionSpec[], width = 120) => drawGraph({ name: "order", functions }, width).split("\n");
const many = (count: number, entry: (n: number) => FunctionSpec) => Array.from({ length: count }, (_, n) => entry(n));

test("a job of one function is one line", () => {
  assert.equal(lines([{ name: "charge" }]), [
    "order: 1 entry in 1 step",
    "",
    "     id  kind      name    follows",
    "───  #0  function  charge  -",
  ]);
});

test("a chain is a line from top to bottom", () => {
  assert.equal(lines([{ name: "reserve" }, { name: "charge" }, { name: "thank" }]), [
    "order: 3 entries in 3 steps",
    "",
    "     id  kind      name     follows",
    "┌──  #0  function  reserve  -",
    "├──  #1  function  charge   #0",
    "└──  #2  function  thank    #1",
  ]);
});

test("what runs in parallel is bracketed, and each line says what it follows and its options", () => {
  const functions: FunctionSpec[] = [
    { id: "reserve", name: "reserve-stock" },
    { id: "charge", name: "charge", needs: ["reserve"], retry_options: { retry_limit: 3 } },
    { id: "approve", wait_for: "approval", needs: ["reserve"], timeout_ms: 90_000, when: "data.total > 1000" },
    { sleep_ms: 3_600_000, needs: ["charge"] },
    { sleep_until: { $: "results.approve.at" }, needs: ["approve"], on_error: { name: "alert" } },
    { name: "thank", on_error: "continue", expect: "result.ok" },
  ];
  assert.equal(lines(functions), [
    "order: 6 entries in 4 steps",
    "",
    "     id       kind      name                      follows  options",
    "┌──  reserve  function  reserve-stock             -",
    "├─┬  charge   function  charge                    reserve  3 tries",
    "│ └  approve  wait      approval                  reserve  when data.total > 1000; at most 1 min 30 s",
    "├─┬  #3       sleep     1 h                       charge",
    "│ └  #4       sleep     until results.approve.at  approve  on error alert",
    "└──  #5       function  thank                     #3, #4   expects result.ok; goes on after an error",
  ]);
});

test("items, child jobs, undo and what is called on failure are drawn, children below their entries", () => {
  const functions: FunctionSpec[] = [
    { id: "reserve", name: "reserve-stock", undo: "release-stock" },
    { id: "charge", name: "charge", undo: { name: "refund", retry_options: { retry_limit: 20 } } },
    { id: "pick", name: "pick", for_each: "data.items", concurrency: 20, tolerate: "5%" },
    { id: "invoice", job: { functions: [{ name: "make" }, { name: "send" }], timeout_ms: 60_000 }, needs: ["charge"] },
    { name: "thank", on_error: "continue" },
  ];
  const drawn = drawGraph(
    { name: "order", functions, on_failure: { name: "alert", retry_options: { retry_limit: 3 } } },
    120,
  );
  assert.equal(drawn.split("\n"), [
    "order: 5 entries in 4 steps",
    "",
    "         id       kind      name              follows        options",
    "┌──      reserve  function  reserve-stock     -              ⟲ release-stock",
    "├──      charge   function  charge            reserve        ⟲ refund (20 tries)",
    "├─┬      pick     function  pick ×data.items  charge         20 at a time; 5% may fail",
    "│ └      invoice  job       -                 charge         at most 1 min",
    "│   ┌──  #0       function  make              -",
    "│   └──  #1       function  send              #0",
    "└──      #4       function  thank             pick, invoice  goes on after an error",
    "",
    "on failure: alert (3 tries)",
  ]);
});

test("a child stands before what comes after its entry, in the last step and in a bracket as well", () => {
  const inner = (name: string): NonNullable<FunctionSpec["job"]> => ({
    name,
    functions: [{ name: "x" }, { name: "y", needs: [] }],
  });
  const functions: FunctionSpec[] = [
    { id: "a", job: inner("first") },
    { id: "b", job: { functions: [{ id: "deep", job: inner("deeper"), undo: "u" }], on_failure: "inner-alert" } },
    { id: "c", job: { $: "results.a.plan" }, for_each: 2_000, needs: ["a"], slice: 10, results: "none" },
  ];
  assert.equal(lines(functions), [
    "order: 3 entries in 2 steps",
    "",
    "             id    kind      name                        follows  options",
    "┌──          a     job       first                       -",
    "│   ──┬      #0    function  x                           -",
    "│     └      #1    function  y                           -",
    "└─┬          b     job       -                           a        on failure inner-alert",
    "  │ ───      deep  job       deeper                      -        ⟲ u",
    "  │     ──┬  #0    function  x                           -",
    "  │       └  #1    function  y                           -",
    "  └          c     job       from results.a.plan ×2,000  a        10 to a list; keeps no results",
  ]);
});

test("entries whose children are the same are one line, those of other children are not", () => {
  const child = (n: number) => ({ job: { functions: [{ name: `f${n}` }] }, needs: [] });
  assert.equal(lines(many(4, () => child(1))), [
    "order: 4 entries in 1 step",
    "",
    "         id       kind      name  follows",
    "───      #0 … #3  job × 4   -     -",
    "    ───  #0       function  f1    -",
  ]);
  assert.is(lines(many(4, child)).length, 3 + 8);
});

test("lists of items come from functions too, and all that is said of them is drawn", () => {
  const entry: FunctionSpec = {
    name: "a",
    for_each: { name: "s3.list" },
    context: true,
    retry_options: { retry_for_ms: 60_000 },
  };
  assert.equal(
    lines([entry])[3],
    "───  #0  function  a ×s3.list()  -        with the job's data and results; tries for 1 min",
  );
});

test("a job without order is one bracket, and the last step hangs below no line", () => {
  const all = many(3, (n) => ({ name: `f${n}`, needs: [] }));
  assert.equal(
    lines(all).map((line) => line.slice(0, 3)),
    ["ord", "", "   ", "──┬", "  ├", "  └"],
  );
  const fork: FunctionSpec[] = [
    { id: "a", name: "a" },
    { name: "b", needs: ["a"] },
    { name: "c", needs: ["a"] },
  ];
  assert.equal(
    lines(fork).map((line) => line.slice(0, 3)),
    ["ord", "", "   ", "┌──", "└─┬", "  └"],
  );
});

test("entries that are the same but for their ids are one line", () => {
  const fan = [
    { id: "start", name: "start" },
    ...many(50, (n) => ({ id: `f${n}`, name: "fetch", needs: ["start"] })),
    { id: "other", name: "other", needs: ["start"] },
    { name: "join" },
  ];
  assert.equal(lines(fan), [
    "order: 53 entries in 3 steps",
    "",
    "     id        kind           name   follows",
    "┌──  start     function       start  -",
    "├─┬  f0 … f49  function × 50  fetch  start",
    "│ └  other     function       other  start",
    "└──  #52       function       join   f0, f1, f2 and 48 more",
  ]);
});

test("two that are the same are two lines, as are those of other options or needs", () => {
  const drawn = (functions: FunctionSpec[]) => lines(functions).length - 3;
  assert.is(drawn(many(2, () => ({ name: "a", needs: [] }))), 2);
  assert.is(drawn(many(3, () => ({ name: "a", needs: [] }))), 1);
  assert.is(drawn(many(3, (n) => ({ name: "a", needs: [], when: `data.x == ${n}` }))), 3);
});

test("of a thousand steps the first and the last are drawn, with a line that says how many more there are", () => {
  const drawn = lines(many(1_000, (n) => ({ name: `step${n}` })));
  assert.is(drawn.length, 103);
  assert.is(drawn[0], "order: 1,000 entries in 1,000 steps");
  assert.match(drawn[92] ?? "", /^├── {2}#89 /);
  assert.is(drawn[93], "⋮    901 more entries");
  assert.match(drawn[94] ?? "", /^├── {2}#991 /);
  assert.match(drawn.at(-1) ?? "", /^└── {2}#999 +function +step999 +#998$/);
});

test("a thousand that differ, in one step, are cut too", () => {
  const drawn = lines(many(1_000, (n) => ({ name: `f${n}`, needs: [] })));
  assert.is(drawn.length, 103);
  assert.is(drawn[93], "⋮    901 more entries");
  assert.match(drawn.at(-1) ?? "", /^ {2}└ {2}#999 /);
});

test("it fits the terminal: options go first, then names and what is followed are cut", () => {
  const functions: FunctionSpec[] = [
    { id: "reserve", name: "warehouse.reserve-all-of-the-stock", retry_options: { retry_limit: 5 } },
    { id: "approve", wait_for: "approval", needs: ["reserve"] },
    { id: "charge", name: "charge", needs: ["reserve"] },
    { name: "thank", when: "data.total > 1000" },
  ];
  for (const width of [50, 60, 80]) {
    for (const line of lines(functions, width)) assert.ok(textWidth(line) <= width, line);
    assert.is(lines(functions, width).join("\n").includes("options"), width >= 60);
  }
});

test("control characters of names and expressions do not reach the terminal", () => {
  const drawn = drawGraph({ name: "a\u001b[2Jb", functions: [{ name: "a", when: "data.x\n== '\u001b[0m'" }] }, 120);
  assert.not.match(drawn, "\u001b");
  assert.match(drawn, "when data.x == ");
});

test.run();
