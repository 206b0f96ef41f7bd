import { STORAGE } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readStorage } from "../bus/messages/nudges.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import { AsyncError } from "../job/errors.ts";

/** Supervisors say each second that there is no room; who has not heard it for so long may try again. */
const GOOD_MS = 3_000;

/** Whether supervisors say that there is no room for new jobs. Who cannot hear them submits: then the job waits. */
export class StorageNotice {
  readonly #subscription: Listening;
  #fullUntil = 0;

  constructor(bus: Bus) {
    this.#subscription = bus.subscribe(STORAGE, (message) => {
      this.#fullUntil = readStorage(message.data) ? performance.now() + GOOD_MS : 0;
    });
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
}
