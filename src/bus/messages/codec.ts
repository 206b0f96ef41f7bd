/**
 * JSON and MessagePack, told apart by the first byte. MessagePack is kept to what every language reads: plain maps,
 * no extensions of its own.
 */
import { Packr, Unpackr } from "msgpackr";
import type { Payload } from "nats";
import type { Encoding } from "../../job/encoding.ts";
import { AsyncError, messageOf } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true });
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true });
// "auto" is a number where it is exact, else a bigint; the library's types leave it out.
const int64AsType = "auto" as "number";
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType });

/** `undefined` is encoded as null, as it is in an array. */
export function encode(value: unknown, encoding: Encoding): Uint8Array {
  return encoding === "msgpack" ? packr.pack(value) : Buffer.from(JSON.stringify(value ?? null));
}

/** The same to be sent at once: text becomes bytes where it is written to the socket (`wire-writer.ts`). */
export function encodePayload(value: unknown, encoding: Encoding): Payload {
  return encoding === "msgpack" ? packr.pack(value) : JSON.stringify(value ?? null);
}

/** What a message that begins with this byte is encoded in. Ours are all maps: `{` in JSON, 0x80 and up in MessagePack. */
export function encodingOf(bytes: Uint8Array): Encoding {
  return (bytes[0] ?? 0) >= 0x80 ? "msgpack" : "json";
}

/** @throws AsyncError `undecodable` */
export function decode(bytes: Uint8Array, encoding = encodingOf(bytes)): unknown {
  let value: unknown;
  try {
    value = encoding === "msgpack" ? unpack(bytes) : JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    const name = encoding === "msgpack" ? "MessagePack" : "JSON";
    const why = messageOf(cause);
    throw new AsyncError("undecodable", `not valid ${name}: ${why}`, { cause });
  }
  return shallow(value, bytes);
}

function unpack(bytes: Uint8Array): unknown {
  // The one byte that MessagePack never uses; the library makes an object of its own of it.
  if (bytes[0] === 0xc1) throw new Error("0xc1 is no MessagePack");
  return unpackr.unpack(bytes);
}

/** Deeper values are refused: they would decode, but encoding is recursive and runs out of stack. */
const MAX_DEPTH = 200;

/** @throws AsyncError `undecodable` if the value is nested too deeply */
function shallow(value: unknown, bytes: Uint8Array): unknown {
  // Every level takes a byte at least, so most messages are too short to be deep.
  if (bytes.length > MAX_DEPTH && !fits(value, MAX_DEPTH)) {
    throw new AsyncError("undecodable", `nested more than ${MAX_DEPTH} levels deep`);
  }
  return value;
}

function fits(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return true;
  if (depth === 0) return false;
  for (const one of Array.isArray(value) ? value : Object.values(value)) if (!fits(one, depth - 1)) return false;
  return true;
}

/** The JSON object in a message that anyone may have sent and nothing depends on; undefined if it is none. */
export function readJsonObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString());
    return isRecord(value) ? value : undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
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
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text; // by contract: a text reply that is not JSON is the string itself
  }
  return shallow(value, bytes);
}

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AsyncError("undecodable", "the reply is neither JSON nor UTF-8 text", { cause });
  }
}
