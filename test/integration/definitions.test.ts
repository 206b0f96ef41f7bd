/** Documents that are stored under their name, and jobs that run them (DEFINITIONS-1, -2; ARRIVALS-11; NAMED-1). */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { sweep } from "../../src/actors/sweep.ts";
import { Bus } from "../../src/bus/connection.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { KV_JOBS } from "../../src/bus/topology.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { InvalidInputError, isAsyncError } from "../../src/job/errors.ts";
import { startBuiltCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("definitions");
const OPTIONS = { parkAfterMs: 50, topology: { ackWaitMs: 1_000 } };
let system: System;
let bridge: Bridge;
let folder: string;
/** Attempts of `held` that wait to be let go. */
const held = new Map<string, () => void>();

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-definitions-"));
  system = await System.start(OPTIONS);
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (w) =>
      w
        .func("echo", ({ args, data }) => args ?? data)
        .func("held", ({ jobId }) => new Promise((resolve) => held.set(jobId, () => resolve("let go")))),
    { concurrency: 20 },
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
  await rm(folder, { recursive: true });
});

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );
const stored = async (key: string) => {
  const message = await readLast(system.bus, KV_JOBS, `$KV.jobs.${key}`);
  return message && message.data.length > 0 ? message : undefined;
};

test("a submission without functions runs the definition of its name; what it says itself counts more", async () => {
  const { client } = system;
  const document = { name: "order", data: 1, tags: { kind: "order" }, keep_ms: 60_000, functions: [{ name: "echo" }] };
  assert.equal((await client.define(document)).version, 1);
  assert.is(await client.run({ name: "order" }, { timeoutMs: 10_000 }), 1);
  assert.is(
    await client.run({ name: "order", data: { total: 5 }, tags: { kind: "other" } }).then(JSON.stringify),
    '{"total":5}',
  );
  const { job_id } = await client.submit({ name: "order", data: null, tags: { kind: "mine" } }, { jobId: "named-1" });
  const job = await client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.result, 1, "null is not given");
  assert.equal(job.tags, { kind: "mine" });
  assert.is(job.keep_ms, 60_000);
  assert.equal(
    job.functions.map(({ name }) => name),
    ["echo"],
  );
});

test("what is submitted without our client is the same; the job id may be in the body", async () => {
  await system.client.define({ name: "plain", functions: [{ name: "echo", args: 7 }] });
  await system.bus.mux.publish("job.submit.by-hand", JSON.stringify({ name: "plain" }));
  await system.bus.mux.publish("job.submit", encode({ name: "plain", job_id: "in-body" }, "msgpack"));
  assert.is((await system.client.wait("by-hand", { timeoutMs: 10_000 })).result, 7);
  assert.is((await eventually("it is there", () => system.client.get("in-body").catch(() => undefined))).name, "plain");
  assert.is((await system.client.wait("in-body", { timeoutMs: 10_000 })).result, 7);
});

test("a definition is checked as a job is, with all reasons, and has no id", async () => {
  const bad = { name: "bad", job_id: "x", timeuot_ms: 5, functions: [{ name: "a b" }] };
  const error = await system.client.define(bad).catch((one) => one);
  assert.instance(error, InvalidInputError);
  assert.equal(error.reasons.map(({ path }: { path: string }) => path).toSorted(), [
    "/functions/0/name",
    "/job_id",
    "/timeuot_ms",
  ]);
  const reply = await system.bus.mux.request("definition.put", JSON.stringify(bad), 2_000);
  const answer = JSON.parse(reply.string());
  assert.is(answer.code, "invalid_submission");
  assert.is(answer.reasons.length, 3);
  assert.is(reply.headers?.get("Nats-Service-Error-Code"), "400");
  assert.is(await codeOf(system.client.define({ name: "no functions" })), "invalid_submission");
  assert.is(await codeOf(system.client.definition("bad")), "definition_not_found");
});

test("versions count up with each change, and the same document once more changes nothing", async () => {
  const { client } = system;
  const name = "Größe ✓ / with.dots and spaces";
  const first = await client.define({ name, functions: [{ name: "echo" }], data: { a: 1, b: 2 } });
  const again = await client.define({ name, data: { b: 2, a: 1 }, functions: [{ name: "echo" }] });
  assert.equal(again, first);
  const second = await client.define({ name, functions: [{ name: "held" }] });
  assert.is(second.version, 2);
  const { document } = await client.definition(name);
  assert.equal(document, { name, functions: [{ name: "held" }] });
  assert.ok((await client.definitions()).some((one) => one.name === name && one.version === 2));
  const many = await Promise.all(
    Array.from({ length: 5 }, (_, n) => client.define({ name, functions: [{ name: `f${n}` }] })),
  );
  assert.equal(many.map(({ version }) => version).toSorted(), [3, 4, 5, 6, 7], "each is a change of the one before");
  assert.is((await client.removeDefinition(name)).version, 7);
  assert.is(await codeOf(client.removeDefinition(name)), "definition_not_found");
  assert.is((await client.define({ name, functions: [{ name: "echo" }] })).version, 1);
});

