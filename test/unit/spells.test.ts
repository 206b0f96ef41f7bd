import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inWords, type SpellEnd, Spells } from "../../src/util/spells.ts";

const test = suite("spells");

/** Spells on a clock that the test turns on. */
function onClock(use: (spells: Spells, pass: (ms: number) => void) => void): void {
  const { setInterval: realInterval, clearInterval: realClear } = globalThis;
  const realNow = performance.now;
  let now = 0;
  let look: (() => void) | undefined;
  performance.now = () => now;
  globalThis.setInterval = ((run: () => void) => {
    look = run;
    return { unref: () => "timer" };
  }) as unknown as typeof setInterval;
  globalThis.clearInterval = () => {
    look = undefined;
  };
  try {
    use(new Spells(10_000), (ms) => {
      for (let left = ms; left > 0; left -= 1_000) {
        now += 1_000;
        look?.();
      }
    });
    assert.is(look, undefined, "a timer is left");
  } finally {
    performance.now = realNow;
    Object.assign(globalThis, { setInterval: realInterval, clearInterval: realClear });
  }
}

function listener() {
  const told: (string | SpellEnd)[] = [];
  return { told, first: () => void told.push("first"), over: (end: SpellEnd) => void told.push(end) };
}

test("the first is told at once, what follows is counted, and told when it is over", () => {
  onClock((spells, pass) => {
    const one = listener();
    for (let count = 0; count < 1_600; count++) spells.note("a", one);
    assert.equal(one.told, ["first"]);
    pass(5_000);
    spells.note("a", one);
    pass(9_000);
    assert.equal(one.told, ["first"]);
    pass(2_000);
    assert.equal(one.told, ["first", { times: 1_601, forMs: 5_000 }]);
    spells.note("a", one);
    assert.is(one.told.length, 3, "a new spell is told of");
    pass(11_000);
    assert.is(one.told.length, 3, "what came once is over when it was told");
  });
});

test("what says when it is over keeps its spell open, however quiet it is, and is told of even if it came once", () => {
  onClock((spells, pass) => {
    const one = listener();
    let over = false;
    spells.note("outage", one, () => over);
    pass(60_000);
    assert.equal(one.told, ["first"]);
    over = true;
    pass(3_000);
    const [, end] = one.told;
    assert.is((end as SpellEnd).times, 1);
    assert.ok((end as SpellEnd).forMs >= 60_000 && (end as SpellEnd).forMs <= 62_000);
  });
});

test("spells of different kinds are told apart, of no more than a hundred, and all end when they are closed", () => {
  onClock((spells) => {
    const all = Array.from({ length: 150 }, () => listener());
    for (const [index, one] of all.entries()) spells.note(`kind ${index}`, one);
    for (const [index, one] of all.entries()) spells.note(`kind ${index}`, one);
    assert.is(all.filter(({ told }) => told.length === 1).length, 100);
    spells.close();
    const ends = all.flatMap(({ told }) => told.slice(1) as SpellEnd[]);
    assert.is(
      ends.reduce((sum, { times }) => sum + times, 0),
      300,
    );
  });
});

test("an end in words", () => {
  assert.is(inWords({ times: 1_600, forMs: 40_100 }), "over after 41 s, 1600 times");
  assert.is(inWords({ times: 1, forMs: 999 }), "over after 1 s, once");
});

test.run();
