/**
 * Notices that this process was stopped, or too busy to listen, for a while. What it reads after that may have been sent
 * long ago: a delivery whose lease has run out meanwhile looks like any other.
 *
 * K1  In doubt from the first look after such a while until all that the server had sent by then has been read.
 */
import type { Bus } from "./connection.ts";

export class Awake {
  readonly #bus: Bus;
  readonly #limitMs: number;
  readonly #timer: NodeJS.Timeout;
  #looked = performance.now();
  #doubts = 0;

  /** `limitMs` is how long it may not have listened without being in doubt. */
  constructor(bus: Bus, limitMs: number) {
    this.#bus = bus;
    this.#limitMs = limitMs;
    this.#timer = setInterval(() => this.look(), limitMs / 4);
  }

  /** Returns whether what is read now was sent within the last `limitMs`, as far as it is for us. */
  look(): boolean {
    const now = performance.now();
    if (now - this.#looked > this.#limitMs) void this.#doubt();
    this.#looked = now;
    return this.#doubts === 0;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** The answer to a flush comes after all that was sent before. Without a connection, nothing of it comes any more. */
  async #doubt(): Promise<void> {
    this.#doubts += 1;
    await this.#bus.flush();
    this.#doubts -= 1;
  }
}
