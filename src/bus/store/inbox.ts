/**
 * The inbox of a signal: what has been sent to a job under one name, as it is stored in bucket `jobs` under `<id>.signal.<name>`.
 * It is written by those who send signals, never by the owner of the job. Which of them the job has used is in its state
 * (`state.signals`), so that using one is part of the commit that goes on with it. Here is no I/O: see `signals.ts`.
 *
 * Example: two approvals are sent before the job waits for one, so the inbox keeps the numbers 1 and 2. The job uses 1, and its state
 * says so. The next one who sends gets number 3, and drops number 1.
 *
 * INBOX-1  The signals of a name are numbered from 1 on, in the order in which they are stored, and no number is given twice. So
 *     a new inbox of a job that has used some goes on with the next number.
 * INBOX-2  At most `MAX_KEPT` are kept that are not used. One that is not used is never dropped.
 * INBOX-3  The same key again adds nothing, as long as it is known: while its signal is kept, and until `MAX_KEYS` more have been dropped.
 * INBOX-4  An inbox of another job, which had the id before, counts as empty.
 */
import { isAsyncError } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";
import type { JobState } from "../../job/state.ts";
import { isTime } from "../../job/time.ts";
import { decode, encode } from "../messages/codec.ts";

export interface Signal {
  /** The how many-th of its name it is. */
  n: number;
  /** When it was sent, ms since 1970. */
  at: number;
  key?: string;
  /** In the encoding of the job: see `openSignal`. */
  payload: Uint8Array;
}

export interface Inbox {
  /** Of the job. */
  created_at: number;
  /** The highest number that was given. */
  last: number;
  /** In the order of their numbers. */
  kept: Signal[];
  /** Keys of signals that are not kept any more, the newest last. */
  keys: UsedKey[];
}

interface UsedKey {
  key: string;
  n: number;
}

export const MAX_KEPT = 16;
export const MAX_KEYS = 16;

const MIDDLE = ".signal.";
/**
 * The time of a job comes from its submission; read from a number in one place and from text in another, it may come out a ms
 * apart. A job that is signalled before it is taken would seem to be another one afterwards.
 */
export const SAME_TIME_MS = 1;

/** The key of an inbox in the bucket. */
export function inboxKey(jobId: string, name: string): string {
  return jobId + MIDDLE + name;
}

/** The job and the signal that the inbox under that key is of; undefined if it is something else. */
export function inboxOf(key: string): { jobId: string; name: string } | undefined {
  const [jobId = "", kind, name = "", ...more] = key.split(".");
  return kind === "signal" && jobId !== "" && name !== "" && more.length === 0 ? { jobId, name } : undefined;
}

export function packInbox(inbox: Inbox): Uint8Array {
  return encode(inbox, "msgpack");
}

/** What {@link packInbox} has packed; undefined if it is something else, as someone else has written it. Never throws. */
export function readInbox(bytes: Uint8Array): Inbox | undefined {
  let value: unknown;
  try {
    value = decode(bytes, "msgpack");
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  const { created_at, last, kept, keys } = value;
  if (!isTime(created_at) || !isNumber(last) || !Array.isArray(kept) || !Array.isArray(keys)) return undefined;
  if (!kept.every(isSignal) || !keys.every(isUsedKey)) return undefined;
  return { created_at, last, kept: kept.sort((a, b) => a.n - b.n), keys };
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSignal(value: unknown): value is Signal {
  if (!isRecord(value)) return false;
  const { n, at, key, payload } = value;
  const hasKey = key === undefined || typeof key === "string";
  return isNumber(n) && isTime(at) && hasKey && payload instanceof Uint8Array;
}

function isUsedKey(value: unknown): value is UsedKey {
  return isRecord(value) && typeof value.key === "string" && isNumber(value.n);
}

/** INBOX-4 */
export function isInboxOf(inbox: Pick<Inbox, "created_at">, job: Pick<JobState, "created_at">): boolean {
  return Math.abs(inbox.created_at - job.created_at) <= SAME_TIME_MS;
}

/** The signal with the lowest number above `after`; undefined if there is none. */
export function nextSignal({ kept }: Inbox, after: number): Signal | undefined {
  return kept.find(({ n }) => n > after);
}

/** The number of the signal that was sent with that key; undefined if none is known (INBOX-3). */
export function numberOfKey({ kept, keys }: Inbox, key: string): number | undefined {
  return kept.find((signal) => signal.key === key)?.n ?? keys.find((used) => used.key === key)?.n;
}

/**
 * The inbox with one more signal, without those up to number `used`; "full" if there is no room for it (INBOX-2).
 *
 * @param before undefined if there is none, or one of another job
 */
export function withSignal(
  before: Inbox | undefined,
  { created_at }: Pick<JobState, "created_at">,
  used: number,
  signal: Omit<Signal, "n">,
): Inbox | "full" {
  const inbox = before ?? { created_at, last: 0, kept: [], keys: [] };
  const kept = inbox.kept.filter(({ n }) => n > used);
  if (kept.length >= MAX_KEPT) return "full";
  const keys = [...inbox.keys];
  for (const { n, key } of inbox.kept) if (n <= used && key !== undefined) keys.push({ key, n });
  const n = Math.max(inbox.last, inbox.kept.at(-1)?.n ?? 0, used) + 1; // INBOX-1
  return { created_at: inbox.created_at, last: n, kept: [...kept, { n, ...signal }], keys: keys.slice(-MAX_KEYS) };
}
