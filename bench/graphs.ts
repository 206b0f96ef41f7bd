/** Jobs that are graphs, of the same functions as the chains of the load tests: each entry adds its number to the job's. */
import type { JobState } from "../src/job/state.ts";
import { functionsOf } from "./contender.ts";
import { FUNCTION, sumProblem } from "./contenders/async.ts";
import type { Kind } from "./kinds.ts";

/** By index: the entries that each one needs, all of them before it. */
export type Shape = readonly (readonly number[])[];

/** One, then two at a time, then one. */
export const DIAMOND: Shape = [[], [0], [0], [1, 2]];

const MOST_NEEDS = 3;

/** Each entry but the first needs one to three of all before it. The same for the same length, whenever it is made. */
export function randomShape(length: number): Shape {
  const random = pseudoRandom(length);
  return Array.from({ length }, (_, index) => {
    const needs = new Set<number>();
    const count = Math.min(index, 1 + Math.floor(random() * MOST_NEEDS));
    while (needs.size < count) needs.add(Math.floor(random() * index));
    return [...needs];
  });
}

/** From [0, 1): a linear congruential generator, as good as shapes need. */
function pseudoRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export function graphKind(name: string, shape: Shape): Kind {
  const idOf = (index: number) => `e${index}`;
  return {
    name,
    job: (number) => ({
      name: "bench-graph",
      functions: functionsOf(FUNCTION, number, shape.length).map((fn, index) => ({
        id: idOf(index),
        ...fn,
        needs: (shape[index] ?? []).map(idOf),
      })),
    }),
    problem: (state, number) => sumProblem(state, number, shape.length) ?? orderProblem(state, shape),
  };
}

export function chainKind(name: string, length: number): Kind {
  return {
    name,
    job: (number) => ({ name: "bench-chain", functions: functionsOf(FUNCTION, number, length) }),
    problem: (state, number) => sumProblem(state, number, length),
  };
}

/** Each entry has ended after those that it needs. */
export function orderProblem(state: JobState, shape: Shape): string | undefined {
  const rankOf = (index: number) => state.functions.at(index)?.rank ?? Number.NaN;
  for (const [index, needs] of shape.entries()) {
    for (const need of needs) {
      if (!(rankOf(need) < rankOf(index))) return `entry ${index} has ended before entry ${need}, which it needs`;
    }
  }
  return undefined;
}
