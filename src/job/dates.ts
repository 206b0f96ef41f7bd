/** Dates that users write. */
import { MAX_DURATION_MS } from "./schema.ts";
import { DATE_PATTERN } from "./time.ts";

const isoDate = new RegExp(DATE_PATTERN);

/**
 * Why the text is no date that a job can wait for, or undefined if it is one.
 *
 * @param now ms since 1970, to refuse what is too far ahead; not given for what has been stored
 */
export function dateProblem(text: string, now: number | undefined): string | undefined {
  const day = isoDate.exec(text)?.[1];
  // Date.parse takes 30 February for 2 March.
  const exists = day !== undefined && !Number.isNaN(Date.parse(day)) && new Date(day).toISOString().startsWith(day);
  const at = Date.parse(text);
  if (!exists || Number.isNaN(at)) return NO_DATE;
  if (at < 0) return "must not be before 1970";
  return now !== undefined && at - now > MAX_DURATION_MS ? "must be at most ten years ahead" : undefined;
}

export const NO_DATE = "must be an ISO 8601 date and time with a time zone, e.g. 2026-11-23T21:00:00Z";
