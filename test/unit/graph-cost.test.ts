/**
 * What an entry of a graph costs does not grow with how many there are. Measured in time of the processor, with a generous limit, as the
 * machine may have other things to do. For a fan that is the machine's step alone: `rest` and a brief state go through all
 * branches that are live, once in each step.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EncodedResults, encodeInvocation } from "../../src/bus/messages/invocation.ts";
import { BriefWriter } from "../../src/bus/store/brief-state.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { type Graph, isEnded, type JobState } from "../../src/job/state.ts";
import { NOW, ORIGIN } from "./support.ts";

const SHAPES: Record<string, (index: number, count: number) => FunctionSpec> = {
  "a fan that is joined": (index, count) =>
    index < count - 1 ? { id: `e${index}`, name: "f", needs: [] } : { name: "join" },
  "a chain with ids": (index) => ({ id: `e${index}`, name: "f" }),
  "random needs": (index) => {
    const earlier = [7919, 104_729, 1_299_709].slice(0, index);
    const needs = earlier.map((prime) => `e${(Math.imul(index + 1, prime * 2_654_435) >>> 8) % index}`);
    return { id: `e${index}`, name: "f", needs: [...new Set(needs)] };
  },
};

/** Runs it to its end, each entry as soon as it may. Returns the time of the processor for one entry, in µs. */
function costOf(shape: string, count: number): number {
  const specOf = SHAPES[shape];
  assert.ok(specOf);
  const functions = Array.from({ length: count }, (_, index) => specOf?.(index, count) ?? {});
  const plan = planOf(functions);
  const writer = shape.startsWith("a fan") ? undefined : new BriefWriter();
  const results = new EncodedResults("json");
  let state: JobState = createJob({ name: "test", functions }, ORIGIN, NOW).state;
  const begin = process.cpuUsage();
  for (let steps = 0; !isEnded(state); steps++) {
    assert.ok(steps < count, "each step ends an entry");
    const { index, attempt } = (state as Graph).live[0] ?? { index: 0, attempt: 0 };
    encodeInvocation(state, { index, attempt }, NOW, undefined, plan.needsOf(index) ? undefined : results, plan);
    state = reduce(state, { type: "succeeded", index, attempt, result: index }, NOW + steps, plan).state;
    if (!isEnded(state)) writer?.write(state);
  }
  assert.is(state.state, "completed");
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / count;
}

for (const shape of Object.keys(SHAPES)) {
  test(`an entry of a thousand costs at most three times what one of 250 does: ${shape}`, () => {
    const best = (count: number) => Math.min(...Array.from({ length: 5 }, () => costOf(shape, count)));
    best(250); // until it is compiled
    const [few, many] = [best(250), best(1_000)];
    assert.ok(many <= 3 * few, `${many.toFixed(1)} µs instead of ${few.toFixed(1)} µs`);
  });
}

test.run();
