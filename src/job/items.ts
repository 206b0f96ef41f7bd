/** The items of a `for_each`: which there are, and what an item of them is. */
import { isDeepStrictEqual } from "node:util";
import { typeName } from "./expression-values.ts";
import { ExpressionError } from "./expressions.ts";
import type { Failure } from "./failure.ts";
import { type ItemsState, PART_ITEMS, partsReached } from "./items-state.ts";
import { isRecord } from "./plain.ts";
import { MAX_ITEMS, MAX_LISTED_ITEMS } from "./schema.ts";

/** How many items an expression gives. @throws ExpressionError */
export function itemCount(text: string, value: unknown): number {
  if (Array.isArray(value)) {
    if (value.length <= MAX_LISTED_ITEMS) return value.length;
    throw new ExpressionError(
      text,
      `gives a list of ${value.length}; at most ${MAX_LISTED_ITEMS} are taken: list them by a function`,
    );
  }
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
    throw new ExpressionError(text, `must give a list or a whole number from 0 on, and gives ${typeName(value)}`);
  }
  if (value <= MAX_ITEMS) return value;
  throw new ExpressionError(text, `gives ${value} items; at most ${MAX_ITEMS} are taken`);
}

/**
 * The items as they begin, or begin once more: those that have completed stay so, the parts are gone through from the first on. If there
 * are not as many as before they are others, and all begin.
 *
 * @param count undefined where a function lists them
 */
export function nextRun(before: ItemsState | undefined, count: number | undefined): ItemsState {
  const run = (before?.run ?? 0) + 1;
  const fresh: ItemsState = {
    run,
    list: run,
    ...(count !== undefined && { count }),
    next: 0,
    open: [],
    done: 0,
    failed: 0,
  };
  if (!before) return fresh;
  const { list, count: known, listed, cursor } = before;
  const again = { ...fresh, list, reached: partsReached(before) };
  if (count !== undefined) return count === known ? again : fresh;
  return {
    ...again,
    ...(known !== undefined && { count: known }),
    ...(listed !== undefined && { listed }),
    ...(cursor !== undefined && { cursor }),
  };
}

/** So much of an error is kept of each item that has failed. */
const ERROR_LENGTH = 1_000;

/** What the numbers of items stand for, where no function lists them. */
export interface ItemSource {
  /** Undefined: the items are whole numbers from 0 on. */
  list: readonly unknown[] | undefined;
  /** How many of those an item has; undefined: it is one of them, and no list. */
  slice: number | undefined;
  /** How many there are, before they are sliced. */
  length: number;
}

/** The item with that number. */
export function itemAt({ list, slice, length }: ItemSource, item: number): unknown {
  if (slice === undefined) return list ? list[item] : item;
  const from = item * slice;
  const to = Math.min(length, from + slice);
  if (list) return list.slice(from, to);
  return Array.from({ length: Math.max(0, to - from) }, (_, at) => from + at);
}

/** How many items of that part there are, as far as is known. */
export function sizeOfPart({ count, listed }: Pick<ItemsState, "count" | "listed">, part: number): number {
  const known = count ?? listed ?? 0;
  return Math.max(0, Math.min(PART_ITEMS, known - part * PART_ITEMS));
}

/** How many parts so many items are in. */
export function partCount(items: number): number {
  return Math.ceil(items / PART_ITEMS);
}

/**
 * How many items may fail. A share is one of all of them: as long as a function still lists them it is not known, and infinite.
 *
 * @param count of the items; undefined as long as it is not known
 */
export function toleratedFailures(tolerate: number | string | undefined, count: number | undefined): number {
  if (tolerate === undefined) return 0;
  if (typeof tolerate === "number") return tolerate;
  if (count === undefined) return Number.POSITIVE_INFINITY;
  // Decimals of a share are hundredths at most: in whole numbers nothing is lost to the representation of fractions.
  return Math.floor((Math.round(Number.parseFloat(tolerate) * 100) * count) / 10_000);
}

/** Why an entry has failed of which more items have than it tolerates. */
export function tooManyFailures(failed: number, count: number | undefined, last: Failure | undefined): Failure {
  const of = count === undefined ? "" : ` of ${count}`;
  const why = last ? `; the last one: ${last.message}` : "";
  return { code: "too_many_failures", name: "TooManyFailures", message: `${failed}${of} items have failed${why}` };
}

/** As much of an error as is kept of an item. */
export function shortError({ code, name, message, stack }: Failure): Failure {
  const short: Failure = { code, name: head(name), message: head(message) };
  if (stack !== undefined) short.stack = head(stack);
  return short;
}

function head(text: string): string {
  return text.length <= ERROR_LENGTH ? text : text.slice(0, ERROR_LENGTH).toWellFormed();
}

const MAX_CURSOR_LENGTH = 16_384;

/** What the function that lists items has answered. */
export interface Page {
  items: unknown[];
  /** What it is to be called with next; undefined if these were the last. */
  cursor: unknown;
}

/**
 * What a function that lists items has answered, in slices if the entry wants them; or what is wrong with that.
 *
 * @param cursor it was called with
 * @param listed how many items there are before
 */
export function readPage(
  answer: unknown,
  slice: number | undefined,
  cursor: unknown,
  listed: number,
): Page | { problem: string } {
  if (!isRecord(answer)) return { problem: `must be {items, cursor?}, and is ${typeName(answer)}` };
  const { items, cursor: next = null } = answer;
  if (!Array.isArray(items)) return { problem: `must have a list in items, and has ${typeName(items ?? null)}` };
  if (next !== null && items.length === 0 && isDeepStrictEqual(next, cursor))
    return { problem: "has no items, and the cursor that it was called with: it would go on like that for ever" };
  if (next !== null && JSON.stringify(next).length > MAX_CURSOR_LENGTH)
    return {
      problem: `has a cursor of more than ${MAX_CURSOR_LENGTH} characters as JSON, which would be stored with each step of the job`,
    };
  const sliced = slice === undefined ? items : slicesOf(items, slice);
  if (listed + sliced.length > MAX_ITEMS)
    return { problem: `makes them more than ${MAX_ITEMS}; list fewer, or in slices` };
  return { items: sliced, cursor: next === null ? undefined : next };
}

function slicesOf(items: unknown[], slice: number): unknown[][] {
  return Array.from({ length: Math.ceil(items.length / slice) }, (_, at) => items.slice(at * slice, (at + 1) * slice));
}

/** Why an entry has failed whose items cannot be listed. */
export function invalidItems(name: string, problem: string): Failure {
  return {
    code: "invalid_items",
    name: "InvalidItems",
    message: `the answer of ${name}, which lists the items, ${problem}`,
  };
}