test("an unknown name is refused early; where nobody could be asked, the job is recorded as failed", async () => {
  const { client } = system;
  assert.is(await codeOf(client.submit({ name: "nothing" })), "definition_not_found");
  assert.is(await codeOf(client.run({ name: "nothing" })), "definition_not_found");
  assert.is(await codeOf(client.submitMany([{ name: "order" }, { name: "nothing" }])), "definition_not_found");
  await system.bus.mux.publish("job.submit.unknown", JSON.stringify({ name: "nothing", tags: { a: "b" } }));
  const job = await client.wait("unknown", { timeoutMs: 10_000 });
  assert.is(job.state, "failed");
  assert.is(job.error?.code, "definition_not_found");
  assert.match(job.error?.message ?? "", 'there is no definition "nothing"');
});

test("what such a submission says besides its name is checked", async () => {
  const { client } = system;
  assert.is(await codeOf(client.submit({ name: "order", timeout_ms: 0 })), "invalid_submission");
  assert.is(await codeOf(client.submit({ name: "order", fucntions: [] } as unknown)), "invalid_submission");
  await system.bus.mux.publish("job.submit.bad-named", JSON.stringify({ name: "order", timeout_ms: 0 }));
  assert.is((await client.wait("bad-named", { timeoutMs: 10_000 })).error?.code, "invalid_submission");
});

test("the client says that older supervisors do not know such a submission, and leaves functions to the supervisor", async () => {
  const seen: [string | undefined, string][] = [];
  const watch = system.bus.nc.subscribe("job.submit.>", {
    callback: (_, message) => void seen.push([message.headers?.get("Async-Format"), message.string()]),
  });
  await system.bus.flush();
  const { job_id } = await system.client.submit({ name: "order", keep_ms: 1 });
  await system.client.wait(job_id, { timeoutMs: 10_000 });
  watch.unsubscribe();
  assert.equal(seen, [["2", '{"name":"order","keep_ms":1}']]);
});

test("whom a definition notifies is notified, also of a job that a client runs for its result", async () => {
  const told: string[] = [];
  const watch = system.bus.nc.subscribe("job.notify.boss", {
    callback: (_, { data }) => void told.push(String(data.length)),
  });
  await system.client.define({ name: "notifies", notify: "boss", functions: [{ name: "echo", args: 2 }] });
  assert.is(await system.client.run({ name: "notifies" }, { timeoutMs: 10_000 }), 2);
  await eventually("it is told", () => told.length === 1);
  watch.unsubscribe();
});

test("many at once may name definitions", async () => {
  const { client } = system;
  const outcomes = await client.submitMany([
    { name: "order" },
    { name: "other", functions: [{ name: "echo", args: 3 }] },
  ]);
  const results = await Promise.all(
    outcomes.map(async ({ job_id }) => (await client.wait(job_id, { timeoutMs: 10_000 })).result),
  );
  assert.equal(results, [1, 3]);
});

test("a job keeps the definition that it was taken with, whatever becomes of that", async () => {
  const { client } = system;
  const functions = [{ name: "held" }, { name: "echo", args: "old" }];
  await client.define({ name: "changing", functions });
  await client.submit({ name: "changing" }, { jobId: "keeps" });
  await eventually("it runs", () => held.has("keeps"));
  await client.define({ name: "changing", functions: [{ name: "echo", args: "new" }] });
  await client.removeDefinition("changing");
  held.get("keeps")?.();
  const job = await client.wait("keeps", { timeoutMs: 10_000 });
  assert.is(job.result, "old");
  assert.is((await client.retry("keeps").catch((error) => error)).code, "job_ended");
  const again = await client.submit({ name: "changing" }, { jobId: "keeps" }).catch((error) => error);
  assert.is(again.code, "definition_not_found");
});

