/** The ways to send a signal: HTTP, the client, the command, any NATS client; and what is refused by each. */
import { Packr } from "msgpackr";
import type { Msg } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SignalRequests } from "../../src/actors/signals.ts";
import { openSignal } from "../../src/bus/messages/signal-payload.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { JobState } from "../../src/job/state.ts";
import { startCli, toEnd } from "../support/process.ts";
import { SignalRig } from "../support/signal-rig.ts";

const test = suite("signal-ways");
const packr = new Packr({ useRecords: false });
const JSON_TYPE = "application/json";
let rig: SignalRig;
let bridge: Bridge;

test.before(async () => {
  rig = await SignalRig.start();
  bridge = await startBridge({ client: rig.system.client, port: 0 });
});
test.after(async () => {
  await bridge.close();
  await rig.close();
});

/** What the job gets as the payload of that number. */
async function value(job: JobState, n: number): Promise<unknown> {
  const signal = await rig.signals.read(job.job_id, job.created_at, "approval", n - 1);
  assert.ok(signal);
  assert.is(signal.n, n);
  const opened = openSignal(signal, job.encoding);
  assert.is(opened.problem, undefined);
  return "value" in opened ? opened.value : undefined;
}

async function post(path: string, body?: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) {
  const init: RequestInit = { method: "POST", headers, ...(body !== undefined && { body }) };
  const response = await fetch(`${bridge.url}/v1/job/${path}`, init);
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
  return { status: response.status, body: (await response.json()) as any };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "nothing",
    (error: unknown) => (isAsyncError(error) ? error.code : String(error)),
  );

test("POST /v1/job/<id>/signal/<name>: the body is the payload, JSON, MessagePack or empty", async () => {
  const job = await rig.job("http");
  const first = await post("http/signal/approval", '{"ok":true}', { "content-type": JSON_TYPE });
  assert.equal(first, { status: 200, body: { job_id: "http", name: "approval", number: 1 } });
  assert.equal(await value(job, 1), { ok: true });
  assert.is((await post("http/signal/approval")).body.number, 2);
  assert.is(await value(job, 2), null);
  for (const [index, one] of [7, 55, "text", { id: 2n ** 60n }, Buffer.from("hello")].entries()) {
    const sent = await post("http/signal/approval", Uint8Array.from(packr.pack(one)), {
      "content-type": "application/msgpack",
    });
    assert.is(sent.body.number, 3 + index);
  }
  assert.is(await value(job, 3), 7);
  assert.is(await value(job, 4), 55);
  assert.is(await value(job, 5), "text");
  assert.equal(await value(job, 6), { id: "1152921504606846976" });
  assert.is(await value(job, 7), "aGVsbG8=");
});

test("header Idempotency-Key is the key", async () => {
  await rig.job("http-key");
  const headers = { "content-type": JSON_TYPE, "idempotency-key": "payment 12" };
  assert.is((await post("http-key/signal/approval", "1", headers)).body.repeated, undefined);
  const again = await post("http-key/signal/approval", "1", headers);
  assert.equal(again, { status: 200, body: { job_id: "http-key", name: "approval", number: 1, repeated: true } });
});

test("what is refused over HTTP has the status of its code", async () => {
  const ended = await rig.job("http-ended");
  await rig.end(ended);
  await rig.job("http-live");
  const json = { "content-type": JSON_TYPE };
  const large = JSON.stringify("x".repeat(rig.system.bus.maxPayload / 2));
  const cases: [path: string, body: string, headers: Record<string, string>, status: number, code: string][] = [
    ["nothing/signal/approval", "1", json, 404, "job_not_found"],
    ["http-ended/signal/approval", "1", json, 409, "job_ended"],
    ["http-live/signal/aproval", "1", json, 404, "unknown_signal"],
    ["http-live/signal/a.b", "1", json, 400, "invalid_request"],
    ["ht$tp/signal/approval", "1", json, 400, "invalid_job_id"],
    ["http-live/signal/approval", "{", json, 400, "undecodable"],
    ["http-live/signal/approval", "yes", { "content-type": "text/plain" }, 415, "unsupported_encoding"],
    ["http-live/signal/approval", "1", { ...json, "idempotency-key": "x".repeat(201) }, 400, "invalid_request"],
    ["http-live/signal/approval", large, json, 413, "payload_too_large"],
  ];
  for (const [path, body, headers, status, code] of cases) {
    const answer = await post(path, body, headers);
    assert.equal({ status: answer.status, code: answer.body.error?.code }, { status, code }, `${path} ${code}`);
  }
  assert.is(await rig.inboxMessage("http-live"), undefined);
});

