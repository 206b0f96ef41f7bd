/** Checks of documents to which anything may have been done: they are accepted, or refused with reasons. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import { checkJob, MAX_REASONS, parseDocument, parseSubmission } from "../../src/job/check.ts";
import { isGraphDocument } from "../../src/job/document.ts";
import { InvalidInputError } from "../../src/job/errors.ts";
import { ALL, CHILD, MODEL } from "../support/model-documents.ts";
import { NOW } from "./support.ts";

const paths = (input: unknown) => checkJob(input, { now: NOW }).map(({ path }) => path);

/** All places in a value, by their keys from the top. */
function placesIn(value: unknown, way: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [way];
  const inner = Object.entries(value).flatMap(([key, one]) => placesIn(one, [...way, key]));
  return [way, ...inner];
}

function changed(document: unknown, way: readonly (string | number)[], change: Change): unknown {
  const copy = structuredClone(document) as Record<string, unknown>;
  const last = way.at(-1);
  if (last === undefined) return change.type === "set" ? change.value : copy;
  let holder: Record<string | number, unknown> = copy;
  for (const key of way.slice(0, -1)) holder = holder[key] as typeof holder;
  if (change.type === "set") holder[last] = change.value;
  else if (change.type === "add") Object.assign(holder, { [change.key]: change.value });
  else if (change.type === "copy") Object.assign(holder, { [change.key]: structuredClone(holder[last]) });
  else if (Array.isArray(holder)) holder.splice(Number(last), 1);
  else delete holder[last];
  return copy;
}

type Change =
  | { type: "set"; value: unknown }
  | { type: "add" | "copy"; key: string; value?: unknown }
  | { type: "remove" };

const PLACES = [MODEL, ALL].flatMap((document) => placesIn(document).map((way) => ({ document, way })));
const KEYS = ["name", "job", "for_each", "undo", "needs", "id", "functions", "data", "$", "on_failure", "when", "x"];
const value = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    undefined,
    5,
    -1,
    0.5,
    "",
    "a b",
    "data.x",
    "results.list",
    "item",
    "1 +",
    [],
    {},
    true,
  ),
  fc.constantFrom<unknown>(
    CHILD,
    { name: "x" },
    { $: "results.own" },
    { $: 5 },
    ["list"],
    [null],
    [CHILD],
    new Date(0),
  ),
  fc.anything({
    maxDepth: 2,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withTypedArray: true,
    withSparseArray: true,
  }),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: fc.constant("set" as const), value }),
  fc.record({ type: fc.constant("add" as const), key: fc.constantFrom(...KEYS), value }),
  fc.record({ type: fc.constant("copy" as const), key: fc.constantFrom(...KEYS) }),
  fc.constant({ type: "remove" as const }),
);

test("whatever is done to a document, it is accepted or refused with reasons, each fault once", () => {
  let accepted = 0;
  let refused = 0;
  const property = fc.property(fc.constantFrom(...PLACES), change, fc.boolean(), ({ document, way }, one, asSent) => {
    const spoilt = changed(document, way, one);
    let input = spoilt;
    try {
      if (asSent) input = decode(encode(spoilt, "msgpack"), "msgpack");
    } catch {
      return; // it cannot be sent
    }
    try {
      const parsed = parseSubmission(input, NOW);
      accepted += 1;
      assert.is(parseSubmission(parsed, NOW), parsed, "what is left needs no further reading");
      assert.is(parseDocument(input, NOW).isGraph, isGraphDocument(parsed));
    } catch (error) {
      if (!(error instanceof InvalidInputError)) throw error;
      refused += 1;
      const { reasons } = error;
      assert.ok(reasons.length > 0 && reasons.length <= MAX_REASONS);
      const texts = reasons.map(({ path, message }) => `${path} ${message}`);
      assert.equal(texts, [...new Set(texts)], "each is told once");
      assert.equal(checkJob(input, { now: NOW }), reasons);
    }
  });
  fc.assert(property, { numRuns: 2_000 });
  assert.ok(accepted > 200 && refused > 200, `${accepted} accepted, ${refused} refused`);
});

test("a fault in one place is told of that place alone, or of what leans on it", () => {
  const leaves = placesIn(ALL).filter((way) => way.length > 2);
  for (const way of leaves) {
    const misspelt = changed(ALL, way, { type: "set", value: Symbol("no value of any document") });
    const found = paths(misspelt).map((path) => path.split("/").slice(1));
    const isAtPlace = found.some((path) => path.every((key, at) => String(way[at]) === key || at >= way.length));
    const isFree = way.includes("args") || way.includes("data");
    assert.ok(isAtPlace || isFree, `${way.join("/")}: ${found.map((path) => path.join("/"))}`);
  }
});

test("a document of many children is checked in a moment", () => {
  const child = (n: number) => ({
    id: `c${n}`,
    job: {
      data: { $: n === 0 ? "data" : `results.c${n - 1}` },
      functions: Array.from({ length: 20 }, (_, at) => ({
        id: `e${at}`,
        name: "a",
        when: at === 0 ? "true" : `!skipped.e${at - 1}`,
      })),
    },
  });
  const document = { name: "x", functions: Array.from({ length: 200 }, (_, n) => child(n)) };
  checkJob(ALL); // loads the library
  const begun = performance.now();
  assert.equal(paths(document), []);
  assert.ok(performance.now() - begun < 3_000);
});

test.run();
