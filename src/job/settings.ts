/**
 * Settings at a function: how often it is tried again and how long an attempt may take, where a job does not say so. A worker registers
 * them, or somebody sets them by hand. Each field goes by itself: that of the document wins, then that set by hand, then that of
 * the worker. They are no part of a job: the supervisor gives them to what needs them.
 *
 * Example: a worker has registered `{retry_limit: 5, timeout_ms: 30000}`, and somebody sets `timeout_ms` to 60000. A job that says
 * `retry_options: {retry_limit: 2}` has two executions of a minute each.
 */
import { type Static, Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { InvalidInputError, type Reason } from "./errors.ts";
import { callOf, type FunctionState } from "./function-state.ts";
import { isRecord } from "./plain.ts";
import { Backoff, FunctionSpec, RetryOptions } from "./schema.ts";
import { shapeProblems } from "./shape-problems.ts";

export const FunctionSettings = Type.Object(
  { ...RetryOptions.properties, timeout_ms: Type.Pick(FunctionSpec, ["timeout_ms"]).properties.timeout_ms },
  { additionalProperties: false },
);
export type FunctionSettings = Static<typeof FunctionSettings>;

export const SETTINGS_FIELDS = ["retry_limit", "retry_for_ms", "backoff", "timeout_ms"] as const;

const check = TypeCompiler.Compile(FunctionSettings);

/** All that is wrong with settings. @param at the JSON pointer of where they are */
export function settingsProblems(value: unknown, at = ""): Reason[] {
  if (check.Check(value)) return [];
  if (!isRecord(value)) return [{ path: at, message: 'must be an object, e.g. {"retry_limit": 5}' }];
  return [...shapeProblems(check.Errors(value))].map(({ path, message }) => ({ path: at + path, message }));
}

/**
 * The settings without fields that are null or undefined.
 *
 * @throws InvalidInputError `invalid_request` with every reason
 */
export function parseSettings(value: unknown, at = ""): FunctionSettings {
  const given = isRecord(value) ? withoutNull(value, SETTINGS_FIELDS) : value;
  if (isRecord(given) && isRecord(given.backoff)) {
    given.backoff = withoutNull(given.backoff, Object.keys(Backoff.properties));
  }
  const problems = settingsProblems(given, at);
  if (problems.length > 0) throw new InvalidInputError("invalid_request", "not the settings of a function", problems);
  return given as FunctionSettings;
}

function withoutNull(value: Record<string, unknown>, fields: readonly string[]): Record<string, unknown> {
  const isGiven = ([key, one]: [string, unknown]) => (one !== null && one !== undefined) || !fields.includes(key);
  return Object.fromEntries(Object.entries(value).filter(isGiven));
}

/** Those of `first`, and of `second` what the first does not say. */
export function mergedSettings(first: FunctionSettings = {}, second: FunctionSettings = {}): FunctionSettings {
  return { ...second, ...first };
}

export function hasSettings(settings: FunctionSettings | undefined): settings is FunctionSettings {
  return settings !== undefined && Object.keys(settings).length > 0;
}

/** The retry options that count for a function: what it says itself, and else what is set at it. */
export function retryOptionsWith(
  own: RetryOptions | undefined,
  settings: RetryOptions | undefined,
): RetryOptions | undefined {
  if (settings === undefined) return own;
  const { retry_limit, retry_for_ms, backoff } = settings;
  const options: RetryOptions = {};
  if (retry_limit !== undefined) options.retry_limit = retry_limit;
  if (retry_for_ms !== undefined) options.retry_for_ms = retry_for_ms;
  if (backoff !== undefined) options.backoff = backoff;
  return Object.assign(options, own);
}

/** An entry as it is executed: with what is set at its function, where it does not say so itself. To be shown, not stored. */
export function withSettings(fn: FunctionState, settings: FunctionSettings | undefined): FunctionState {
  if (settings === undefined) return fn;
  const call = callOf(fn);
  const retry_options = retryOptionsWith(call.retry_options, settings);
  const timeout_ms = call.timeout_ms ?? settings.timeout_ms;
  const more = { ...(retry_options && { retry_options }), ...(timeout_ms !== undefined && { timeout_ms }) };
  if (call === fn) return { ...fn, ...more };
  return { ...fn, on_error: { ...(call as Extract<FunctionState["on_error"], object>), ...more } };
}

/** In words: `retry_limit 5, timeout_ms 30000`. */
export function settingsText(settings: FunctionSettings): string {
  const parts = SETTINGS_FIELDS.flatMap((field) => {
    const value = settings[field];
    return value === undefined ? [] : `${field} ${typeof value === "object" ? JSON.stringify(value) : value}`;
  });
  return parts.join(", ");
}
