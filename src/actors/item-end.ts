/** What comes of an entry all of whose items have ended. */
import { readItemResults } from "../bus/store/item-store.ts";
import type { Failure } from "../job/failure.ts";
import type { FunctionState } from "../job/function-state.ts";
import { toleratedFailures, tooManyFailures } from "../job/items.ts";
import type { ItemsState } from "../job/items-state.ts";
import { functionAt, type Graph } from "../job/state.ts";
import type { ItemsReport } from "../job/transition.ts";
import type { Page } from "./item-book.ts";
import type { ItemsOfEntry } from "./item-work.ts";

/** How many items have failed. @param open the parts that are not counted in `items` */
export function failedOf(items: ItemsState, open: Iterable<Page>): number {
  let { failed } = items;
  for (const { part } of open) failed += part.failed;
  return failed;
}

/** Why the entry has failed, if more items have than it tolerates. @param count of the items, if that is known */
export function failureOf(
  failed: number,
  { tolerate }: FunctionState,
  count: number | undefined,
  lastError: Failure | undefined,
): Failure | undefined {
  return failed > toleratedFailures(tolerate, count) ? tooManyFailures(failed, count, lastError) : undefined;
}

/** Results of an entry that have no more bytes together are in the record. */
const INLINE_BYTES = 32 * 1024;

/**
 * Its result, or why it has failed. Results that are small together are read back, so that they can be in the record; others stay where they
 * are. Undefined if the job has left meanwhile.
 *
 * @param items all parts are counted in it
 */
export async function endOfItems(
  { context, host, index }: ItemsOfEntry,
  job: Graph,
  items: ItemsState,
  lastError: Failure | undefined,
): Promise<ItemsReport["end"]> {
  const fn = functionAt(job, index);
  const { failed, count, bytes = 0 } = items;
  const error = failureOf(failed, fn, count, lastError);
  if (error) return { error };
  if (fn.results === "none") return { result: null };
  if (bytes > INLINE_BYTES) return { apart: bytes };
  let result: unknown[] = [];
  const counted = { ...job, functions: job.functions.with(index, { ...fn, items }) };
  const isRead = await host.insist("cannot read the results of items", async () => {
    result = await readItemResults(context.store, counted, index);
  });
  return isRead ? { result } : undefined;
}
