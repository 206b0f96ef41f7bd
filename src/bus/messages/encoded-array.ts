import type { Encoding } from "../../job/encoding.ts";
import { encode } from "./codec.ts";

const COMMA = 44;
/** How a JSON object ends whose last field is an array. */
const JSON_END = Buffer.from("]}");
/** The first byte of a MessagePack array of up to 65,535 elements, whose number is in the two bytes after it. */
const ARRAY_16 = 0xdc;
const ARRAY_16_LENGTH = 3;
/** What most messages have before the array. */
const HEADROOM = 512;
/** What the results of a small job need, in bytes. */
const FIRST_ROOM = 256;
const POOLED = 1_024;
const NONE = Buffer.alloc(0);

/**
 * An array that grows, and is the last field of one message after the other. Its elements are encoded once, when they come,
 * and the rest of a message is written around them: where that is small, a message costs little more than its bytes do.
 */
export class EncodedArray {
  readonly #encoding: Encoding;
  /** None before it is used: many small jobs never do. */
  #bytes = NONE;
  /** The elements; before them there is room for the rest of the message. */
  #begin = 0;
  #end = 0;
  #length = 0;

  constructor(encoding: Encoding) {
    this.#encoding = encoding;
  }

  get length(): number {
    return this.#length;
  }

  push(value: unknown): void {
    const element = encode(value, this.#encoding);
    this.#reserve(this.#begin, element.length + 1);
    if (this.#encoding === "json" && this.#length > 0) this.#bytes[this.#end++] = COMMA;
    this.#bytes.set(element, this.#end);
    this.#end += element.length;
    this.#length += 1;
  }

  /** `body` with this array in place of the empty one that is its last field. What is returned is good until the next call. */
  insertedInto(body: Uint8Array): Uint8Array {
    return this.#encoding === "json" ? this.#intoJson(body) : this.#intoMessagePack(body);
  }

  #intoJson(body: Uint8Array): Uint8Array {
    const head = body.subarray(0, -JSON_END.length);
    this.#reserve(head.length, JSON_END.length);
    const start = this.#begin - head.length;
    this.#bytes.set(head, start);
    this.#bytes.set(JSON_END, this.#end);
    return this.#bytes.subarray(start, this.#end + JSON_END.length);
  }

  #intoMessagePack(body: Uint8Array): Uint8Array {
    const head = body.subarray(0, -1);
    this.#reserve(head.length + ARRAY_16_LENGTH, 0);
    const start = this.#begin - ARRAY_16_LENGTH - head.length;
    this.#bytes.set(head, start);
    this.#bytes[this.#begin - 3] = ARRAY_16;
    this.#bytes.writeUInt16BE(this.#length, this.#begin - 2);
    return this.#bytes.subarray(start, this.#end);
  }

  /** Makes room before and after the elements. */
  #reserve(before: number, after: number): void {
    if (before <= this.#begin && this.#end + after <= this.#bytes.length) return;
    const begin = Math.max(before, this.#begin, HEADROOM);
    const elements = this.#bytes.subarray(this.#begin, this.#end);
    const size = begin + Math.max(FIRST_ROOM, 2 * (elements.length + after));
    // Small ones come out of a pool, and go soon. A large one would keep all of its part of the pool.
    const larger = size <= POOLED ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size);
    larger.set(elements, begin);
    this.#bytes = larger;
    this.#begin = begin;
    this.#end = begin + elements.length;
  }
}
