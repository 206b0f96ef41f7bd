/**
 * Where a list of jobs goes on. All jobs are listed in three parts: those that are stored, those of which only the submission
 * is stored, and those that have changed since the first part was read. The newest first, the submissions are the first part.
 * `bus/store/job-list.ts` says why.
 */
import { AsyncError } from "../job/errors.ts";

/**
 * In which part, and the first sequence to be read there. `since` is where the third part begins. The parts `newest-…` are
 * read backwards.
 */
export type Cursor =
  | { part: "stored"; sequence: number }
  | { part: "submitted"; sequence: number; since: number }
  | { part: "newest-submitted"; sequence: number }
  | { part: "newest-stored"; sequence: number; since: number }
  | { part: "changed"; sequence: number };

export const FIRST_PAGE: Cursor = { part: "stored", sequence: 1 };
/** Beyond the last sequence of any stream. */
export const END_OF_STREAM = 999_999_999_999_999;
export const NEWEST_PAGE: Cursor = { part: "newest-submitted", sequence: END_OF_STREAM };

const PATTERN = /^(kv|changed|newest-jobs)-(\d{1,15})$|^(jobs|newest-kv)-(\d{1,15})-(\d{1,15})$/;

/** @throws AsyncError `invalid_request` */
export function parseCursor(text: string): Cursor {
  const [, short, at, long, from, since] = PATTERN.exec(text) ?? [];
  switch (short ?? long) {
    case "kv":
      return { part: "stored", sequence: Number(at) };
    case "changed":
      return { part: "changed", sequence: Number(at) };
    case "newest-jobs":
      return { part: "newest-submitted", sequence: Number(at) };
    case "jobs":
      return { part: "submitted", sequence: Number(from), since: Number(since) };
    case "newest-kv":
      return { part: "newest-stored", sequence: Number(from), since: Number(since) };
    default:
      throw new AsyncError("invalid_request", `not a cursor: ${text.slice(0, 64)}; use the one of the page before`);
  }
}

export function formatCursor(cursor: Cursor): string {
  switch (cursor.part) {
    case "stored":
      return `kv-${cursor.sequence}`;
    case "submitted":
      return `jobs-${cursor.sequence}-${cursor.since}`;
    case "newest-submitted":
      return `newest-jobs-${cursor.sequence}`;
    case "newest-stored":
      return `newest-kv-${cursor.sequence}-${cursor.since}`;
    case "changed":
      return `changed-${cursor.sequence}`;
  }
}

/** The same part, after the entry with that sequence. */
export function cursorAfter(cursor: Cursor, sequence: number): Cursor {
  const isBackwards = cursor.part === "newest-submitted" || cursor.part === "newest-stored";
  return { ...cursor, sequence: isBackwards ? sequence - 1 : sequence + 1 };
}
