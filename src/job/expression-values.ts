/** Values on their way into an expression and out of it. */

import type { Reads } from "./expression-compile.ts";
import { EvaluationProblem } from "./expression-error.ts";
import type { Library } from "./expression-library.ts";
import type { Work } from "./expression-work.ts";

/** Deeper than anything that is taken. */
const MAX_NESTING = 250;
/** Making an object for others takes as long as that many of their values. */
const STEPS_OF_OBJECT = 4;

/**
 * A value as the library is given it: objects become Maps, so that no field name leads to a prototype, and that one
 * named `constructor` does not hide what the object is. A field `__proto__` is left out.
 *
 * @throws EvaluationProblem if it is too large, or of a kind that expressions do not know
 */
export function intoExpression(value: unknown, work: Work, reads?: Reads, nesting = 0): unknown {
  work.step();
  if (nesting > MAX_NESTING)
    throw new EvaluationProblem(`reads something that is nested more than ${MAX_NESTING} deep`);
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null) return simple(value);
  if (Array.isArray(value)) return Array.from(value, (one) => intoExpression(one, work, undefined, nesting + 1));
  if (value instanceof Uint8Array) return asUint8Array(value);
  if (value instanceof Date) return value; // a timestamp
  if (!isPlain(value)) throw new EvaluationProblem(`reads a ${typeName(value)}, which expressions do not know`);
  const fields = new Map<string, unknown>();
  if (!reads || reads.whole) {
    for (const [key, one] of Object.entries(value)) {
      if (one !== undefined && key !== "__proto__") fields.set(key, intoExpression(one, work, undefined, nesting + 1));
    }
    return fields;
  }
  for (const [key, more] of reads.fields) {
    const one = Object.hasOwn(value, key) && key !== "__proto__" ? value[key] : undefined;
    if (one !== undefined) fields.set(key, intoExpression(one, work, more, nesting + 1));
  }
  return fields;
}

function simple(value: unknown): unknown {
  if (typeof value === "function" || typeof value === "symbol") {
    throw new EvaluationProblem(`reads a ${typeof value}, which expressions do not know`);
  }
  return value;
}

/** The library knows Uint8Array and Buffer, and no other class of the kind. */
function asUint8Array(value: Uint8Array): Uint8Array {
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** An object with fields, and nothing else. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/**
 * What an expression has given, as JSON has it. Ints become numbers, timestamps ISO text, durations seconds. Bytes stay: an
 * expression cannot make any, so they come from a MessagePack job's data.
 *
 * @throws EvaluationProblem for an int beyond 2^53, Infinity, NaN, half of a character, a type, an optional; or if too large
 */
export function outOfExpression(value: unknown, library: Library, nesting = 0): unknown {
  library.work.step();
  if (nesting > MAX_NESTING)
    throw new EvaluationProblem(`gives something that is nested more than ${MAX_NESTING} deep`);
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      library.work.text(value);
      if (value.isWellFormed()) return value;
      throw new EvaluationProblem("gives a string with half of a character in it (a lone surrogate)");
    case "number":
      if (Number.isFinite(value)) return value;
      throw new EvaluationProblem("gives a double that is infinite or not a number, which JSON has not");
    case "bigint":
      return safeNumber(value);
    case "object":
      return value === null ? null : objectOut(value, library, nesting);
    case "undefined":
      return null;
    default:
      throw new EvaluationProblem(`gives a ${typeName(value)}, which JSON has not`);
  }
}

function objectOut(value: object, library: Library, nesting: number): unknown {
  const inner = (one: unknown) => outOfExpression(one, library, nesting + 1);
  library.work.step(STEPS_OF_OBJECT);
  if (Array.isArray(value)) return value.map(inner);
  if (value instanceof Uint8Array) return value;
  if (value instanceof Map || isPlain(value)) return recordOut(value, inner);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof library.Duration) return Number(value.seconds) + value.nanos / 1e9;
  if (value instanceof library.UnsignedInt) return safeNumber(value.value);
  if (value instanceof library.Optional) {
    throw new EvaluationProblem("gives an optional: end it with `.orValue(…)`");
  }
  throw new EvaluationProblem(`gives a ${typeName(value)}, which JSON has not`);
}

/** Maps are what came in, objects what the expression has made, or a path has led to. */
function recordOut(value: Map<unknown, unknown> | Record<string, unknown>, inner: (one: unknown) => unknown): unknown {
  const record: Record<string, unknown> = {};
  for (const [key, one] of value instanceof Map ? value : Object.entries(value)) {
    if (one !== undefined && key !== "__proto__") record[String(key)] = inner(one);
  }
  return record;
}

function safeNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new EvaluationProblem("gives an int beyond 2^53, which JSON would round; give it as text: string(…)");
}

/** The type of a value, in CEL's words where it has one. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return "double";
  if (typeof value === "bigint") return "int";
  if (typeof value !== "object") return typeof value;
  if (Array.isArray(value)) return "list";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Date) return "timestamp";
  if (value instanceof Map || isPlain(value)) return "map";
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  return /^Type</.test(tag) ? "type" : "object of another kind";
}
