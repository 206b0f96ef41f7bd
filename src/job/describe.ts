/**
 * What was thrown, in words. Anything can be thrown: an error whose message is no text, an object without a prototype, a
 * proxy whose every trap throws, a name of megabytes. Describing never fails, and what it makes has limits.
 *
 * `throw new TypeError("fetch failed", { cause: connectError })` becomes
 * `fetch failed (cause: connect ECONNREFUSED 127.0.0.1:1 [ECONNREFUSED])`.
 */
import { inspect } from "node:util";

/** Plain text, whatever was thrown. */
export interface Description {
  name: string;
  /** With the `code`, the causes and the errors of an AggregateError, as far as they say more. */
  message: string;
  stack?: string;
}

const MAX_NAME_LENGTH = 256;
const MAX_TEXT_LENGTH = 4_096;
/** Of a cause or one of several errors. */
const MAX_PART_LENGTH = 512;
const MAX_DEPTH = 4;
const MAX_ERRORS = 5;

export function describeThrown(thrown: unknown): Description {
  const message = wholeMessage(thrown, MAX_TEXT_LENGTH, 0);
  const description: Description = { name: nameOf(thrown), message };
  const stack = textOf(thrown, "stack", MAX_TEXT_LENGTH);
  if (stack !== undefined) description.stack = stack;
  return description;
}

/** A property of anything; undefined if it cannot be read. */
export function readProperty(value: unknown, key: string | symbol): unknown {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined;
  try {
    return (value as Record<string | symbol, unknown>)[key];
  } catch {
    return undefined; // a getter or a trap that throws: as if it were not there
  }
}

/** As `instanceof`, for what may be a proxy that does not like to be asked. */
export function isInstance<T>(value: unknown, of: abstract new (...args: never[]) => T): value is T {
  try {
    return value instanceof of;
  } catch {
    return false;
  }
}

function textOf(value: unknown, key: string, most: number): string | undefined {
  const text = readProperty(value, key);
  return typeof text === "string" && text !== "" ? text.slice(0, most) : undefined;
}

function nameOf(thrown: unknown): string {
  return textOf(thrown, "name", MAX_NAME_LENGTH) ?? "Error";
}

function wholeMessage(thrown: unknown, most: number, depth: number): string {
  let message = ownMessage(thrown, most);
  const add = (more: string) => {
    message += more;
  };
  const code = readProperty(thrown, "code");
  if ((typeof code === "string" && code !== "") || typeof code === "number") {
    const text = String(code).slice(0, MAX_NAME_LENGTH);
    if (!message.includes(text)) add(` [${text}]`);
  }
  if (depth >= MAX_DEPTH) return message.slice(0, most);
  const cause = readProperty(thrown, "cause");
  if (cause !== undefined && cause !== null && cause !== thrown) {
    const text = wholeMessage(cause, MAX_PART_LENGTH, depth + 1);
    if (!message.includes(text)) add(` (cause: ${text})`);
  }
  const errors = severalErrors(thrown, depth);
  if (errors !== "") add(` (errors: ${errors})`);
  return message.slice(0, most);
}

/** Of an AggregateError. */
function severalErrors(thrown: unknown, depth: number): string {
  const errors = readProperty(thrown, "errors");
  try {
    if (!Array.isArray(errors) || errors.length === 0) return "";
    const texts = errors.slice(0, MAX_ERRORS).map((error) => wholeMessage(error, MAX_PART_LENGTH, depth + 1));
    return texts.join("; ") + (errors.length > MAX_ERRORS ? `; and ${errors.length - MAX_ERRORS} more` : "");
  } catch {
    return ""; // a list that cannot be read says nothing
  }
}

function ownMessage(thrown: unknown, most: number): string {
  if (typeof thrown === "string") return thrown.slice(0, most);
  const message = textOf(thrown, "message", most);
  if (message !== undefined) return message;
  // An empty message is what an error without words says.
  if (isInstance(thrown, Error) && readProperty(thrown, "message") === "") return "";
  const odd = readProperty(thrown, "message");
  return shown(odd === undefined ? thrown : odd, most);
}

/** Any value as text. */
function shown(value: unknown, most: number): string {
  try {
    if (typeof value !== "object" || value === null) return String(value).slice(0, most);
    const options = { depth: 2, maxArrayLength: 10, maxStringLength: 200, breakLength: Number.POSITIVE_INFINITY };
    return inspect(value, { ...options, compact: true, customInspect: false, getters: false }).slice(0, most);
  } catch {
    return `something that cannot be shown (${typeof value})`;
  }
}
