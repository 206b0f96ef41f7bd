/** Times that are given as options, and that timers can be set for. */
import { pino } from "pino";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isAsyncError } from "../../src/job/errors.ts";
import { MAX_DURATION_MS } from "../../src/job/schema.ts";
import { MAX_TIMER_MS, requireInterval, requireLimit, timerMs } from "../../src/job/time.ts";
import { Execution } from "../../src/worker/execution.ts";
import { LogSpells } from "../../src/worker/log-spells.ts";

const BAD = [Number.NaN, -1, Number.NEGATIVE_INFINITY, "5", null, {}] as number[];

const isRefused = (error: Error) => isAsyncError(error, "invalid_option") && /^x must be/.test(error.message);

test("a limit is 0 or more, or for ever; an interval is what a timer can do", () => {
  for (const ms of [undefined, 0, 0.5, MAX_DURATION_MS, Number.POSITIVE_INFINITY]) requireLimit("x", ms);
  for (const ms of BAD) assert.throws(() => requireLimit("x", ms), isRefused);
  for (const ms of [undefined, 1, MAX_TIMER_MS]) requireInterval("x", ms);
  for (const ms of [...BAD, 0, MAX_TIMER_MS + 1, Number.POSITIVE_INFINITY]) {
    assert.throws(() => requireInterval("x", ms), isRefused);
  }
});

test("a timer is never set for more than it can do, which would be at once", () => {
  assert.is(timerMs(Number.POSITIVE_INFINITY), MAX_TIMER_MS);
  assert.is(timerMs(MAX_DURATION_MS), MAX_TIMER_MS);
  assert.is(timerMs(-5), 0);
  assert.is(timerMs(5), 5);
});

test("the timeout of an attempt that no timer reaches is waited for in steps, to its end", () => {
  const real = globalThis.setTimeout;
  const timers: { run: () => void; ms: number }[] = [];
  globalThis.setTimeout = ((run: () => void, ms: number) => timers.push({ run, ms })) as unknown as typeof setTimeout;
  try {
    const timeout_ms = 2 * MAX_TIMER_MS + 7;
    const body = {
      job_id: "j",
      job_name: "n",
      function: "f",
      index: 0,
      attempt: 1,
      args: null,
      data: null,
      timeout_ms,
    };
    const invocation = { body, encoding: "json", results: () => [] } as unknown as ConstructorParameters<
      typeof Execution
    >[0];
    const message = { respond: () => true } as unknown as ConstructorParameters<typeof Execution>[1];
    const log = pino({ level: "silent" });
    const execution = new Execution(invocation, message, log, new LogSpells(log), 1_500);
    for (const ms of [MAX_TIMER_MS, MAX_TIMER_MS, 7]) {
      assert.not.ok(execution.signal.aborted);
      const timer = timers.pop();
      assert.is(timer?.ms, ms);
      timer?.run();
    }
    assert.ok(execution.signal.aborted);
  } finally {
    globalThis.setTimeout = real;
  }
});

test.run();
