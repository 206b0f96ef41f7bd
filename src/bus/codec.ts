/**
 * JSON and MessagePack, told apart by the first byte. MessagePack is kept to what every language reads: plain maps,
 * no extensions of its own.
 */
import { Packr, Unpackr } from "msgpackr";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError } from "../job/errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });
// "auto" is a number where it is exact, else a bigint; the library's types leave it out.
const int64AsType = "auto" as "number";
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType });

/** `undefined` is encoded as null, as it is in an array. */
export function encode(value: unknown, encoding: Encoding): Uint8Array {
  return encoding === "msgpack" ? packr.pack(value) : Buffer.from(JSON.stringify(value ?? null));
}

/** What a message that begins with this byte is encoded in. Ours are all maps: `{` in JSON, 0x80 and up in MessagePack. */
export function encodingOf(bytes: Uint8Array): Encoding {
  return (bytes[0] ?? 0) >= 0x80 ? "msgpack" : "json";
}

/** @throws AsyncError `undecodable` */
export function decode(bytes: Uint8Array, encoding = encodingOf(bytes)): unknown {
  try {
    return encoding === "msgpack" ? unpackr.unpack(bytes) : JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    const name = encoding === "msgpack" ? "MessagePack" : "JSON";
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AsyncError("undecodable", `not valid ${name}: ${why}`, { cause });
  }
}

/**
 * The value of a worker's reply. Empty is null. In a JSON job, text that is not JSON is that string. In a MessagePack
 * job a reply may also be a JSON object or array, so that a plain JSON service can serve both.
 *
 * @throws AsyncError `undecodable` for bytes that are neither
 */
export function decodeReply(bytes: Uint8Array, encoding: Encoding): unknown {
  if (bytes.length === 0) return null;
  if (encoding === "msgpack") {
    const first = bytes[0];
    const looksJson = first === 0x7b || first === 0x5b; // { [: as MessagePack, single small integers
    return decode(bytes, looksJson && bytes.length > 1 ? "json" : "msgpack");
  }
  const text = decodeText(bytes);
  try {
    return JSON.parse(text);
  } catch {
    return text; // by contract: a text reply that is not JSON is the string itself
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AsyncError("undecodable", "the reply is neither JSON nor UTF-8 text", { cause });
  }
}
