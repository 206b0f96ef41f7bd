/** What an attempt that ends without a result makes of its function. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { FunctionState } from "../../src/job/function-state.ts";
import {
  afterFailure,
  afterLoss,
  begun,
  type FailedAttempt,
  forgiven,
  INTERRUPTED_LIMIT,
  LOST_LIMIT,
} from "../../src/job/outcome.ts";
import type { RetryOptions } from "../../src/job/schema.ts";
import { BOOM, NOW } from "./support.ts";

const fixed = (delay_ms: number) => ({ type: "fixed" as const, delay_ms, jitter: 0 });
const fnWith = (retry_options?: RetryOptions): FunctionState => ({
  name: "a",
  retry_count: 0,
  ...(retry_options && { retry_options }),
});
const failed = (attempt: number, more: Partial<FailedAttempt> = {}): FailedAttempt => ({
  ...{ attempt, error: BOOM, retryable: true, random: 0 },
  ...more,
});

/** Fails again and again, each time after `tookMs`, until there is no other attempt. Returns when the attempts began. */
function attempts(options: RetryOptions, tookMs = 0): number[] {
  const begins: number[] = [];
  let fn = fnWith(options);
  let at: number | undefined = 0;
  for (let attempt = 1; at !== undefined; attempt++) {
    assert.ok(attempt < 1_100);
    begins.push(at);
    const outcome = afterFailure(fn, failed(attempt), NOW + at + tookMs);
    fn = outcome.fn;
    at = outcome.retryAt === undefined ? undefined : outcome.retryAt - NOW;
  }
  return begins;
}

test("without options, a function is executed once", () => {
  assert.is(afterFailure(fnWith(), failed(1), NOW).retryAt, undefined);
});

test("retry_for_ms without a count goes on until the next attempt would begin after it", () => {
  assert.equal(attempts({ retry_for_ms: 3_000, backoff: fixed(1_000) }), [0, 1_000, 2_000, 3_000]);
  assert.equal(attempts({ retry_for_ms: 999, backoff: fixed(1_000) }), [0]);
});

test("retry_for_ms with a count ends with the first of them that is used up", () => {
  assert.equal(attempts({ retry_for_ms: 3_000, retry_limit: 2, backoff: fixed(1_000) }), [0, 1_000]);
  assert.equal(attempts({ retry_for_ms: 1_500, retry_limit: 9, backoff: fixed(1_000) }), [0, 1_000]);
});

test("retry_for_ms counts from the recorded start of the first attempt, else from its failure", () => {
  const fn = begun(fnWith({ retry_for_ms: 5_000, backoff: fixed(1_000) }), 1, NOW);
  assert.is(fn.tried_at, NOW);
  assert.is(afterFailure(fn, failed(1), NOW + 4_000).retryAt, NOW + 5_000);
  assert.is(afterFailure(fn, failed(1), NOW + 4_001).retryAt, undefined);
  const unrecorded = fnWith({ retry_for_ms: 5_000, backoff: fixed(1_000) });
  assert.is(afterFailure(unrecorded, failed(1), NOW + 9_000).fn.tried_at, NOW + 9_000);
});

test("after a retry by hand, retry_for_ms counts anew, although the function began long ago", () => {
  const fn = begun(fnWith({ retry_for_ms: 5_000, backoff: fixed(1_000) }), 1, NOW);
  const again = forgiven(afterFailure(fn, failed(1), NOW + 9_000).fn);
  assert.is(again.started_at, NOW);
  assert.is(afterFailure(again, failed(2), NOW + 90_000).retryAt, NOW + 91_000);
  assert.is(begun(again, 2, NOW + 90_000).tried_at, NOW + 90_000);
});

test("no window is kept of a function whose retries are not limited by time", () => {
  assert.is(begun(fnWith({ retry_limit: 3 }), 1, NOW).tried_at, undefined);
  assert.is(afterFailure(fnWith({ retry_limit: 3 }), failed(1), NOW).fn.tried_at, undefined);
});

test("what is not retryable is not retried, whatever is left", () => {
  const fn = fnWith({ retry_limit: 9, retry_for_ms: 9_000 });
  assert.is(afterFailure(fn, failed(1, { retryable: false }), NOW).retryAt, undefined);
});

test("an interruption uses up no retry and no loss, and the next attempt is due at once, later more rarely", () => {
  let fn = fnWith();
  const delays: number[] = [];
  for (let attempt = 1; attempt <= 70; attempt++) {
    const outcome = afterFailure(fn, failed(attempt, { interrupted: true }), NOW);
    fn = outcome.fn;
    assert.is(outcome.error.code, "attempt_interrupted");
    delays.push((outcome.retryAt ?? Number.NaN) - NOW);
  }
  assert.equal(delays.slice(0, 5), [0, 0, 1_000, 2_000, 3_000]);
  assert.is(Math.max(...delays), 60_000);
  assert.equal([fn.failures, fn.lost, fn.interrupted, fn.retry_count], [undefined, undefined, 70, 70]);
});

test("interruptions have a limit of their own", () => {
  const fn = { ...fnWith(), interrupted: INTERRUPTED_LIMIT - 2 };
  const last = afterFailure(fn, failed(99, { interrupted: true }), NOW);
  assert.ok(last.retryAt !== undefined);
  const over = afterFailure(last.fn, failed(100, { interrupted: true }), NOW);
  assert.is(over.retryAt, undefined);
  assert.is(over.fn.interrupted, INTERRUPTED_LIMIT);
  assert.match(over.error.message, "interrupted 100 times");
});

test("losses have a limit of their own, and use up no retry", () => {
  let fn = fnWith();
  for (let attempt = 1; attempt < LOST_LIMIT; attempt++) {
    const outcome = afterLoss(fn, attempt, undefined, NOW);
    assert.ok(outcome.retryAt !== undefined);
    fn = outcome.fn;
  }
  assert.is(afterLoss(fn, LOST_LIMIT, undefined, NOW).retryAt, undefined);
  assert.is(fn.failures, undefined);
});

test("the progress that was told last is kept, until another attempt tells of its own", () => {
  const first = afterLoss(fnWith(), 1, { percent: 10 }, NOW).fn;
  assert.equal(first.last_progress, { percent: 10 });
  const second = afterFailure(first, failed(2), NOW).fn;
  assert.equal(second.last_progress, { percent: 10 });
  const third = afterFailure(second, failed(3, { interrupted: true, progress: null }), NOW).fn;
  assert.is(third.last_progress, null);
  assert.is("last_progress" in afterFailure(fnWith(), failed(1), NOW).fn, false);
});

test("a function that runs in place of another has its own options", () => {
  const fn: FunctionState = {
    ...fnWith({ retry_limit: 9 }),
    on_error: { name: "b", retry_options: { retry_limit: 2, backoff: fixed(5) } },
    handling: true,
  };
  const first = afterFailure(fn, failed(3), NOW);
  assert.is(first.retryAt, NOW + 5);
  assert.is(afterFailure(first.fn, failed(4), NOW).retryAt, undefined);
});

test.run();
