import { RandomText } from "./random-text.ts";

/** 48 bits. */
const RANDOM_CHARACTERS = 8;
const RADIX = 36;

/**
 * What waits for replies, by the token in the reply subject: its place in a list, and random text. There is no table, which
 * takes less time, and leaves no garbage that lasts (`registry.ts` says why).
 */
export class OpenRequests<T extends object> {
  readonly #tokens: (string | undefined)[] = [];
  readonly #requests: (T | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #random = new RandomText(RANDOM_CHARACTERS);

  get size(): number {
    return this.#tokens.length - this.#free.length;
  }

  /** A token that has not been used before, and cannot be guessed; to be followed by `set` or `delete`. */
  reserve(): string {
    const place = this.#free.pop() ?? this.#tokens.length;
    const token = place.toString(RADIX) + this.#random.next();
    this.#tokens[place] = token;
    this.#requests[place] = undefined;
    return token;
  }

  set(token: string, request: T): void {
    const place = this.#placeOf(token);
    if (place !== undefined) this.#requests[place] = request;
  }

  get(token: string): T | undefined {
    const place = this.#placeOf(token);
    return place === undefined ? undefined : this.#requests[place];
  }

  delete(token: string): void {
    const place = this.#placeOf(token);
    if (place === undefined) return;
    this.#tokens[place] = undefined;
    this.#requests[place] = undefined;
    this.#free.push(place);
  }

  /** In no particular order. Some may go meanwhile, and others come, which may be among them or not. */
  *[Symbol.iterator](): Generator<T> {
    for (const request of this.#requests) if (request) yield request;
  }

  /** Undefined if it is none of the tokens that are waited for. */
  #placeOf(token: string): number | undefined {
    const place = Number.parseInt(token.slice(0, -RANDOM_CHARACTERS), RADIX);
    return this.#tokens[place] === token ? place : undefined;
  }
}
