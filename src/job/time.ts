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
