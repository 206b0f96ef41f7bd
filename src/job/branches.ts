/** Lists of branches, by index, lowest first: a graph may have hundreds at a time, and is asked for one of them at each step. */
import { MAX_FUNCTIONS } from "./schema.ts";
import { BRANCH_WAITS, type Branch } from "./state.ts";

/** Where in the list the branch with that index is, or would be. */
export function placeOf(live: readonly Branch[], index: number): number {
  let low = 0;
  let high = live.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((live[middle] as Branch).index < index) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function branchIn(live: readonly Branch[], index: number): Branch | undefined {
  const branch = live[placeOf(live, index)];
  return branch?.index === index ? branch : undefined;
}

/** Elements of a run of branches. */
const RUN = 3;

type PackedBranch =
  | [index: number, count: number, since: number]
  | [index: number, attempt: number, wait: number, since: number, dueAt: number | null, undo?: true];

/**
 * The branches as they are stored: an array each, and one for those next to each other whose first attempt is due since the same time,
 * as in a fan of a thousand.
 */
export function packedBranches(live: readonly Branch[]): PackedBranch[] {
  const packed: PackedBranch[] = [];
  let run: [index: number, count: number, since: number] | undefined;
  // A plain loop, here and in `rest.ts`: a large fan goes through it at each step, and an iterator takes many times as long.
  for (let at = 0; at < live.length; at++) {
    const branch = live[at] as Branch;
    const before = live[at - 1];
    if (run && branch.since === before?.since && branch.index === before.index + 1 && isFirst(branch)) {
      run[1] += 1;
      continue;
    }
    const { index, attempt, wait, since, due_at: dueAt } = branch;
    if (!isFirst(branch)) {
      const one: PackedBranch = [index, attempt, BRANCH_WAITS.indexOf(wait), since, dueAt ?? null];
      if (branch.undo) one.push(true);
      packed.push(one);
      run = undefined;
    } else {
      run = [index, 1, since];
      packed.push(run);
    }
  }
  return packed;
}

/** Whether its first attempt is due. */
function isFirst({ attempt, wait, due_at, undo }: Branch): boolean {
  return attempt === 1 && wait === "none" && due_at === undefined && undo === undefined;
}

/** Of what anyone may have stored: null where it makes no sense. */
export function unpackedBranches(packed: unknown): unknown {
  if (!Array.isArray(packed)) return null;
  const live: unknown[] = [];
  for (const one of packed) {
    if (!Array.isArray(one) || live.length > MAX_FUNCTIONS) return null;
    if (one.length > RUN) {
      const [index, attempt, wait, since, dueAt, undo] = one;
      const due = dueAt === null ? {} : { due_at: dueAt };
      live.push({ index, attempt, wait: BRANCH_WAITS[wait], since, ...due, ...(undo !== undefined && { undo }) });
      continue;
    }
    const [first, length, since] = one;
    if (!(length <= MAX_FUNCTIONS)) return null;
    for (let at = 0; at < length; at++) live.push({ index: first + at, attempt: 1, wait: "none", since });
  }
  return live;
}
