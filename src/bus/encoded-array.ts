import type { Encoding } from "../job/encoding.ts";
import { encode } from "./codec.ts";

const COMMA = Buffer.from(",");
/** How a JSON object ends whose last field is an array. */
const JSON_END = Buffer.from("]}");
/** The first byte of a MessagePack array of up to 65,535 elements. */
const ARRAY_16 = 0xdc;

/** An array that grows, and is a part of one message after the other: its elements are encoded once, when they come. */
export class EncodedArray {
  readonly #encoding: Encoding;
  #bytes = Buffer.alloc(1_024);
  #filled = 0;
  #length = 0;

  constructor(encoding: Encoding) {
    this.#encoding = encoding;
  }

  get length(): number {
    return this.#length;
  }

  push(value: unknown): void {
    if (this.#encoding === "json" && this.#length > 0) this.#append(COMMA);
    this.#append(encode(value, this.#encoding));
    this.#length += 1;
  }

  /** `body` with this array in place of the empty one that is its last field. */
  insertedInto(body: Uint8Array): Uint8Array {
    const elements = this.#bytes.subarray(0, this.#filled);
    if (this.#encoding === "json") return Buffer.concat([body.subarray(0, -JSON_END.length), elements, JSON_END]);
    const size = Buffer.of(ARRAY_16, this.#length >> 8, this.#length & 0xff);
    return Buffer.concat([body.subarray(0, -1), size, elements]);
  }

  #append(more: Uint8Array): void {
    const filled = this.#filled + more.length;
    if (filled > this.#bytes.length) {
      const larger = Buffer.alloc(2 * filled);
      this.#bytes.copy(larger, 0, 0, this.#filled);
      this.#bytes = larger;
    }
    this.#bytes.set(more, this.#filled);
    this.#filled = filled;
  }
}
