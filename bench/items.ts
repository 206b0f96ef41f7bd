/** Jobs of one entry for many items, of functions of the load tests, and whether each item has been done. */
import type { JobState } from "../src/job/state.ts";
import type { Kind } from "./kinds.ts";
import type { Measurement } from "./measure.ts";
import type { Role } from "./process.ts";
import { ITEM_FUNCTION } from "./workers/names.ts";

/** Items from 0 on, by number; each one's result is its successor. */
export function itemsKind(name: string, items: number, concurrency: number, results: "keep" | "none"): Kind {
  return {
    name,
    job: () => ({ name: "bench-items", functions: [{ for_each: items, name: ITEM_FUNCTION, concurrency, results }] }),
    problem: (state) => itemsProblem(state, items, results),
  };
}

/** Each item is done; where results are kept, they are as many bytes as they must be: each is a number. */
export function itemsProblem(
  { functions }: JobState,
  count: number,
  results: "keep" | "none" = "none",
): string | undefined {
  const { items } = functions.at(0) ?? {};
  if (items?.done !== count) return `${items?.done} of its ${count} items are done`;
  const bytes = results === "keep" ? bytesOfSuccessors(count) : 0;
  return (items.bytes ?? 0) === bytes ? undefined : `its results have ${items.bytes} bytes, not ${bytes}`;
}

/** As MessagePack has whole numbers. */
function bytesOfSuccessors(count: number): number {
  let bytes = 0;
  for (let item = 1; item <= count; item++) bytes += item < 128 ? 1 : item < 256 ? 2 : item < 65_536 ? 3 : 5;
  return bytes;
}

/** CPU time of a role per function, or item, in µs. */
export function cpuUsOf(role: Role, functions: number): (one: Measurement) => number {
  return ({ cpuUsPerJob }) => (cpuUsPerJob[role] ?? Number.NaN) / functions;
}
