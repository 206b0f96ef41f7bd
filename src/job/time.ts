/** Times are ms since 1970 inside, and ISO 8601 to the outside. */
export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** The latest time that a date can have (ECMA-262, "Time Values and Time Range"). */
const MAX_TIME_MS = 8.64e15;

/** Whether it is a time that {@link iso} can write. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MAX_TIME_MS;
}

/** A longer timer of Node would go off at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The delay that a timer can have which is next to `ms`. One that goes off too early because of that is to be set again. */
export function timerMs(ms: number): number {
  return Math.min(MAX_TIMER_MS, Math.max(0, ms));
}
