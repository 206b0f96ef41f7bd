/**
 * Keeps the bucket of states from filling up. States cannot be removed one by one (`deny_delete`), they only expire. So the
 * fuller the bucket is, the sooner ended jobs expire; and before it is full, no new jobs are taken.
 *
 * Example: with a retention of 7 days, ended jobs are kept for 7 days below half, for some 3 hours at 70 %, for a minute from
 * 90 % on; and above half for no longer than it would take to fill the rest at the rate at which states are written now. So at
 * full speed a bucket of any size comes to rest at some 73 %. At 95 % new submissions are refused, until it is below 92 % again.
 * What is left is for the jobs that are live. At the limit itself the server would refuse their next states as well, unless
 * these are smaller; so only ends are stored beyond that as new keys, and these expire. In a small bucket it is less
 * than 95 % (`fullAt`).
 *
 * STORAGE-1  It looks every few seconds, and after every twentieth of the bucket that this process has written. What this process
 *     has written since the last look counts as used.
 * STORAGE-2  While it is full that is announced each second, for clients that submit.
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
const NEARLY_FULL = 0.9;
/** How long ended jobs are kept in a bucket that is nearly full, and in one that is full. */
const NEARLY_FULL_MS = 60_000;
const FULL_MS = 5_000;
/** The shortest time to live that the server knows. */
const SHORTEST_MS = 1_000;
/** The share of the bucket after which it is looked at again. */
const STEP = 0.05;

export interface StorageOptions {
  /** How long ended jobs are kept where there is room. */
  retentionMs: number;
  /** Told how long they are kept from now on. */
  onRetention: (ms: number) => void;
  /** Told when new jobs are refused, and when they are taken again. */
  onFull: (full: boolean, fill: number) => void;
  /** Told when the bucket cannot be asked, once per spell. */
  onTrouble: (error: unknown) => void;
}

/**
 * How long an ended job is kept in a bucket of which the share `fill` is used: a geometric mean between the retention and a
 * minute, so that each percent makes it shorter by the same factor.
 *
 * @param untilFullMs how long it takes to fill the bucket at the rate at which states are written now
 */
export function retentionAt(fill: number, retentionMs: number, untilFullMs: number, full = FULL): number {
  if (fill <= HALF) return retentionMs;
  const share = Math.min(1, (fill - HALF) / (NEARLY_FULL - HALF));
  const byFill = fill >= full ? FULL_MS : retentionMs * (NEARLY_FULL_MS / retentionMs) ** share;
  return Math.min(retentionMs, byFill, Math.max(SHORTEST_MS, untilFullMs));
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
    this.#options.onRetention(retentionAt(fill, this.#options.retentionMs, untilFullMs, this.#fullAt));
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
