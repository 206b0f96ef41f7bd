/**
 * JSON and MessagePack, told apart by the first byte. MessagePack is kept to what every language reads: plain maps,
 * no extensions of its own.
 *
 * CODEC-1  What is decoded is a plain value, a tree of limited depth, and says what was sent. Else it is refused as `undecodable`:
 *     extensions, numbers that would be rounded, what is nested too deeply.
 */
import { isUtf8 } from "node:buffer";
import { Packr, Unpackr } from "msgpackr";
import type { Payload } from "nats";
import type { Encoding } from "../../job/encoding.ts";
import { AsyncError, isAsyncError, messageOf } from "../../job/errors.ts";
import { isRecord, toPlain, UnsendableError, unsendable } from "../../job/plain.ts";
import { inexactNumber } from "./exact-json.ts";
import { needsPlainUnpack, plainUnpack } from "./plain-unpack.ts";

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

/**
 * What a user has given us, to be sent: a result, a progress, a job.
 *
 * @throws UnsendableError that says what of it cannot be sent, and where it is
 */
export function encodeGiven(value: unknown, encoding: Encoding): Payload {
  let payload: Payload;
  try {
    payload = encodePayload(encoding === "msgpack" ? toPlain(value) : value, encoding) ?? "null";
  } catch (cause) {
    throw unsendable(value, encoding) ?? new UnsendableError("", `cannot be encoded: ${messageOf(cause)}`, { cause });
  }
  const problem =
    encoding === "json" && isSuspicious(payload as string, value) ? unsendable(value, encoding) : undefined;
  if (problem) throw problem;
  return payload;
}

/**
 * Whether JSON may have changed something in silence: a Map or an Error is `{}` then, NaN is null, bytes are numbered; or has
 * something in it that cannot be stored, half of a character.
 */
function isSuspicious(json: string, value: unknown): boolean {
  return (
    json.includes("{}") ||
    json.includes('{"0":') ||
    json.includes("\\ud") ||
    (json.includes("null") && mayHoldNaN(value))
  );
}

/** Whether there may be a NaN, or an infinite number, in what JSON has taken: a tree, but for what `toJSON` hides. */
function mayHoldNaN(value: unknown): boolean {
  if (typeof value === "number") return !Number.isFinite(value);
  if (typeof value !== "object" || value === null) return false;
  if ("toJSON" in value) return true;
  if (Array.isArray(value)) return value.some(mayHoldNaN);
  for (const key in value) if (mayHoldNaN((value as Record<string, unknown>)[key])) return true;
  return false;
}

/** What a message that begins with this byte is encoded in. Ours are all maps: `{` in JSON, 0x80 and up in MessagePack. */
export function encodingOf(bytes: Uint8Array): Encoding {
  return (bytes[0] ?? 0) >= 0x80 ? "msgpack" : "json";
}

/** @throws AsyncError `undecodable` */
export function decode(bytes: Uint8Array, encoding = encodingOf(bytes), maxDepth = MAX_DEPTH): unknown {
  let value: unknown;
  try {
    value = encoding === "msgpack" ? unpack(bytes, maxDepth) : parse(utf8.decode(bytes));
  } catch (cause) {
    const name = encoding === "msgpack" ? "MessagePack" : "JSON";
    const why = messageOf(cause);
    throw new AsyncError("undecodable", `not valid ${name}: ${why}`, { cause });
  }
  return shallow(value, bytes, maxDepth);
}

/** A message of ours around values that others have sent: a state, an invocation. @throws AsyncError `undecodable` */
export function decodeOurs(bytes: Uint8Array, encoding: Encoding): unknown {
  return decode(bytes, encoding, MAX_DEPTH + OWN_DEPTH);
}

/**
 * What we have stored as a part of a job, in MessagePack. Anyone with the right to may have written there: undefined if it cannot be
 * decoded, and if nothing is left of it but that it was removed.
 */
export function decodePart(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined;
  try {
    return decodeOurs(bytes, "msgpack");
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return undefined;
  }
}

function unpack(bytes: Uint8Array, maxDepth: number): unknown {
  return needsPlainUnpack(bytes) ? plainUnpack(bytes, maxDepth) : unpackr.unpack(bytes);
}

