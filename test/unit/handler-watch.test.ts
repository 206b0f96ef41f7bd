import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Execution } from "../../src/worker/execution.ts";
import { HandlerWatch } from "../../src/worker/handler-watch.ts";

const test = suite("handler-watch");
const log = pino({ level: "silent" });

/** Of an attempt that was given up two seconds ago. */
function abandoned(functionName = "slow"): Execution {
  return { functionName, log, givenUpAt: performance.now() - 2_000 } as unknown as Execution;
}

test("[WATCH-1] an abandoned handler is counted until it ends, also if it ends before its first heartbeat", () => {
  const watch = new HandlerWatch({ heartbeatMs: 60_000, abandonedAfterMs: 60_000, log });
  const execution = abandoned();
  watch.look([execution]);
  assert.is(watch.count, 1);
  watch.ended(execution, 2_100);
  assert.is(watch.count, 0);
});

test("[WATCH-2] a slot is released once, and one that has ended holds none", () => {
  const watch = new HandlerWatch({ heartbeatMs: 60_000, abandonedAfterMs: 1_000, log });
  const [ending, staying] = [abandoned(), abandoned()];
  watch.look([ending, staying]);
  assert.ok(watch.holds(2));
  watch.ended(ending, 2_100);
  assert.not.ok(watch.holds(2));
  assert.equal(watch.release(), [staying]);
  assert.equal(watch.release(), []);
  watch.look([]);
  assert.is(watch.count, 1);
});

test.run();
