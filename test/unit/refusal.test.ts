/** What becomes of events whose state does not fit into a message. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { withoutLargest } from "../../src/actors/refusal.ts";
import type { Event } from "../../src/job/transition.ts";

const WHY = "1,048,577 bytes, and 1,048,576 are taken";
const succeeded = (index: number, result: unknown): Event => ({ type: "succeeded", index, attempt: 2, result });
const signalled = (index: number, payload: unknown): Event => ({ type: "signalled", index, number: 7, payload });

test("the largest result fails alone: its attempt has failed for good, the others stay as they are", () => {
  const others = [succeeded(0, "small"), { type: "due" } as const, signalled(3, "x".repeat(50))];
  const events = withoutLargest([...others, succeeded(2, "x".repeat(100))], WHY);
  assert.equal(events?.slice(0, 3), others);
  const failed = events?.[3];
  assert.ok(failed?.type === "failed");
  if (failed?.type !== "failed") return;
  assert.equal([failed.index, failed.attempt, failed.retryable], [2, 2, false]);
  assert.is(failed.error.code, "payload_too_large");
  assert.match(failed.error.message, WHY);
});

test("a signal that is the largest is used, and its entry fails", () => {
  const events = withoutLargest([succeeded(0, "small"), signalled(1, "x".repeat(100))], WHY);
  const unfit = events?.[1];
  assert.ok(unfit?.type === "signalled");
  if (unfit?.type !== "signalled") return;
  assert.equal([unfit.index, unfit.number, unfit.payload], [1, 7, null]);
  assert.is(unfit.unfit?.code, "payload_too_large");
});

test("one after the other fails, until none of them has brought anything", () => {
  let events: Event[] | undefined = [succeeded(0, "x".repeat(10)), signalled(1, "x".repeat(20)), succeeded(2, null)];
  const left: number[] = [];
  for (; events; events = withoutLargest(events, WHY)) {
    assert.is(events.length, 3);
    left.push(
      events.filter((event) => event.type === "succeeded" || (event.type === "signalled" && !event.unfit)).length,
    );
  }
  assert.equal(left, [3, 2, 1, 0]);
});

test("where it is known how much is too much, as many of the largest fail at once as have brought that", () => {
  const sizes = [100, 5_000, 200, 7_000, 6_000];
  const events = sizes.map((length, index) => succeeded(index, "x".repeat(length)));
  const failed = (overBytes: number) =>
    withoutLargest(events, WHY, overBytes)?.flatMap(({ type }, index) => (type === "failed" ? [index] : []));
  assert.equal(failed(0), [3]);
  assert.equal(failed(7_000), [3]);
  assert.equal(failed(12_000), [3, 4]);
  assert.equal(failed(1_000_000), [0, 1, 2, 3, 4]);
  assert.equal(failed(Number.NaN), [3]);
});

test("of a failure the progress is left out first, then the stack of its error; what it says stays", () => {
  const error = { code: "function_failed", name: "Error", message: "no luck", stack: "x".repeat(8_000) } as const;
  const failed: Event = { ...{ type: "failed", index: 0, attempt: 1, error, retryable: true, random: 0 }, progress: 5 };
  const { stack: _stack, ...said } = error;
  const first = withoutLargest([failed], WHY);
  assert.equal(first, [{ type: "failed", index: 0, attempt: 1, error, retryable: true, random: 0 }]);
  const second = withoutLargest(first ?? [], WHY);
  assert.equal(second, [{ type: "failed", index: 0, attempt: 1, error: said, retryable: true, random: 0 }]);
  assert.is(withoutLargest(second ?? [], WHY), undefined);
});

test("where nothing has brought anything there is nothing to be left out", () => {
  assert.is(withoutLargest([], WHY), undefined);
  assert.is(withoutLargest([{ type: "resumed" }, { type: "lost", index: 0, attempt: 1 }], WHY), undefined);
});

test("events are not changed", () => {
  const events = Object.freeze([Object.freeze(succeeded(0, "x"))]);
  assert.is.not(withoutLargest(events, WHY)?.[0], events[0]);
  assert.is(events[0]?.type, "succeeded");
});

test.run();
