import { test } from "uvu";
import * as assert from "uvu/assert";
import { chosenJobIdProblem, jobIdProblem, MADE_UP_PREFIX } from "../../src/job/names.ts";
import { RandomText } from "../../src/util/random-text.ts";

test("each text has the length that was asked for, also where it does not divide the pool", () => {
  for (const length of [1, 7, 8, 16, 1_000, 4_095, 4_096]) {
    const random = new RandomText(length);
    for (let n = 0; n < 20; n++) assert.is(random.next().length, length);
  }
});

test("more than the pool has is refused", () => {
  assert.throws(() => new RandomText(4_097), /more than the pool has/);
});

test("texts consist of letters, digits, '-' and '_', and all of these occur", () => {
  const random = new RandomText(16);
  const seen = new Set<string>();
  for (let n = 0; n < 2_000; n++) for (const character of random.next()) seen.add(character);
  assert.is(seen.size, 64);
  assert.match([...seen].join(""), /^[A-Za-z0-9_-]{64}$/);
});

test("of 100,000 texts no two are the same, within one source and between two", () => {
  const sources = [new RandomText(16), new RandomText(16)];
  const seen = new Set<string>();
  for (let n = 0; n < 50_000; n++) for (const source of sources) seen.add(source.next());
  assert.is(seen.size, 100_000);
});

test("an id that is made up of it can be chosen as a job's", () => {
  const random = new RandomText(16);
  for (let n = 0; n < 1_000; n++) {
    const id = MADE_UP_PREFIX + random.next();
    assert.is(jobIdProblem(id), undefined, id);
    assert.is(chosenJobIdProblem(id), undefined, id);
  }
});

test.run();
