/** Whether values mean the same in JSON: the order of keys and what JSON leaves out do not count. */
import { isDeepStrictEqual } from "node:util";

export function isSameJson(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(inJson(a), inJson(b));
}

function inJson(value: unknown): unknown {
  return value === undefined ? null : JSON.parse(JSON.stringify(value));
}
