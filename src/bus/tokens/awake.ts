/**
 * Notices when this process was stopped, or too busy to listen, for a while. What it reads after such a while may have been
 * sent long ago: the lease of a delivery may have run out, and nothing in the message says so.
 *
 * The monotonic clock of a suspended machine stands still, so the wall clock is looked at as well.
 *
 * AWAKE-1  It is in doubt from the first check after such a while until all that the server had sent by then has been read.
 */
import type { Bus } from "../connection.ts";

export class Awake {
  readonly #bus: Bus;
  readonly #limitMs: number;
  readonly #onDoubt: () => void;
  readonly #timer: NodeJS.Timeout;
  #checkedAt = performance.now();
  #checkedAtWall = Date.now();
  #doubts = 0;

  /**
   * @param limitMs how long it may not have listened without being in doubt
   * @param onDoubt called when a doubt begins
   */
  constructor(bus: Bus, limitMs: number, onDoubt: () => void) {
    this.#bus = bus;
    this.#limitMs = limitMs;
    this.#onDoubt = onDoubt;
    this.#timer = setInterval(() => this.check(), limitMs / 4);
  }

  /** Returns false while what we read may be older than `limitMs`. */
  check(): boolean {
    const now = performance.now();
    const wall = Date.now();
    if (now - this.#checkedAt > this.#limitMs || wall - this.#checkedAtWall > this.#limitMs) void this.#doubt();
    this.#checkedAt = now;
    this.#checkedAtWall = wall;
    return this.#doubts === 0;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** The answer to a flush comes after all that was sent before. Without a connection, nothing of it comes any more. */
  async #doubt(): Promise<void> {
    this.#doubts += 1;
    this.#onDoubt();
    await this.#bus.flush();
    this.#doubts -= 1;
  }
}
