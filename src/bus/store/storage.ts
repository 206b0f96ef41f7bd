/**
 * Keeps the bucket of states from filling up. States cannot be removed one by one (`deny_delete`), they only expire. So the
 * fuller the bucket is, the sooner ended jobs expire; and before it is full, no new jobs are taken.
 *
 * Example: with a retention of 7 days, ended jobs are kept for 7 days below half, for some 3 hours at 70 %, for a minute from
 * 90 % on, for half a minute where it is full; and above half for no longer than it would take to fill the rest at the rate at
 * which states are written now. So at full speed a large bucket comes to rest at some 73 %. At 95 % new submissions are refused, until it is below 92 % again.
 * What is left is for the jobs that are live. At the limit itself the server would refuse their next states as well, unless
 * these are smaller; so only ends are stored beyond that as new keys, and these expire. In a small bucket it is less
 * than 95 % (`fullAt`).
 *
 * STORAGE-1  It looks every few seconds, and after every twentieth of the bucket that this process has written. What this process
 *     has written since the last look counts as used.
 * STORAGE-2  While it is full that is announced each second, for clients that submit.
 * STORAGE-3  However full it is, an ended job is kept until its token, or the submission of a client that does not know whether it
 *     was stored, cannot come again: else the job would be run once more. So it is kept for half a minute and for three leases
 *     at least, unless the retention is shorter; also where the job asks for less itself (`keep_ms`).
 */
import { STORAGE } from "../../api/subjects.ts";
import { isAsyncError } from "../../job/errors.ts";
import { type BucketUse, bucketUse } from "../bucket-use.ts";
import type { Bus } from "../connection.ts";
import { encodeStorage } from "../messages/nudges.ts";
import { fullAt, ROOM_AGAIN } from "../topology.ts";

const LOOK_MS = 5_000;
const ANNOUNCE_MS = 1_000;
const FULL = 0.95;
const HALF = 0.5;
/** So much below what is full, it is nearly full. */
const BEFORE_FULL = 0.05;
/** How long ended jobs are kept in a bucket that is nearly full. */
const NEARLY_FULL_MS = 60_000;
/** STORAGE-3. A client that does not choose otherwise tries to submit for 5 s. */
const SHORTEST_MS = 30_000;
const SHORTEST_LEASES = 3;
/** The share of the bucket after which it is looked at again. */
const STEP = 0.05;

export interface StorageOptions {
  /** How long ended jobs are kept where there is room. */
  retentionMs: number;
  /** How long a lease lasts. */
  ackWaitMs: number;
  /** Told how long they are kept from now on. */
  onRetention: (ms: number) => void;
  /** Told when new jobs are refused, and when they are taken again. */
  onFull: (full: boolean, fill: number) => void;
  /** Told when the bucket cannot be asked, once per spell. */
  onTrouble: (error: unknown) => void;
}

/** For so long an ended job is kept at least (STORAGE-3). @param ackWaitMs how long a lease lasts */
export function shortestKeptMs(ackWaitMs: number): number {
  return Math.max(SHORTEST_MS, SHORTEST_LEASES * ackWaitMs);
}

/**
 * How long an ended job is kept in a bucket of which the share `fill` is used: a geometric mean between the retention and a
 * minute, so that each percent makes it shorter by the same factor.
 *
 * @param untilFullMs how long it takes to fill the bucket at the rate at which states are written now
 * @param ackWaitMs how long a lease lasts (STORAGE-3)
 */
export function retentionAt(
  fill: number,
  retentionMs: number,
  untilFullMs: number,
  ackWaitMs: number,
  full = FULL,
): number {
  if (fill <= HALF) return retentionMs;
  const share = Math.min(1, (fill - HALF) / (full - BEFORE_FULL - HALF));
  const byFill = fill >= full ? 0 : retentionMs * (NEARLY_FULL_MS / retentionMs) ** share;
  return Math.min(retentionMs, Math.max(shortestKeptMs(ackWaitMs), Math.min(byFill, untilFullMs)));
}

export class Storage {
  readonly #bus: Bus;
  readonly #options: StorageOptions;
  readonly #timer: NodeJS.Timeout;
  #announcing: NodeJS.Timeout | undefined;
  #full = false;
  /** The used share from where on it is full. */
  #fullAt = FULL;
  #looking = false;
  #troubled = false;
  /** Bytes that may be written before it is looked at again. */
  #left = 0;
  /** Bytes until it is full, as far as is known. */
  #room = Number.POSITIVE_INFINITY;
  /** What was found at the look before. */
  #before: { sequence: number; at: number } | undefined;
  #closed = false;

  constructor(bus: Bus, options: StorageOptions) {
    this.#bus = bus;
    // The server knows no shorter time to live than a second.
    this.#options = { ...options, retentionMs: Math.max(1_000, options.retentionMs) };
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    void this.look();
  }

  /** No new jobs are to be taken. */
  get full(): boolean {
    return this.#full || this.#room < 0;
  }

  /** So many bytes are about to be stored (STORAGE-1). */
  wrote(bytes: number): void {
    this.#left -= bytes;
    this.#room -= bytes;
    if (this.#left < 0) void this.look();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearInterval(this.#announcing);
  }

  /** One look at a time. */
  async look(): Promise<void> {
    if (this.#looking || this.#closed || !this.#bus.connected) return;
    this.#looking = true;
    try {
      const use = await bucketUse(this.#bus);
      this.#left = use.maxBytes * STEP;
      this.#fullAt = fullAt(use.maxBytes);
      this.#room = use.maxBytes * this.#fullAt - use.bytes;
      this.#troubled = false;
      if (!this.#closed) this.#apply(use.bytes / use.maxBytes, this.#untilFullMs(use));
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (!this.#troubled) this.#options.onTrouble(error);
      this.#troubled = true;
      this.#left = Number.POSITIVE_INFINITY; // until the timer looks again
    } finally {
      this.#looking = false;
    }
  }

  /** As if each state that is written took up room of its own, though most replace another one of the same job. */
  #untilFullMs({ bytes, maxBytes, messages, lastSequence }: BucketUse): number {
    const now = performance.now();
    const before = this.#before ?? { sequence: lastSequence, at: now };
    this.#before = { sequence: lastSequence, at: now };
    const written = ((lastSequence - before.sequence) * bytes) / Math.max(1, messages);
    return written <= 0 ? Number.POSITIVE_INFINITY : ((maxBytes * this.#fullAt - bytes) * (now - before.at)) / written;
  }

  #apply(fill: number, untilFullMs: number): void {
    const { retentionMs, ackWaitMs, onRetention } = this.#options;
    onRetention(retentionAt(fill, retentionMs, untilFullMs, ackWaitMs, this.#fullAt));
    const full = fill >= this.#fullAt - (this.#full ? ROOM_AGAIN : 0);
    if (full === this.#full) return;
    this.#full = full;
    clearInterval(this.#announcing);
    this.#announcing = full ? setInterval(() => this.#announce(), ANNOUNCE_MS) : undefined;
    this.#announce();
    this.#options.onFull(full, fill);
    if (full) this.#left = 0;
  }

  /** STORAGE-2 */
  #announce(): void {
    if (this.#bus.connected) this.#bus.nc.publish(STORAGE, encodeStorage(this.#full));
    if (this.#full) void this.look();
  }
}
