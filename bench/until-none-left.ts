/** How the end of a load is noticed: by looking now and then, so that nothing is asked of anybody for each job. */
import { setTimeout as delay } from "node:timers/promises";
import { WrongResults } from "./contender.ts";

export const POLL_MS = 20;
/** Longer without any of them ending means that something is wrong. */
export const STALL_MS = 60_000;

/** `what` is counted. @throws WrongResults when what is left does not get less, or is less than none */
export async function untilNoneLeft(what: string, countLeft: () => Promise<number>): Promise<void> {
  let before = Number.NaN;
  for (let stalledSince = performance.now(); ; await delay(POLL_MS)) {
    const left = await countLeft();
    if (left === 0) return;
    if (left < 0) throw new WrongResults(`${-left} ${what} more have run than were to`);
    if (left !== before) stalledSince = performance.now();
    before = left;
    if (performance.now() - stalledSince > STALL_MS) throw new WrongResults(`${left} ${what} do not end`);
  }
}
