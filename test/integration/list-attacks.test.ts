/** Functions that list items, and answer nonsense. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JobDocument } from "../../src/job/schema.ts";
import { System } from "../support/system.ts";

const test = suite("lists under attack");
let system: System;
const troubles: string[] = [];
// biome-ignore lint/suspicious/noExplicitAny: what a handler may answer
const answers: Record<string, (cursor: any) => unknown> = {};

test.before(async () => {
  system = await System.start({ parkAfterMs: 700 });
  system.supervisor.lifecycle.on("trouble", ({ what, error }) => void troubles.push(`${what}: ${error}`));
  await system.worker(
    (w) =>
      w
        .func("list", ({ args, cursor }) => answers[String(args)]?.(cursor))
        .func("echo", ({ item }) => (typeof item === "object" ? typeof item : item)),
    { concurrency: 50 },
  );
  // Not by our worker: the bytes are whatever they are.
  system.bus.nc.subscribe("fn.raw", { queue: "fn", callback: (_, m) => void m.respond(raw()) });
});
test.after(() => system.close());
let raw: () => Uint8Array | string = () => "null";

async function run(document: JobDocument, timeoutMs = 30_000) {
  const { job_id } = await system.client.submit(document);
  return system.client.wait(job_id, { timeoutMs });
}
const listing = (args: string, name = "list", more = {}): JobDocument => ({
  name: args,
  functions: [
    {
      for_each: { name, args, retry_options: { retry_limit: 1 } },
      name: "echo",
      concurrency: 50,
      on_error: "continue",
      ...more,
    },
    { name: "echo" },
  ],
});

async function survives(name: string, expected: string, document = listing(name)) {
  troubles.length = 0;
  const view = await run(document);
  const [fn] = view.functions;
  assert.equal(troubles, []);
  assert.match(JSON.stringify([view.state, fn?.error?.code ?? null, view.error?.code ?? null]), expected);
}

test("a cursor that takes nearly a message fails the entry, and no more", async () => {
  answers.cursor = (cursor) => (cursor ? { items: [2] } : { items: [1], cursor: "x".repeat(900_000) });
  const document = listing("cursor", "list", { results: "none" });
  await survives("cursor", "completed", { ...document, data: "d".repeat(200_000) });
});

test("deeply nested items do no harm", async () => {
  raw = () => `{"items":[${"[".repeat(50_000)}${"]".repeat(50_000)}]}`;
  await survives("nested", "completed", listing("nested", "raw"));
});

test("a cursor that is nested deeply does no harm", async () => {
  raw = () => `{"items":[1],"cursor":${"[".repeat(900)}${"]".repeat(900)}}`;
  await survives("deep cursor", "completed", listing("deep cursor", "raw"));
});

test("many items in one answer are done", async () => {
  raw = () => `{"items":[${"1,".repeat(100_000)}1]}`;
  await survives(
    "many",
    "completed",
    listing("many", "raw", { results: "none", job: { functions: [{ sleep_ms: 0 }] }, name: undefined, slice: 50_000 }),
  );
});

for (const [name, text] of Object.entries({
  "halves of characters": '{"items":["\\ud800"]}',
  "a number that is no double": '{"items":[1e999]}',
  "a large whole number": '{"items":[12345678901234567890]}',
  "a key __proto__": '{"items":[{"__proto__":{"a":1},"constructor":1}]}',
  "a cursor of half a character": '{"items":[1],"cursor":"\\udfff"}',
  "items that are an object": '{"items":{"length":5}}',
  "no JSON": "{items",
}))
  test(`an answer with ${name} does no harm`, async () => {
    let asked = 0;
    raw = () => (asked++ === 0 ? text : '{"items":[]}');
    await survives(name, "completed", listing(name, "raw"));
  });

test("MessagePack with extensions, binary and no maps does no harm", async () => {
  // {items: [ext 5 "abc", timestamp, bin, NaN, undefined-like ext]}
  const bytes = [
    0x81,
    0xa5,
    ...Buffer.from("items"),
    0x95,
    0xc7,
    3,
    5,
    1,
    2,
    3,
    0xd6,
    0xff,
    0,
    0,
    0,
    1,
    0xc4,
    2,
    9,
    9,
    0xcb,
    0x7f,
    0xf8,
    0,
    0,
    0,
    0,
    0,
    0,
    0xd4,
    0,
    0,
  ];
  raw = () => Uint8Array.from(bytes);
  await survives("msgpack", "completed", listing("msgpack", "raw"));
});

test("items of nearly a message each, several to a page, are done", async () => {
  answers.huge = (cursor) => ({
    items: ["x".repeat(400_000), "y".repeat(400_000)],
    cursor: (cursor ?? 0) < 6 ? (cursor ?? 0) + 1 : null,
  });
  await survives("huge", "completed", listing("huge", "list", { results: "none" }));
});

test.run();
