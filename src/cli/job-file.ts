/** Jobs in files, as editors and programs write them. */
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { decode, encodingOf } from "../bus/messages/codec.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError, messageOf } from "../job/errors.ts";

/**
 * A job in JSON (UTF-8, with or without a byte order mark, any line end) or MessagePack; `-` is standard input.
 *
 * @throws AsyncError `invalid_option` if the file cannot be read, `undecodable` if it holds something else
 */
export async function readJobFile(file: string): Promise<{ job: unknown; encoding: Encoding }> {
  const bytes = withoutMark(await read(file));
  const encoding = encodingOf(bytes);
  const problem = problemOf(bytes, encoding);
  if (problem !== undefined) throw unreadable(file, problem);
  try {
    return { job: decode(bytes, encoding), encoding };
  } catch (cause) {
    throw unreadable(file, messageOf(cause), cause);
  }
}

async function read(file: string): Promise<Uint8Array> {
  if (file === "-") return buffer(process.stdin);
  try {
    return await readFile(file);
  } catch (cause) {
    throw new AsyncError("invalid_option", `cannot read the job: ${messageOf(cause)}`, { cause });
  }
}

/** Editors put a byte order mark before text, which is no part of it. */
function withoutMark(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

const SAVE = "save it as JSON in UTF-8, or MessagePack";

/** What can be said before it is decoded. JSON has no zero bytes; UTF-16 and UTF-32 of it are full of them. */
function problemOf(bytes: Uint8Array, encoding: Encoding): string | undefined {
  const [a, b] = bytes;
  if (bytes.length === 0) return "it is empty";
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) return `it is in UTF-16; ${SAVE}`;
  if (encoding === "msgpack") return undefined;
  if (bytes.includes(0)) return `it is in UTF-16, or no text; ${SAVE}`;
  return isUtf8(bytes) ? undefined : `it is not in UTF-8, or no text; ${SAVE}`;
}

function unreadable(file: string, why: string, cause?: unknown): AsyncError {
  const name = file === "-" ? "standard input" : file;
  return new AsyncError("undecodable", `${name} holds no job: ${why}`, { cause });
}
