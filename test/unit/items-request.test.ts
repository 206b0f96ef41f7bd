import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkItemsRequest, formatItemCursor, parseItemCursor } from "../../src/api/items.ts";
import { parseCancelQuery, parseItemsQuery, parseListQuery } from "../../src/http/queries.ts";
import { isAsyncError } from "../../src/job/errors.ts";

const isRefused = (call: () => unknown, about: string) =>
  assert.throws(call, (error: unknown) => isAsyncError(error, "invalid_request") && error.message.includes(about));

test("a request for items names an entry, and a state, a limit and a cursor that there are", () => {
  const request = { entry: "pick", state: "failed", limit: 1_000, cursor: "item-128" };
  assert.equal(checkItemsRequest(request), request);
  assert.equal(checkItemsRequest({ entry: 0 }), { entry: 0 });
  isRefused(() => checkItemsRequest({}), "entry must be");
  isRefused(() => checkItemsRequest({ entry: "" }), "entry must be");
  isRefused(() => checkItemsRequest({ entry: 1.5 }), "entry must be");
  isRefused(() => checkItemsRequest({ entry: 0, state: "running" }), "pending, completed, failed, undone, undo_failed");
  isRefused(() => checkItemsRequest({ entry: 0, limit: 1_001 }), "limit must be");
  isRefused(() => checkItemsRequest({ entry: 0, cursor: 128 }), "not a cursor: 128");
});

test("a cursor is what was given out, and nothing else", () => {
  for (const item of [0, 1, 128, 10_000_000]) assert.is(parseItemCursor(formatItemCursor(item)), item);
  for (const cursor of ["", "item-", "item--1", "item-1.5", "item-10000001", "kv-1", " item-1", null, ["item-1"]]) {
    isRefused(() => parseItemCursor(cursor), "not a cursor");
  }
});

test("what stands after the ? is checked whole: all that is wrong is told", () => {
  assert.equal(parseCancelQuery({}), {});
  assert.equal(parseCancelQuery({ undo: "skip" }), { undo: "skip" });
  isRefused(() => parseCancelQuery({ undo: "" }), "?undo must be skip");
  isRefused(() => parseCancelQuery({ Undo: "skip" }), "?Undo is not a known parameter");
  assert.equal(parseItemsQuery({}), { limit: 1_000 });
  assert.equal(parseItemsQuery({ state: "undone", limit: "5", cursor: "item-3" }), {
    limit: 5,
    state: "undone",
    cursor: "item-3",
  });
  isRefused(() => parseItemsQuery({ state: "no", limit: "0" }), "?state");
  isRefused(() => parseItemsQuery({ state: "no", limit: "0" }), "?limit");
  assert.equal(parseListQuery({ children: "true", parent: "a" }), { limit: 1_000, children: true, parent: "a" });
  assert.equal(parseListQuery({ children: "false" }), { limit: 1_000 });
  isRefused(() => parseListQuery({ children: "1" }), "?children must be true or false");
  isRefused(() => parseListQuery({ parent: "a.b" }), "?parent");
});

test.run();
