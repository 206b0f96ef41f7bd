import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { FunctionState } from "../../src/job/function-state.ts";
import { changedIndexes, functionList } from "../../src/job/functions.ts";

const some = (count: number): FunctionState[] =>
  Array.from({ length: count }, (_, index) => ({ name: `f${index}`, retry_count: 0 }));

test("functions are what an array of them is, however many there are, and a change leaves what was before", () => {
  const change = fc.record({ index: fc.nat(), retry_count: fc.nat() });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.array(change, { maxLength: 20 }), (count, changes) => {
      let array = some(count);
      let list = functionList(some(count));
      for (const { index: anywhere, retry_count } of changes) {
        const before = { array, list };
        const index = anywhere % count;
        const fn = { name: "changed", retry_count };
        array = array.with(index, fn);
        list = list.with(index, fn);
        assert.is(list.at(index), fn);
        assert.equal([...before.list], before.array);
      }
      assert.is(list.length, count);
      assert.equal([...list], array);
      assert.equal(
        array.map((_, index) => list.at(index)),
        array,
      );
      assert.equal(
        list.map(({ name }, index) => [name, index]),
        array.map(({ name }, index) => [name, index]),
      );
      const half = Math.floor(count / 2);
      assert.equal(list.slice(half, count), array.slice(half));
    }),
  );
});

test("what has changed since an earlier list is found, however many there are and however often it was changed", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.array(fc.nat(), { maxLength: 20 }), (count, places) => {
      const before = functionList(some(count));
      let list = before;
      for (const place of places) list = list.with(place % count, { name: "changed", retry_count: 1 });
      const changed = [...new Set(places.map((place) => place % count))].sort((a, b) => a - b);
      assert.equal(changedIndexes(list, before), changed);
    }),
  );
});

test("there is no function beyond the last", () => {
  for (const count of [3, 100]) {
    const list = functionList(some(count));
    assert.is(list.at(count), undefined);
    assert.throws(() => list.with(count + 50, { name: "f", retry_count: 0 }), RangeError);
  }
});

test.run();
