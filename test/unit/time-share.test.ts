import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TimeShare } from "../../src/util/time-share.ts";

const test = suite("time share");

/** Takes longer than a share. */
function long<T>(value: T): T {
  const end = performance.now() + 12;
  while (performance.now() < end);
  return value;
}

test("what is quick is done at once", () => {
  const share = new TimeShare();
  assert.is(
    share.run(() => 1),
    1,
  );
});

test("what takes long is done one after the other, in order, and other work has a turn in between", async () => {
  const share = new TimeShare();
  const order: string[] = [];
  let turns = 0;
  const count = () => {
    turns += 1;
    if (order.length < 5) setImmediate(count);
  };
  setImmediate(count);
  const work = ["a", "b", "c", "d", "e"].map((name) =>
    share.run(() => {
      order.push(`${name} after ${turns > 0 ? "a turn" : "none"}`);
      return long(name);
    }),
  );
  assert.equal(order, ["a after none"], "the first is done before `run` returns");
  assert.equal(await Promise.all(work), ["a", "b", "c", "d", "e"]);
  assert.is.not(turns, 0);
  assert.ok(turns >= 4, `there were ${turns} turns`);
  assert.equal(
    order.map((one) => one[0]),
    ["a", "b", "c", "d", "e"],
  );
});

test("what fails, fails for who has asked for it, and nothing else", async () => {
  const share = new TimeShare();
  const fail = () => {
    throw new Error("no");
  };
  assert.throws(() => share.run(fail), "no");
  share.run(() => long(0));
  const failed = Promise.resolve(share.run(fail)).then(
    () => "done",
    (error: Error) => error.message,
  );
  const done = share.run(() => 2);
  assert.is(await failed, "no");
  assert.is(await done, 2);
});

test.run();
