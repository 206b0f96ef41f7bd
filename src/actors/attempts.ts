import type { AttemptAddress } from "../job/state.ts";
import type { Attempt } from "./attempt.ts";

/** The attempts of one job that are in line or in flight: one in a chain. */
export class Attempts {
  #all: Attempt[] = [];

  get inFlight(): boolean {
    return this.#all.some((attempt) => attempt.inFlight);
  }

  has(address: AttemptAddress): boolean {
    return this.#all.some((attempt) => attempt.has(address));
  }

  add(attempt: Attempt): void {
    this.#all.push(attempt);
  }

  /** It has come to its end, or was held back. */
  delete(attempt: AttemptAddress): void {
    const at = this.#all.findIndex((one) => one.has(attempt));
    if (at >= 0) this.#all.splice(at, 1);
  }

  /** Nobody waits for their outcomes any more. */
  cancel(): void {
    for (const attempt of this.#all) attempt.cancel();
    this.#all = [];
  }
}
