/** An item of a `for_each` as users see it. */
import type { Failure } from "./failure.ts";

/** `pending`: it has not begun, or is under way; what is under way is not stored. */
export type ItemStateName = "pending" | "completed" | "failed" | "undone" | "undo_failed";

export const ITEM_STATES: readonly ItemStateName[] = ["pending", "completed", "failed", "undone", "undo_failed"];

export interface ItemView {
  /** Its number, from 0. */
  item: number;
  state: ItemStateName;
  result?: unknown;
  /** It does not fit into an answer. */
  result_omitted?: true;
  /** How it failed; of one that is pending, how its newest attempt did. */
  error?: Failure;
  /** Attempts that are known; 1 of one that completed at once. */
  retry_count: number;
  /** It may have been done: an attempt of it has ended without an answer. */
  uncertain?: true;
  /** The id of its job, where the items are child jobs. */
  child?: string;
}
