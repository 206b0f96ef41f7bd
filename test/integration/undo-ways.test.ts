/** Undo, children and families of jobs as users see them: HTTP, requests, the client, the command; and what explain and get say of them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import { startBuiltCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("undo-ways");
let system: System;
let bridge: Bridge;

test.before(async () => {
  system = await System.start();
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (worker) =>
      worker
        .func("echo", ({ args }) => args)
        .func("fail", () => {
          throw new Error("no luck");
        })
        .func("undo", () => null)
        .func("alert", () => "alerted"),
    { concurrency: 20 },
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "nothing",
    (error: unknown) => (isAsyncError(error) ? error.code : String(error)),
  );
const cli = (...args: string[]) => toEnd(startBuiltCli(args, { NATS_URL: system.url }));

async function request(subject: string, body: unknown = {}) {
  const reply = await system.bus.nc.request(subject, JSON.stringify(body), { timeout: 5_000 });
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
  return reply.json<any>();
}

async function http(method: "GET" | "DELETE", path: string) {
  const response = await fetch(`${bridge.url}/v1/job${path}`, { method });
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
  return { status: response.status, body: (await response.json()) as any };
}

/** A job that is undoing what `first` has done, and will be until somebody serves `nobody.undoes`. */
async function undoing(jobId: string, more: FunctionSpec[] = [{ id: "boom", name: "fail" }]): Promise<string> {
  await system.client.submit({
    job_id: jobId,
    name: "saga",
    functions: [
      { id: "zero", name: "echo", args: 0, undo: "undo" },
      { id: "first", name: "echo", args: 1, undo: "nobody.undoes" },
      ...more,
    ],
  });
  await eventually(`${jobId} is undoing`, async () => (await system.client.get(jobId)).state === "undoing");
  return jobId;
}

const SKIPPED = { state: "skipped", undone: 0, failed: 0, not_undone: 2 };

test("a job that undoes says why in each view, and lists find it by its state", async () => {
  await undoing("views");
  const job = await system.client.get("views");
  assert.is(job.undoing?.because, "failed");
  assert.is(job.undoing?.error?.message, "no luck");
  assert.ok(Date.parse(job.undoing?.since ?? "") > 0);
  assert.equal(
    job.functions.map(({ undo_run }) => undo_run?.state),
    [undefined, "running", undefined],
  );
  assert.not.match(JSON.stringify(job), process.cwd());
  const found = await http("GET", "?state=undoing");
  assert.equal(
    found.body.Jobs.map(({ job_id }: { job_id: string }) => job_id),
    ["views"],
  );
  const list = await cli("list", "--state", "undoing");
  assert.match(list.output, /^views +saga +undoing/m);
  const { output } = await cli("get", "views");
  assert.match(output, /^state +undoing; then it is failed$/m);
  assert.match(output, /^because +function_failed: Error: no luck$/m);
  assert.match(output, /first: echo +1\/1 +1; is being undone$/m);
  assert.match(output, /boom: fail +1\/1 +failed: no luck$/m);
  const explained = await eventually("it is known", async () => {
    const { entries } = await system.client.explain("views");
    return entries[0]?.reason === "no_worker" ? entries : undefined;
  });
  assert.equal([explained.length, explained[0]?.index, explained[0]?.undo], [1, 1, true]);
  assert.is(explained[0]?.text, "no worker serves fn.nobody.undoes (its undo)");
});

test("a cancel of it is refused but with skip: as a request", async () => {
  await undoing("by-request");
  assert.is((await request("job.cancel.by-request")).code, "job_undoing");
  assert.is((await request("job.cancel.by-request", { undo: "now" })).code, "invalid_request");
  assert.is((await request("job.cancel.by-request", { unod: "skip" })).code, "invalid_request");
  await request("job.cancel.by-request", { undo: "skip" });
  const { state, undo } = await system.client.wait("by-request");
  assert.equal([state, undo], ["failed", SKIPPED]);
});

test("by the client, which says so for a job that has not begun to undo as well", async () => {
  await undoing("by-client");
  assert.is(await codeOf(system.client.cancel("by-client")), "job_undoing");
  await system.client.cancel("by-client", { undo: "skip" });
  assert.equal((await system.client.wait("by-client")).undo, SKIPPED);
  await system.client.submit({
    job_id: "skipped",
    name: "saga",
    functions: [{ id: "first", name: "echo", undo: "nobody.undoes" }, { wait_for: "never" }],
  });
  await eventually("it waits", async () => (await system.client.get("skipped")).waiting_for === "signal");
  const { state, undo } = await system.client.cancel("skipped", { undo: "skip" });
  assert.equal([state, undo], ["cancelled", { state: "skipped", undone: 0, failed: 0, not_undone: 1 }]);
});

test("over HTTP, where a parameter that is not known is refused, as it would be undone", async () => {
  await undoing("by-http");
  const refused = await http("DELETE", "/by-http");
  assert.equal([refused.status, refused.body.error.code], [409, "job_undoing"]);
  for (const query of ["?undo=no", "?udno=skip", "?undo=skip&force=1"]) {
    const { status, body } = await http("DELETE", `/by-http${query}`);
    assert.equal([status, body.error.code], [400, "invalid_request"], query);
  }
  assert.is((await http("DELETE", "/by-http?undo=skip")).status, 200);
  assert.equal((await system.client.wait("by-http")).undo, SKIPPED);
});

