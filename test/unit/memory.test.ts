import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Attempt, type AttemptListener } from "../../src/actors/attempt.ts";
import { Memory, sizeOf } from "../../src/actors/memory.ts";
import type { LiveJob } from "../../src/job/state.ts";
import { Limiter } from "../../src/util/limiter.ts";

const test = suite("memory");
const MIB = 1024 ** 2;

test("what a value takes grows with what is in it, not with how it was written", () => {
  const objects = sizeOf(Array.from({ length: 1_000 }, () => ({})));
  assert.ok(objects > 50_000 && objects < 150_000, String(objects));
  assert.ok(sizeOf("x".repeat(3_000)) < 4_000);
  assert.ok(sizeOf(Buffer.alloc(3_000)) < 4_000);
  assert.ok(sizeOf({ a: [1, 2.5, null, { b: true }] }) < 1_000);
});

test("[MEMORY-1] a large job waits while there is no room for it, a small one does not", () => {
  const memory = new Memory(512 * MIB);
  assert.not(memory.mustWait(20 * MIB, 0));
  memory.hold(90 * MIB);
  assert.ok(memory.mustWait(20 * MIB, memory.used));
  assert.not(memory.mustWait(100_000, memory.used));
  memory.hold(60 * MIB);
  assert.ok(memory.full && memory.crowded && memory.roomBytes === 0);
  assert.ok(memory.mustWait(100_000, memory.used), "where all is used up, less is large");
  assert.not(memory.mustWait(5_000, memory.used));
  memory.release(150 * MIB);
  assert.not(memory.crowded);
  assert.ok(memory.roomBytes > MIB);
});

test("[MEMORY-2] a job that is larger than all there is runs when hardly anything else is live", () => {
  const memory = new Memory(128 * MIB);
  memory.hold(MIB);
  assert.not(memory.mustWait(1_000 * MIB, memory.used));
  memory.hold(10 * MIB);
  assert.ok(memory.mustWait(1_000 * MIB, memory.used));
});

test("as many jobs are called as there is room for, if they are like those that are live", () => {
  const memory = new Memory(512 * MIB);
  assert.ok(memory.roomLike(0) > 1_000);
  memory.hold(40 * MIB);
  assert.ok(memory.roomLike(2) < 10);
  memory.release(40 * MIB);
  assert.ok(memory.roomLike(0) < 10, "nothing is live, but the last ones were large");
});

test("only so many have their turn at a time, in order, also after a failure", async () => {
  const turns = new Limiter(() => 2);
  const done: number[] = [];
  let running = 0;
  const work = (n: number) =>
    turns.run(async () => {
      running += 1;
      assert.ok(running <= 2);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      done.push(n);
      if (n === 1) throw new Error("one fails");
    });
  const outcomes = await Promise.allSettled([0, 1, 2, 3, 4].map(work));
  assert.equal(done, [0, 1, 2, 3, 4]);
  assert.equal(
    outcomes.map(({ status }) => status === "rejected"),
    [false, true, false, false, false],
  );
});

test("a cancelled attempt lets go of its job, though it may stay in a line behind others", () => {
  const job = { job_id: "a" } as LiveJob;
  const attempt = new Attempt(job, { index: 0, attempt: 1 }, { name: "fn" }, {} as AttemptListener);
  assert.is(attempt.job, job);
  attempt.cancel();
  assert.throws(() => attempt.job, /let go/);
});

test.run();
