/**
 * Expressions among the values of a document: an object whose only key is `$`, with a text, stands for what that text gives. All
 * else is literal, a text in data too, so nothing has to be escaped; and what an expression gives is never searched for others.
 *
 * Example: `fill({ amount: { $: "data.total" } }, evaluate)` is `{ amount: evaluate("data.total") }`.
 */
import { isPlain } from "./expression-values.ts";

/** Most expressions in the args of one entry. */
export const MAX_EXPRESSIONS = 100;

export interface Placed {
  /** JSON pointer, from the value in which it was found: "" is the value itself, else e.g. "/items/0/sku". */
  path: string;
  text: string;
}

/** The text of an expression; undefined if the value is none. */
export function expressionOf(value: unknown): string | undefined {
  if (!isPlain(value) || !Object.hasOwn(value, "$") || typeof value.$ !== "string") return undefined;
  return Object.keys(value).length === 1 ? value.$ : undefined;
}

/**
 * Deeper than anything that is sent, so what is nested deeper may be circular. It is left to who encodes it, who says where that is;
 * as is what throws when it is looked at.
 */
const MAX_DEPTH = 250;

/** Stops at the first one. */
export function hasExpressions(value: unknown): boolean {
  try {
    return search(value, 0) === "found";
  } catch {
    return false; // see MAX_DEPTH
  }
}

/** In plain loops: this is asked of the args of every job. */
function search(value: unknown, depth: number): "found" | "none" | "too deep" {
  if (typeof value !== "object" || value === null) return "none";
  if (depth > MAX_DEPTH) return "too deep";
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const one: unknown = value[index];
      if (typeof one !== "object") continue;
      const inner = search(one, depth + 1);
      if (inner !== "none") return inner;
    }
    return "none";
  }
  if (!isPlain(value)) return "none";
  if ("$" in value && expressionOf(value) !== undefined) return "found";
  for (const key in value) {
    const one = value[key];
    if (typeof one !== "object") continue;
    const inner = search(one, depth + 1);
    if (inner !== "none") return inner;
  }
  return "none";
}

/** In the order in which they stand there. */
export function expressionsIn(value: unknown): Placed[] {
  const found: Placed[] = [];
  try {
    collect(value, "", found, 0);
  } catch {
    // see MAX_DEPTH
  }
  return found;
}

/** Whether it goes on: it ends where something is nested too deeply. */
function collect(value: unknown, path: string, found: Placed[], depth: number): boolean {
  if (depth > MAX_DEPTH) return false;
  const text = expressionOf(value);
  if (text !== undefined) {
    found.push({ path, text });
    return true;
  }
  if (Array.isArray(value)) return value.every((one, index) => collect(one, `${path}/${index}`, found, depth + 1));
  if (!isPlain(value)) return true;
  return Object.entries(value).every(([key, one]) => {
    return collect(one, `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, found, depth + 1);
  });
}

/** Why a value has too many expressions, or undefined if it has not. */
export function templateProblem(value: unknown): string | undefined {
  if (!hasExpressions(value)) return undefined;
  const count = expressionsIn(value).length;
  if (count <= MAX_EXPRESSIONS) return undefined;
  return `has ${count} expressions; at most ${MAX_EXPRESSIONS} are taken: give the entry what they read, and let it pick`;
}

/**
 * The value with what its expressions give in their places. What has no expression in it is shared with the value, not copied.
 *
 * @throws what `evaluate` throws; RangeError if there are more than MAX_EXPRESSIONS (`templateProblem` is asked before)
 */
export function fill(value: unknown, evaluate: (text: string) => unknown): unknown {
  if (!hasExpressions(value)) return value;
  let left = MAX_EXPRESSIONS;
  const filled = (one: unknown): unknown => {
    const text = expressionOf(one);
    if (text !== undefined) {
      if (left-- === 0) throw new RangeError(`there are more than ${MAX_EXPRESSIONS} expressions`);
      return evaluate(text);
    }
    if (Array.isArray(one)) return sharedIfSame(one, one.map(filled));
    if (!isPlain(one)) return one;
    const before = Object.values(one);
    const after = before.map(filled);
    if (sharedIfSame(before, after) === before) return one;
    return Object.fromEntries(Object.keys(one).map((key, index) => [key, after[index]]));
  };
  return filled(value);
}

function sharedIfSame(before: unknown[], after: unknown[]): unknown[] {
  return before.every((one, index) => Object.is(one, after[index])) ? before : after;
}
