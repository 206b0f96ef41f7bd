import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backoffDelayMs, withDefaults } from "../../src/job/backoff.ts";
import type { Backoff } from "../../src/job/schema.ts";
import { MAX_DURATION_MS, MAX_RETRY_LIMIT } from "../../src/job/schema.ts";

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const duration = fc.oneof(fc.nat(100_000), fc.constantFrom(0, 1, MAX_DURATION_MS));
const failures = fc.integer({ min: 1, max: MAX_RETRY_LIMIT });
/** Everything that the schema of a submission lets through. */
const options: fc.Arbitrary<Backoff> = fc.record(
  {
    type: fc.constantFrom("exponential" as const, "fixed" as const),
    delay_ms: duration,
    factor: fc.double({ min: 1, max: 1_000, noNaN: true }),
    max_delay_ms: duration,
    jitter: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
  },
  { requiredKeys: [] },
);

const exact = (more: Backoff = {}): Backoff => ({ jitter: 0, ...more });

test("without options the delay doubles from one second up to one minute", () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 1_000].map((n) => backoffDelayMs(undefined, n, 0));
  assert.equal(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test("what the options leave out is as by default", () => {
  assert.is(backoffDelayMs({ delay_ms: 10 }, 3, 0), 40);
  assert.is(backoffDelayMs({ factor: 3 }, 3, 0), 9_000);
  assert.is(backoffDelayMs({ max_delay_ms: 1_500 }, 3, 0), 1_500);
  assert.is(backoffDelayMs({}, 2, 0.5), 1_000);
});

test("a fixed backoff does not grow, and is capped as any other", () => {
  for (const n of [1, 2, 50]) assert.is(backoffDelayMs(exact({ type: "fixed", delay_ms: 250 }), n, 0.9), 250);
  assert.is(backoffDelayMs(exact({ type: "fixed", delay_ms: 250, max_delay_ms: 100 }), 1, 0), 100);
});

test("with jitter 0 the delay is exact, with jitter 1 it is anything from nothing to all of it", () => {
  assert.is(backoffDelayMs(exact(), 2, 0.999), 2_000);
  assert.is(backoffDelayMs({ jitter: 1 }, 2, 0), 2_000);
  assert.is(backoffDelayMs({ jitter: 1 }, 2, 0.5), 1_000);
  assert.is(backoffDelayMs({ jitter: 1 }, 2, 0.9999), 0);
  assert.is(backoffDelayMs({ jitter: 0.5 }, 2, 0.9999), 1_000);
});

test("a delay of nothing stays nothing when the growth is beyond what a number can hold", () => {
  assert.is(backoffDelayMs({ delay_ms: 0, factor: 10 }, 310, 0), 0);
});

test("a fixed delay is that delay each time, unless jitter or a cap are given", () => {
  fc.assert(
    fc.property(duration, failures, unit, (delay_ms, n, random) => {
      assert.is(backoffDelayMs({ type: "fixed", delay_ms }, n, random), delay_ms);
      assert.is(backoffDelayMs({ type: "fixed", delay_ms, factor: 7 }, n, random), delay_ms);
    }),
  );
  assert.is(backoffDelayMs({ type: "fixed", delay_ms: 600_000 }, 1, 0.9), 600_000);
  assert.is(backoffDelayMs({ type: "fixed" }, 5, 0.9), 1_000);
  assert.is(backoffDelayMs({ type: "fixed", delay_ms: 600_000, jitter: 0.5 }, 1, 0.5), 450_000);
  assert.is(backoffDelayMs({ type: "fixed", delay_ms: 600_000, max_delay_ms: 100 }, 1, 0.5), 100);
});

test("no default cuts the delay that was asked for", () => {
  const uncapped = options.map(({ max_delay_ms: _, ...more }) => more);
  fc.assert(
    fc.property(uncapped, failures, unit, (given, n, random) => {
      const asked = given.delay_ms ?? 1_000;
      assert.ok(backoffDelayMs({ ...given, jitter: 0 }, n, random) >= asked);
      assert.is(backoffDelayMs({ ...given, jitter: 0 }, 1, random), asked);
    }),
  );
  assert.is(backoffDelayMs({ delay_ms: 600_000, jitter: 0 }, 3, 0), 600_000, "it may not grow beyond, but is not less");
});

test("every delay is a whole number within its bounds", () => {
  fc.assert(
    fc.property(options, failures, unit, (given, n, random) => {
      const { max_delay_ms, jitter } = withDefaults(given);
      const delay = backoffDelayMs(given, n, random);
      const full = backoffDelayMs({ ...given, jitter: 0 }, n, random);
      assert.ok(Number.isSafeInteger(delay));
      assert.ok(delay >= 0 && delay <= Math.round(max_delay_ms));
      assert.ok(delay <= full);
      assert.ok(delay >= Math.floor(full * (1 - jitter)) - 1);
    }),
    { numRuns: 2_000 },
  );
});

test("the same input gives the same delay", () => {
  fc.assert(
    fc.property(options, failures, unit, (given, n, random) => {
      assert.is(backoffDelayMs(given, n, random), backoffDelayMs({ ...given }, n, random));
    }),
  );
});

test("the delay without jitter never shrinks from failure to failure", () => {
  fc.assert(
    fc.property(options, fc.integer({ min: 1, max: MAX_RETRY_LIMIT - 1 }), (given, n) => {
      assert.ok(
        backoffDelayMs(exact({ ...given, jitter: 0 }), n, 0) <= backoffDelayMs({ ...given, jitter: 0 }, n + 1, 0),
      );
    }),
    { numRuns: 1_000 },
  );
});

test("more of the random share never makes the delay longer", () => {
  fc.assert(
    fc.property(options, failures, unit, unit, (given, n, one, other) => {
      const [less, more] = one < other ? [one, other] : [other, one];
      assert.ok(backoffDelayMs(given, n, less) >= backoffDelayMs(given, n, more));
    }),
  );
});

test.run();
