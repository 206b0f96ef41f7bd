import { test } from "uvu";
import * as assert from "uvu/assert";
import { Deadlines } from "../../src/bus/deadlines.ts";

/** Calls `body` with deadlines that are closed at the end, and with the process kept alive: their timer alone does not. */
async function withDeadlines(body: (deadlines: Deadlines) => Promise<void>): Promise<void> {
  const deadlines = new Deadlines();
  const alive = setInterval(() => {}, 1_000);
  try {
    await body(deadlines);
  } finally {
    deadlines.close();
    clearInterval(alive);
  }
}

/** Resolves to the time at which the deadline expired. */
const expiry = (deadlines: Deadlines, ms: number) =>
  new Promise<number>((resolve) => deadlines.add(ms, () => resolve(performance.now())));

test("a deadline is met, and never early", () =>
  withDeadlines(async (deadlines) => {
    for (const ms of [0, 1, 49, 50, 51, 120]) {
      const begun = performance.now();
      assert.ok((await expiry(deadlines, ms)) >= begun + ms, `${ms} ms`);
    }
  }));

test("many deadlines are all met, each once and never early, in the order of their ticks", () =>
  withDeadlines(async (deadlines) => {
    const begun = performance.now();
    const waits = Array.from({ length: 200 }, (_, n) => (n * 37) % 200);
    const times = await Promise.all(waits.map((ms) => expiry(deadlines, ms)));
    for (const [n, ms] of waits.entries()) assert.ok((times[n] as number) >= begun + ms);
    const [first, last] = [times[waits.indexOf(0)], times[waits.indexOf(199)]] as [number, number];
    assert.ok(first <= last);
  }));

test("a deadline that has expired is expired for good", () =>
  withDeadlines(async (deadlines) => {
    let count = 0;
    const deadline = deadlines.add(1, () => {
      count += 1;
    });
    await expiry(deadlines, 200);
    assert.is(count, 1);
    assert.is(deadline.expire, undefined);
  }));

test("a cancelled deadline never expires, and lets go of what it referred to", () =>
  withDeadlines(async (deadlines) => {
    const deadline = deadlines.add(10, () => assert.unreachable());
    deadlines.cancel(deadline);
    assert.is(deadline.expire, undefined);
    await expiry(deadlines, 120);
  }));

test("a deadline can be cancelled by one that expires in the same tick", () =>
  withDeadlines(async (deadlines) => {
    const expired: string[] = [];
    const other = { deadline: undefined as ReturnType<Deadlines["add"]> | undefined };
    deadlines.add(1, () => {
      expired.push("first");
      if (other.deadline) deadlines.cancel(other.deadline);
    });
    other.deadline = deadlines.add(1, () => expired.push("second"));
    await expiry(deadlines, 120);
    // they share a tick unless one began between the two lines, and even then the first comes first
    assert.equal(expired, ["first"]);
  }));

test("an extended deadline is met at its new time, and not before", () =>
  withDeadlines(async (deadlines) => {
    let extended = 0;
    const at = await new Promise<number>((resolve) => {
      const deadline = deadlines.add(10, () => resolve(performance.now()));
      extended = performance.now();
      deadlines.extend(deadline, 150);
    });
    assert.ok(at >= extended + 150);
  }));

test("a deadline can be extended again and again", () =>
  withDeadlines(async (deadlines) => {
    let expired = false;
    const deadline = deadlines.add(60, () => {
      expired = true;
    });
    for (let n = 0; n < 4; n++) {
      await expiry(deadlines, 10);
      // A busy machine may have let it expire before this turn; then there is nothing more to extend.
      if (expired) return assert.ok(performance.now() >= deadline.at);
      deadlines.extend(deadline, 60);
    }
    const last = deadline.at;
    await expiry(deadlines, 200);
    assert.ok(expired);
    assert.ok(performance.now() >= last);
  }));

test("extending never makes a deadline come earlier", () =>
  withDeadlines(async (deadlines) => {
    let begun = 0;
    const at = await new Promise<number>((resolve) => {
      begun = performance.now();
      const deadline = deadlines.add(120, () => resolve(performance.now()));
      deadlines.extend(deadline, 1);
    });
    assert.ok(at >= begun + 120);
  }));

test("deadlines that are added while others expire are met too", () =>
  withDeadlines(async (deadlines) => {
    const begun = performance.now();
    const at = await new Promise<number>((resolve) => {
      deadlines.add(5, () => deadlines.add(0, () => deadlines.add(60, () => resolve(performance.now()))));
    });
    assert.ok(at >= begun + 65);
  }));

test("after a pause in which there was nothing to wait for, deadlines are met again (D1)", () =>
  withDeadlines(async (deadlines) => {
    await expiry(deadlines, 1);
    await new Promise((resolve) => setTimeout(resolve, 120)); // the timer stops: there is no event for that
    const begun = performance.now();
    assert.ok((await expiry(deadlines, 20)) >= begun + 20);
  }));

test("a time that has already passed is met as soon as possible", () =>
  withDeadlines(async (deadlines) => {
    const met = Promise.race([expiry(deadlines, -500).then(() => true), expiry(deadlines, 150).then(() => false)]);
    assert.ok(await met);
  }));

test("closing drops what has not expired", () =>
  withDeadlines(async (deadlines) => {
    deadlines.add(5, () => assert.unreachable());
    deadlines.close();
    const other = new Deadlines();
    await expiry(other, 120);
    other.close();
  }));

test.run();
