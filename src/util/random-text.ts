import { randomBytes } from "node:crypto";

const POOL_BYTES = 3_072;
/** Six bits each. */
const CHARACTERS_PER_BYTES = 4 / 3;

/** Unguessable text of letters, digits, `-` and `_`, six random bits per character. Asking for little is what is slow. */
export class RandomText {
  readonly #length: number;
  #pool = "";
  #used = 0;

  /** @param length of each text, in characters; at most {@link POOL_BYTES} × 4/3 */
  constructor(length: number) {
    if (length > POOL_BYTES * CHARACTERS_PER_BYTES) throw new RangeError(`more than the pool has: ${length}`);
    this.#length = length;
  }

  next(): string {
    if (this.#used + this.#length > this.#pool.length) {
      this.#pool = randomBytes(POOL_BYTES).toString("base64url");
      this.#used = 0;
    }
    const begin = this.#used;
    this.#used += this.#length;
    return this.#pool.slice(begin, this.#used);
  }
}
