/** What items there are, how many may fail, what a function that lists them may answer. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  itemAt,
  nextRun,
  partCount,
  readPage,
  shortError,
  sizeOfPart,
  toleratedFailures,
  tooManyFailures,
} from "../../src/job/items.ts";
import type { ItemsState } from "../../src/job/items-state.ts";

const test = suite("items");

test("an item is one of a list, a number, or a slice of either", () => {
  const list = ["a", "b", "c", "d", "e"];
  assert.is(itemAt({ list, slice: undefined, length: 5 }, 3), "d");
  assert.is(itemAt({ list: undefined, slice: undefined, length: 5 }, 3), 3);
  assert.equal(itemAt({ list, slice: 2, length: 5 }, 1), ["c", "d"]);
  assert.equal(itemAt({ list, slice: 2, length: 5 }, 2), ["e"]);
  assert.equal(itemAt({ list: undefined, slice: 3, length: 7 }, 2), [6]);
});

test("parts have 128 items, and the last one what is left", () => {
  assert.is(partCount(0), 0);
  assert.is(partCount(128), 1);
  assert.is(partCount(129), 2);
  assert.equal(
    [0, 1, 2, 3].map((part) => sizeOfPart({ count: 300 }, part)),
    [128, 128, 44, 0],
  );
  assert.is(sizeOfPart({ listed: 130 }, 1), 2);
});

test("a count of failures is tolerated as it is, a share of all of them", () => {
  assert.is(toleratedFailures(undefined, 100), 0);
  assert.is(toleratedFailures(7, undefined), 7);
  assert.is(toleratedFailures("5%", 100), 5);
  assert.is(toleratedFailures("1.5%", 200), 3);
  assert.is(toleratedFailures("0.07%", 10_000), 7); // 0.07 * 10000 is 700.0000000000001
  assert.is(toleratedFailures("1%", 99), 0);
  assert.is(toleratedFailures("100%", 3), 3);
});

test("a share is of nothing as long as it is not known of how many", () => {
  assert.is(toleratedFailures("0%", undefined), Number.POSITIVE_INFINITY);
});

test("too many failures say how many there were, of how many, and the last error", () => {
  const last = { code: "function_failed", name: "Error", message: "no luck" } as const;
  assert.is(tooManyFailures(3, 200, last).message, "3 of 200 items have failed; the last one: no luck");
  assert.is(tooManyFailures(3, undefined, undefined).message, "3 items have failed");
});

test("of an error as much is kept as fits into a part", () => {
  const long = "x".repeat(5_000);
  const short = shortError({ code: "function_failed", name: "Error", message: long, stack: long });
  assert.is(short.message.length, 1_000);
  assert.is(short.stack?.length, 1_000);
  assert.ok(shortError({ code: "function_failed", name: "E", message: `${"x".repeat(999)}😀` }).message.isWellFormed());
});

test("a page has items and maybe a cursor", () => {
  assert.equal(readPage({ items: [1, 2] }, undefined, null, 0), { items: [1, 2], cursor: undefined });
  assert.equal(readPage({ items: [], cursor: "b" }, undefined, "a", 0), { items: [], cursor: "b" });
  assert.equal(readPage({ items: [1, 2, 3], cursor: null }, 2, null, 0), { items: [[1, 2], [3]], cursor: undefined });
});

test("what is no page is refused, with a reason", () => {
  const problemOf = (answer: unknown, cursor: unknown = null, listed = 0) => {
    const page = readPage(answer, undefined, cursor, listed);
    return "problem" in page ? page.problem : "";
  };
  assert.match(problemOf(null), /must be \{items, cursor\?\}, and is null/);
  assert.match(problemOf([1]), /and is list/);
  assert.match(problemOf({ items: {} }), /must have a list in items, and has map/);
  assert.match(problemOf({}), /and has null/);
  assert.match(problemOf({ items: [], cursor: { at: 1 } }, { at: 1 }), /for ever/);
  assert.match(problemOf({ items: [1] }, null, 10_000_000), /more than 10000000/);
});

test("a new run goes through all parts again, and knows how far the ones before have come", () => {
  const before: ItemsState = {
    run: 1,
    list: 1,
    count: 300,
    next: 3,
    open: [1],
    done: 128,
    failed: 2,
    bytes: 9,
    rested: true,
  };
  assert.equal(nextRun(before, 300), {
    run: 2,
    list: 1,
    count: 300,
    next: 0,
    open: [],
    done: 0,
    failed: 0,
    reached: 3,
  });
  assert.is(nextRun(nextRun(before, 300), 300).reached, 3);
});

test("other items than before are a new list", () => {
  const before = nextRun(undefined, 300);
  assert.equal(nextRun(before, 200), { run: 2, list: 2, count: 200, next: 0, open: [], done: 0, failed: 0 });
});

test("what was listed stays listed, and listing goes on where it was", () => {
  const before: ItemsState = { ...nextRun(undefined, undefined), listed: 1_000, cursor: "c", next: 4 };
  const next = nextRun(before, undefined);
  assert.equal([next.list, next.listed, next.cursor, next.next, next.reached], [1, 1_000, "c", 0, 4]);
});

test.run();
