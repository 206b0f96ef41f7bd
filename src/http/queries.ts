/** What is asked for in the part of an address after the `?`. What is misspelt is refused, with all else that is wrong. */
import { parseItemCursor } from "../api/items.ts";
import { type EventsRequest, LIST_ORDERS, type ListOrder } from "../api/requests.ts";
import { parseTags, type Tags } from "../api/tags.ts";
import { DEFAULT_LIST_LIMIT, type ListItemsOptions, type ListRequest, MAX_LIST_LIMIT } from "../client/options.ts";
import { InvalidInputError, isAsyncError, type Reason } from "../job/errors.ts";
import { ITEM_STATES, type ItemStateName } from "../job/item-view.ts";
import { jobIdProblem } from "../job/names.ts";
import { STATE_NAMES, type StateName } from "../job/state.ts";

export type Query = Record<string, string>;

/** Whether a job is only to be checked. @throws InvalidInputError: it would be submitted otherwise */
export function parseDryRun(query: Query): boolean {
  const reasons = unknownParameters(query, ["dry_run"]);
  const isDryRun = parseFlag(query, "dry_run", reasons);
  refuseIfAny(reasons);
  return isDryRun;
}

/** How a job is to be cancelled. @throws InvalidInputError: it would be undone otherwise */
export function parseCancelQuery(query: Query): { undo?: "skip" } {
  const reasons = unknownParameters(query, ["undo"]);
  const { undo } = query;
  if (undo !== undefined && undo !== "skip") reasons.push({ path: "?undo", message: "must be skip, or left out" });
  refuseIfAny(reasons);
  return undo === undefined ? {} : { undo: "skip" };
}

/** @throws InvalidInputError with all that is wrong */
export function parseEventsQuery(query: Query): EventsRequest {
  const reasons = unknownParameters(query, ["limit", "cursor"]);
  const limit = parseLimit(query.limit, reasons);
  refuseIfAny(reasons);
  return { limit, ...(query.cursor !== undefined && { cursor: query.cursor }) };
}

/** @throws InvalidInputError with all that is wrong */
export function parseItemsQuery(query: Query): ListItemsOptions {
  const reasons = unknownParameters(query, ["state", "limit", "cursor"]);
  const { state, cursor } = query;
  if (state !== undefined && !ITEM_STATES.includes(state as ItemStateName)) {
    reasons.push({ path: "?state", message: `must be one of ${ITEM_STATES.join(", ")}` });
  }
  const limit = parseLimit(query.limit, reasons);
  refuseIfAny(reasons);
  if (cursor !== undefined) parseItemCursor(cursor);
  return {
    limit,
    ...(state !== undefined && { state: state as ItemStateName }),
    ...(cursor !== undefined && { cursor }),
  };
}

function parseFlag(query: Query | ListQuery, name: "dry_run" | "children", reasons: Reason[]): boolean {
  const text = (query as Query)[name] ?? "false";
  if (text !== "true" && text !== "false") reasons.push({ path: `?${name}`, message: "must be true or false" });
  return text === "true";
}

function unknownParameters(query: object, known: string[]): Reason[] {
  const unknown = Object.keys(query).filter((key) => !known.includes(key));
  return unknown.map((key) => ({ path: `?${key}`, message: "is not a known parameter" }));
}

function parseLimit(text: string | undefined, reasons: Reason[]): number {
  const limit = Number(text ?? DEFAULT_LIST_LIMIT);
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIST_LIMIT) return limit;
  reasons.push({ path: "?limit", message: `must be an integer from 1 to ${MAX_LIST_LIMIT}` });
  return DEFAULT_LIST_LIMIT;
}

function refuseIfAny(reasons: Reason[]): void {
  if (reasons.length > 0) throw new InvalidInputError("invalid_request", "not a valid query", reasons);
}

/** `tag` may be given several times. */
export type ListQuery = Partial<Record<Exclude<keyof ListRequest, "tags">, string>> & { tag?: string | string[] };

/** @throws InvalidInputError with all that is wrong */
export function parseListQuery(query: ListQuery): ListRequest {
  const reasons = unknownParameters(query, ["state", "tag", "limit", "cursor", "order", "children", "parent"]);
  const { state, cursor, order, tag, parent } = query;
  if (state !== undefined && !STATE_NAMES.includes(state as StateName)) {
    reasons.push({ path: "?state", message: `must be one of ${STATE_NAMES.join(", ")}` });
  }
  if (order !== undefined && !LIST_ORDERS.includes(order as ListOrder)) {
    reasons.push({ path: "?order", message: `must be one of ${LIST_ORDERS.join(", ")}` });
  }
  const limit = parseLimit(query.limit, reasons);
  const children = parseFlag(query, "children", reasons);
  const problem = parent === undefined ? undefined : jobIdProblem(parent);
  if (problem !== undefined) reasons.push({ path: "?parent", message: problem });
  const tags = tag === undefined ? undefined : tagsIn([tag].flat(), reasons);
  refuseIfAny(reasons);
  return {
    limit,
    ...(state !== undefined && { state: state as StateName }),
    ...(tags !== undefined && { tags }),
    ...(cursor !== undefined && { cursor }),
    ...(order !== undefined && { order: order as ListOrder }),
    ...(children && { children }),
    ...(parent !== undefined && { parent }),
  };
}

function tagsIn(texts: string[], reasons: Reason[]): Tags {
  try {
    return parseTags(texts);
  } catch (error) {
    if (!isAsyncError(error)) throw error;
    reasons.push({ path: "?tag", message: `is refused: ${error.message}` });
    return {};
  }
}
