/** What the options of `async retry` ask for. */
import { hostname, userInfo } from "node:os";
import { AsyncError, messageOf } from "../job/errors.ts";
import { MAX_BY_LENGTH, type RetryPatch } from "../job/retry-patch.ts";

export interface RetryFlags {
  from?: string;
  failed?: true;
  data?: string;
  args?: string;
  /** Each `id=json`. */
  argsOf?: string[];
  force?: true;
}

/** @throws AsyncError `invalid_option` */
export function patchOf({ from, failed, data, args, argsOf, force }: RetryFlags): RetryPatch {
  return {
    ...(data !== undefined && { data: parseJson("--data", data) }),
    ...(args !== undefined && { args: parseJson("--args", args) }),
    ...(argsOf !== undefined && { args_by_id: argsById(argsOf) }),
    ...(from !== undefined && { from: entryIn(from) }),
    ...(failed && { failed }),
    ...(force && { force }),
    by: whoAsks(),
  };
}

/** An id does not begin with a digit, so a number is an index. */
function entryIn(text: string): string | number {
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

function argsById(pairs: string[]): Record<string, unknown> {
  const args = new Map<string, unknown>();
  for (const pair of pairs) {
    const [, id, json] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
    if (id === undefined || json === undefined) {
      throw new AsyncError("invalid_option", `--args-of must be id=json, e.g. charge='{"amount":10}'`);
    }
    if (args.has(id)) throw new AsyncError("invalid_option", `--args-of ${id} is given twice`);
    args.set(id, parseJson(`--args-of ${id}`, json));
  }
  return Object.fromEntries(args);
}

export function parseJson(option: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AsyncError("invalid_option", `${option} must be JSON: ${messageOf(cause)}`, { cause });
  }
}

/** The user of this process and its machine: the event of a change names them. */
export function whoAsks(): string {
  return `${userName()}@${hostname()}`.slice(0, MAX_BY_LENGTH);
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `user-${process.getuid?.() ?? "unknown"}`; // a container has users without names
  }
}
