/** Bodies of requests for the items of an entry, and of their answers: JSON. What comes in is checked here. */
import { AsyncError } from "../job/errors.ts";
import { ITEM_STATES, type ItemStateName, type ItemView } from "../job/item-view.ts";
import { MAX_ITEMS } from "../job/schema.ts";
import { isEntryName, requirePageLimit } from "./requests.ts";

/** Body of a request to `job.items.<id>`. */
export interface ItemsRequest {
  /** The id of the entry, or its index in the list. */
  entry: string | number;
  /** Only items in this state. */
  state?: ItemStateName;
  /** Most items in the answer, 1 to 1,000. Default 100. */
  limit?: number;
  /** `next` of the page before. */
  cursor?: string;
}

/** The answer to it: items in their order, as far as is known by now. */
export interface ItemsReply {
  job_id: string;
  index: number;
  /** Of the entry, if it has one. */
  id?: string;
  /** How many items there are in all; null as long as that is not known: they have not begun, or a function still lists them. */
  count: number | null;
  items: ItemView[];
  /** Where to go on; absent when there is no more. An answer may have fewer items than were asked for, or none, and a `next`. */
  next?: string;
}

/** @throws AsyncError `invalid_request` */
export function checkItemsRequest(body: Record<string, unknown>): ItemsRequest {
  const { entry, state, limit, cursor } = body;
  if (!isEntryName(entry)) {
    throw new AsyncError("invalid_request", "entry must be the id of an entry, or its index: an integer from 0 on");
  }
  if (state !== undefined && !ITEM_STATES.includes(state as ItemStateName)) {
    throw new AsyncError("invalid_request", `state must be one of ${ITEM_STATES.join(", ")}`);
  }
  requirePageLimit(limit);
  if (cursor !== undefined) parseItemCursor(cursor);
  return body as unknown as ItemsRequest;
}

/** The number of the item that comes next. @throws AsyncError `invalid_request` */
export function parseItemCursor(cursor: unknown): number {
  const [, digits = ""] = (typeof cursor === "string" && /^item-(\d{1,9})$/.exec(cursor)) || [];
  if (digits !== "" && Number(digits) <= MAX_ITEMS) return Number(digits);
  const told = JSON.stringify(cursor)?.slice(0, 64);
  throw new AsyncError("invalid_request", `not a cursor: ${told}; use the one of the page before`);
}

export function formatItemCursor(item: number): string {
  return `item-${item}`;
}
