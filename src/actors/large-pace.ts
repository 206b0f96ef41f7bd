/**
 * Large submissions take turns with the others. To read one of a megabyte may keep the event loop for a tenth of a second, and
 * submissions come in their order: whoever sent a job after 400 of these would wait for all of them, more than a minute. So they are
 * given back unread when they have had their share, and come again later; what is behind them passes.
 *
 * PACE-1  Reading large submissions takes at most `SHARE` of the time, but for a burst; and none is read while memory is full.
 * PACE-2  Those that are given back come again one after the other, at the rate at which they can be read, and one for which there
 *     is still no room then, after all others: so each is sent a few times, not again and again.
 */

/** From so many bytes on a submission is large. */
export const LARGE_SUBMISSION_BYTES = 262_144;
const SHARE = 1 / 3;
const BURST_MS = 100;
const SHORTEST_MS = 250;

export class LargePace {
  readonly #now: () => number;
  /** For how long large ones may be read now; negative when they have had more than their share. */
  #creditMs = BURST_MS;
  #creditAt: number;
  /** When the last of those that were given back comes again. */
  #lastAt = 0;
  /** What it takes to read one. */
  #averageMs = 1;

  /** @param now monotonic ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#creditAt = now();
  }

  /** For how long a large submission is to be given back; undefined if it is to be read now. */
  deferMs(isMemoryFull: boolean): number | undefined {
    const now = this.#now();
    this.#creditMs = Math.min(BURST_MS, this.#creditMs + (now - this.#creditAt) * SHARE);
    this.#creditAt = now;
    if (this.#creditMs > 0 && !isMemoryFull) return undefined;
    this.#lastAt = Math.max(this.#lastAt, now) + this.#averageMs / SHARE;
    return Math.round(Math.max(SHORTEST_MS, this.#lastAt - now));
  }

  /** Reading one has taken so long. */
  took(ms: number): void {
    this.#creditMs -= ms;
    this.#averageMs += (ms - this.#averageMs) / 8;
  }
}
