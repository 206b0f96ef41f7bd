/** Reasons in the order in which a reader of the document comes to what they are about. */
import type { Reason } from "./errors.ts";
import { isRecord } from "./plain.ts";

/** Where it is not in the document: before all that is. A field that is required is missing. */
const MISSING = -1;

/**
 * The reasons by where their paths lead in the document, what holds others before these. Two of the same place stay as they
 * are.
 *
 * @example { functions: [{ needs: ["x"], retries: 3 }] } // /functions/0/needs/0 comes before /functions/0/retries
 */
export function inDocumentOrder(reasons: readonly Reason[], document: unknown): Reason[] {
  const placed = reasons.map((reason) => ({ reason, place: placeOf(reason.path, document) }));
  return placed.sort((a, b) => compare(a.place, b.place)).map(({ reason }) => reason);
}

/** For each part of a JSON pointer, the how-manieth of what holds it that it names. */
function placeOf(path: string, document: unknown): number[] {
  let holder = document;
  return path
    .split("/")
    .slice(1)
    .map((part) => {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      const keys = Array.isArray(holder) || isRecord(holder) ? holder : {};
      const at = Array.isArray(keys) ? Number(key) : Object.keys(keys).indexOf(key);
      holder = at < 0 ? undefined : Object.getOwnPropertyDescriptor(keys, key)?.value;
      return Number.isInteger(at) ? at : MISSING;
    });
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [at, place] of a.entries()) {
    const other = b[at];
    if (other === undefined) return 1;
    if (place !== other) return place - other;
  }
  return a.length - b.length;
}
