/** Where a new job goes: into memory, or to where it waits. */
import { reduce } from "../job/machine.ts";
import { type Plan, planOf } from "../job/plan.ts";
import { rest, toBeParked } from "../job/rest.ts";
import { callAt, isEnded, isGraph } from "../job/state.ts";
import type { Transition } from "../job/transition.ts";
import type { ActorContext } from "./actor-context.ts";
import { noRoomEvent } from "./attempts.ts";

type PlacingContext = Pick<ActorContext, "dispatcher" | "memory" | "parkAfterMs">;

/**
 * The first transition of a job, with the place where it waits if it has to.
 *
 * @param held number of the token that it comes with
 * @param footprint what it takes in memory
 */
export function placed(
  context: PlacingContext,
  first: Transition,
  held: number,
  now: number,
  footprint: number,
): Transition {
  const { state, events } = unlessFull(context, first, held, now, footprint);
  return { state: toBeParked(state, held, now, context.parkAfterMs), events };
}

/**
 * Where so many jobs of its function wait that it would be sent to the backlog, a new job goes there at once; and one that
 * is too large for now.
 */
function unlessFull(
  { dispatcher, memory }: PlacingContext,
  first: Transition,
  held: number,
  now: number,
  footprint: number,
): Transition {
  const { state, events } = first;
  if (isEnded(state)) return first;
  const how = rest(state, held, now);
  const due = how.type === "attempt" ? [how] : how.type === "attempts" ? how.attempts : [];
  const mustWait = memory.mustWait(footprint, memory.used);
  const queued: Transition = { state, events: [...events] };
  let plan: Plan | undefined; // of a thousand entries it takes longer to make than all else
  for (const address of due) {
    if (!mustWait && !dispatcher.isFull(callAt(state, address).name)) continue;
    if (isGraph(state)) plan ??= planOf(state.functions);
    const next = reduce(queued.state, noRoomEvent(address), now, plan);
    queued.state = next.state;
    queued.events.push(...next.events);
  }
  return queued;
}
