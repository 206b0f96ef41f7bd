/** Parts of items: what becomes of each item, how that is stored and read, and what counts if two have written it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../src/bus/messages/codec.ts";
import {
  isPartOf,
  itemKey,
  itemResultKey,
  openedPart,
  outcomesIn,
  ownerOfItems,
  packPart,
  packValue,
  partKey,
  readPart,
  readValue,
} from "../../src/bus/store/item-parts.ts";
import {
  ItemPart,
  type ItemTrial,
  type PartOwner,
  trialFunction,
  trialOfItem,
  UNCERTAIN,
  UNDO_FAILED,
  UNDONE,
} from "../../src/job/item-part.ts";

const test = suite("item parts");
const owner: PartOwner = { created_at: 1_700_000_000_000, runs: 0, list: 1 };
const result = (value: unknown) => encode(value, "msgpack");
const failed = (message: string, retry_count = 1): ItemTrial => ({
  retry_count,
  failures: retry_count,
  error: { code: "function_failed", name: "Error", message },
});

function stored(part: ItemPart, of = owner) {
  const read = readPart(packPart(of, part));
  if (!read) throw new Error("it cannot be read");
  return read;
}

/** As who takes the job over finds it. */
const reopened = (part: ItemPart) => openedPart(part.number, stored(part));

test("a part is read as it was stored", () => {
  const part = new ItemPart(3, 2);
  part.setDone(0, undefined, 1);
  part.setDone(1, result({ a: [1, "x", null] }), 4);
  part.setDone(2, 10_000, 1);
  part.setFailed(5, failed("no"));
  part.setTried(6, { retry_count: 2, lost: 1, due_at: 1_700_000_000_500, last_progress: { at: 3 } });
  part.mark(6, UNCERTAIN);
  const read = reopened(part);
  assert.equal([read.number, read.run, read.unwind, read.first], [3, 2, undefined, 384]);
  assert.equal([...read.states], [...part.states]);
  assert.equal(read.results[1], part.results[1]);
  assert.is(read.results[2], 10_000);
  assert.equal([...read.trials], [...part.trials]);
  assert.equal([read.done, read.failed, read.ended], [3, 1, 4]);
  assert.equal(
    [...outcomesIn(stored(part))].map(({ offset, result: value, bytes }) => [offset, value, bytes]),
    [
      [0, undefined, undefined],
      [1, { a: [1, "x", null] }, undefined],
      [2, undefined, 10_000],
      [5, undefined, undefined],
      [6, undefined, undefined],
    ],
  );
});

test("128 items with the result null take a byte each", () => {
  const part = new ItemPart(0, 1);
  for (let offset = 0; offset < 128; offset++) part.setDone(offset, undefined, 1);
  const bytes = packPart(owner, part).length;
  assert.ok(bytes <= 128 + 32, `${bytes} bytes`);
});

test("results take little more than they do by themselves", () => {
  const part = new ItemPart(0, 1);
  let alone = 0;
  for (let offset = 0; offset < 128; offset++) {
    const bytes = result({ id: offset, name: "x".repeat(100) });
    alone += bytes.length;
    part.setDone(offset, bytes, 1);
  }
  assert.ok(packPart(owner, part).length <= alone + 128 + 40);
  assert.is(part.resultBytes, alone);
});

test("what was listed is kept, without what is apart", () => {
  const part = new ItemPart(0, 1);
  part.items = ["a", "large", { b: 1 }];
  part.itemsApart.add(1);
  const read = reopened(part);
  assert.equal(read.items, ["a", undefined, { b: 1 }]);
  assert.equal([...read.itemsApart], [1]);
});

test("progress that is large is not kept", () => {
  const part = new ItemPart(0, 1);
  part.setTried(0, { retry_count: 1, last_progress: "x".repeat(2_000) });
  assert.equal([...reopened(part).trials], [[0, { retry_count: 1 }]]);
});

test("what strangers have stored is none, and never throws", () => {
  const part = new ItemPart(0, 1);
  part.setDone(0, result("x"), 1);
  part.setFailed(1, failed("no"));
  const good = packPart(owner, part);
  assert.ok(readPart(good));
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("{}"),
    Buffer.from([0xc1]),
    Buffer.from([0x90]),
    encode({}, "msgpack"),
  ])
    assert.is(readPart(bytes), undefined);
  for (let length = 0; length < good.length; length++) assert.is(readPart(good.subarray(0, length)), undefined);
  for (let at = 0; at < good.length; at++) {
    for (const byte of [0, 0x7f, 0x80, 0x9f, 0xc0, 0xdc, 0xff]) {
      const bent = Buffer.from(good);
      bent[at] = byte;
      const read = readPart(bent);
      if (read) assert.ok(openedPart(0, read).ended <= 128);
    }
  }
});

test("what is of another job, or another list, is of others", () => {
  assert.ok(isPartOf({ ...owner, created_at: owner.created_at + 1 }, owner)); // read from text and from a number
  assert.not.ok(isPartOf({ ...owner, created_at: owner.created_at + 2 }, owner));
  assert.not.ok(isPartOf({ ...owner, runs: 1 }, owner));
  assert.not.ok(isPartOf({ ...owner, list: 2 }, owner));
});

test("a value that is stored by itself says whose it is", () => {
  const bytes = packValue(owner, 0, result({ a: 1 }));
  assert.equal(readValue(bytes, owner), { again: 0, value: { a: 1 } });
  assert.is(readValue(bytes, { ...owner, list: 2 }), undefined);
  for (const stranger of [Buffer.alloc(0), Buffer.from("x"), Buffer.from([0xc1]), encode([1, 2], "msgpack")])
    assert.is(readValue(stranger, owner), undefined);
});

