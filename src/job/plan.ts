/**
 * In which order the entries of a graph follow each other. It follows from the document, so nothing of it is stored.
 *
 * An entry without `needs` follows all before it in the list: it is ready when it is the lowest that has not ended. One with
 * `needs` is ready when these have ended, wherever they stand.
 *
 * Example: of `[a, {b, needs: []}, {c, needs: [a]}, d]`, `a` and `b` begin at once, `c` after `a`, and `d` after all.
 */
import { Expressions } from "./expressions.ts";
import type { FunctionSpec } from "./schema.ts";

export interface Plan {
  /** How many entries there are. */
  readonly length: number;
  readonly indexOf: ReadonlyMap<string, number>;
  /** The ids in the order of the list, null where an entry has none; `firstId` is the index of the first that has one. */
  readonly ids: readonly (string | null)[];
  readonly firstId: number;
  /** Its expressions, as far as they have been compiled. */
  readonly expressions: Expressions;
  /**
   * Results that are stored besides the job, as far as they have been read, by index; a `LostValue` where one is gone. Who has the plan
   * sees to it that they are few.
   */
  readonly loaded: Map<number, unknown>;
  /** The indexes of what an entry needs, in the order in which it names them; undefined: all before it in the list. */
  needsOf(index: number): readonly number[] | undefined;
  /** The entries that name it in their `needs`. */
  dependentsOf(index: number): readonly number[];
}

/** What of an entry its place in the order depends on. */
type Ordered = Pick<FunctionSpec, "id" | "needs">;

const NONE: readonly number[] = [];

/** Ids that no entry has are passed over: they are refused where documents are checked. */
export function planOf(entries: Iterable<Ordered>): Plan {
  const all = [...entries];
  const indexOf = new Map<string, number>();
  for (let index = 0; index < all.length; index++) {
    const id = all[index]?.id;
    if (id !== undefined) indexOf.set(id, index);
  }
  const needs: (number[] | undefined)[] = [];
  const dependents: (number[] | undefined)[] = [];
  for (let index = 0; index < all.length; index++) {
    const ids = all[index]?.needs;
    const found = ids && [...new Set(ids)].map((id) => indexOf.get(id)).filter((one) => one !== undefined);
    needs.push(found);
    for (const need of found ?? NONE) {
      const list = dependents[need];
      if (list) list.push(index);
      else dependents[need] = [index];
    }
  }
  return {
    length: all.length,
    indexOf,
    ids: all.map(({ id = null }) => id),
    loaded: new Map(),
    firstId: Math.min(all.length, ...indexOf.values()),
    expressions: new Expressions(),
    needsOf: (index) => needs[index],
    dependentsOf: (index) => dependents[index] ?? NONE,
  };
}

/** The entries that begin at once. */
export function firstOf(plan: Plan): number[] {
  const first: number[] = [];
  for (let index = 0; index < plan.length; index++) {
    const needs = plan.needsOf(index);
    if (needs ? needs.length === 0 : index === 0) first.push(index);
  }
  return first;
}

/**
 * The entries that have become ready because that one has ended.
 *
 * @param lowest the lowest index that has not ended; `lowestBefore` as it was before that one had
 */
export function readyAfter(
  plan: Plan,
  ended: number,
  hasEnded: (index: number) => boolean,
  lowestBefore: number,
  lowest: number,
): number[] {
  // What has ended already is there only in a circle, as somebody else may have stored one: it would go round for ever.
  const isReady = (index: number) => !hasEnded(index) && plan.needsOf(index)?.every(hasEnded);
  const ready = plan.dependentsOf(ended).filter(isReady);
  if (lowest > lowestBefore && lowest < plan.length && plan.needsOf(lowest) === undefined) ready.push(lowest);
  return ready;
}

/** All entries that follow that one, by any way, in the order of the list; without itself. */
export function followersOf(plan: Plan, from: number): number[] {
  const found = new Set<number>();
  const open = [from];
  /** Entries without needs from here on are among them already. */
  let listedFrom = plan.length;
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    const next = [...plan.dependentsOf(index)];
    for (let later = index + 1; later < listedFrom; later++) {
      if (plan.needsOf(later) === undefined) next.push(later);
    }
    listedFrom = Math.min(listedFrom, index + 1);
    for (const one of next) {
      if (found.has(one) || one === from) continue;
      found.add(one);
      open.push(one);
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** The entries that can never begin, as they wait for each other; none in a document that makes sense. */
export function endless(plan: Plan): number[] {
  const ended: boolean[] = new Array(plan.length).fill(false);
  /** How many of its needs have not ended. */
  const missing = ended.map((_, index) => plan.needsOf(index)?.length ?? 0);
  const open = firstOf(plan);
  let lowest = 0;
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    ended[index] = true;
    for (const dependent of plan.dependentsOf(index)) {
      missing[dependent] = (missing[dependent] ?? 0) - 1;
      if (missing[dependent] === 0) open.push(dependent);
    }
    const before = lowest;
    while (ended[lowest]) lowest += 1;
    if (lowest > before && lowest < plan.length && plan.needsOf(lowest) === undefined) open.push(lowest);
  }
  return [...ended.keys()].filter((index) => !ended[index]);
}