test("by the command, which tells what was left as it is", async () => {
  await undoing("by-command");
  const refused = await cli("cancel", "by-command");
  assert.is(refused.code, 1);
  assert.match(refused.output, "[job_undoing]");
  assert.is((await cli("cancel", "by-command", "--undo", "no")).code, 2);
  assert.is((await cli("cancel", "by-command", "--undo", "skip")).code, 0);
  await system.client.wait("by-command");
  const { output } = await cli("get", "by-command");
  assert.match(output, /^undo +skipped: 2 left as they are$/m);
  assert.match(output, /first: echo +1\/1 +1; not undone$/m);
  const events = await cli("events", "by-command");
  assert.match(events.output, /undoing +because of function_failed: no luck/);
});

test("what was undone, and what is called at the end, is shown", async () => {
  const functions = [
    { id: "first", name: "echo", undo: "undo" },
    { id: "boom", name: "fail" },
  ];
  await system.client.submit({ job_id: "whole", name: "saga", functions, on_failure: "alert" });
  const job = await system.client.wait("whole");
  assert.equal(job.undo, { state: "done", undone: 1, failed: 0, not_undone: 0 });
  assert.is(job.undoing, undefined);
  const { output } = await cli("get", "whole");
  assert.match(output, /^undo +done: 1 undone$/m);
  assert.match(output, /^at end +alert: done$/m);
  assert.match(output, /first: echo +1\/1 +null; undone$/m);
  const events = await cli("events", "whole");
  assert.match(events.output, /undone +.*\[first\]/);
});

test("what is run again without its undo is refused, unless it is forced", async () => {
  const functions = [{ id: "first", name: "echo", args: 1, undo: "undo" }];
  await system.client.submit({ job_id: "again", name: "saga", functions });
  await system.client.wait("again");
  const refused = await cli("retry", "again", "--from", "first");
  assert.is(refused.code, 1);
  assert.match(refused.output, "[undo_first]");
  const forced = await cli("retry", "again", "--from", "first", "--force", "--wait");
  assert.is(forced.code, 0, forced.output);
  const answer = await fetch(`${bridge.url}/v1/job/again/retry`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ from: "first" }),
  });
  assert.is(answer.status, 409);
});

test("children are in lists that ask for them, or for those of one job; and one gets there and back", async () => {
  const child = { functions: [{ wait_for: "go" }] };
  await system.client.submit({ job_id: "parent", name: "outer", functions: [{ id: "inner", job: child }] });
  const id = await eventually("it has a child", async () => (await system.client.get("parent")).functions[0]?.child);
  await eventually("the child waits", async () => {
    const { waiting_for } = await system.client.get(id).catch((error: unknown) => {
      if (isAsyncError(error, "job_not_found")) return { waiting_for: undefined };
      throw error;
    });
    return waiting_for === "signal";
  });
  const ids = (jobs: { job_id: string }[]) =>
    jobs.map(({ job_id }) => job_id).filter((one) => /^(sub-|parent$)/.test(one));
  assert.equal(ids((await system.client.list()).jobs), ["parent"]);
  assert.equal(ids((await system.client.list({ parent: "parent" })).jobs), [id]);
  assert.equal(ids((await system.client.list({ children: true })).jobs).sort(), ["parent", id].sort());
  assert.equal(ids((await http("GET", "?parent=parent")).body.Jobs), [id]);
  assert.ok(ids((await http("GET", "?children=true")).body.Jobs).includes(id));
  assert.not.ok(ids((await http("GET", "?children=false")).body.Jobs).includes(id));
  for (const query of ["?children=yes", "?parent=a%20b", "?child=true"]) {
    assert.is((await http("GET", query)).body.error?.code, "invalid_request", query);
  }
  const [listed, all, shown, explained] = await Promise.all([
    cli("list", "--parent", "parent"),
    cli("list", "--children"),
    cli("get", "parent"),
    cli("explain", "parent"),
  ]);
  assert.match(listed.output, new RegExp(`^${id} `, "m"));
  assert.match(all.output, new RegExp(`^${id} `, "m"));
  assert.match(shown.output, `inner: job ${id}`);
  assert.match(shown.output, `child: async get ${id}`);
  assert.match(shown.output, "waiting for a child job");
  assert.match(explained.output, `child job ${id} is waiting`);
  assert.match((await cli("get", id)).output, /^parent +parent, entry 0$/m);
  await system.client.signal(id, "go", 7);
  assert.is((await system.client.wait("parent")).result, 7);
});

test("a document that was shown can be submitted again, whatever has become of it", async () => {
  const { undoing: why, ...shown } = await system.client.get("views");
  assert.ok(why);
  const again = await system.client.submit({ ...shown, undoing: why, job_id: "views-again" } as unknown);
  assert.is(again.job_id, "views-again");
  const parent = await system.client.get("parent");
  await system.client.submit({ ...parent, job_id: "parent-again" } as unknown);
  const child = await eventually("it has another child", async () => {
    const { child: id } = (await system.client.get("parent-again")).functions[0] ?? {};
    return id === parent.functions[0]?.child ? undefined : id;
  });
  assert.match(child, /^sub-/);
  for (const id of ["views", "views-again"]) await end(id);
  await system.client.cancel("parent-again");
});

/** Ends what undoes, and would for as long as nobody serves its undo. */
async function end(id: string): Promise<void> {
  await eventually(`${id} is undoing`, async () => (await system.client.get(id)).state === "undoing");
  await system.client.cancel(id, { undo: "skip" });
  await system.client.wait(id);
}

test.run();