test("the same id again is the same job; it differs where the definition has changed since", async () => {
  const { client } = system;
  await client.define({ name: "twice", functions: [{ name: "echo", args: 1 }] });
  await client.submit({ name: "twice" }, { jobId: "twice-1" });
  await client.wait("twice-1", { timeoutMs: 10_000 });
  const same = await client.submit({ name: "twice" }, { jobId: "twice-1" });
  assert.equal([same.existing, same.differs], [true, undefined]);
  await client.define({ name: "twice", functions: [{ name: "echo", args: 2 }] });
  const other = await client.submit({ name: "twice" }, { jobId: "twice-1" });
  assert.equal([other.existing, other.differs, other.result], [true, ["functions"], 1]);
});

test("a long job of a definition never leans on its submission, and is taken over with what it has done", async () => {
  const jobId = "named-long";
  const text = "x".repeat(100);
  const steps = (count: number) => Array.from({ length: count }, (_, index) => ({ name: "echo", args: [index, text] }));
  await system.client.define({ name: "long", functions: [...steps(30), { name: "held" }, ...steps(30)], data: 5 });
  await system.client.submit({ name: "long", data: 6 }, { jobId });
  await eventually("it is held", () => held.has(jobId), 20_000);
  const message = await stored(jobId);
  const brief = message && storedJob(jobId, message.sequence, message.data).brief;
  assert.is(brief?.leansOn, "definition");
  await system.client.removeDefinition("long");
  await system.supervisor.close({ graceMs: 0 });
  held.delete(jobId);
  const bus = await Bus.open({ url: system.url, name: "other" });
  const other = await Supervisor.start(bus, OPTIONS);
  try {
    await eventually("it is held again", () => held.has(jobId), 20_000);
    held.get(jobId)?.();
    const done = await system.client.wait(jobId, { timeoutMs: 30_000 });
    assert.is(done.state, "completed");
    assert.is(done.data, 6);
    assert.equal(done.functions[29]?.result, [29, text]);
    await eventually("its own definition is gone", async () => !(await stored(`${jobId}.definition`)));
  } finally {
    await other.close();
    await bus.close();
    await system.startSupervisor(OPTIONS);
  }
});

test("a short one, and a graph, are taken over as well", async () => {
  await system.client.define({ name: "short", functions: [{ name: "held" }] });
  await system.client.define({
    name: "graph",
    functions: [
      { id: "a", name: "echo", args: 1, needs: [] },
      { id: "b", name: "held", needs: ["a"] },
    ],
  });
  await system.client.submit({ name: "short" }, { jobId: "named-short" });
  await system.client.submit({ name: "graph" }, { jobId: "named-graph" });
  await eventually("they are held", () => held.has("named-short") && held.has("named-graph"));
  await system.supervisor.close({ graceMs: 0 });
  held.clear();
  await system.startSupervisor(OPTIONS);
  await eventually("they are held again", () => held.has("named-short") && held.has("named-graph"), 20_000);
  for (const let_go of held.values()) let_go();
  for (const id of ["named-short", "named-graph"]) {
    assert.is((await system.client.wait(id, { timeoutMs: 20_000 })).result, "let go");
  }
});

test("one that nobody has taken is shown, listed, found by the tags of its definition, and cancelled", async () => {
  const { client } = system;
  await client.define({ name: "waits", tags: { color: "red" }, functions: [{ name: "echo" }, { name: "held" }] });
  await system.supervisor.close();
  const bus = await Bus.open({ url: system.url, name: "other" });
  const started = await Supervisor.start(bus, { ...OPTIONS, maxLiveJobs: 1 });
  try {
    await client.submit({ name: "holds", functions: [{ name: "held" }] }, { jobId: "holds" });
    await eventually("memory is full", () => held.has("holds"));
    for (const id of ["waits-1", "waits-2"]) await client.submit({ name: "waits", data: 3 }, { jobId: id });
    const shown = await client.get("waits-1");
    assert.equal([shown.state, shown.data, shown.functions.length], ["pending", 3, 2]);
    assert.ok((await client.explain("waits-1")).entries.length > 0);
    const { jobs } = await client.list({ tags: { color: "red" } });
    assert.equal(jobs.map(({ job_id }) => job_id).toSorted(), ["waits-1", "waits-2"]);
    const cancelled = await client.cancel("waits-1");
    assert.equal([cancelled.state, cancelled.functions.length], ["cancelled", 2]);
    held.get("holds")?.();
    await eventually("the other one runs", () => held.has("waits-2"), 20_000);
    held.get("waits-2")?.();
    assert.is((await client.wait("waits-2", { timeoutMs: 20_000 })).state, "completed");
  } finally {
    await started.close();
    await bus.close();
    await system.startSupervisor(OPTIONS);
  }
});

