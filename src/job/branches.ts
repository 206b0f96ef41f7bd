/** Lists of branches, by index, lowest first: a graph may have hundreds at a time, and is asked for one of them at each step. */
import type { Branch } from "./state.ts";

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
