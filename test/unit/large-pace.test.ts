import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LargePace } from "../../src/actors/large-pace.ts";

const test = suite("large-pace");

test("[PACE-1] large submissions are read for a part of the time, whatever they take", () => {
  for (const eachMs of [1, 20, 200]) {
    let now = 0;
    const pace = new LargePace(() => now);
    let reading = 0;
    while (now < 60_000) {
      if (pace.deferMs(false) === undefined) {
        now += eachMs;
        reading += eachMs;
        pace.took(eachMs);
      } else now += 5; // the next one comes
    }
    assert.ok(reading < 25_000, `${eachMs}: ${reading} of ${now}`);
    assert.ok(reading > 10_000, `${eachMs}: ${reading} of ${now}`);
  }
});

test("[PACE-1] none is read while memory is full", () => {
  const pace = new LargePace(() => 0);
  assert.ok((pace.deferMs(true) ?? 0) > 0);
  assert.is(pace.deferMs(false), undefined);
});

test("[PACE-2] those that are given back come again one after the other, so that each is read at its second or third time", () => {
  const COUNT = 400;
  const EACH_MS = 100;
  let now = 0;
  const pace = new LargePace(() => now);
  const due = Array.from({ length: COUNT }, () => 0);
  let sent = 0;
  while (due.length > 0) {
    due.sort((a, b) => a - b);
    now = Math.max(now + 1, due.shift() as number);
    sent += 1;
    const deferMs = pace.deferMs(false);
    if (deferMs === undefined) {
      now += EACH_MS;
      pace.took(EACH_MS);
    } else due.push(now + deferMs);
  }
  assert.ok(sent < 5 * COUNT, `${sent} deliveries of ${COUNT}`);
  assert.ok(now < 10 * COUNT * EACH_MS, `${now} ms`);
});

test.run();
