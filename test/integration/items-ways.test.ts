/** The ways to look at the items of an entry: a request of any NATS client, the client, HTTP, the command; while it runs and after. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ItemsReply } from "../../src/api/items.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import { startBuiltCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("items-ways");
let system: System;
let bridge: Bridge;
/** Items that wait until they are let go. */
const held: (() => void)[] = [];

test.before(async () => {
  system = await System.start();
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (worker) =>
      worker
        .func("square", ({ item }) => {
          if (item % 50 === 7) throw new Error(`no square of ${item}`);
          return item * item;
        })
        .func("again", ({ item }) => {
          if (item === 0) throw new Error("not yet");
          return item;
        })
        .func("hold", ({ item }) => (item < 3 ? item : new Promise<void>((done) => held.push(done))))
        .func("large", () => "x".repeat(300_000))
        .func("list", ({ cursor }) => (cursor === 2 ? { items: ["c"] } : { items: ["a", "b"], cursor: 2 }))
        .func("echo", ({ item }) => item),
    { concurrency: 40 },
  );
  await done({
    job_id: "squares",
    name: "squares",
    functions: [{ id: "all", name: "square", for_each: 300, tolerate: 10, concurrency: 30 }, { name: "echo" }],
  });
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

async function done(document: JobDocument): Promise<void> {
  const { job_id } = await system.client.submit(document);
  const { state, error } = await system.client.wait(job_id);
  assert.is(state, "completed", JSON.stringify(error));
}

async function request(id: string, body?: unknown): Promise<ItemsReply & { code?: string }> {
  const reply = await system.bus.nc.request(`job.items.${id}`, body === undefined ? "" : JSON.stringify(body));
  return reply.json();
}

async function over(path: string) {
  const response = await fetch(`${bridge.url}/v1/job/${path}`);
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
  return { status: response.status, body: (await response.json()) as any };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "nothing",
    (error: unknown) => (isAsyncError(error) ? error.code : String(error)),
  );
const cli = (...args: string[]) => toEnd(startBuiltCli(args, { NATS_URL: system.url }));

test("a request gives pages, each with where the next one begins, by id or index", async () => {
  const first = await request("squares", { entry: "all", limit: 5 });
  assert.equal(first, {
    job_id: "squares",
    index: 0,
    id: "all",
    count: 300,
    items: [0, 1, 2, 3, 4].map((item) => ({ item, state: "completed", retry_count: 1, result: item * item })),
    next: "item-5",
  });
  const { items, next } = await request("squares", { entry: 0, limit: 1_000, cursor: first.next });
  assert.equal(
    items.map(({ item }) => item),
    Array.from({ length: 295 }, (_, at) => at + 5),
  );
  assert.is(next, undefined);
  const failed = await request("squares", { entry: "all", state: "failed", limit: 2 });
  const told = failed.items.map(({ item, state, error, result }) => [item, state, error?.message, result]);
  assert.equal(told, [
    [7, "failed", "no square of 7", undefined],
    [57, "failed", "no square of 57", undefined],
  ]);
  assert.ok(failed.next);
});

test("errors of items do not say where something is installed", async () => {
  const { items } = await request("squares", { entry: "all", state: "failed", limit: 1 });
  const { stack = "" } = items[0]?.error ?? {};
  assert.not.match(stack, process.cwd());
});

test("what cannot be asked is refused with its code", async () => {
  const cases: [id: string, body: unknown, code: string][] = [
    ["nothing", { entry: 0 }, "job_not_found"],
    ["squares", undefined, "invalid_request"],
    ["squares", { entry: -1 }, "invalid_request"],
    ["squares", { entry: "al" }, "no_entry"],
    ["squares", { entry: 2 }, "no_entry"],
    ["squares", { entry: 1 }, "invalid_request"],
    ["squares", { entry: 0, state: "done" }, "invalid_request"],
    ["squares", { entry: 0, limit: 0 }, "invalid_request"],
    ["squares", { entry: 0, limit: 1_001 }, "invalid_request"],
    ["squares", { entry: 0, cursor: 5 }, "invalid_request"],
    ["squares", { entry: 0, cursor: "5" }, "invalid_request"],
    ["squares", { entry: 0, cursor: "item-99999999" }, "invalid_request"],
  ];
  for (const [id, body, code] of cases) assert.is((await request(id, body)).code, code, JSON.stringify(body));
  const beyond = await request("squares", { entry: 0, cursor: "item-300" });
  assert.equal([beyond.items, beyond.next], [[], undefined]);
});

test("the client asks for page after page", async () => {
  const all = await system.client.items("squares", "all");
  assert.is(all.items.length, 300);
  assert.equal([all.index, all.id, all.count, all.next], [0, "all", 300, undefined]);
  const failed = await system.client.items("squares", 0, { state: "failed" });
  assert.equal(
    failed.items.map(({ item }) => item),
    [7, 57, 107, 157, 207, 257],
  );
  const some = await system.client.items("squares", 0, { limit: 10, cursor: "item-290" });
  assert.equal([some.items[0]?.item, some.items.length, some.next], [290, 10, undefined]);
  assert.is(await codeOf(system.client.items("squares", "al")), "no_entry");
  assert.is(await codeOf(system.client.items("squares", 1)), "invalid_request");
  assert.is(await codeOf(system.client.items("no such", 1)), "invalid_job_id");
});

test("GET /v1/job/<id>/items/<entry> says the same, and refuses what it does not know", async () => {
  const page = await over("squares/items/all?state=failed&limit=2");
  assert.is(page.status, 200);
  const { Items, ...rest } = page.body;
  assert.equal(rest, { Count: 2, Total: 300, Next: rest.Next });
  const more = await over(`squares/items/0?state=failed&cursor=${rest.Next}`);
  assert.equal(
    [...Items, ...more.body.Items].map(({ item }) => item),
    [7, 57, 107, 157, 207, 257],
  );
  assert.is(more.body.Next, undefined);
  const cases: [path: string, status: number, code: string][] = [
    ["squares/items/al", 404, "no_entry"],
    ["squares/items/1", 400, "invalid_request"],
    ["nothing/items/0", 404, "job_not_found"],
    ["squares/items/0?states=failed", 400, "invalid_request"],
    ["squares/items/0?state=done", 400, "invalid_request"],
    ["squares/items/0?limit=many", 400, "invalid_request"],
    ["squares/items/0?cursor=kv-1", 400, "invalid_request"],
    ["squares/items", 404, "no_route"],
  ];
  for (const [path, status, code] of cases) {
    const answer = await over(path);
    assert.equal([answer.status, answer.body.error?.code], [status, code], path);
  }
});

test("async items shows a table, or JSON; all of them where that is asked for", async () => {
  const [table, all, json, bad] = await Promise.all([
    cli("items", "squares", "all", "--state", "failed"),
    cli("items", "squares", "0", "--limit", "100", "--all", "--json"),
    cli("items", "squares", "all", "--limit", "1", "--json"),
    cli("items", "squares", "1"),
  ]);
  assert.is(table.code, 0, table.output);
  assert.match(table.output, /ITEM {2}STATE +RUNS +OUTCOME\n7 +failed +1 +no square of 7\n/);
  const items = all.output.trim().split("\n");
  assert.is(items.length, 300);
  assert.equal(JSON.parse(items[299] ?? ""), { item: 299, state: "completed", retry_count: 1, result: 89_401 });
  assert.is(JSON.parse(json.output).next, "item-1");
  assert.is(bad.code, 2);
  assert.match(bad.output, "has no items, as it has no for_each [invalid_request]");
});

test("while it runs, what has ended is shown, and explain says how far it is", async () => {
  await system.client.submit({
    job_id: "held",
    name: "held",
    functions: [{ id: "hold", name: "hold", for_each: 9, concurrency: 6 }, { name: "echo" }],
  });
  const before = await eventually("three are done", async () => {
    const { items } = await system.client.items("held", "hold", { state: "completed" });
    return items.length === 3 ? items : undefined;
  });
  assert.equal(
    before.map(({ result }) => result),
    [0, 1, 2],
  );
  assert.is((await system.client.items("held", "hold", { state: "pending" })).items.length, 6);
  const explained = await eventually("it is said", async () => {
    const { entries } = await system.client.explain("held");
    return entries[0]?.detail?.items?.done === 3 ? entries : undefined;
  });
  assert.is(explained[0]?.reason, "items");
  assert.match(explained[0]?.text ?? "", "3 of 9 items are done");
  assert.is(explained[0]?.detail?.function, "hold");
  const { output } = await cli("get", "held");
  assert.match(output, /hold: hold +3\/9 items +running/);
  assert.match(output, "items: async items held <entry>");
  await eventually("all are held", () => held.length === 6);
  for (const go of held) go();
  await system.client.wait("held");
});

test("explain says of items that nobody serves them, and of those that are tried again", async () => {
  await system.client.submit({
    job_id: "unserved",
    name: "unserved",
    functions: [{ name: "nobody.serves.this", for_each: 4 }],
  });
  const text = await eventually("it is known", async () => {
    const { entries } = await system.client.explain("unserved");
    return entries.map(({ text }) => text).find((one) => one.includes("no worker"));
  });
  assert.match(text, /^0 of 4 items are done; no worker serves fn.nobody.serves.this/);
  await system.client.cancel("unserved");
  const retry_options = { retry_limit: 2, backoff: { delay_ms: 60_000 } };
  await system.client.submit({
    job_id: "backoff",
    name: "backoff",
    functions: [{ name: "again", for_each: 3, retry_options }],
  });
  const again = await eventually("it waits", async () => {
    const { entries } = await system.client.explain("backoff");
    return entries.map(({ text }) => text).find((one) => one.includes("tried again"));
  });
  assert.match(again, /^2 of 3 items are done; .*tried again, the first at 20/);
  const { items } = await system.client.items("backoff", 0, { state: "pending" });
  assert.equal(
    items.map(({ item, error, retry_count }) => [item, error?.message, retry_count]),
    [[0, "not yet", 1]],
  );
  await system.client.cancel("backoff");
});

test("large results make small pages, and each page gets on", async () => {
  await done({ job_id: "large", name: "large", functions: [{ name: "large", for_each: 6, results: "none" }] });
  const pages: number[] = [];
  for (let cursor: string | undefined; ; ) {
    const { items, next } = await request("large", { entry: 0, ...(cursor !== undefined && { cursor }) });
    for (const { result } of items) assert.is((result as string).length, 300_000);
    pages.push(items.length);
    cursor = next;
    if (cursor === undefined) break;
  }
  assert.ok(pages.length >= 4 && Math.min(...pages) >= 1, pages.join());
  assert.is((await system.client.items("large", 0)).items.length, 6);
});

test("items that a function lists are counted as far as they are listed", async () => {
  await done({ job_id: "listed", name: "listed", functions: [{ name: "echo", for_each: { name: "list" } }] });
  const { count, items } = await system.client.items("listed", 0);
  assert.is(count, 3);
  assert.equal(
    items.map(({ result }) => result),
    ["a", "b", "c"],
  );
});

test("items that are child jobs say which, and one gets there and back", async () => {
  await done({
    job_id: "family",
    name: "family",
    functions: [{ id: "each", for_each: 3, job: { functions: [{ name: "echo" }] }, concurrency: 3 }],
  });
  const { items } = await system.client.items("family", "each");
  for (const { item, child = "" } of items) {
    const { parent, state } = await system.client.get(child);
    assert.equal([parent, state], [{ job_id: "family", index: 0, item }, "completed"]);
  }
  const { output } = await cli("get", items[2]?.child ?? "");
  assert.match(output, /^parent +family, entry 0, item 2$/m);
  const parent = await cli("get", "family");
  assert.match(parent.output, "children: async list --parent family");
  const table = await cli("items", "family", "each");
  assert.match(table.output, items[1]?.child ?? "none");
});

test.run();
