import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readEvent } from "../../src/bus/messages/events.ts";

const test = suite("read-event");
const read = (body: unknown) => readEvent({ data: Buffer.from(JSON.stringify(body)) });

test("an event is read if it has what is read of events; what a stranger has published as one is none", () => {
  const about = { job_id: "a", job_name: "n", at: "2026-11-28T23:00:00.000Z" };
  const error = { code: "function_failed", name: "Error", message: "no" };
  for (const event of [
    { ...about, type: "started", function: "f", index: 0, attempt: 1 },
    { ...about, type: "completed", result: null, run: 1 },
    { ...about, type: "failed", error, function: "f", index: 0, run: 1 },
    { ...about, type: "item_failed", index: 0, item: 7, error },
    { ...about, type: "undoing", because: "failed", error },
    { ...about, type: "undoing", because: "cancelled" },
    { ...about, type: "undone", function: "f", index: 0 },
    { ...about, type: "undo_failed", function: "f", index: 0, error },
    { ...about, type: "rejected", subject: "job.submit.*", sequence: 1, reason: "no id" },
  ]) {
    assert.equal(read(event), event);
  }
  for (const stranger of [
    null,
    [],
    {},
    { ...about, type: "exploded" },
    { ...about, type: 7 },
    { type: "started", at: about.at },
    { ...about, type: "started", at: 0 },
    { ...about, type: "failed" },
    { ...about, type: "failed", error: null },
    { ...about, type: "retrying", error: { ...error, message: {} } },
    { ...about, type: "item_failed", index: 0, item: 7 },
    { ...about, type: "undo_failed", error: "no" },
    { ...about, type: "undoing", because: "failed", error: {} },
    { ...about, type: "undone", error },
    { ...about, type: "started", error: null },
    { ...about, type: "rejected", reason: ["x"] },
  ]) {
    assert.is(read(stranger), undefined, JSON.stringify(stranger));
  }
});

test.run();
