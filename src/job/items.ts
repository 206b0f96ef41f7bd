/** The items of a `for_each`: which there are, and what an item of them is. */
import { typeName } from "./expression-values.ts";
import { ExpressionError } from "./expressions.ts";
import type { ItemsState } from "./items-state.ts";
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
  if (count !== undefined) return count === before.count ? { ...fresh, list: before.list } : fresh;
  const { list, count: known, listed, cursor } = before;
  return {
    ...fresh,
    list,
    ...(known !== undefined && { count: known }),
    ...(listed !== undefined && { listed }),
    ...(cursor !== undefined && { cursor }),
  };
}