test("a submission that waits for a start has the definition of when it was taken", async () => {
  const { client } = system;
  await client.define({ name: "later", functions: [{ name: "echo", args: "first" }] });
  await client.submit(
    { name: "later", scheduled_at: new Date(Date.now() + 1_500).toISOString() },
    { jobId: "later-1" },
  );
  await eventually(
    "it is taken",
    async () => (await client.get("later-1")).state === "scheduled" && (await stored("later-1")),
  );
  await client.define({ name: "later", functions: [{ name: "echo", args: "second" }] });
  assert.is((await client.wait("later-1", { timeoutMs: 20_000 })).result, "first");
});

test("a definition in MessagePack makes jobs in MessagePack, also of a submission in JSON", async () => {
  const bytes = new Uint8Array([1, 2, 250]);
  await system.client.define({ name: "bytes", functions: [{ name: "echo", args: bytes }] }, { encoding: "msgpack" });
  const shown = await system.client.definition("bytes");
  assert.equal([shown.encoding, shown.document.functions[0]?.args], ["msgpack", "AQL6"]);
  const { job_id } = await system.client.submit({ name: "bytes" });
  assert.is((await system.client.wait(job_id, { timeoutMs: 10_000 })).result, "AQL6");
});

test("a definition of a newer version is left alone, and so are its jobs", async () => {
  const key = `-.definition.${Buffer.from("newer").toString("base64url")}`;
  const document = Buffer.from(JSON.stringify({ name: "newer", functions: [{ name: "echo", later: 1 }] }));
  const value = { format: 99, name: "newer", version: 3, updated_at: Date.now(), document };
  await system.bus.mux.publish(`$KV.jobs.${key}`, encode(value, "msgpack"));
  // The client asks again for as long as another supervisor may know it: the last of these questions may get no answer in time.
  const isNewer = async (ask: () => Promise<unknown>) => (await codeOf(ask())) === "newer_format";
  await eventually("it cannot be read", () => isNewer(() => system.client.definition("newer")), 20_000);
  const functions = [{ name: "echo" }];
  await eventually("it stays", () => isNewer(() => system.client.define({ name: "newer", functions })), 20_000);
  await system.client.submit({ name: "newer" }, { jobId: "of-newer" });
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.is(await stored("of-newer"), undefined, "nothing is stored of it");
  await system.bus.mux.publish(`$KV.jobs.${key}`, "");
  assert.is((await system.client.wait("of-newer", { timeoutMs: 30_000 })).error?.code, "definition_not_found");
});

test("definitions are no jobs: lists and the sweep pass over them, and the sweep need not come back to them", async () => {
  const { bus, supervisor, client } = system;
  assert.ok((await client.definitions()).length > 3);
  for (const order of ["oldest", "newest"] as const) {
    assert.ok((await client.list({ order })).jobs.every(({ job_id }) => !job_id.includes(".")));
  }
  const eventLog = new EventLog(bus, { storesCompleted: false });
  const context = { bus, store: supervisor.store, tokens: new Tokens(bus), eventLog, writer: "test/sweep" };
  await client.define({ name: "swept", functions: [{ name: "echo" }] });
  const key = `-.definition.${Buffer.from("swept").toString("base64url")}`;
  const sequence = (await stored(key))?.sequence ?? 0;
  await client.run({ name: "after it", functions: [{ name: "echo", args: 1 }] });
  const report = await sweep(context, { fix: true, from: sequence });
  assert.equal(report.stranded, []);
  assert.ok(report.next > sequence, "it is not looked at again");
  assert.is((await client.definition("swept")).version, 1);
});

test("a job of the same name with functions leans on nothing, and no definition is read for it", async () => {
  const asked: string[] = [];
  const watch = system.bus.nc.subscribe("definition.>", { callback: (_, { subject }) => void asked.push(subject) });
  const { job_id } = await system.client.submit({ name: "order", functions: [{ name: "echo", args: 9 }] });
  assert.is((await system.client.wait(job_id, { timeoutMs: 10_000 })).result, 9);
  watch.unsubscribe();
  assert.equal(asked, []);
});

// --- HTTP

// biome-ignore lint/suspicious/noExplicitAny: the tests look into bodies of many shapes
async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const init =
    body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await within(10_000, path, fetch(bridge.url + path, { method, ...init }));
  return { status: response.status, body: await response.json() };
}

