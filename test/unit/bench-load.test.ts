/** The generators of load, and what closes behind them. */
import { setTimeout as delay } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readReply } from "../../bench/http/connection.ts";
import { openLoop } from "../../bench/open-loop.ts";
import { Scope } from "../../bench/scope.ts";

test("in an open loop jobs arrive at the rate, whether others have ended or not", async () => {
  let most = 0;
  let open = 0;
  const { jobs, done, started, late } = await openLoop({
    rate: 500,
    seconds: 0.4,
    once: async () => {
      open += 1;
      most = Math.max(most, open);
      await delay(100);
      open -= 1;
      return { startedMs: 40, doneMs: 100 };
    },
  });
  // 200 on average; this far off is a chance of one in 10¹⁰.
  assert.ok(jobs > 110 && jobs < 290, `${jobs}`);
  assert.ok(most > 20, `${most} at a time`);
  assert.is(done.percentiles().count, jobs);
  assert.is(late.percentiles().count, jobs);
  assert.ok(started.percentiles().p50Ms >= 40 && done.percentiles().p50Ms >= 100);
  assert.is(open, 0);
});

test("a generator that was late tells delays from when it was meant to submit", async () => {
  let blocked = false;
  const { done } = await openLoop({
    rate: 200,
    seconds: 0.5,
    once: async () => {
      if (!blocked) {
        blocked = true;
        const end = performance.now() + 200;
        while (performance.now() < end); // nothing can be submitted meanwhile
      }
      return { startedMs: 0, doneMs: 0 };
    },
  });
  // Some 40 jobs were due in that time: without their lateness almost all delays would be 0.
  assert.ok(done.percentiles().p99Ms > 100, `${done.percentiles().p99Ms}`);
});

test("an open loop ends with the first failure", async () => {
  let calls = 0;
  const fail = async () => {
    calls += 1;
    throw new Error("lost");
  };
  try {
    await openLoop({ rate: 1_000, seconds: 60, once: fail });
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "lost");
  }
  assert.ok(calls < 1_000);
});

test("a scope closes in reverse order, once, all of it, and tells of the first failure", async () => {
  const closed: number[] = [];
  const scope = new Scope();
  await scope.add(() => closed.push(1));
  await scope.add(() => {
    closed.push(2);
    throw new Error("two");
  });
  await scope.add(async () => {
    await delay(1);
    closed.push(3);
  });
  const [first, second] = await Promise.allSettled([scope.close(), scope.close()]);
  assert.equal(closed, [3, 2, 1]);
  assert.is(first.status === "rejected" && first.reason.message, "two");
  assert.is(second.status, "rejected");
});

test("what comes into a scope after its end is closed at once", async () => {
  const scope = new Scope();
  await scope.close();
  let closed = false;
  await scope.add(() => {
    closed = true;
  });
  assert.ok(closed);
});

const reply = (body: string, length = body.length) =>
  Buffer.from(`HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: ${length}\r\n\r\n${body}`);

test("an HTTP reply is read when all of it is there", () => {
  const whole = reply('{"a":1}');
  for (let bytes = 0; bytes < whole.length; bytes++) assert.is(readReply(whole.subarray(0, bytes)), undefined);
  const { status, body } = readReply(whole) ?? {};
  assert.is(status, 200);
  assert.is(body?.toString(), '{"a":1}');
});

test("an HTTP reply that cannot be read is an error", () => {
  assert.throws(() => readReply(Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")), /not a reply/);
  assert.throws(() => readReply(Buffer.from("SMTP\r\nContent-Length: 1\r\n\r\n")), /not a reply/);
  assert.throws(() => readReply(reply("abc", 2)), /more than one reply/);
});

test.run();
