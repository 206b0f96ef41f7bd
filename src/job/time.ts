import { AsyncError } from "./errors.ts";

/** Times are ms since 1970 inside, and ISO 8601 to the outside. */
export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** ISO 8601 with a time zone, as text. That the day exists is checked in `dates.ts`. */
export const DATE_PATTERN = "^(\\d{4}-\\d\\d-\\d\\d)T\\d\\d:\\d\\d(:\\d\\d(\\.\\d{1,9})?)?(Z|[+-]\\d\\d:\\d\\d)$";

/** The latest time that a date can have (ECMA-262, "Time Values and Time Range"). */
const MAX_TIME_MS = 8.64e15;

/** Whether it is a time that {@link iso} can write. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MAX_TIME_MS;
}

/** The longest time that `setTimeout` can be set for: beyond it, it goes off at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** A time for `setTimeout`: it may go off early, and is to be set again then, but never at once for being too far ahead. */
export function timerMs(ms: number): number {
  return Math.min(MAX_TIMER_MS, Math.max(0, ms));
}

/**
 * Checks an option that limits something: 0 or more ms, infinite for "for ever".
 *
 * @throws AsyncError `invalid_option`
 */
export function requireLimit(name: string, ms: number | undefined): void {
  if (ms === undefined || (typeof ms === "number" && ms >= 0)) return;
  throw new AsyncError("invalid_option", `${name} must be 0 or more ms, or Infinity for no limit, not ${String(ms)}`);
}

/**
 * Checks an option that says how often something is done, in ms.
 *
 * @throws AsyncError `invalid_option`
 */
export function requireInterval(name: string, ms: number | undefined): void {
  if (ms === undefined || (typeof ms === "number" && ms >= 1 && ms <= MAX_TIMER_MS)) return;
  throw new AsyncError("invalid_option", `${name} must be from 1 to ${MAX_TIMER_MS} ms, not ${String(ms)}`);
}

/**
 * Checks an option that is a number of things.
 *
 * @throws AsyncError `invalid_option`
 */
export function requireCount(name: string, count: number | undefined, least = 1): void {
  if (count === undefined || (typeof count === "number" && count >= least)) return;
  throw new AsyncError("invalid_option", `${name} must be a number from ${least} on, not ${String(count)}`);
}
