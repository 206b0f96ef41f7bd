/** Values as both encodings can carry them. */
import { isInstance, readProperty } from "./describe.ts";
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
  return walk(value, (leaf) => {
    if (typeof leaf === "string" && !leaf.isWellFormed()) throw new UnsendableError("", HALF_CHARACTER);
    return leaf;
  });
}

/**
 * A value of a job as JSON shows it: bytes become base64, big integers decimal strings. What came as JSON is JSON
 * already.
 */
export function toJsonValue(value: unknown, encoding: Encoding): unknown {
  if (encoding === "json") return value;
  return walk(value, (leaf) => {
    if (typeof leaf === "string") return leaf;
    if (typeof leaf === "bigint") return leaf.toString();
    return Buffer.from(leaf.buffer, leaf.byteOffset, leaf.byteLength).toString("base64");
  });
}

function walk(value: unknown, leaf: (value: string | bigint | Uint8Array) => unknown): unknown {
  if (typeof value === "string" || typeof value === "bigint" || value instanceof Uint8Array) return leaf(value);
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (isOpaque(value)) throw new UnsendableError("", opaqueProblem(value));
  if ("toJSON" in value && typeof value.toJSON === "function") return walk(value.toJSON(), leaf);
  if (Array.isArray(value)) return value.map((one) => walk(one, leaf));
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, walk(one, leaf)]));
}

/** A value that no message can carry. `path` (a JSON pointer) says where in what was given it is. */
export class UnsendableError extends Error {
  readonly path: string;
  /** Without the path. */
  readonly problem: string;

  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path || "it"} ${problem}`, options);
    this.name = "UnsendableError";
    this.path = path;
    this.problem = problem;
  }
}

const HALF_CHARACTER = "has half of a character in it (a lone surrogate), which UTF-8 cannot carry";

const OPAQUE: (abstract new (...args: never[]) => object)[] = [
  Map,
  Set,
  WeakMap,
  WeakSet,
  Promise,
  Error,
  RegExp,
  ArrayBuffer,
  DataView,
];

/** The same, by how they call themselves: what generators return has no class, and to name one of `fetch` would load it. */
const OPAQUE_TAGS = new Set<unknown>([
  "Generator",
  "AsyncGenerator",
  "Array Iterator",
  "Map Iterator",
  "Set Iterator",
  "Response",
  "Request",
  "Headers",
  "FormData",
  "Blob",
  "ReadableStream",
  "URLSearchParams",
  "SharedArrayBuffer",
  "WeakRef",
]);

function opaqueTag(value: object): string | undefined {
  const tag = readProperty(value, Symbol.toStringTag);
  return OPAQUE_TAGS.has(tag) && Object.keys(value).length === 0 ? String(tag) : undefined;
}

/** What has its content elsewhere than in its fields: it would arrive as an empty object. */
function isOpaque(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === Array.prototype || prototype === null) return false;
  if ("toJSON" in value) return false;
  return OPAQUE.some((kind) => isInstance(value, kind)) || opaqueTag(value) !== undefined;
}

function opaqueProblem(value: object): string {
  const kind = OPAQUE.find((one) => isInstance(value, one))?.name ?? opaqueTag(value) ?? "object";
  const hints: Record<string, string> = {
    Map: "Object.fromEntries(map)",
    Set: "[...set]",
    Error: "its message",
    Response: "its text",
  };
  return `is a ${kind}, of which nothing would arrive${kind in hints ? `; send ${hints[kind]}` : ""}`;
}

/** Deeper than anything that is taken. */
const MAX_SEARCH_DEPTH = 200;

/** The first thing in a value that cannot be sent in that encoding; undefined if there is none. Never throws. */
export function unsendable(value: unknown, encoding: Encoding): UnsendableError | undefined {
  return search(value, encoding, "", []);
}

function search(value: unknown, encoding: Encoding, path: string, within: object[]): UnsendableError | undefined {
  if (typeof value === "bigint") {
    const fits = encoding === "msgpack" && BigInt.asIntN(65, value) === value && value >= -(2n ** 63n);
    const next =
      encoding === "json" ? "JSON has none; send it as text, or the job as MessagePack" : "it has more than 64 bits";
    return fits ? undefined : new UnsendableError(path, `is a big integer: ${next}`);
  }
  if (typeof value === "number" && encoding === "json" && !Number.isFinite(value)) {
    return new UnsendableError(path, `is ${value}: JSON has none; send null or text, or the job as MessagePack`);
  }
  if (typeof value === "string" && !value.isWellFormed()) {
    return new UnsendableError(path, HALF_CHARACTER);
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (isInstance(value, Uint8Array)) {
    // A Buffer says itself how it is shown in JSON.
    if (encoding === "msgpack" || "toJSON" in value) return undefined;
    return new UnsendableError(path, "is bytes: JSON has none; send them as base64, or the job as MessagePack");
  }
  if (within.includes(value)) return new UnsendableError(path, "is circular: it contains itself");
  if (within.length >= MAX_SEARCH_DEPTH)
    return new UnsendableError("", `is nested more than ${MAX_SEARCH_DEPTH} levels deep`);
  try {
    if (isOpaque(value)) return new UnsendableError(path, opaqueProblem(value));
    if ("toJSON" in value && typeof value.toJSON === "function") {
      return search(value.toJSON(), encoding, path, [...within, value]);
    }
    const inner = [...within, value];
    for (const [key, one] of Object.entries(value)) {
      const escaped = key.replaceAll("~", "~0").replaceAll("/", "~1");
      const problem = search(one, encoding, `${path}/${escaped}`, inner);
      if (problem) return problem;
    }
    return undefined;
  } catch (cause) {
    return new UnsendableError(path, "cannot be read", { cause });
  }
}
