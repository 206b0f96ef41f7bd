/**
 * Whether there is room for new jobs. Supervisors say each second that there is none (`job.ctl.storage`); anybody may say it, so it
 * is believed only when the bucket itself is as full as that. Who cannot hear or ask submits: then the job waits in stream JOBS.
 */
import { STORAGE } from "../api/subjects.ts";
import { bucketUse } from "../bus/bucket-use.ts";
import type { Bus } from "../bus/connection.ts";
import { readStorage } from "../bus/messages/nudges.ts";
import { fullAt, ROOM_AGAIN } from "../bus/topology.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";

/** Who has not heard it for so long may try again. */
const GOOD_MS = 3_000;
/** The bucket is looked at no more often than this, whatever is said. */
const LOOK_MS = 1_000;

export class StorageNotice {
  readonly #bus: Bus;
  readonly #subscription: Listening;
  #fullUntil = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.#subscription = bus.subscribe(STORAGE, (message) => {
      if (readStorage(message.data)) void this.#look();
      else this.#fullUntil = 0;
    });
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** The first look, until it is done: then it is known whether there is room. */
  get looking(): Promise<void> | undefined {
    return this.#looking;
  }

  /** Why nothing may be submitted now; undefined if it may. */
  get refusal(): AsyncError | undefined {
    if (this.#fullUntil === 0 || performance.now() > this.#fullUntil) return undefined;
    const next = "try again later: ended jobs expire sooner now; if this lasts, raise the max_bytes of stream KV_jobs";
    return new AsyncError("storage_full", `there is no room for another job; ${next}`);
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  async #look(): Promise<void> {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    try {
      const { bytes, maxBytes } = await bucketUse(this.#bus);
      // Supervisors count what they have just written as well, so they say it a little earlier than this shows.
      const isFull = bytes >= maxBytes * (fullAt(maxBytes) - ROOM_AGAIN);
      this.#fullUntil = isFull ? performance.now() + GOOD_MS : 0;
    } catch (error) {
      if (!isAsyncError(error)) throw error; // not permitted, or away: the submission itself will tell
    }
  }
}
