/** Lets only so many do something at a time; the others wait, first come first served, or are refused. */
export class Limiter {
  readonly #most: () => number;
  readonly #waiting: (() => void)[] = [];
  #taken = 0;

  /** `most` is asked at each change. */
  constructor(most: () => number) {
    this.#most = most;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Does it now. Throws what `refusal` makes if that would be too many. */
  async runNow<T>(work: () => Promise<T>, refusal: () => Error): Promise<T> {
    if (this.#taken >= this.#most()) throw refusal();
    return this.run(work);
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#taken >= this.#most()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#taken += 1;
    try {
      return await work();
    } finally {
      this.#taken -= 1;
      while (this.#taken < this.#most()) {
        const next = this.#waiting.shift();
        if (!next) break;
        this.#taken += 1; // in the name of who waits
        next();
      }
    }
  }
}
