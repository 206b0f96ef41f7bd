/**
 * Where a list of jobs goes on. All jobs are listed in three parts: those that are stored, those of which only the submission
 * is stored, and those that have changed since the first part was read (`bus/store/job-list.ts` says why).
 */
import { AsyncError } from "../job/errors.ts";

/** In which part, and the first sequence to be read there. `since` is where the third part begins. */
export type Cursor =
  | { part: "stored"; sequence: number }
  | { part: "submitted"; sequence: number; since: number }
  | { part: "changed"; sequence: number };

export const FIRST_PAGE: Cursor = { part: "stored", sequence: 1 };

/** @throws AsyncError `invalid_request` */
export function parseCursor(text: string): Cursor {
  const [, stored, submitted, since, changed] =
    /^(?:kv-(\d{1,15})|jobs-(\d{1,15})-(\d{1,15})|changed-(\d{1,15}))$/.exec(text) ?? [];
  if (stored !== undefined) return { part: "stored", sequence: Number(stored) };
  if (changed !== undefined) return { part: "changed", sequence: Number(changed) };
  if (submitted !== undefined) return { part: "submitted", sequence: Number(submitted), since: Number(since) };
  throw new AsyncError("invalid_request", `not a cursor: ${text}; use the one of the page before`);
}

export function formatCursor(cursor: Cursor): string {
  switch (cursor.part) {
    case "stored":
      return `kv-${cursor.sequence}`;
    case "submitted":
      return `jobs-${cursor.sequence}-${cursor.since}`;
    case "changed":
      return `changed-${cursor.sequence}`;
  }
}
