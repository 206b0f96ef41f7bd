import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Queue } from "../../src/util/queue.ts";

interface Item {
  rank: number;
}

const newQueue = () => new Queue<Item>((item) => item.rank);

/** The queue as an array that is sorted by rank. */
class Model {
  readonly items: Item[] = [];
  readonly taken: Item[] = [];

  giveBack(item: Item): void {
    this.taken.splice(this.taken.indexOf(item), 1);
    const index = this.items.findIndex((other) => other.rank > item.rank);
    this.items.splice(index === -1 ? this.items.length : index, 0, item);
  }
}

test("items come out in the order in which they went in", () => {
  const queue = newQueue();
  const items = [1, 2, 3].map((rank) => ({ rank }));
  for (const item of items) queue.push(item);
  assert.is(queue.size, 3);
  assert.is(queue.peek(), items[0]);
  assert.equal([queue.shift(), queue.shift(), queue.shift()], items);
  assert.is(queue.size, 0);
});

test("an empty queue gives nothing", () => {
  const queue = newQueue();
  assert.is(queue.peek(), undefined);
  assert.is(queue.shift(), undefined);
  assert.is(queue.size, 0);
});

test("what is given back comes before the rest, in its old order, whatever the order of the giving", () => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
    [1, 0, 2],
  ]) {
    const queue = newQueue();
    for (let rank = 0; rank < 5; rank++) queue.push({ rank });
    const taken = [queue.shift(), queue.shift(), queue.shift()] as Item[];
    for (const index of order) queue.giveBack(taken[index] as Item);
    assert.is(queue.size, 5);
    assert.equal(
      Array.from({ length: 5 }, () => queue.shift()?.rank),
      [0, 1, 2, 3, 4],
    );
  }
});

/** Positive: push so many. Zero: take one. Negative: give back one of what was taken. */
const operation = fc.oneof(
  fc.integer({ min: 1, max: 5 }),
  fc.constant(0),
  fc.constant(0),
  fc.integer({ min: -100, max: -1 }),
);

test("whatever is done to it, the queue does as an array sorted by rank would", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const queue = newQueue();
      const model = new Model();
      let rank = 0;
      for (const one of operations) {
        if (one > 0) {
          for (let n = 0; n < one; n++) {
            const item = { rank: rank++ };
            queue.push(item);
            model.items.push(item);
          }
        } else if (one === 0) {
          const expected = model.items.shift();
          assert.is(queue.shift(), expected);
          if (expected) model.taken.push(expected);
        } else if (model.taken.length > 0) {
          const item = model.taken[-one % model.taken.length] as Item;
          queue.giveBack(item);
          model.giveBack(item);
        }
        assert.is(queue.size, model.items.length);
        assert.is(queue.peek(), model.items[0]);
      }
      for (const expected of model.items) assert.is(queue.shift(), expected);
      assert.is(queue.shift(), undefined);
    }),
    { numRuns: 500 },
  );
});

test("order and size survive more items than are kept before the taken ones are dropped", () => {
  const queue = newQueue();
  let pushed = 0;
  let taken = 0;
  for (let round = 0; round < 20; round++) {
    for (let n = 0; n < 500; n++) queue.push({ rank: pushed++ });
    for (let n = 0; n < 400; n++) assert.is(queue.shift()?.rank, taken++);
    assert.is(queue.size, pushed - taken);
  }
  while (taken < pushed) assert.is(queue.shift()?.rank, taken++);
  assert.is(queue.size, 0);
  queue.push({ rank: pushed });
  assert.is(queue.shift()?.rank, pushed);
});

test("what is not wanted any more is taken out, the order stays", () => {
  const queue = new Queue<number>((n) => n);
  for (let n = 0; n < 10; n++) queue.push(n);
  const taken = [queue.shift(), queue.shift(), queue.shift()];
  for (const n of taken) queue.giveBack(n as number);
  queue.keepOnly((n) => n % 2 === 1);
  assert.is(queue.size, 5);
  assert.equal(
    [1, 2, 3, 4, 5, 6].map(() => queue.shift()),
    [1, 3, 5, 7, 9, undefined],
  );
});

test.run();