test("client.signal sends any value that can be sent, and says what cannot", async () => {
  const { client } = rig.system;
  const job = await rig.job("client", { encoding: "msgpack" });
  const values: unknown[] = [{ ok: true }, undefined, null, "text", 7, 2n ** 63n, { at: new Date(0) }];
  for (const [index, one] of values.entries()) {
    assert.is((await client.signal("client", "approval", one)).number, index + 1);
  }
  assert.equal(await Promise.all(values.map((_, index) => value(job, index + 1))), [
    { ok: true },
    null,
    null,
    "text",
    7,
    2n ** 63n,
    { at: "1970-01-01T00:00:00.000Z" },
  ]);
  const bytes = await client.signal("client", "approval", Buffer.from("hello"), { encoding: "msgpack" });
  assert.equal(Buffer.from((await value(job, bytes.number)) as Uint8Array), Buffer.from("hello"));
  const circular: unknown[] = [];
  circular.push(circular);
  for (const odd of [circular, new Map([[1, 1]]), 2n ** 64n]) {
    assert.is(await codeOf(client.signal("client", "approval", odd)), "invalid_request");
  }
  assert.is(await codeOf(client.signal("cli ent", "approval")), "invalid_job_id");
  assert.is(await codeOf(client.signal("client", "a.b")), "invalid_request");
  assert.is(await codeOf(client.signal("client", "approval", 1, { key: "a\nb" })), "invalid_request");
  assert.is(await codeOf(client.signal("client", "other")), "unknown_signal");
});

test("client.signal tells of a repetition where the key was chosen, and repeats nothing when it tries again itself", async () => {
  const { client, bus } = rig.system;
  const job = await rig.job("client-key");
  assert.equal(await client.signal("client-key", "approval", 1, { key: "k" }), {
    job_id: "client-key",
    name: "approval",
    number: 1,
  });
  assert.ok((await client.signal("client-key", "approval", 1, { key: "k" })).repeated);
  // A second supervisor stores the first signal that it gets, and its answer is lost.
  const { signals, tokens, control } = rig;
  const other = new SignalRequests({ bus, signals, tokens, find: (jobId) => control.find(jobId) });
  let lost = 0;
  const callback = async (_: unknown, message: Msg) => {
    const target = message.subject.slice("job.signal.".length);
    const answer = await other.take(target, message.data, message.headers?.get("Async-Signal-Key"));
    if (lost > 0) message.respond(JSON.stringify(answer));
    lost += 1;
  };
  const subscription = bus.nc.subscribe("job.signal.>", {
    queue: "async",
    callback: (error, message) => void callback(error, message),
  });
  let sent = 1;
  // Each goes to one of the two.
  while (lost === 0 && sent < 15) {
    sent += 1;
    const answer = await client.signal("client-key", "approval", sent);
    assert.equal(answer, { job_id: "client-key", name: "approval", number: sent });
  }
  subscription.unsubscribe();
  assert.ok(lost > 0);
  assert.is((await rig.inbox("client-key"))?.last, sent);
  for (let n = 1; n <= sent; n++) assert.is(await value(job, n), n);
});

test("async signal sends JSON, says the number, and exits with 1 for what is refused", async () => {
  const job = await rig.job("cli");
  const run = (...args: string[]) => toEnd(startCli(["signal", ...args], { NATS_URL: rig.system.url }));
  const [first, again, bad, unknown] = [
    await run("cli", "approval", '{"ok":true}', "--key", "k"),
    await run("cli", "approval", '{"ok":true}', "--key", "k", "--json"),
    await run("cli", "approval", "yes"),
    await run("cli", "aproval"),
  ];
  assert.is(first.code, 0, first.output);
  assert.match(first.output, "signal approval of job cli is stored, as number 1");
  assert.equal(await value(job, 1), { ok: true });
  assert.equal(JSON.parse(again.output), { job_id: "cli", name: "approval", number: 1, repeated: true });
  assert.is(bad.code, 2);
  assert.match(bad.output, "must be JSON");
  assert.is(unknown.code, 1);
  assert.match(unknown.output, /did you mean approval\? \[unknown_signal\]/);
});

test("the request is one of the service that answers for jobs", async () => {
  const reply = await rig.system.bus.mux.request("$SRV.INFO.async", "", 2_000);
  const { endpoints } = reply.json<{ endpoints: { name: string; subject: string; queue_group: string }[] }>();
  const { name, subject, queue_group } = endpoints.find((one) => one.name === "signal") ?? {};
  assert.equal({ name, subject, queue_group }, { name: "signal", subject: "job.signal.>", queue_group: "async" });
});

test.run();