test("keys say whose items they are of", () => {
  for (const key of [partKey("j-1", 0, 7), itemKey("j-1", 2, 300), itemResultKey("j-1", 2, 300)])
    assert.is(ownerOfItems(key), "j-1");
  for (const key of [
    "j-1",
    "j-1.definition",
    "j-1.signal.items",
    "j-1.result.3",
    "j-1.items.0",
    "j-1.items.0.x",
    "-.items.0",
  ])
    assert.is(ownerOfItems(key), undefined, key);
});

test("a new run keeps what is done, and begins anew what has failed", () => {
  const part = new ItemPart(0, 1);
  part.setDone(0, result("a"), 1);
  part.setFailed(1, failed("no", 3));
  part.setTried(2, { retry_count: 2, failures: 2 });
  assert.ok(part.beginRun(2));
  assert.ok(part.isDone(0));
  assert.ok(part.isOpen(1));
  // Attempts go on being counted, their failures do not.
  assert.equal(
    [...part.trials],
    [
      [1, { retry_count: 3 }],
      [2, { retry_count: 2 }],
    ],
  );
  assert.equal([part.done, part.failed], [1, 0]);
  assert.not.ok(part.beginRun(2));
});

test("PART-1: what was undone begins anew in the next run, under another key", () => {
  const part = new ItemPart(0, 1);
  part.setDone(0, result("a"), 1);
  part.setDone(1, result("b"), 1);
  part.beginUndo(1, false);
  part.mark(0, UNDONE);
  part.mark(1, UNDO_FAILED);
  assert.not.ok(part.isToBeUndone(0));
  assert.not.ok(part.isToBeUndone(1));
  part.beginUndo(2, false);
  assert.ok(part.isToBeUndone(1)); // another undo tries again
  assert.not.ok(part.isToBeUndone(0));
  part.beginRun(2);
  assert.ok(part.isOpen(0));
  assert.is(part.trials.get(0)?.again, 2);
  assert.ok(part.isDone(1));
});

test("what may have been done is undone, and what has failed with an answer is not", () => {
  const part = new ItemPart(0, 1);
  part.setDone(0, undefined, 1);
  part.setFailed(1, failed("no"));
  part.mark(2, UNCERTAIN);
  assert.equal(
    [0, 1, 2, 3].map((offset) => part.isToBeUndone(offset)),
    [true, false, true, false],
  );
  part.setDone(2, undefined, 2);
  assert.not.ok(part.has(2, UNCERTAIN));
});

test("an undo of children keeps in which run they have ended", () => {
  const part = new ItemPart(0, 1);
  part.setDone(0, undefined, 3);
  part.beginUndo(0, true);
  assert.is(part.trials.get(0)?.retry_count, 3);
});

test("PART-2: what others have stored counts, and what they do not know of is added", () => {
  const ours = new ItemPart(0, 1);
  ours.setDone(0, result("ours"), 1);
  ours.setDone(1, result("only ours"), 1);
  ours.setFailed(2, failed("ours"));
  const theirs = new ItemPart(0, 1);
  theirs.setDone(0, result("theirs"), 1);
  theirs.setDone(2, result("theirs"), 2);
  theirs.setFailed(3, failed("theirs"));
  assert.equal(ours.absorb(reopened(theirs)), [0, 2, 3]);
  assert.equal(
    [...outcomesIn(stored(ours))].map(({ offset, state, result: value }) => [offset, state, value]),
    [
      [0, 2, "theirs"],
      [1, 2, "only ours"],
      [2, 2, "theirs"],
      [3, 4, undefined],
    ],
  );
  assert.equal([ours.done, ours.failed], [3, 1]);
  assert.is(ours.trials.get(3)?.error?.message, "theirs");
  assert.equal(ours.absorb(reopened(ours)), []); // a write of our own, of which the answer was lost
});

test("what others have failed in a run before is not taken over", () => {
  const ours = new ItemPart(0, 2);
  const theirs = new ItemPart(0, 1);
  theirs.setFailed(0, failed("before"));
  theirs.setDone(1, result("done"), 1);
  assert.equal(ours.absorb(reopened(theirs)), [1]);
  assert.ok(ours.isOpen(0));
});

test("a part of failed items can be cut short, and says the same", () => {
  const part = new ItemPart(0, 1);
  for (let offset = 0; offset < 128; offset++) {
    const { error, ...trial } = failed("x".repeat(1_000), 3);
    part.setFailed(offset, {
      ...trial,
      ...(error && { error: { ...error, stack: "y".repeat(1_000) } }),
      last_progress: 1,
    });
  }
  part.shorten();
  assert.ok(packPart(owner, part).length < 32 * 1024);
  assert.is(part.failed, 128);
  const error = { code: "function_failed", name: "Error", message: "x".repeat(100) };
  assert.equal(part.trials.get(7), { retry_count: 3, failures: 3, error });
});

test("the trials of an item are those of its function", () => {
  const base = { name: "f", retry_count: 0, retry_options: { retry_limit: 3 } };
  assert.is(trialFunction(base, undefined), base);
  const fn = trialFunction(base, { retry_count: 2, failures: 2, due_at: 5, again: 2 });
  assert.equal(fn, { ...base, retry_count: 2, failures: 2 });
  assert.equal(trialOfItem({ ...fn, lost: 1 }, { retry_count: 1, again: 2 }, 9), {
    retry_count: 2,
    failures: 2,
    lost: 1,
    due_at: 9,
    again: 2,
  });
});

test.run();
