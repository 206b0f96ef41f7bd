import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Deadlines, type Expiring } from "../../src/bus/wire/deadlines.ts";

/** What is open, as in the mux: each is opened with a time, and goes when it expires or is removed. */
class Open {
  readonly open = new Set<Entry>();
  /** How often it was looked through. */
  looks = 0;
  readonly deadlines = new Deadlines(() => {
    this.looks += 1;
    return this.open.values();
  });

  /** Opens something that is due in `ms`; resolves to the time at which it expired. */
  expiry(ms: number): Promise<number> {
    return new Promise((resolve) => this.add(ms, () => resolve(performance.now())));
  }

  add(ms: number, onExpired: () => void): Entry {
    const entry = new Entry(this.open, performance.now() + ms, onExpired);
    this.deadlines.note(entry.at);
    return entry;
  }
}

class Entry implements Expiring {
  at: number;
  expired = 0;
  readonly #open: Set<Entry>;
  readonly #onExpired: () => void;

  constructor(open: Set<Entry>, at: number, onExpired: () => void) {
    this.at = at;
    this.#open = open;
    this.#onExpired = onExpired;
    open.add(this);
  }

  remove(): void {
    this.#open.delete(this);
  }

  expire(): void {
    this.expired += 1;
    this.remove();
    this.#onExpired();
  }
}

/** Calls `body` with deadlines that are closed at the end, and with the process kept alive: their timer alone does not. */
async function withOpen(body: (open: Open) => Promise<void>): Promise<void> {
  const open = new Open();
  const alive = setInterval(() => {}, 1_000);
  try {
    await body(open);
  } finally {
    open.deadlines.close();
    clearInterval(alive);
  }
}

test("a deadline is met, and never early", () =>
  withOpen(async (open) => {
    for (const ms of [0, 1, 49, 50, 51, 120]) {
      const begun = performance.now();
      assert.ok((await open.expiry(ms)) >= begun + ms, `${ms} ms`);
    }
  }));

test("many deadlines are all met, each once and never early", () =>
  withOpen(async (open) => {
    const begun = performance.now();
    const waits = Array.from({ length: 200 }, (_, n) => (n * 37) % 200);
    const entries: Entry[] = [];
    const times = await Promise.all(
      waits.map((ms) => new Promise<number>((resolve) => entries.push(open.add(ms, () => resolve(performance.now()))))),
    );
    for (const [n, ms] of waits.entries()) assert.ok((times[n] as number) >= begun + ms);
    await open.expiry(60);
    assert.ok(entries.every(({ expired }) => expired === 1));
    assert.is(open.open.size, 0);
  }));

test("an earlier deadline does not wait for a later one that was there before", () =>
  withOpen(async (open) => {
    const late = open.add(600_000, () => assert.unreachable());
    await open.expiry(10);
    assert.is(late.expired, 0);
  }));

test("a deadline that was removed never expires", () =>
  withOpen(async (open) => {
    const removed = open.add(10, () => assert.unreachable());
    removed.remove();
    await open.expiry(120);
    assert.is(removed.expired, 0);
  }));

test("a deadline can be removed by one that expires in the same look", () =>
  withOpen(async (open) => {
    const other = { entry: undefined as Entry | undefined };
    open.add(1, () => other.entry?.remove());
    other.entry = open.add(1, () => assert.unreachable());
    await open.expiry(120);
    assert.is(other.entry.expired, 0);
  }));

test("a deadline that is moved to a later time is met then, and not before, though nobody notes it", () =>
  withOpen(async (open) => {
    let moved = 0;
    const at = await new Promise<number>((resolve) => {
      const entry = open.add(10, () => resolve(performance.now()));
      moved = performance.now() + 180;
      entry.at = moved;
    });
    assert.ok(at >= moved);
  }));

test("a deadline can be moved again and again", () =>
  withOpen(async (open) => {
    const entry = open.add(80, () => {});
    for (let n = 0; n < 4; n++) {
      await open.expiry(10);
      // A busy machine may have let it expire before this turn; then there is nothing more to move.
      if (entry.expired > 0) return assert.ok(performance.now() >= entry.at);
      entry.at = performance.now() + 80;
      open.deadlines.note(entry.at);
    }
    await open.expiry(200);
    assert.is(entry.expired, 1);
    assert.ok(performance.now() >= entry.at);
  }));

test("what is moved to no time at all stays open", () =>
  withOpen(async (open) => {
    const entry = open.add(10, () => assert.unreachable());
    entry.at = Number.POSITIVE_INFINITY;
    await open.expiry(120);
    assert.ok(open.open.has(entry));
  }));

test("deadlines that are opened while others expire are met too", () =>
  withOpen(async (open) => {
    const begun = performance.now();
    const at = await new Promise<number>((resolve) => {
      open.add(5, () => open.add(0, () => open.add(60, () => resolve(performance.now()))));
    });
    assert.ok(at >= begun + 65);
  }));

test("the timer runs only while there may be something to wait for (DEADLINES-1)", () =>
  withOpen(async (open) => {
    await delay(120);
    assert.is(open.looks, 0, "nothing was opened");
    await open.expiry(1);
    const { looks } = open;
    await delay(250); // the timer stops: there is no event for that
    assert.is(open.looks, looks);
    const begun = performance.now();
    assert.ok((await open.expiry(20)) >= begun + 20, "and it begins again");
  }));

test("looks come no faster than the deadlines are coarse, however many are opened (DEADLINES-1)", () =>
  withOpen(async (open) => {
    const begun = performance.now();
    for (let n = 0; n < 1_000; n++) open.add((n * 37) % 200, () => {});
    await open.expiry(200);
    assert.ok(open.looks <= (performance.now() - begun) / 50 + 1, `${open.looks} looks`);
  }));

test("a process that was busy beyond a deadline reads what has arrived before it gives up (DEADLINES-2)", () =>
  withOpen(async (open) => {
    const echo = spawn("cat", { stdio: ["pipe", "pipe", "inherit"] });
    try {
      echo.stdin.write("ready");
      await once(echo.stdout, "data");
      const outcome = await new Promise<string>((resolve) => {
        const request = open.add(60, () => resolve("given up"));
        echo.stdout.once("data", () => {
          request.remove();
          resolve("answered");
        });
        echo.stdin.write("?");
        block(200);
      });
      assert.is(outcome, "answered");
    } finally {
      echo.kill();
    }
  }));

/** Keeps the event loop busy. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test("a time that has already passed is met as soon as possible", () =>
  withOpen(async (open) => {
    const met = Promise.race([open.expiry(-500).then(() => true), open.expiry(150).then(() => false)]);
    assert.ok(await met);
  }));

test("closing drops what has not expired; what is noted afterwards changes nothing", () =>
  withOpen(async (open) => {
    open.add(5, () => assert.unreachable());
    open.deadlines.close();
    open.add(5, () => assert.unreachable());
    const other = new Open();
    await other.expiry(120);
    other.deadlines.close();
    assert.is(open.looks, 0);
  }));

test.run();
