/** The pure parts of the scale measurements: growth, axes, plots, job counts, and what is kept. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { logAxis, tickLabel } from "../../bench/scale/axis.ts";
import { calibrate, scaledCount } from "../../bench/scale/counts.ts";
import { type DimensionResult, growthTable, totalOf } from "../../bench/scale/dimension.ts";
import { growthOf, type Point, verdictOf } from "../../bench/scale/growth.ts";
import { askedOf } from "../../bench/scale/options.ts";
import { renderPage } from "../../bench/scale/page.ts";
import { type Plot, renderPlot } from "../../bench/scale/plot.ts";
import { mergeResults } from "../../bench/scale/results.ts";

const COUNTS = [1, 10, 100, 1_000, 10_000];
const powerLaw = (exponent: number) => COUNTS.map((n): Point => [n, 3 * n ** exponent]);

function near(actual: number | undefined, expected: number): void {
  assert.ok(Math.abs((actual ?? Number.NaN) - expected) < 1e-9, `${actual} is not ${expected}`);
}

test("the exponent of a power law is found, without an error", () => {
  for (const exponent of [0, 0.5, 1, 2]) {
    const growth = growthOf(powerLaw(exponent));
    near(growth?.exponent, exponent);
    near(growth?.last, exponent);
    near(growth?.error, 0);
  }
});

test("only the upper half of the range counts, and at least three points of it", () => {
  const bent = COUNTS.map((n): Point => [n, n < 100 ? 7 : n ** 2]);
  near(growthOf(bent)?.exponent, 2);
  assert.is(growthOf(bent)?.points, 3);
  assert.is(growthOf(COUNTS.slice(0, 4).map((n): Point => [n, n]))?.points, 3);
  assert.is(growthOf(Array.from({ length: 9 }, (_, i): Point => [2 ** i, 2 ** i]))?.points, 5);
});

test("the order of the points does not matter, and what has no logarithm is left out", () => {
  const points: Point[] = [[0, 1], [10, Number.NaN], ...powerLaw(1.5).reverse(), [100_000, 0]];
  near(growthOf(points)?.exponent, 1.5);
});

test("the error is that of a regression: known data have the known one", () => {
  // ln n: 0, 1, 2 and ln cost: 0, 1, 3. Slope 1.5, residuals 1/6, -1/3, 1/6.
  const growth = growthOf([
    [1, 1],
    [Math.E, Math.E],
    [Math.E ** 2, Math.E ** 3],
  ]);
  near(growth?.exponent, 1.5);
  near(growth?.error, Math.sqrt(1 / 6 / 1 / 2));
  near(growth?.last, 2);
});

test("fewer than three points tell nothing", () => {
  assert.is(growthOf(powerLaw(1).slice(0, 2)), undefined);
  assert.is(verdictOf(undefined), "too few points");
});

test("only what is beyond 1.15 by more than its error grows faster than linearly", () => {
  const verdict = (exponent: number, error: number) => verdictOf({ exponent, error, last: exponent, points: 3 });
  assert.is(verdict(1, 0), "not faster than linearly");
  assert.is(verdict(1.15, 0), "not faster than linearly");
  assert.is(verdict(1.2, 0.1), "not clear");
  assert.is(verdict(1.2, 0.01), "faster than linearly");
  assert.is(verdict(2, 0.5), "faster than linearly");
});

test("the cost of one more becomes that of all; a flat one is linear", () => {
  const flat = { name: "flat", points: COUNTS.map((n): Point => [n, 5]) };
  assert.equal(totalOf(flat).points[4], [10_000, 50_000]);
  const [row] = growthTable("jobs", [totalOf(flat)]).rows;
  near(row?.exponent as number, 1);
  assert.is(row?.verdict, "not faster than linearly");
});

test("an axis has whole decades with a tick at each power of ten", () => {
  const axis = logAxis([3, 40, 700]);
  assert.equal(axis.ticks, [1, 10, 100, 1_000]);
  assert.is(axis.position(1), 0);
  near(axis.position(10), 1 / 3);
  assert.is(axis.position(1_000), 1);
});

test("values on powers of ten need no decade beyond them, a single one has a decade, small ones have ticks too", () => {
  assert.equal(logAxis([1, 100]).ticks, [1, 10, 100]);
  assert.equal(logAxis([10, 10]).ticks, [10, 100]);
  assert.equal(logAxis([0.02, 0.5]).ticks, [0.01, 0.1, 1]);
  assert.equal(logAxis([]).ticks, [1, 10]);
  assert.equal(logAxis([0, -1, Number.NaN]).ticks, [1, 10]);
});

test("ticks are short", () => {
  assert.equal([0.01, 0.1, 1, 100, 1e3, 1e5, 1e6, 1e9].map(tickLabel), [
    ...["0.01", "0.1", "1", "100"],
    ...["1k", "100k", "1M", "1G"],
  ]);
});

const PLOT: Plot = {
  file: "some",
  title: 'a < b & "c"',
  xTitle: "jobs",
  yTitle: "µs",
  series: [
    { name: "async", points: powerLaw(1) },
    { name: "a <floor>", points: [...powerLaw(0.5), [0, 1], [1, Number.NaN]] },
    { name: "nothing", points: [] },
  ],
};

/** Names of the elements in the order in which they are closed. @throws Error if the text is not well-formed */
function elementsOf(xml: string): string[] {
  const open: string[] = [];
  const closed: string[] = [];
  let rest = xml.trim();
  const token = /^(?:[^<&>]|&#\d+;)*(?:<(\/?)([a-z]+)((?:\s+[a-zA-Z0-9:-]+="(?:[^"<&]|&#\d+;)*")*)\s*(\/?)>)?/;
  while (rest.length > 0) {
    const [whole = "", closing, name, attributes = "", empty] = token.exec(rest) ?? [];
    assert.ok(whole.length > 0, `not well-formed at: ${rest.slice(0, 80)}`);
    const names = [...attributes.matchAll(/\s([a-zA-Z0-9:-]+)=/g)].map((match) => match[1]);
    assert.is(new Set(names).size, names.length, `an attribute twice: ${whole}`);
    if (name && closing) assert.is(open.pop(), name);
    if (name && !closing && !empty) open.push(name);
    if (name && (closing || empty)) closed.push(name);
    rest = rest.slice(whole.length);
  }
  assert.equal(open, []);
  return closed;
}

test("a plot is well-formed SVG, whatever its titles and names are", () => {
  const svg = renderPlot(PLOT);
  const elements = elementsOf(svg);
  assert.is(elements.at(-1), "svg");
  assert.match(svg, 'xmlns="http://www.w3.org/2000/svg"');
  assert.match(svg, "a &#60; b &#38; &#34;c&#34;");
  assert.match(svg, "prefers-color-scheme: dark");
});

test("each series has a curve with its points, and its name in the legend", () => {
  const svg = renderPlot(PLOT);
  assert.is(svg.match(/<polyline/g)?.length, 3);
  // Two of five points each, and one in the legend for each of three.
  assert.is(svg.match(/<circle/g)?.length, 5 + 5 + 3);
  for (const name of ["async", "a &#60;floor&#62;", "nothing"]) assert.match(svg, `>${name}</text>`);
  assert.not.match(svg, "NaN");
  assert.not.match(svg, "Infinity");
});

test("nothing is drawn outside of the picture", () => {
  const names = ["async, 1 function", "floor, 1 function", "async, 3 functions", "floor, 3 functions"];
  const svg = renderPlot({ ...PLOT, series: names.map((name) => ({ name, points: powerLaw(1) })) });
  for (const name of names) {
    const x = Number(new RegExp(`<text x="([\\d.]+)" y="[\\d.]+">${name}<`).exec(svg)?.[1]);
    assert.ok(x > 0 && x + name.length * 6.5 < 720, `${name} at ${x}`);
  }
  for (const [, x, y] of svg.matchAll(/<circle cx="([\d.-]+)" cy="([\d.-]+)"/g)) {
    assert.ok(Number(x) >= 0 && Number(x) <= 720 && Number(y) >= 0 && Number(y) <= 460, `${x}, ${y}`);
  }
});

test("a plot without any point is one all the same", () => {
  elementsOf(renderPlot({ ...PLOT, series: [] }));
});

const LIMITS = { minimum: 10, maximum: 5_000 };

test("the count is what lasts as long as it should, of two digits and within the limits", () => {
  assert.is(scaledCount({ jobs: 100, ms: 100 }, 1_234, LIMITS), 1_200);
  assert.is(scaledCount({ jobs: 10, ms: 1_000 }, 1_700, LIMITS), 17);
  assert.is(scaledCount({ jobs: 100, ms: 10_000 }, 100, LIMITS), 10);
  assert.is(scaledCount({ jobs: 100, ms: 1 }, 1_000, LIMITS), 5_000);
  assert.is(scaledCount({ jobs: 100, ms: 0 }, 1_000, LIMITS), 5_000);
});

/** A system in which a job takes a given time; tells how many jobs were tried, and how often they were checked. */
function fakeSystem(msPerJob: number) {
  const tried: number[] = [];
  let checks = 0;
  const check = async () => {
    checks += 1;
  };
  const run = async ({ jobs }: { jobs: number }) => {
    tried.push(jobs);
    return { submittedMs: 0, doneMs: jobs * msPerJob, check };
  };
  return { run, tried, checks: () => checks };
}

test("the count is found by trying ever more jobs, each try is checked, and it ends", async () => {
  const load = { functions: 1, payloadBytes: 0 };
  const slow = fakeSystem(100);
  assert.is(await calibrate(slow, load, 1_000, LIMITS), 10);
  assert.equal(slow.tried, [10]);
  const fast = fakeSystem(0.5);
  assert.is(await calibrate(fast, load, 1_000, LIMITS), 2_000);
  assert.equal(fast.tried, [10, 1_000]);
  assert.is(fast.checks(), 2);
  const free = fakeSystem(0);
  assert.is(await calibrate(free, load, 1_000, LIMITS), 5_000);
  assert.is(free.tried.at(-1), 5_000);
});

function resultOf(name: string, date: string): DimensionResult {
  const machine = {
    ...{ cpu: "some", cores: 2, memoryGb: 8, system: "linux", node: "20", async: "1", natsServer: "2.14" },
    durability: "fast",
  };
  const tables = [{ title: `${name} table`, columns: [{ key: "n", title: "n" }], rows: [{ n: 1_000 }] }];
  return { name, question: "What?", date, seconds: 3, quick: false, machine, tables, plots: [{ ...PLOT, file: name }] };
}

test("a dimension that is measured again replaces its older results; the others stay", () => {
  const older = [resultOf("b", "2025-01-01"), resultOf("a", "2025-01-01"), resultOf("gone", "2025-01-01")];
  const merged = mergeResults(older, [resultOf("b", "2025-02-02"), resultOf("c", "2025-02-02")], ["a", "b", "c"]);
  assert.equal(
    merged.map(({ name, date }) => `${name} ${date}`),
    ["a 2025-01-01", "b 2025-02-02", "c 2025-02-02"],
  );
});

test("the page shows each dimension with its tables, plots and machine", () => {
  const page = renderPage([resultOf("stored", "2025-01-01"), resultOf("payload", "2025-01-02")]);
  for (const text of ["## stored", "](payload.svg)", "  1,000\n", "nats-server 2.14", "2025-01-02"]) {
    assert.ok(page.includes(text), text);
  }
});

test("results of the quick form are kept only where one is told to; unknown dimensions are refused", () => {
  assert.is(askedOf([]).folder, "bench/results");
  assert.is(askedOf([]).dimensions.length, 5);
  assert.is(askedOf(["--quick"]).folder, undefined);
  assert.is(askedOf(["--quick", "--out", "there"]).folder, "there");
  const some = askedOf(["--dimension", "payload", "--dimension", "stored"]).dimensions;
  assert.equal(
    some.map(({ name }) => name),
    ["stored", "payload"],
  );
  assert.throws(() => askedOf(["--dimension", "depth"]), /one of stored, waiting, functions, processes, payload/);
  assert.throws(() => askedOf(["--nats", "x"]));
});

test.run();
