/** The bridge: the routes of the original system, and errors that say what is wrong. */
import { createConnection } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bus } from "../../src/bus/connection.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import { startEmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { Client } from "../../src/client/client.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { System, seedJob } from "../support/system.ts";
import { within } from "../support/waiting.ts";

const test = suite("http");
let system: System;
let bridge: Bridge;

test.before(async () => {
  system = await System.start();
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (w) =>
      w
        .func("/v1/test-1", () => 1)
        .func("echo", ({ args }) => args)
        .func("throws", throwing),
    {
      name: "web",
      concurrency: 4,
    },
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

function throwing(): never {
  throw new Error("no");
}

const JSON_TYPE = { "content-type": "application/json" };

// biome-ignore lint/suspicious/noExplicitAny: the tests look into bodies of many shapes
async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; headers: Headers; body: any }> {
  const response = await within(10_000, path, fetch(bridge.url + path, init));
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const post = (body: unknown, headers: Record<string, string> = JSON_TYPE) =>
  ask("/v1/job", { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });

test("POST /v1/job answers 200 and the job, in the shape of the original system", async () => {
  const { status, body } = await post(await seedJob("job_chain"));
  assert.is(status, 200);
  assert.type(body.job_id, "string");
  assert.is(body.name, "test");
  assert.is(body.data, null);
  assert.is(body.current_function, 0);
  assert.is(body.state, "pending");
  assert.ok(!Number.isNaN(Date.parse(body.created_at)) && !Number.isNaN(Date.parse(body.scheduled_at)));
  assert.equal(body.functions[0], {
    kind: "function",
    name: "/v1/test-1",
    retry_count: 0,
    retry_options: { retry_limit: 3 },
  });
});

test("GET /v1/job/<id> answers {Job}, from the moment the submission is acknowledged", async () => {
  const { body: submitted } = await post(await seedJob("job_simple"));
  assert.is((await ask(`/v1/job/${submitted.job_id}`)).status, 200);
  await system.client.wait(submitted.job_id, { timeoutMs: 5_000 });
  const { status, body } = await ask(`/v1/job/${submitted.job_id}`);
  assert.is(status, 200);
  assert.equal(Object.keys(body), ["Job"]);
  assert.is(body.Job.state, "completed");
  assert.is(body.Job.functions[0].retry_count, 1);
});

test("a job that was read can be submitted again as it is, under a new id", async () => {
  const { body: submitted } = await post({ name: "copy", functions: [{ name: "echo", args: { a: 1 } }] });
  await system.client.wait(submitted.job_id, { timeoutMs: 5_000 });
  const { Job } = (await ask(`/v1/job/${submitted.job_id}`)).body;
  const { status, body } = await post({ ...Job, job_id: "a-copy" });
  assert.is(status, 200);
  assert.is(body.job_id, "a-copy");
  assert.equal((await system.client.wait("a-copy", { timeoutMs: 5_000 })).result, { a: 1 });
});

test("GET /v1/job answers {Count, Jobs}, can be filtered and paged", async () => {
  for (let i = 0; i < 5; i++)
    await post({ name: "paged", functions: [{ name: "echo", args: i }], job_id: `paged-${i}` });
  for (let i = 0; i < 5; i++) await system.client.wait(`paged-${i}`, { timeoutMs: 5_000 });
  const all = await ask("/v1/job?state=completed");
  assert.is(all.body.Count, all.body.Jobs.length);
  const seen: string[] = [];
  for (let query = "?state=completed&limit=2"; query; ) {
    const { body } = await ask(`/v1/job${query}`);
    assert.ok(body.Count <= 2);
    seen.push(...body.Jobs.map((job: { job_id: string }) => job.job_id));
    query = body.Next ? `?state=completed&limit=2&cursor=${body.Next}` : "";
  }
  assert.equal(seen.sort(), all.body.Jobs.map((job: { job_id: string }) => job.job_id).sort());
  assert.ok(seen.includes("paged-4"));
});

test("GET /v1/worker answers {Workers}", async () => {
  const { body } = await ask("/v1/worker");
  const [worker] = body.Workers;
  assert.is(worker.MaxParallel, 4);
  assert.is(worker.State, "idle");
  assert.equal(worker.Capabilities, ["/v1/test-1", "echo", "throws"]);
  assert.type(worker.ID, "string");
  assert.match(worker.Version, /^\d+\.\d+\.\d+$/);
});

test("MessagePack is taken as well as JSON", async () => {
  const job = { name: "packed", functions: [{ name: "echo", args: [1, "two"] }] };
  const body = Buffer.from(encode(job, "msgpack"));
  const { status, body: submitted } = await ask("/v1/job", {
    method: "POST",
    headers: { "content-type": "application/msgpack" },
    body,
  });
  assert.is(status, 200);
  assert.equal((await system.client.wait(submitted.job_id, { timeoutMs: 5_000 })).result, [1, "two"]);
});

test("an invalid job is answered 400 with every reason", async () => {
  const { status, body } = await post({ name: 5, functions: [{ name: "a b" }, { nam: "x" }], tiemout_ms: 1 });
  assert.is(status, 400);
  assert.is(body.error.code, "invalid_submission");
  const paths = body.error.reasons.map((reason: { path: string }) => reason.path).sort();
  assert.equal(paths, ["/functions/0/name", "/functions/1", "/functions/1/nam", "/name", "/tiemout_ms"]);
});

const refused: [
  string,
  number,
  string,
  () => Promise<{ status: number; body: { error: { code: string; message: string } } }>,
][] = [
  ["broken JSON", 400, "undecodable", () => post("{")],
  ["no body", 400, "invalid_request", () => ask("/v1/job", { method: "POST" })],
  ["a body that is no object", 400, "invalid_submission", () => post("[]")],
  ["a reserved id", 400, "invalid_submission", () => post({ name: "x", job_id: "seq-1", functions: [{ name: "a" }] })],
  ["a content type we do not speak", 415, "unsupported_encoding", () => post("<job/>", { "content-type": "text/xml" })],
  ["a body over the server's limit", 413, "payload_too_large", () => post(`{"name":"${"x".repeat(1_100_000)}"}`)],
  ["an unknown job", 404, "job_not_found", () => ask("/v1/job/no-such-job")],
  ["an impossible id", 400, "invalid_job_id", () => ask("/v1/job/a%20b*")],
  ["an unknown state", 400, "invalid_request", () => ask("/v1/job?state=happy")],
  ["a limit out of range", 400, "invalid_request", () => ask("/v1/job?limit=0")],
  ["a cursor of another maker", 400, "invalid_request", () => ask("/v1/job?cursor=xyz")],
  ["an unknown route", 404, "no_route", () => ask("/v2/job")],
];
for (const [what, status, code, request] of refused) {
  test(`${what} is answered ${status} ${code}`, async () => {
    const answer = await request();
    assert.is(answer.status, status);
    assert.is(answer.body.error.code, code);
    assert.ok(answer.body.error.message.length > 10);
  });
}

test("an unknown route is answered with those there are", async () => {
  const { status, body } = await ask("/v2/job");
  assert.is(status, 404);
  for (const route of [
    "POST and GET /v1/job",
    "GET and DELETE /v1/job/:id",
    "POST /v1/job/:id/signal/:name",
    "GET /readyz",
  ]) {
    assert.match(body.error.message, route);
  }
  assert.is((await ask("/v1/job/a/b", { method: "PUT" })).status, 404);
});

test("a method that a route does not have is answered 405, with those it has", async () => {
  const cases = [
    ["PUT", "/v1/job", "GET, HEAD, POST"],
    ["POST", "/v1/job/order-1", "DELETE, GET, HEAD"],
    ["GET", "/v1/job/order-1/retry?x=1", "POST"],
    ["DELETE", "/readyz", "GET, HEAD"],
  ] as const;
  for (const [method, path, allowed] of cases) {
    const { status, headers, body } = await ask(path, { method });
    assert.equal([status, body.error.code], [405, "method_not_allowed"], path);
    assert.is(headers.get("allow"), allowed);
    assert.match(body.error.message, allowed);
  }
});

test("ids of every length that there can be work, longer ones are bad requests", async () => {
  for (const length of [100, 101, 128]) {
    const job_id = "x".repeat(length);
    assert.is((await post({ job_id, name: "long", functions: [{ name: "echo" }] })).status, 200);
    assert.is((await ask(`/v1/job/${job_id}`)).body.Job.job_id, job_id);
    await system.client.wait(job_id, { timeoutMs: 5_000 });
    assert.is((await ask(`/v1/job/${job_id}`, { method: "DELETE" })).body.error.code, "job_ended");
    assert.is((await ask(`/v1/job/${job_id}/retry`, { method: "POST" })).body.error.code, "job_ended");
  }
  const { status, body } = await ask(`/v1/job/${"x".repeat(129)}`);
  assert.equal([status, body.error.code], [400, "invalid_job_id"]);
});

test("cancelling a cancelled job changes nothing and is answered with it", async () => {
  const { body } = await post({
    name: "later",
    functions: [{ name: "echo" }],
    scheduled_at: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const cancel = () => ask(`/v1/job/${body.job_id}`, { method: "DELETE" });
  const first = await cancel();
  assert.equal([first.status, first.body.Job.state], [200, "cancelled"]);
  const second = await cancel();
  assert.equal([second.status, second.body], [200, first.body]);
});

test("the stack of a handler's error tells files and lines, but not where they are installed", async () => {
  const { body } = await post({ name: "throws", functions: [{ name: "throws" }] });
  await system.client.wait(body.job_id, { timeoutMs: 5_000 });
  const { Job } = (await ask(`/v1/job/${body.job_id}`)).body;
  assert.match(Job.error.stack, /at .*http\.test\.ts:\d+/);
  for (const text of [JSON.stringify(Job), JSON.stringify(await system.client.get(body.job_id))]) {
    assert.not.match(text, process.cwd());
    assert.not.match(text, "node:internal/");
  }
});

test("/healthz and /readyz say that all is well, and how durable it is", async () => {
  assert.equal((await ask("/healthz")).body, { status: "ok" });
  const { status, body } = await ask("/readyz");
  assert.is(status, 200);
  assert.is(body.ready, true);
  assert.is(body.replicas, 1);
  assert.match(body.durability, "fast");
});

test("a port in use is a clear error", async () => {
  const port = Number(new URL(bridge.url).port);
  const error = await startBridge({ client: system.client, port }).catch((cause) => cause);
  assert.ok(isAsyncError(error, "port_taken"));
  assert.match(error.message, String(port));
});

test("it listens on loopback unless told otherwise", () => {
  assert.is(new URL(bridge.url).hostname, "127.0.0.1");
});

test("while NATS is away every route answers 503 in seconds, and recovers with it", async () => {
  const server = await startEmbeddedServer();
  const bus = await Bus.open({ url: server.url, name: "test" });
  const away = await startBridge({ client: new Client(bus), port: 0 });
  const job = { method: "POST", headers: JSON_TYPE, body: '{"name":"x","functions":[{"name":"echo"}]}' };
  const statuses = async () => {
    const answers = await Promise.all([
      fetch(`${away.url}/v1/job`, job),
      fetch(`${away.url}/v1/job/x`),
      fetch(`${away.url}/v1/job`),
      fetch(`${away.url}/v1/worker`),
      fetch(`${away.url}/readyz`),
    ]);
    return answers.map((answer) => answer.status);
  };
  // No streams have been made on this server: JetStream answers nobody.
  const [submitted] = await within(10_000, "answers without streams", statuses());
  assert.is(submitted, 503);
  await server.close();
  assert.equal(await within(10_000, "answers without NATS", statuses()), [503, 503, 503, 503, 503]);
  const healthy = await fetch(`${away.url}/healthz`);
  assert.is(healthy.status, 200);
  await away.close();
  await bus.close();
});

test("a connection that sends nothing does not keep the bridge from closing", async () => {
  const other = await startBridge({ client: system.client, port: 0 });
  const idle = createConnection(Number(new URL(other.url).port), "127.0.0.1");
  await new Promise((resolve) => idle.once("connect", resolve));
  await within(5_000, "the close", other.close());
  idle.destroy();
});

test("an optional body may be empty whatever its type says", async () => {
  for (const type of ["application/json", "application/x-msgpack", "text/plain", "application/x-www-form-urlencoded"]) {
    const headers = { "content-type": type };
    const response = await fetch(`${bridge.url}/v1/job/not-there/retry`, { method: "POST", headers, body: "" });
    assert.is(response.status, 404, type);
  }
});

test.run();
