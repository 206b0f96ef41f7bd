import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { InvalidInputError } from "../../src/job/errors.ts";
import { newEntry, newFunction } from "../../src/job/function-state.ts";
import { afterFailure } from "../../src/job/outcome.ts";
import type { RetryOptions } from "../../src/job/schema.ts";
import {
  type FunctionSettings,
  mergedSettings,
  parseSettings,
  retryOptionsWith,
  SETTINGS_FIELDS,
  settingsText,
  withSettings,
} from "../../src/job/settings.ts";
import { NOW } from "./support.ts";

const backoff = { type: "fixed", delay_ms: 1_000 } as const;
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const options = fc
  .record({ retry_limit: some(fc.integer({ min: 1, max: 9 })), retry_for_ms: some(fc.integer({ min: 1, max: 9_000 })) })
  .map(
    (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as RetryOptions,
  );

test("each field goes by itself: that of the document, then that of the settings", () => {
  fc.assert(
    fc.property(options, options, (own, set) => {
      const counts = retryOptionsWith(own, set);
      for (const field of ["retry_limit", "retry_for_ms"] as const)
        assert.is(counts?.[field], own[field] ?? set[field]);
      assert.equal(mergedSettings(own, set), { ...set, ...own });
    }),
  );
  assert.equal(retryOptionsWith({ backoff }, { backoff: { delay_ms: 5 }, retry_limit: 2 }), {
    backoff,
    retry_limit: 2,
  });
});

test("without settings the options are those of the job, the same object", () => {
  const own = { retry_limit: 2 };
  assert.is(retryOptionsWith(own, undefined), own);
  assert.is(retryOptionsWith(undefined, undefined), undefined);
});

const failed = (attempt: number, more: object = {}) => ({
  attempt,
  error: { code: "function_failed", name: "Error", message: "no" } as const,
  retryable: true,
  random: 0,
  ...more,
});

test("a failed attempt is tried again as the settings say, and they are no part of the job (MACHINE-4)", () => {
  const defaults = { retry_limit: 3, backoff };
  let fn = newFunction({ name: "f" });
  for (const [attempt, retryAt] of [
    [1, NOW + 1_000],
    [2, NOW + 1_000],
    [3, undefined],
  ] as const) {
    const outcome = afterFailure(fn, failed(attempt, { defaults }), NOW);
    assert.is(outcome.retryAt, retryAt, `attempt ${attempt}`);
    fn = outcome.fn;
  }
  assert.is(fn.retry_options, undefined);
  assert.is(fn.failures, 3);
});

test("what the job says wins, field by field", () => {
  const fn = newFunction({ name: "f", retry_options: { retry_limit: 1 } });
  assert.is(afterFailure(fn, failed(1, { defaults: { retry_limit: 5, backoff } }), NOW).retryAt, undefined);
  const slow = newFunction({ name: "f", retry_options: { backoff: { type: "fixed", delay_ms: 7 } } });
  assert.is(afterFailure(slow, failed(1, { defaults: { retry_limit: 5, backoff } }), NOW).retryAt, NOW + 7);
});

test("settings that are taken back end the retries at the next failure", () => {
  const first = afterFailure(newFunction({ name: "f" }), failed(1, { defaults: { retry_limit: 5 } }), NOW);
  assert.ok(first.retryAt !== undefined);
  assert.is(afterFailure(first.fn, failed(2), NOW).retryAt, undefined);
});

test("retry_for_ms of the settings counts from the start of the first attempt, where that is known", () => {
  const defaults = { retry_for_ms: 5_000, backoff };
  const fn = newFunction({ name: "f" });
  const first = afterFailure(fn, failed(1, { defaults, began_at: NOW - 3_000 }), NOW);
  assert.equal([first.fn.tried_at, first.retryAt], [NOW - 3_000, NOW + 1_000]);
  assert.is(afterFailure(first.fn, failed(2, { defaults, began_at: NOW + 1_000 }), NOW + 1_001).retryAt, undefined);
  assert.is(afterFailure(fn, failed(1, { defaults }), NOW).fn.tried_at, NOW);
});

test("an entry is shown as it is executed; where its on_error runs, with what is set at that function", () => {
  const set: FunctionSettings = { retry_limit: 4, timeout_ms: 10 };
  const fn = newEntry({ name: "f", timeout_ms: 20, on_error: { name: "g" } });
  assert.equal(withSettings(fn, set), { ...fn, retry_options: { retry_limit: 4 }, timeout_ms: 20 });
  const handling = { ...fn, handling: true as const };
  const shown = withSettings(handling, set);
  assert.equal(shown.on_error, { name: "g", retry_options: { retry_limit: 4 }, timeout_ms: 10 });
  assert.is(shown.timeout_ms, 20);
  assert.is(withSettings(fn, undefined), fn);
});

test("settings are checked as those of documents are; null is not given", () => {
  assert.equal(parseSettings({ retry_limit: 5, timeout_ms: null, backoff: { delay_ms: 1, factor: null } }), {
    retry_limit: 5,
    backoff: { delay_ms: 1 },
  });
  const cases: [unknown, string[]][] = [
    [{ retry_limit: 0 }, ["/s/retry_limit"]],
    [{ retry_limit: 1_001, timeout_ms: 0, retry_for_ms: "1h" }, ["/s/retry_for_ms", "/s/retry_limit", "/s/timeout_ms"]],
    [{ backoff: { type: "x" } }, ["/s/backoff/type"]],
    [{ retry_options: null }, ["/s/retry_options"]],
    [null, ["/s"]],
    ["x", ["/s"]],
    [[], ["/s"]],
  ];
  for (const [value, paths] of cases) {
    try {
      parseSettings(value, "/s");
      assert.unreachable(JSON.stringify(value));
    } catch (error) {
      assert.instance(error, InvalidInputError);
      assert.equal((error as InvalidInputError).reasons.map(({ path }) => path).toSorted(), paths);
    }
  }
});

test("in words they name each field that is set", () => {
  const all: FunctionSettings = { timeout_ms: 4, backoff, retry_for_ms: 3, retry_limit: 2 };
  assert.is(settingsText(all), `retry_limit 2, retry_for_ms 3, backoff ${JSON.stringify(backoff)}, timeout_ms 4`);
  assert.equal(Object.keys(all).toSorted(), [...SETTINGS_FIELDS].toSorted());
  assert.is(settingsText({}), "");
});

test.run();
