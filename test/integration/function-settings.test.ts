/** Settings at functions: registered by workers, set by hand, and what counts (SETTINGS-1 to -3, REGISTRATION-1). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FunctionSettings } from "../../src/actors/function-settings.ts";
import type { Trouble } from "../../src/actors/lifecycle.ts";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { StoredFunctionSettings } from "../../src/bus/store/function-settings.ts";
import { Client } from "../../src/client/client.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { InvalidInputError, isAsyncError } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startBuiltCli, toEnd } from "../support/process.ts";
import { System, silent } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("function-settings");
const AT_ONCE = { type: "fixed", delay_ms: 0 } as const;
let system: System;
let bridge: Bridge;
const troubles: Trouble[] = [];
/** Writes of settings, by key. */
const written: string[] = [];

test.before(async () => {
  system = await System.start();
  system.supervisor.lifecycle.on("trouble", (trouble) => troubles.push(trouble));
  bridge = await startBridge({ client: system.client, port: 0 });
  system.bus.nc.subscribe("$KV.jobs.-.function.>", { callback: (_, { subject }) => void written.push(subject) });
  await system.worker(
    (w) =>
      w
        .func("plain", fails)
        .func("registered", { retry_limit: 3, backoff: AT_ONCE }, fails)
        .func("timed", { timeout_ms: 150 }, () => new Promise(() => {}))
        .func("echo", ({ args }) => args),
    { concurrency: 50, abandonedAfterMs: 0 },
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

function fails(): never {
  throw new Error("no");
}

/** How often the function of a job is executed until it has failed. */
async function executions(fn: object): Promise<number> {
  const { job_id } = await system.client.submit({ name: "tries", functions: [fn] } as unknown);
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.is(job.state, "failed");
  return job.functions[0]?.retry_count ?? 0;
}

test("what is set at a function counts for each item of a for_each", async () => {
  const functions = [{ for_each: 2, name: "registered", tolerate: 2 }];
  const { job_id } = await system.client.submit({ name: "items", functions });
  assert.is((await system.client.wait(job_id, { timeoutMs: 20_000 })).state, "completed");
  const { items } = await system.client.items(job_id, 0);
  assert.equal(
    items.map(({ retry_count }) => retry_count),
    [3, 3],
  );
});

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );

test("what a worker registers counts where a job does not say it, field by field", async () => {
  assert.is(await executions({ name: "plain" }), 1);
  assert.is(await executions({ name: "registered" }), 3);
  assert.is(await executions({ name: "registered", retry_options: { retry_limit: 2 } }), 2);
  const begun = Date.now();
  const waits = { backoff: { type: "fixed", delay_ms: 200 } };
  assert.is(await executions({ name: "registered", retry_options: waits }), 3);
  assert.ok(Date.now() - begun >= 400, "its own backoff, and the registered limit");
  const shown = await system.client.functionSettings("registered");
  assert.equal(shown.settings, { retry_limit: 3, backoff: AT_ONCE });
  assert.match(shown.registered?.by ?? "", /^async-worker /);
  assert.is(shown.set, undefined);
});

test("and for each item of a list", async () => {
  const functions = [{ id: "each", for_each: 2, name: "registered", tolerate: 2 }];
  const { job_id } = await system.client.submit({ name: "items", functions });
  await system.client.wait(job_id, { timeoutMs: 20_000 });
  const { items } = await system.client.items(job_id, "each");
  assert.equal(
    items.map(({ state, retry_count }) => [state, retry_count]),
    [
      ["failed", 3],
      ["failed", 3],
    ],
  );
});

test("in a graph as well, and for what runs in place of an entry that has failed", async () => {
  const entry = { id: "a", name: "registered", needs: [] };
  assert.is(await executions(entry), 3);
  const handled = await system.client.submit({
    name: "handled",
    functions: [{ ...entry, name: "plain", on_error: { name: "registered" } }],
  });
  const job = await system.client.wait(handled.job_id, { timeoutMs: 20_000 });
  assert.is(job.functions[0]?.retry_count, 4, "one of its own, three of the other");
});

test("a timeout that is set counts where the job has none", async () => {
  const { job_id } = await system.client.submit({ name: "times out", functions: [{ name: "timed" }] });
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.equal([job.error?.code, job.error?.message], ["attempt_timeout", "no result within 150 ms"]);
  const own = await system.client.submit({ name: "own", functions: [{ name: "timed", timeout_ms: 300 }] });
  assert.is((await system.client.wait(own.job_id, { timeoutMs: 20_000 })).error?.message, "no result within 300 ms");
});

test("what is set by hand wins over what is registered, field by field, and counts for jobs that are there", async () => {
  const { client } = system;
  const set = await client.setFunction("registered", { retry_limit: 5 }, { by: "ann" });
  assert.equal(set.settings, { retry_limit: 5, backoff: AT_ONCE });
  assert.is(set.set?.by, "ann");
  assert.is(await executions({ name: "registered" }), 5);
  const more = await client.setFunction("registered", { timeout_ms: 5_000 });
  assert.equal(more.set?.settings, { retry_limit: 5, timeout_ms: 5_000 });
  assert.equal((await client.setFunction("registered", { timeout_ms: null })).set?.settings, { retry_limit: 5 });
  assert.equal((await client.setFunction("registered", { retry_limit: 4 }, { replace: true })).set?.settings, {
    retry_limit: 4,
  });
  const back = await client.unsetFunction("registered");
  assert.equal([back.set, back.settings.retry_limit], [undefined, 3]);
  assert.is(await executions({ name: "registered" }), 3);
});

test("a job that is in its backoff is told of what was set meanwhile", async () => {
  const { client } = system;
  await client.setFunction("plain", { retry_limit: 2, backoff: { type: "fixed", delay_ms: 700 } });
  const { job_id } = await client.submit({ name: "waits", functions: [{ name: "plain" }] });
  await eventually("it is in its backoff", async () => (await client.get(job_id)).waiting_for === "backoff");
  const [entry] = (await client.explain(job_id)).entries;
  assert.match(entry?.text ?? "", "attempt 2 of 2");
  assert.equal(entry?.detail?.settings, { retry_limit: 2, backoff: { type: "fixed", delay_ms: 700 } });
  await client.setFunction("plain", { retry_limit: 3, backoff: AT_ONCE });
  assert.match((await client.explain(job_id)).entries[0]?.text ?? "", "attempt 2 of 3");
  assert.is((await client.wait(job_id, { timeoutMs: 20_000 })).functions[0]?.retry_count, 3);
  const view = await client.get(job_id);
  assert.is(view.functions[0]?.retry_options, undefined, "it is no part of the job");
  await client.unsetFunction("plain");
});

test("retry_for_ms that is set counts from the start of the first execution", async () => {
  const { client } = system;
  await client.setFunction("timed", { retry_for_ms: 250, backoff: AT_ONCE });
  // Each attempt takes 150 ms: the second begins in time, the third would not.
  const { job_id } = await client.submit({ name: "for a time", functions: [{ name: "timed" }] });
  const job = await client.wait(job_id, { timeoutMs: 20_000 });
  assert.is(job.functions[0]?.retry_count, 2);
  await client.unsetFunction("timed");
});

test("functions are listed with what is set at them", async () => {
  const { functions } = await system.client.functions();
  const of = (name: string) => functions.find((one) => one.name === name)?.settings;
  assert.equal(of("registered"), { retry_limit: 3, backoff: AT_ONCE });
  assert.is(of("echo"), undefined);
});

test("what is wrong is refused with all reasons", async () => {
  const { client } = system;
  const error = await client
    .setFunction("x", { retry_limit: 0, timeout_ms: 1.5, more: 1 } as object)
    .catch((one) => one);
  assert.instance(error, InvalidInputError);
  assert.equal(error.reasons.map(({ path }: { path: string }) => path).toSorted(), [
    "/more",
    "/retry_limit",
    "/timeout_ms",
  ]);
  assert.is(await codeOf(client.setFunction("a b", { retry_limit: 1 })), "invalid_function_name");
  assert.is(await codeOf(client.setFunction("x", {})), "invalid_request");
  assert.is(await codeOf(client.setFunction("x", { more: null } as object)), "invalid_request");
  for (const [subject, body] of [
    ["function.set", { name: "x", settings: { retry_limit: "5" } }],
    ["function.set", { name: "x", settings: { retry_limit: 5 }, more: 1 }],
    ["function.set", { settings: { retry_limit: 5 } }],
    ["function.unset", { name: "x", registered: "yes" }],
    ["function.register", { functions: {}, worker: "w" }],
    ["function.register", { functions: [{ name: "x", settings: { retry_limit: -1 } }], worker: "w" }],
    ["function.get", {}],
  ] as const) {
    const reply = await system.bus.mux.request(subject, JSON.stringify(body), 2_000);
    assert.is(JSON.parse(reply.string()).code, "invalid_request", `${subject} ${JSON.stringify(body)}`);
  }
  const worker = new Worker({ log: silent });
  const refused = (settings: object) => {
    try {
      worker.func("x", settings, fails);
      return "taken";
    } catch (one) {
      return isAsyncError(one) ? one.code : String(one);
    }
  };
  assert.is(refused({ retry_limit: 0 }), "invalid_option");
  assert.is(refused({ retry_options: { retry_limit: 2 } }), "invalid_option");
  assert.throws(() => worker.func("x", {} as never), /needs a handler/);
});

test("a worker that registers the same again writes nothing (SETTINGS-1)", async () => {
  const start = () =>
    new Worker({ url: system.url, log: silent })
      .func("registered", { backoff: AT_ONCE, retry_limit: 3 }, fails)
      .start();
  const before = written.length;
  for (let times = 0; times < 20; times++) await (await start()).close({ graceMs: 0 });
  assert.is(written.length, before);
  assert.equal(troubles, []);
});

test("of two workers that do not agree the last one counts, and that is told once per spell", async () => {
  const make = (limit: number) =>
    new Worker({ url: system.url, log: silent, name: `w${limit}` }).func(
      "contested",
      { retry_limit: limit, backoff: AT_ONCE },
      fails,
    );
  const first = await make(2).start();
  assert.equal(troubles, []);
  const second = await make(4).start();
  try {
    assert.is((await system.client.functionSettings("contested")).settings.retry_limit, 4);
    assert.is(await executions({ name: "contested" }), 4);
    assert.is(troubles.length, 1);
    assert.match(
      troubles[0]?.what ?? "",
      /worker w4 \S+ has registered other settings for function contested \(retry_limit 4/,
    );
    assert.is(troubles[0]?.kind, "workers register different settings for function contested");
    const { code, output } = await run(["doctor"]);
    assert.is(code, 1, output);
    assert.match(output, /workers want different settings for function contested/);
  } finally {
    await first.close({ graceMs: 0 });
    await second.close({ graceMs: 0 });
  }
  const gone = await system.client.unsetFunction("contested", { registered: true });
  assert.equal(gone, { name: "contested", settings: {} });
});

test("a worker that starts before any supervisor is registered when there is one", async () => {
  await system.supervisor.close();
  const worker = await new Worker({ url: system.url, log: silent })
    .func("early", { retry_limit: 2, backoff: AT_ONCE }, fails)
    .start();
  try {
    await system.startSupervisor();
    const settings = await eventually("it is registered", async () => {
      const found = await system.client.functionSettings("early");
      return found.settings.retry_limit;
    });
    assert.is(settings, 2);
  } finally {
    await worker.close({ graceMs: 0 });
  }
});

test("a supervisor that has just started knows all before it takes a job, and hears of changes elsewhere (SETTINGS-3)", async () => {
  const url = system.url;
  await system.client.setFunction("plain", { retry_limit: 2, backoff: AT_ONCE });
  await system.supervisor.close();
  const { job_id } = await system.client.submit({ name: "waits for a supervisor", functions: [{ name: "plain" }] });
  const buses = await Promise.all([Bus.open({ url, name: "one" }), Bus.open({ url, name: "two" })]);
  const [one, two] = buses;
  const first = await Supervisor.start(one);
  assert.is((await system.client.wait(job_id, { timeoutMs: 20_000 })).functions[0]?.retry_count, 2);
  let troubled = 0;
  const other = new FunctionSettings(two, new StoredFunctionSettings(two, first.store), {
    onLoaded: () => {},
    onTrouble: () => {
      troubled += 1;
    },
  });
  try {
    await eventually("it is loaded", () => other.loaded);
    assert.is(other.of("plain")?.retry_limit, 2);
    await system.client.setFunction("plain", { retry_limit: 3 });
    await eventually("it has heard", () => other.of("plain")?.retry_limit === 3);
    await system.client.unsetFunction("plain");
    await eventually("it has heard", () => other.of("plain") === undefined);
    assert.is(troubled, 0);
  } finally {
    other.close();
    await first.close();
    for (const bus of buses) await bus.close();
    await system.startSupervisor();
  }
});

// --- HTTP

// biome-ignore lint/suspicious/noExplicitAny: the tests look into bodies of many shapes
async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const init =
    body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await within(10_000, path, fetch(bridge.url + path, { method, ...init }));
  return { status: response.status, body: await response.json() };
}

test("HTTP sets, shows and takes back what is set, also at a function with a path for a name", async () => {
  const path = `/v1/function/${encodeURIComponent("/v1/test-1")}/settings`;
  const put = await ask("PUT", path, { retry_limit: 7, timeout_ms: 100 });
  assert.equal([put.status, put.body.Settings.name], [200, "/v1/test-1"]);
  assert.match(put.body.Settings.set.by, /^http /);
  assert.equal((await ask("PUT", path, { retry_limit: 8 })).body.Settings.settings, { retry_limit: 8 });
  assert.equal((await ask("GET", path)).body.Settings.settings, { retry_limit: 8 });
  const bad = await ask("PUT", path, { retry_limit: 0 });
  assert.equal([bad.status, bad.body.error.reasons.length], [400, 1]);
  assert.is((await ask("DELETE", `${path}?registred=true`)).status, 400);
  assert.equal((await ask("DELETE", path)).body.Settings, { name: "/v1/test-1", settings: {} });
});

// --- the command

const run = (args: string[]) => toEnd(startBuiltCli(args, { NATS_URL: system.url }));

test("async function sets, shows and takes back", async () => {
  const set = await run(["function", "set", "cli-fn", "--retry-limit", "5", "--backoff", '{"delay_ms":500}']);
  assert.is(set.code, 0, set.output);
  assert.match(set.output, /counts +retry_limit 5, backoff {"delay_ms":500}/);
  assert.match((await run(["function", "show", "cli-fn"])).output, /by hand +retry_limit 5/);
  assert.match((await run(["function", "set", "cli-fn", "--without", "backoff"])).output, /counts +retry_limit 5$/m);
  assert.match((await run(["function", "unset", "cli-fn"])).output, "nothing is set at function cli-fn");
  assert.is((await run(["function", "set", "cli-fn"])).code, 2);
  assert.is((await run(["function", "forget", "cli-fn"])).code, 2);
  assert.is((await run(["function", "set", "cli-fn", "--retry-limit", "0"])).code, 2);
});

test("a client that has no supervisor to ask is told so", async () => {
  const server = await System.start("without supervisor");
  try {
    const code = await codeOf(new Client(server.bus).functionSettings("x"));
    assert.is(code, "no_responders");
  } finally {
    await server.close();
  }
});

test.run();
