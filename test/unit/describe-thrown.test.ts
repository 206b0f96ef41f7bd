/** What was thrown can be anything, and is described all the same. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { describeThrown } from "../../src/job/describe.ts";
import { isAsyncError, messageOf } from "../../src/job/errors.ts";
import { guardedEmitter } from "../../src/util/guarded-emitter.ts";

const hostile = () =>
  new Proxy(
    {},
    {
      get: () => {
        throw new Error("get");
      },
      getPrototypeOf: () => {
        throw new Error("getPrototypeOf");
      },
      has: () => {
        throw new Error("has");
      },
      ownKeys: () => {
        throw new Error("ownKeys");
      },
    },
  );
const withProperty = (name: string, value: unknown) => Object.defineProperty(new Error("well"), name, { value });

test("an error says its message, its code, its causes and the errors it stands for", () => {
  const refused = Object.assign(new Error("connect refused"), { code: "ECONNREFUSED" });
  assert.is(
    messageOf(new TypeError("fetch failed", { cause: refused })),
    "fetch failed (cause: connect refused [ECONNREFUSED])",
  );
  assert.is(
    messageOf(new AggregateError([refused, new Error("other")], "all failed")),
    "all failed (errors: connect refused [ECONNREFUSED]; other)",
  );
  assert.is(messageOf({ code: 7, message: "no" }), "no [7]");
  assert.is(messageOf({ reason: "no" }), "{ reason: 'no' }");
  assert.is(messageOf("text"), "text");
  assert.is(messageOf(undefined), "undefined");
  assert.is(messageOf(new Error("")), "");
});

test("whatever is thrown has a description of limited length", () => {
  const cyclic: Record<string, unknown> = { message: "around" };
  cyclic.cause = { message: "and around", cause: cyclic };
  const odd = [
    hostile(),
    Object.create(null),
    Symbol("s"),
    10n,
    () => {},
    cyclic,
    { toString: () => assert.unreachable() },
    withProperty("message", { an: "object" }),
    withProperty("message", undefined),
    withProperty("stack", 7),
    withProperty("name", "n".repeat(3_000_000)),
    withProperty("message", "m".repeat(3_000_000)),
    withProperty("cause", hostile()),
    new AggregateError([hostile(), hostile()]),
    Object.defineProperty({}, "message", { get: () => assert.unreachable() }),
  ];
  for (const thrown of odd) {
    const { name, message, stack = "" } = describeThrown(thrown);
    for (const text of [name, message, stack]) {
      assert.type(text, "string");
      assert.ok(text.length <= 4_096);
    }
    assert.not(isAsyncError(thrown));
  }
  fc.assert(fc.property(fc.anything(), (thrown) => describeThrown(thrown).message.length <= 4_096));
});

test("a listener that throws harms neither the others nor who emits", async () => {
  const reports: unknown[] = [];
  const emitter = guardedEmitter((event, error) => reports.push([event, (error as Error).message]));
  const got: unknown[] = [];
  emitter.on("a", () => {
    throw new Error("at once");
  });
  emitter.on("a", async () => {
    throw new Error("later");
  });
  const last = (value: unknown) => got.push(value);
  emitter.on("a", last);
  emitter.once("a", last);
  emitter.emit("a", 1);
  emitter.emit("a", 2);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(got, [1, 1, 2]);
  assert.equal(reports.length, 4);
  emitter.off("a", last);
  emitter.emit("a", 3);
  assert.equal(got, [1, 1, 2]);
  assert.is(emitter.listenerCount("a"), 2);
});

test.run();
