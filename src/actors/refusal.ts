/**
 * What becomes of events whose state does not fit into a message. The largest of what has come fails alone: a result that cannot be
 * kept is a failure of its attempt, a signal that cannot be kept one of its entry, and the progress of an attempt is forgotten.
 */
import type { Failure } from "../job/failure.ts";
import type { Event } from "../job/transition.ts";
import { sizeOf } from "./memory.ts";

/** The same events with the largest one failed; undefined if none of them has brought anything. */
export function withoutLargest(events: readonly Event[], why: string): Event[] | undefined {
  let largest = -1;
  let bytes = -1;
  for (const [index, event] of events.entries()) {
    const brought = broughtBy(event);
    const size = brought === undefined ? -1 : sizeOf(brought);
    if (size <= bytes) continue;
    [largest, bytes] = [index, size];
  }
  const event = events[largest];
  const failed = event && failedInstead(event, why);
  return failed && events.toSpliced(largest, 1, failed);
}

/** What the event adds to the state; undefined if that is next to nothing. */
function broughtBy(event: Event): unknown {
  if (event.type === "succeeded") return event.result ?? null;
  if (event.type === "failed" || event.type === "lost") return event.progress;
  return event.type === "signalled" && !event.unfit ? (event.payload ?? null) : undefined;
}

function failedInstead(event: Event, why: string): Event | undefined {
  if (event.type === "succeeded") {
    const { index, attempt } = event;
    const error = tooLarge(`the state of the job with this result does not fit into a message: ${why}`);
    return { type: "failed", index, attempt, error, retryable: false, random: 0 };
  }
  if (event.type === "failed" || event.type === "lost") {
    const { progress: _progress, ...rest } = event; // the next attempt does without it
    return rest;
  }
  if (event.type !== "signalled" || event.unfit) return undefined;
  const unfit = tooLarge(`the state of the job with this signal does not fit into a message: ${why}`);
  return { ...event, payload: null, unfit };
}

function tooLarge(message: string): Failure {
  return { code: "payload_too_large", name: "PayloadTooLarge", message };
}