function parse(text: string): unknown {
  const value: unknown = JSON.parse(text);
  const inexact = inexactNumber(text);
  if (inexact !== undefined) {
    throw new Error(`the number ${inexact} would be rounded; send it as text, or the job as MessagePack`);
  }
  if (hasHalfCharacter(text)) throw new Error(HALF_CHARACTER);
  return value;
}

const HALF_CHARACTER = "half of a character (a lone surrogate, \\ud800 to \\udfff) cannot be stored; send whole ones";
/** A first half without the second, or a second one without the first. */
const HALF = /\\u(?:d[89ab][\da-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][\da-f]{2}\\u)d[c-f][\da-f]{2})/i;

/** Whether JSON has an escape of half a character in it: stored as UTF-8 it would become U+FFFD, in silence. */
function hasHalfCharacter(text: string): boolean {
  return (text.includes("\\ud") || text.includes("\\uD")) && HALF.test(text.replaceAll("\\\\", ""));
}

/** Deeper values are refused: they would decode, but encoding is recursive and runs out of stack. */
const MAX_DEPTH = 200;
/** What a state or an invocation has around such a value: what was taken once must be readable for ever. */
const OWN_DEPTH = 16;

/** @throws AsyncError `undecodable` if the value is nested too deeply */
function shallow(value: unknown, bytes: Uint8Array, maxDepth = MAX_DEPTH): unknown {
  // Every level takes a byte at least, so most messages are too short to be deep.
  if (bytes.length > maxDepth && !fits(value, maxDepth)) {
    throw new AsyncError("undecodable", `nested more than ${maxDepth} levels deep`);
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
 * The value of a worker's reply. Empty is null. In a JSON job, text that is not JSON is that string. In a MessagePack job a reply
 * may be text as well, so that one plain service can serve both: what cannot be a MessagePack value is read as in a JSON
 * job. Only a single byte can be either; then it is text where it can be printed, unless `isMessagePack` (the reply says so).
 *
 * @throws AsyncError `undecodable` for bytes that are neither
 */
export function decodeReply(bytes: Uint8Array, encoding: Encoding, isMessagePack = false): unknown {
  if (bytes.length === 0) return null;
  if (encoding === "json") return decodeText(bytes);
  const first = bytes[0] as number;
  // What begins below 0x80 is a small integer, and nothing can come after it.
  const isText = first < FIRST_MARKER && (bytes.length > 1 || isPrintable(first));
  if (isText && !isMessagePack) return decodeText(bytes);
  try {
    return decode(bytes, "msgpack");
  } catch (error) {
    // 0xc2 and up may begin a character of UTF-8 as well.
    if (isMessagePack || first < FIRST_OF_UTF8 || first > LAST_OF_UTF8 || !isUtf8(bytes)) throw error;
    return decodeText(bytes);
  }
}

const FIRST_MARKER = 0x80;
const FIRST_OF_UTF8 = 0xc2;
const LAST_OF_UTF8 = 0xf4;
const UINT_8 = 0xcc;

function isPrintable(code: number): boolean {
  return code >= 0x20 && code < 0x7f;
}

/** The MessagePack of a result that no one can take for text (see {@link decodeReply}): `cc 37`, not `37`, for 55. */
export function encodeResult(value: unknown, encoding: Encoding): Payload {
  const isSmall = encoding === "msgpack" && typeof value === "number" && Number.isInteger(value) && isPrintable(value);
  return isSmall ? Buffer.of(UINT_8, value) : encodeGiven(value, encoding);
}

/** Text that is not JSON is the string itself. */
function decodeText(bytes: Uint8Array): unknown {
  const text = textOf(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  const inexact = inexactNumber(text);
  if (inexact !== undefined) {
    throw new AsyncError("undecodable", `the number ${inexact} of the reply would be rounded; send it as text`);
  }
  if (hasHalfCharacter(text)) throw new AsyncError("undecodable", `the reply: ${HALF_CHARACTER}`);
  return shallow(value, bytes);
}

function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AsyncError("undecodable", "the reply is neither JSON nor UTF-8 text", { cause });
  }
}
