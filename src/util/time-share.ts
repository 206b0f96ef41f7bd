import { Queue } from "./queue.ts";

/** So long is worked before all else gets a turn. */
const SHARE_MS = 10;

/**
 * Lets work that is synchronous, and may take long, hold up the process for no more than its share at a time, and one piece of it beyond. What
 * comes when the share is used up waits in order, and is done after whatever else the event loop has to do.
 *
 * Example: a thousand items whose args take half a second each are sent one by one, and leases are extended in between.
 */
export class TimeShare {
  #leftMs = SHARE_MS;
  readonly #waiting = new Queue<() => void>(() => 0);
  #isPlanned = false;

  /** What `work` gives: at once while there is time left, else a promise of it. @throws what `work` does; the promise is rejected with that */
  run<T>(work: () => T): T | Promise<T> {
    if (this.#leftMs > 0 && this.#waiting.size === 0) return this.#measured(work);
    this.#plan();
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(this.#measured(work));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #measured<T>(work: () => T): T {
    const begun = performance.now();
    try {
      return work();
    } finally {
      this.#leftMs -= performance.now() - begun;
      if (this.#leftMs <= 0) this.#plan();
    }
  }

  #plan(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    setImmediate(() => {
      this.#isPlanned = false;
      this.#leftMs = SHARE_MS;
      while (this.#leftMs > 0 && this.#waiting.size > 0) this.#waiting.shift()?.();
      if (this.#waiting.size > 0) this.#plan();
    });
  }
}
