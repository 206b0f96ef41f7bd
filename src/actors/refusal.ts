/**
 * What becomes of events whose state does not fit into a message. The largest of what has come fails alone: a result that cannot be
 * kept is a failure of its attempt, a signal that cannot be kept one of its entry; the progress of an attempt is forgotten, and so
 * is the stack of an error.
 */
import type { Failure } from "../job/failure.ts";
import type { Event } from "../job/transition.ts";
import { sizeOf } from "./memory.ts";

/**
 * The same events with the largest one failed, or as many of the largest as have brought `overBytes`: where hundreds come together, to
 * encode a full state for each of them would keep this process from all else for seconds. Undefined if none of them has brought anything.
 */
export function withoutLargest(events: readonly Event[], why: string, overBytes = 0): Event[] | undefined {
  const brought: { index: number; bytes: number }[] = [];
  for (const [index, event] of events.entries()) {
    const value = broughtBy(event);
    if (value !== undefined) brought.push({ index, bytes: sizeOf(value) });
  }
  if (brought.length === 0) return undefined;
  const next = [...events];
  let over = overBytes;
  for (const { index, bytes } of brought.sort((a, b) => b.bytes - a.bytes)) {
    const event = events[index];
    next[index] = (event && failedInstead(event, why)) ?? (next[index] as Event);
    over -= bytes;
    if (!(over > 0)) break;
  }
  return next;
}

/** What the event adds to the state; undefined if that is next to nothing. */
function broughtBy(event: Event): unknown {
  if (event.type === "succeeded") return event.result ?? null;
  if (event.type === "failed") return event.progress ?? event.error.stack;
  if (event.type === "lost") return event.progress;
  return event.type === "signalled" && !event.unfit ? (event.payload ?? null) : undefined;
}

function failedInstead(event: Event, why: string): Event | undefined {
  if (event.type === "succeeded") {
    const { index, attempt } = event;
    const error = tooLarge(`the state of the job with this result does not fit into a message: ${why}`);
    return { type: "failed", index, attempt, error, retryable: false, random: 0 };
  }
  if (event.type === "failed" && event.progress === undefined) {
    const { stack: _stack, ...error } = event.error; // where something stands in a program is the least of what is said
    return { ...event, error };
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
