/**
 * What the order of a graph's entries comes to: which have certainly ended when another one begins, in which steps they begin,
 * and which each follows directly. It holds for documents without circles only (`endless` in `plan.ts`).
 *
 * Example: of `[a, {b, needs: []}, {c, needs: [a]}, d]` the steps are `a, b`, then `c`, then `d`; `d` follows `b` and `c`, and
 * `a` has ended by then as well.
 */
import { type Plan, planOf } from "./plan.ts";
import type { Submission } from "./schema.ts";

/** A set of indexes, one bit each: a thousand entries that follow each other have half a million pairs. */
type Indexes = Uint32Array;

const has = (set: Indexes, index: number) => ((set[index >> 5] ?? 0) & (1 << (index & 31))) !== 0;

function add(set: Indexes, index: number): void {
  set[index >> 5] = (set[index >> 5] ?? 0) | (1 << (index & 31));
}

function addAll(set: Indexes, more: Indexes): void {
  for (let word = 0; word < set.length; word++) set[word] = (set[word] ?? 0) | (more[word] ?? 0);
}

/** Which entries follow which, by any way. What is asked for is worked out and kept. */
export class Order {
  readonly #plan: Plan;
  /** By index: all that have ended before it begins. */
  readonly #before: Indexes[] = [];
  /** By index: all entries that stand before it in the list, and all that these follow. */
  readonly #listed: Indexes[];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#listed = [this.#none()];
  }

  /** Whether `other` has certainly ended when `index` begins. */
  follows(index: number, other: number): boolean {
    return has(this.#beforeOf(index), other);
  }

  /** What it follows directly: what it needs, or of those before it in the list the ones that none of these follows. */
  followedBy(index: number): number[] {
    const needs = this.#plan.needsOf(index);
    if (needs) return [...needs];
    const covered = this.#none();
    for (let one = 0; one < index; one++) addAll(covered, this.#beforeOf(one));
    return Array.from({ length: index }, (_, one) => one).filter((one) => !has(covered, one));
  }

  #none(): Indexes {
    return new Uint32Array((this.#plan.length + 31) >> 5);
  }

  /** Calls itself through what it follows: at most as deep as there are entries, some thousand times. */
  #beforeOf(index: number): Indexes {
    const known = this.#before[index];
    if (known) return known;
    const needs = this.#plan.needsOf(index);
    const before = needs ? this.#none() : this.#listedBefore(index);
    for (const need of needs ?? []) {
      add(before, need);
      addAll(before, this.#beforeOf(need));
    }
    this.#before[index] = before;
    return before;
  }

  #listedBefore(index: number): Indexes {
    for (let length = this.#listed.length; length <= index; length++) {
      const listed = Uint32Array.from(this.#listed[length - 1] ?? []);
      add(listed, length - 1);
      addAll(listed, this.#beforeOf(length - 1));
      this.#listed[length] = listed;
    }
    return this.#listed[index] ?? this.#none();
  }
}

/** The indexes of the entries by the step in which they begin: each follows one of the step before, or none. */
export function stepsOf(plan: Plan): number[][] {
  const stepOf: number[] = [];
  const steps: number[][] = [];
  /** The latest step of those before an index. */
  const latest: number[] = [-1];
  const visit = (index: number): number => {
    const known = stepOf[index];
    if (known !== undefined) return known;
    const needs = plan.needsOf(index);
    const before = needs ? Math.max(-1, ...needs.map(visit)) : latestBefore(index);
    stepOf[index] = before + 1;
    return before + 1;
  };
  const latestBefore = (index: number): number => {
    for (let length = latest.length; length <= index; length++) {
      latest[length] = Math.max(latest[length - 1] ?? -1, visit(length - 1));
    }
    return latest[index] ?? -1;
  };
  for (let index = 0; index < plan.length; index++) {
    const step = visit(index);
    const list = steps[step];
    if (list) list.push(index);
    else steps[step] = [index];
  }
  return steps;
}

/** The entries of a valid document by their steps: the id of each, or its index where it has none. */
export function orderOf({ functions }: Submission): (string | number)[][] {
  return stepsOf(planOf(functions)).map((step) => step.map((index) => functions[index]?.id ?? index));
}
