import { RandomText } from "../../util/random-text.ts";

/** 48 bits. */
const RANDOM_CHARACTERS = 8;
const RADIX = 36;

/**
 * What waits for replies, by the key at the end of the reply subject: its index in a list, and random text. There is no table, which
 * takes less time, and leaves no garbage that lasts (`registry.ts` says why).
 */
export class OpenRequests<T extends object> {
  readonly #keys: (string | undefined)[] = [];
  readonly #requests: (T | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #random = new RandomText(RANDOM_CHARACTERS);

  get size(): number {
    return this.#keys.length - this.#free.length;
  }

  /** A key that has not been used before, and cannot be guessed; to be followed by `set` or `delete`. */
  reserve(): string {
    const index = this.#free.pop() ?? this.#keys.length;
    const key = index.toString(RADIX) + this.#random.next();
    this.#keys[index] = key;
    this.#requests[index] = undefined;
    return key;
  }

  set(key: string, request: T): void {
    const index = this.#indexOf(key);
    if (index !== undefined) this.#requests[index] = request;
  }

  get(key: string): T | undefined {
    const index = this.#indexOf(key);
    return index === undefined ? undefined : this.#requests[index];
  }

  delete(key: string): void {
    const index = this.#indexOf(key);
    if (index === undefined) return;
    this.#keys[index] = undefined;
    this.#requests[index] = undefined;
    this.#free.push(index);
  }

  /** In no particular order. Some may go meanwhile, and others come, which may be among them or not. */
  *[Symbol.iterator](): Generator<T> {
    for (const request of this.#requests) if (request) yield request;
  }

  /** Undefined if it is none of the keys that are waited for. */
  #indexOf(key: string): number | undefined {
    const index = Number.parseInt(key.slice(0, -RANDOM_CHARACTERS), RADIX);
    return this.#keys[index] === key ? index : undefined;
  }
}
