/** In which order entries follow each other, against definitions that are slow and plain. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { endless, firstOf, followersOf, type Plan, planOf, readyAfter } from "../../src/job/plan.ts";

type Entries = { id?: string; needs?: string[] }[];

/** Any entries, also such as wait for each other or name what is not there. */
const entries: fc.Arbitrary<Entries> = fc
  .array(
    fc.record({
      hasId: fc.boolean(),
      needs: fc.option(fc.array(fc.nat(9), { maxLength: 4 }), { nil: undefined }),
    }),
    { minLength: 1, maxLength: 9 },
  )
  .map((all) =>
    all.map(({ hasId, needs }, index) => ({
      ...(hasId && { id: `e${index}` }),
      ...(needs && { needs: needs.map((need) => `e${need}`) }),
    })),
  );

/** What an entry waits for directly. */
function waitsFor(all: Entries, index: number): number[] {
  const { needs } = all[index] ?? {};
  if (!needs) return Array.from({ length: index }, (_, one) => one);
  return needs.map((need) => all.findIndex(({ id }) => id === need)).filter((one) => one >= 0);
}

const indexesOf = (all: Entries) => all.map((_, index) => index);
const sorted = (indexes: Iterable<number>) => [...new Set(indexes)].sort((a, b) => a - b);
const readyIn = (all: Entries, ended: ReadonlySet<number>) =>
  indexesOf(all).filter((index) => !ended.has(index) && waitsFor(all, index).every((one) => ended.has(one)));

const RUNS = { numRuns: 2_000 };

test("what begins first waits for nothing that is there", () => {
  fc.assert(
    fc.property(entries, (all) => {
      const plan = planOf(all);
      assert.equal(firstOf(plan), readyIn(all, new Set()));
      for (const index of indexesOf(all)) {
        assert.equal(plan.needsOf(index), all[index]?.needs && [...new Set(waitsFor(all, index))]);
        assert.is(plan.ids[index], all[index]?.id ?? null);
      }
      const first = all.findIndex(({ id }) => id !== undefined);
      assert.is(plan.firstId, first < 0 ? all.length : first);
    }),
    RUNS,
  );
});

test("whatever ends in whatever order, what becomes ready is what had its last wait ended by that", () => {
  let met = 0;
  fc.assert(
    fc.property(entries, fc.infiniteStream(fc.nat()), (all, choices) => {
      const plan = planOf(all);
      const ended = new Set<number>();
      const begun = new Set(firstOf(plan));
      for (let open = [...begun]; open.length > 0; open = [...begun].filter((one) => !ended.has(one))) {
        const index = open[choices.next().value % open.length] as number;
        const lowestBefore = lowestOf(plan, ended);
        ended.add(index);
        const ready = readyAfter(plan, index, (one) => ended.has(one), lowestBefore, lowestOf(plan, ended));
        for (const one of ready) {
          met += 1;
          assert.not.ok(begun.has(one), "each begins once");
          begun.add(one);
        }
        assert.equal(sorted([...begun].filter((one) => !ended.has(one))), readyIn(all, ended));
      }
      assert.equal(
        endless(plan),
        indexesOf(all).filter((index) => !ended.has(index)),
      );
    }),
    RUNS,
  );
  assert.ok(met > 500);
});

function lowestOf(plan: Plan, ended: ReadonlySet<number>): number {
  let lowest = 0;
  while (lowest < plan.length && ended.has(lowest)) lowest += 1;
  return lowest;
}

test("what follows an entry is what waits for it, by any way", () => {
  fc.assert(
    fc.property(entries, (all) => {
      const plan = planOf(all);
      for (const from of indexesOf(all)) {
        const found = new Set([from]);
        for (let before = 0; before < found.size; ) {
          before = found.size;
          for (const index of indexesOf(all)) if (waitsFor(all, index).some((one) => found.has(one))) found.add(index);
        }
        found.delete(from);
        assert.equal(followersOf(plan, from), sorted(found));
      }
    }),
    RUNS,
  );
});

test("entries that wait for each other can never begin, nor can what follows from them", () => {
  const circle = [{ id: "a", needs: ["b"] }, { id: "b", needs: ["a"] }, { id: "c", needs: [] }, { id: "d" }];
  assert.equal(endless(planOf(circle)), [0, 1, 3]);
  assert.equal(endless(planOf([{ id: "a", needs: ["a"] }])), [0]);
  assert.equal(endless(planOf([{ needs: ["later"] }, { id: "later" }])), [0, 1]);
});

test("a thousand entries that all need all before them are planned in time that does not grow with each step", () => {
  const all = Array.from({ length: 1_000 }, (_, index) => ({ id: `e${index}` }));
  const plan = planOf(all);
  const begin = performance.now();
  assert.is(followersOf(plan, 0).length, 999);
  assert.ok(performance.now() - begin < 1_000);
});

test.run();
