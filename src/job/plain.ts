/** Values as both encodings can carry them. */
import type { Encoding } from "./encoding.ts";

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The value as JSON would carry it, so that a handler's result means the same in both encodings: `toJSON` is honoured
 * (dates), functions and symbols are left out, other objects are their own fields. Bytes and big integers stay,
 * because MessagePack has them.
 */
export function toPlain(value: unknown): unknown {
  return walk(value, (leaf) => leaf);
}

/**
 * A value of a job as JSON shows it: bytes become base64, big integers decimal strings. What came as JSON is JSON
 * already.
 */
export function toJsonValue(value: unknown, encoding: Encoding): unknown {
  if (encoding === "json") return value;
  return walk(value, (leaf) => {
    if (typeof leaf === "bigint") return leaf.toString();
    return Buffer.from(leaf.buffer, leaf.byteOffset, leaf.byteLength).toString("base64");
  });
}

function walk(value: unknown, leaf: (value: bigint | Uint8Array) => unknown): unknown {
  if (typeof value === "bigint" || value instanceof Uint8Array) return leaf(value);
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if ("toJSON" in value && typeof value.toJSON === "function") return walk(value.toJSON(), leaf);
  if (Array.isArray(value)) return value.map((one) => walk(one, leaf));
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, walk(one, leaf)]));
}