test("HTTP stores, shows, lists and removes definitions, and runs them", async () => {
  const path = `/v1/definition/${encodeURIComponent("web/order 1")}`;
  const put = await ask("PUT", path, { functions: [{ id: "a", name: "echo", args: 4 }] });
  assert.is(put.status, 200, JSON.stringify(put.body));
  assert.equal([put.body.Definition.name, put.body.Definition.version], ["web/order 1", 1]);
  assert.is((await ask("PUT", path, { name: "another", functions: [{ name: "echo" }] })).status, 400);
  assert.is((await ask("PUT", path, { functions: [] })).body.error.reasons[0].path, "/functions");
  assert.is((await ask("GET", path)).body.Definition.document.functions[0].args, 4);
  const list = await ask("GET", "/v1/definition");
  assert.ok(list.body.Definitions.some(({ name }: { name: string }) => name === "web/order 1"));
  const posted = await ask("POST", "/v1/job", { name: "web/order 1" });
  assert.is(posted.status, 200);
  assert.is((await system.client.wait(posted.body.job_id, { timeoutMs: 10_000 })).result, 4);
  assert.equal(await ask("POST", "/v1/job?dry_run=true", { name: "web/order 1" }), {
    status: 200,
    body: { valid: true, order: [["a"]] },
  });
  assert.is(
    (await ask("POST", "/v1/job?dry_run=true", { name: "web/order 1", keep_ms: 0 })).body.error.reasons[0].path,
    "/keep_ms",
  );
  assert.is((await ask("DELETE", path)).status, 200);
  for (const [method, where, body] of [
    ["GET", path],
    ["DELETE", path],
    ["POST", "/v1/job", { name: "web/order 1" }],
    ["POST", "/v1/job?dry_run=true", { name: "web/order 1" }],
  ] as const) {
    const answer = await ask(method, where, body);
    assert.equal([answer.status, answer.body.error.code], [404, "definition_not_found"], where);
  }
});

// --- the command

const run = (args: string[], env: Record<string, string> = { NATS_URL: system.url }) => toEnd(startBuiltCli(args, env));

test("async define, definition, submit --definition and check speak of definitions", async () => {
  const file = join(folder, "order.json");
  const named = join(folder, "named.json");
  await writeFile(file, JSON.stringify({ name: "cli", functions: [{ id: "say", name: "echo" }] }));
  await writeFile(named, JSON.stringify({ name: "cli", data: 8 }));
  assert.match((await run(["define", file])).output, "definition cli is stored, version 1");
  assert.match((await run(["definition", "list"])).output, /cli +1 +20/);
  assert.match((await run(["definition", "show", "cli"])).output, /say +function +echo/);
  const submitted = await run(["submit", "--definition", "cli", "--data", '{"total":2}', "--wait", "--json"]);
  assert.equal([submitted.code, JSON.parse(submitted.output).result], [0, { total: 2 }], submitted.output);
  assert.is((await run(["submit", named, "--wait"])).code, 0);
  assert.is((await run(["submit"])).code, 2);
  assert.is((await run(["submit", file, "--definition", "cli"])).code, 2);
  const checked = await run(["check", named]);
  assert.is(checked.code, 0, checked.output);
  assert.match(checked.output, /say +function +echo/);
  const away = await run(["check", named], { NATS_URL: "nats://127.0.0.1:1" });
  assert.is(away.code, 3, away.output);
  assert.match(away.output, 'its functions are those of definition "cli", which cannot be known now');
  assert.match((await run(["definition", "rm", "cli"])).output, "definition cli is removed");
  const gone = await run(["check", named]);
  assert.equal([gone.code, /there is no definition "cli"/.test(gone.output)], [1, true], gone.output);
  assert.is((await run(["submit", named])).code, 1);
  assert.is((await run(["definition", "show"])).code, 2);
});

test("without a supervisor a job without functions is stored, and begun when there is one", async () => {
  await system.supervisor.close();
  try {
    const job = await system.client.submit({ name: "order" }, { jobId: "early" });
    assert.equal([job.functions, job.unconfirmed], [[], true]);
  } finally {
    await system.startSupervisor(OPTIONS);
  }
  assert.is((await system.client.wait("early", { timeoutMs: 20_000 })).result, 1);
});

test("a message whose header says a newer format is left alone before its definition is asked for", async () => {
  const headers = headersOf({ "Async-Format": "99" });
  await system.bus.mux.publish("job.submit.too-new", JSON.stringify({ name: "order" }), headers);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is(await stored("too-new"), undefined);
});

test.run();
