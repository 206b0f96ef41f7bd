/**
 * Reads MessagePack of plain values only: nil, booleans, numbers, text, bytes, arrays, maps. The library's reader is several times
 * faster, but makes sets, errors and cyclic arrays of its own extensions, and renames keys; it cannot be told not to. So what
 * may hold such (`needsPlainUnpack`) is read here. It is rare: text in ASCII and small numbers never do.
 */

const NIL = 0xc0;
const NEVER_USED = 0xc1;
const FALSE = 0xc2;
const TRUE = 0xc3;
const FIRST_EXTENSION = 0xc7;
const LAST_EXTENSION = 0xc9;
const FIRST_FIX_EXTENSION = 0xd4;
const LAST_FIX_EXTENSION = 0xd8;
const PROTO = Buffer.from("__proto__");

/** Whether the bytes may hold an extension, or a key that the library changes. It looks at each byte: that takes a ns. */
export function needsPlainUnpack(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte < NEVER_USED || byte > LAST_FIX_EXTENSION) continue;
    if (byte === NEVER_USED || byte >= FIRST_FIX_EXTENSION) return true;
    if (byte >= FIRST_EXTENSION && byte <= LAST_EXTENSION) return true;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(PROTO);
}

/** @throws Error for what is no MessagePack, is no plain value, or is nested more than `maxDepth` deep */
export function plainUnpack(bytes: Uint8Array, maxDepth: number): unknown {
  const reader = new PlainReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), maxDepth);
  const value = reader.read(0);
  if (!reader.isAtEnd) throw new Error("there is more after the value");
  return value;
}

class PlainReader {
  readonly #bytes: Buffer;
  readonly #maxDepth: number;
  #at = 0;

  constructor(bytes: Buffer, maxDepth: number) {
    this.#bytes = bytes;
    this.#maxDepth = maxDepth;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  read(depth: number): unknown {
    const first = this.#unsigned(1);
    if (first < 0x80) return first;
    if (first < 0x90) return this.#map(first & 0x0f, depth);
    if (first < 0xa0) return this.#array(first & 0x0f, depth);
    if (first < 0xc0) return this.#text(first & 0x1f);
    if (first >= 0xe0) return first - 0x100;
    switch (first) {
      case NIL:
        return null;
      case FALSE:
        return false;
      case TRUE:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#unsigned(2 ** (first - 0xc4)));
      case 0xca:
        return this.#take(4).readFloatBE(0);
      case 0xcb:
        return this.#take(8).readDoubleBE(0);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(2 ** (first - 0xcc));
      case 0xcf:
        return exact(this.#take(8).readBigUInt64BE(0));
      case 0xd0:
      case 0xd1:
      case 0xd2: {
        const length = 2 ** (first - 0xd0);
        return this.#take(length).readIntBE(0, length);
      }
      case 0xd3:
        return exact(this.#take(8).readBigInt64BE(0));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#unsigned(2 ** (first - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(2 ** (first - 0xdb)), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 ** (first - 0xdd)), depth);
      case NEVER_USED:
        throw new Error("0xc1 is no MessagePack");
      default:
        throw new Error("extension types are not taken: send plain values, such as a date as text");
    }
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Error("it ends too early");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #unsigned(length: number): number {
    return this.#take(length).readUIntBE(0, length);
  }

  #text(length: number): string {
    return this.#take(length).toString("utf8");
  }

  #array(length: number, depth: number): unknown[] {
    this.#deeper(depth, length);
    const values: unknown[] = [];
    for (let i = 0; i < length; i++) values.push(this.read(depth + 1));
    return values;
  }

  #map(length: number, depth: number): object {
    this.#deeper(depth, 2 * length);
    const entries: [string, unknown][] = [];
    for (let i = 0; i < length; i++) {
      const key = this.read(depth + 1);
      if (typeof key !== "string" && typeof key !== "number") throw new Error("a key of a map must be text");
      entries.push([String(key), this.read(depth + 1)]);
    }
    return Object.fromEntries(entries); // which sets `__proto__` as it sets any other key
  }

  #deeper(depth: number, least: number): void {
    if (depth >= this.#maxDepth) throw new Error(`nested more than ${this.#maxDepth} levels deep`);
    if (least > this.#bytes.length - this.#at) throw new Error("it ends too early");
  }
}

/** As the library has it: a number where that is exact. */
function exact(value: bigint): number | bigint {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}
