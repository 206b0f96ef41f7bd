/** The order of entries: what has certainly ended by then, the steps, and what can never begin. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkJob, parseSubmission } from "../../src/job/check.ts";
import { Order, orderOf, stepsOf } from "../../src/job/order.ts";
import { endless, followersOf, planOf } from "../../src/job/plan.ts";

/** Graphs, some with circles: each entry needs a few others, or follows all before it in the list. */
const graph = fc
  .array(fc.record({ needs: fc.array(fc.nat(11), { maxLength: 4 }), listed: fc.boolean() }), {
    minLength: 1,
    maxLength: 12,
  })
  .map((entries) =>
    entries.map(({ needs, listed }, index) => {
      const ids = [...new Set(needs.filter((one) => one < entries.length && one !== index))].map((one) => `e${one}`);
      return { id: `e${index}`, name: "a", ...(!listed && { needs: ids }) };
    }),
  );

test("an entry has ended before another one exactly if the other follows it", () => {
  fc.assert(
    fc.property(graph, (entries) => {
      const plan = planOf(entries);
      fc.pre(endless(plan).length === 0);
      const order = new Order(plan);
      const steps = stepsOf(plan);
      assert.equal(
        steps.flat().toSorted((a, b) => a - b),
        [...entries.keys()],
      );
      const stepOf = (index: number) => steps.findIndex((step) => step.includes(index));
      for (const one of entries.keys()) {
        const followers = followersOf(plan, one);
        for (const other of entries.keys()) assert.is(order.follows(other, one), followers.includes(other));
        for (const other of followers) assert.ok(stepOf(other) > stepOf(one));
        const direct = order.followedBy(one);
        assert.is(stepOf(one), Math.max(-1, ...direct.map(stepOf)) + 1);
        const before = new Set([
          ...direct,
          ...[...entries.keys()].filter((it) => direct.some((d) => order.follows(d, it))),
        ]);
        assert.equal([...before].toSorted(), [...entries.keys()].filter((it) => order.follows(one, it)).toSorted());
      }
    }),
    { numRuns: 500 },
  );
});

test("whether entries wait for each other is told of just those documents that cannot end", () => {
  fc.assert(
    fc.property(graph, (entries) => {
      const ended = new Set<number>();
      for (let before = -1; before < ended.size; ) {
        before = ended.size;
        for (const [index, { needs }] of entries.entries()) {
          const waits = needs ? needs.map((id) => Number(id.slice(1))) : [...Array(index).keys()];
          if (waits.every((one) => ended.has(one))) ended.add(index);
        }
      }
      const stuck = [...entries.keys()].filter((index) => !ended.has(index));
      assert.equal(endless(planOf(entries)), stuck);
      const found = checkJob({ name: "test", functions: entries });
      assert.is(
        found.some(({ message }) => message.startsWith("makes a circle")),
        stuck.length > 0,
      );
    }),
    { numRuns: 500 },
  );
});

test("the order names ids, and indexes where there are none", () => {
  const functions = [
    { id: "reserve", name: "a" },
    { id: "approve", wait_for: "approval" },
    { id: "charge", name: "b", needs: ["reserve"] },
    { sleep_ms: 5 },
    { sleep_ms: 5, needs: ["approve"] },
    { name: "first", needs: [] },
    { name: "last" },
  ];
  const order = orderOf(parseSubmission({ name: "test", functions }));
  assert.equal(order, [["reserve", 5], ["approve", "charge"], [3, 4], [6]]);
});

test.run();
