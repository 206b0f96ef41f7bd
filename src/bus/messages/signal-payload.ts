/**
 * The payload of a signal, which becomes the result of an entry: as it is sent, and as it is stored until it is used.
 *
 * PAYLOAD-1  What is stored is in the encoding of the job, and can be part of its state: a JSON job is given nothing that JSON does not
 *     have. Bytes become base64 there, and integers that JSON would round decimal text, as they are shown everywhere else.
 */
import type { Payload } from "nats";
import type { Encoding } from "../../job/encoding.ts";
import { AsyncError, InvalidInputError, isAsyncError } from "../../job/errors.ts";
import { toJsonValue, UnsendableError, unsendable } from "../../job/plain.ts";
import { decode, encode, encodeGiven, encodeResult, encodingOf } from "./codec.ts";

/**
 * What is to be sent for a value: JSON where that can carry it, else MessagePack; empty for nothing.
 *
 * @throws InvalidInputError `invalid_request` with the path of what cannot be sent
 */
export function encodeSignal(value: unknown, encoding?: Encoding): Payload {
  if (value === undefined) return "";
  try {
    if (encoding === "msgpack") return encodeResult(value, "msgpack");
    if (encoding === "json" || unsendable(value, "json") === undefined) return encodeGiven(value, "json");
    return encodeResult(value, "msgpack");
  } catch (error) {
    if (!(error instanceof UnsendableError)) throw error;
    throw cannotBeSent(error);
  }
}

function cannotBeSent({ path, problem }: UnsendableError): InvalidInputError {
  return new InvalidInputError("invalid_request", "not a payload of a signal", [{ path, message: problem }]);
}

/**
 * The body of a signal as it is to be stored for a job of that encoding (PAYLOAD-1). Empty is null.
 *
 * @param maxBytes most bytes that it may have, stored and as a part of the state
 * @throws AsyncError `invalid_request`, `payload_too_large`
 */
export function storedPayload(body: Uint8Array, encoding: Encoding, maxBytes: number): Uint8Array {
  const sentAs = encodingOfSignal(body);
  let value = valueIn(body, sentAs);
  if (encoding === "json" && sentAs === "msgpack") {
    value = toJsonValue(value, "msgpack");
    const problem = unsendable(value, "json");
    if (problem) throw cannotBeSent(problem);
  }
  const packed = encode(value, "msgpack"); // as it will be in the state
  const stored = encoding === "msgpack" ? packed : encode(value, encoding);
  const bytes = Math.max(packed.length, stored.length);
  if (bytes <= maxBytes) return stored;
  const next = "send a reference to it instead, or raise the server's max_payload";
  throw new AsyncError("payload_too_large", `the payload has ${bytes} bytes, and may have ${maxBytes}; ${next}`);
}

/** @throws AsyncError `invalid_request` */
function valueIn(body: Uint8Array, encoding: Encoding): unknown {
  if (body.length === 0) return null;
  try {
    return decode(body, encoding);
  } catch (cause) {
    if (!isAsyncError(cause, "undecodable")) throw cause;
    const what = `the payload must be JSON or MessagePack: ${cause.message}`;
    throw new AsyncError("invalid_request", what, { cause });
  }
}

/** A single byte below 0x80 is MessagePack, a small integer, where it is no character that can be printed. */
function encodingOfSignal(body: Uint8Array): Encoding {
  const [first = 0] = body;
  return body.length === 1 && (first < 0x20 || first === 0x7f) ? "msgpack" : encodingOf(body);
}

/**
 * The value of a stored payload. Anyone with the right to may have written it, so it may be none: then `problem` says why.
 * Never throws.
 */
export function openSignal(
  { payload }: { payload: Uint8Array },
  encoding: Encoding,
): { value: unknown; problem?: undefined } | { problem: string } {
  try {
    return { value: decode(payload, encoding) };
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return { problem: error.message };
  }
}
