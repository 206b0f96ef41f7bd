/**
 * What becomes of events whose state does not fit into a message. In a graph the largest results, also older ones, are stored besides it
 * first (`stored-results.ts`). If that is not enough, the largest of what has come fails alone: a result that cannot be
 * kept is a failure of its attempt, a signal that cannot be kept one of its entry; the progress of an attempt is forgotten, and so
 * is the stack of an error.
 */

import type { Failure } from "../job/failure.ts";
import { type FunctionState, hasItems } from "../job/function-state.ts";
import type { Graph } from "../job/state.ts";
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

/** To store less than this besides the state saves too little. */
const MIN_BYTES = 256;

/** What is to be done where an invocation does not fit into a message. */
export function tooMuch(why: string): string {
  const needs = "let it follow fewer entries (`needs`), or one between that returns no more than what it needs";
  const slice = "smaller slices of a `for_each` (`slice`) have smaller results";
  return `the invocation does not fit into a message: ${why}; ${needs}: what \`args\` pick from results is carried alone; ${slice}`;
}

/** The largest results that are in the state, until they have so many bytes together, and the largest in any case; none if all are small. */
export function largestInline({ functions }: Graph, overBytes = 0): readonly number[] {
  const found: { index: number; bytes: number }[] = [];
  for (let index = 0; index < functions.length; index++) {
    const fn = functions.at(index) as FunctionState;
    if (fn.apart !== undefined || hasItems(fn) || fn.result === undefined || fn.result === null) continue;
    const bytes = sizeOf(fn.result);
    if (bytes >= MIN_BYTES) found.push({ index, bytes });
  }
  const largest: number[] = [];
  let over = overBytes;
  for (const { index, bytes } of found.sort((a, b) => b.bytes - a.bytes)) {
    largest.push(index);
    over -= bytes;
    if (!(over > 0)) break;
  }
  return largest;
}

/** What becomes of a job whose state does not fit because of none of these events. */
export function unstorable(events: readonly Event[], why: string): Event {
  const isAgain = events.some(({ type }) => type === "unstorable");
  return isAgain ? { type: "unstorable", why, again: true } : { type: "unstorable", why };
}

/** What the event adds to the state; undefined if that is next to nothing. */
function broughtBy(event: Event): unknown {
  if (event.type === "succeeded") return event.undo ? undefined : (event.result ?? null); // that of an undo is not kept
  if (event.type === "failed") return event.progress ?? event.error.stack;
  if (event.type === "lost") return event.progress;
  if (event.type === "child_ended") {
    return event.outcome.state === "completed" && !event.undo ? (event.outcome.result ?? null) : undefined;
  }
  return event.type === "signalled" && !event.unfit ? (event.payload ?? null) : undefined;
}

function failedInstead(event: Event, why: string): Event | undefined {
  if (event.type === "succeeded") {
    const { index, attempt } = event;
    const error = tooLarge(`the state of the job with this result does not fit into a message: ${why}`);
    return { type: "failed", index, attempt, error, retryable: false, random: 0, executed: true };
  }
  if (event.type === "failed" && event.progress === undefined) {
    const { stack: _stack, ...error } = event.error; // where something stands in a program is the least of what is said
    return { ...event, error };
  }
  if (event.type === "failed" || event.type === "lost") {
    const { progress: _progress, ...rest } = event; // the next attempt does without it
    return rest;
  }
  if (event.type === "child_ended") {
    const error = tooLarge(`the state of the job with the result of this child does not fit into a message: ${why}`);
    return { ...event, outcome: { state: "failed", error } };
  }
  if (event.type !== "signalled" || event.unfit) return undefined;
  const unfit = tooLarge(`the state of the job with this signal does not fit into a message: ${why}`);
  return { ...event, payload: null, unfit };
}

function tooLarge(message: string): Failure {
  return { code: "payload_too_large", name: "PayloadTooLarge", message };
}
