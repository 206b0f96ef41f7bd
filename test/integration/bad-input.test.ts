/**
 * Everything that anyone may send, as nonsense: random bytes, wrong types, huge numbers, deep nesting, prototype keys, on
 * every subject and route, in replies, heartbeats and stored state. Nothing crashes, nothing is lost in silence, and the
 * next honest job is done. Random values come from a seed that is printed when a test fails.
 */
import * as fc from "fast-check";
import { Packr } from "msgpackr";
import { headers } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packState } from "../../src/bus/store/stored-state.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import type { JobState } from "../../src/job/state.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("bad-input");
let system: System;
let bridge: Bridge;
const faults: unknown[] = [];

test.before(async () => {
  system = await System.start({ heartbeatMs: 200 });
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker((w) => w.func("honest", ({ args }) => args), { concurrency: 10, heartbeatMs: 100 });
  process.on("uncaughtException", (error) => faults.push(error));
  process.on("unhandledRejection", (error) => faults.push(error));
  system.supervisor.lifecycle.on("trouble", ({ what, error }) => {
    if (what === "unexpected failure") faults.push(error);
  });
});
test.after(async () => {
  await bridge.close();
  await system.close();
});
test.after.each(async () => {
  assert.equal(faults, []);
  const { job_id } = await system.client.submit({
    name: "honest",
    functions: [{ name: "honest", args: "still here" }],
  });
  assert.is((await system.client.wait(job_id, { timeoutMs: 10_000 })).result, "still here");
});

const SEED = Math.floor(Math.random() * 2 ** 31);
const sample = <T>(arbitrary: fc.Arbitrary<T>, count: number) => fc.sample(arbitrary, { numRuns: count, seed: SEED });

const packr = new Packr({ useRecords: false });
const text = (value: unknown) => Buffer.from(JSON.stringify(value) ?? "");
const deep = (levels: number, open: string, close: string) => Buffer.from(open.repeat(levels) + close.repeat(levels));

/** Bodies that are wrong in every way that came to mind. */
const BODIES: Buffer[] = [
  Buffer.alloc(0),
  Buffer.from("\0"),
  Buffer.from("null"),
  Buffer.from("[]"),
  Buffer.from("{"),
  Buffer.from('{"name":"x","functions":[{"name":"honest"}]'),
  Buffer.from([0xc1]),
  Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]),
  Buffer.from([0xc7, 0xff, 0x01]),
  Buffer.from([0xd9, 0x02, 0xff, 0xfe]),
  deep(100_000, "[", "]"),
  deep(50_000, '{"a":', "}"),
  Buffer.alloc(100_000, 0x91),
  Buffer.from('{"__proto__":{"polluted":true},"name":"x","functions":[{"name":"honest","__proto__":{"args":1}}]}'),
  Buffer.from('{"constructor":{"prototype":{"polluted":true}}}'),
  Buffer.from('{"name":"x","functions":[{"name":"honest","args":1e999,"timeout_ms":1e308}]}'),
  Buffer.from('{"name":"x","functions":[{"name":"honest","retry_options":{"retry_limit":99999999999999999999}}]}'),
  Buffer.from('{"name":"x","functions":[]}'),
  text({ name: "x", functions: Array.from({ length: 5_000 }, () => ({ name: "honest" })) }),
  ...["", " ", "*", ">", "a.*", "a..b", ".a", "$SYS.x", "ä", "a b", "x".repeat(1_000), "\n"].map((name) =>
    text({ name: "x", functions: [{ name }] }),
  ),
  ...["", "*", "a b", "seq-5", "x".repeat(1_000), "__proto__.x", 7, {}].map((job_id) =>
    text({ job_id, name: "x", functions: [{ name: "honest" }] }),
  ),
  text({ name: "x", functions: [{ name: "honest" }], scheduled_at: "+275760-09-13T00:00:00.001Z" }),
  text({ name: "x", functions: [{ name: "honest" }], scheduled_at: 1e300 }),
  text({ name: 7, functions: "honest" }),
  packr.pack({ name: "x", functions: new Set([1]) }),
  packr.pack({ name: "x", functions: [{ name: "honest", args: new Date(Number.NaN) }] }),
  packr.pack({ name: "x", functions: [{ name: "honest", args: 2n ** 64n - 1n }], data: /regexp/ }),
];

const randomBytes = () =>
  sample(fc.uint8Array({ minLength: 1, maxLength: 300 }), 60).map((bytes) => Buffer.from(bytes));
const randomJson = () => sample(fc.jsonValue({ maxDepth: 4 }), 60).map(text);
const everything = () => [...BODIES, ...randomBytes(), ...randomJson()];

const rejections = async () =>
  (await readBatch(system.bus, "EVENTS", { filter: "job.event.*.rejected", from: 1, batch: 1_000 })).messages;

async function streamIsEmpty(): Promise<void> {
  await eventually(
    "every submission has been dealt with",
    async () => {
      const { messages } = await readBatch(system.bus, "JOBS", { filter: ">", from: 1, batch: 1 });
      return messages.length === 0 && system.supervisor.liveJobs === 0;
    },
    20_000,
  );
}

test(`submissions: each is a job, or recorded with the reason (seed ${SEED})`, async () => {
  const bodies = everything();
  for (const [index, body] of bodies.entries()) system.bus.nc.publish(`job.submit.bad-${index}`, body);
  await streamIsEmpty();
  for (const index of bodies.keys()) {
    const job = await system.client.get(`bad-${index}`);
    assert.ok(["failed", "completed"].includes(job.state));
    if (job.state === "failed") assert.ok(job.error?.message, `job bad-${index} says why`);
  }
  assert.is(({} as { polluted?: unknown }).polluted, undefined);
});

test(`submissions without an id, and with impossible ones in the subject (seed ${SEED})`, async () => {
  const sequences = [];
  for (const body of everything()) sequences.push(await system.bus.mux.publish("job.submit", body));
  const before = (await rejections()).length;
  const ids = ["a.b", "*", ">", "a.*", "seq-1", "ä", "x".repeat(129), "a$b", "a.>", "%00"];
  for (const id of ids) system.bus.nc.publish(`job.submit.${id}`, '{"name":"x","functions":[{"name":"honest"}]}');
  await streamIsEmpty();
  const after = await eventually("each is rejected", async () => {
    const messages = await rejections();
    return messages.length === before + ids.length ? messages : undefined;
  });
  for (const message of after) assert.ok(JSON.parse(Buffer.from(message.data).toString()).reason);
  for (const sequence of sequences) {
    const answer = await system.client.get(`seq-${sequence}`).catch((error) => error);
    // One whose body names a possible id is that job.
    assert.ok(answer.code === "job_not_found" || ["failed", "completed"].includes(answer.state));
  }
});

test(`the request API answers every request (seed ${SEED})`, async () => {
  const subjects = [
    "job.list",
    "job.retry.nothing",
    "job.cancel.nothing",
    "job.get.nothing",
    "job.explain.nothing",
    "job.get.*",
    "job.cancel.>",
    "job.signal.nothing",
    "job.signal.nothing.approval",
    "job.signal.>",
  ];
  for (const subject of subjects) {
    for (const body of [...BODIES, ...randomBytes().slice(0, 20), ...randomJson().slice(0, 20)]) {
      const reply = await system.bus.mux.request(subject, body, 5_000);
      JSON.parse(reply.string());
    }
  }
});

test("what is wrong is told in few words, however long what was asked is", async () => {
  const long = "x".repeat(900_000);
  const questions: [string, object][] = [
    ["job.list", { cursor: long }],
    ["job.list", { state: long }],
    ["job.retry.nothing", { [long]: 1 }],
  ];
  for (const [subject, body] of questions) {
    const reply = await system.bus.mux.request(subject, JSON.stringify(body), 5_000);
    assert.is(reply.headers?.get("Nats-Service-Error-Code"), "400");
    assert.ok(reply.data.length < 5_000, subject);
  }
  const response = await fetch(`${bridge.url}/v1/job/nothing/retry`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ [long]: 1 }),
  });
  assert.is(response.status, 400);
});

test("a submission with a long unknown field fails in few words, and its end fits into a message", async () => {
  const job = { name: "long", functions: [{ name: "honest" }], ["\u0001".repeat(900_000)]: 1 };
  const sequence = await system.bus.mux.publish("job.submit", packr.pack(job));
  const failed = await system.client.wait(`seq-${sequence}`, { timeoutMs: 5_000 });
  assert.is(failed.error?.code, "invalid_submission");
  assert.ok(JSON.stringify(failed).length < 5_000);
  await eventually("it has left memory", () => system.supervisor.liveJobs === 0);
});

test(`nudges, announcements, events and wakes that nobody of ours sent (seed ${SEED})`, async () => {
  const subjects = [
    "job.ctl.room",
    "job.ctl.stop",
    "job.ctl.queued",
    "job.ctl.changed.x",
    "job.ctl.changed.*",
    "job.event.x.completed",
    "job.event.x.y.z",
    "job.wake.nothing",
    "job.wake.*",
    "job.timer.nothing",
    "job.wait.honest.nothing",
    "$SRV.INFO",
  ];
  for (const subject of subjects) for (const body of everything()) system.bus.nc.publish(subject, body);
  system.bus.nc.publish("job.ctl.queued", '{"function":"honest"}');
  await eventually("the wakes are dropped", async () => {
    const { messages } = await readBatch(system.bus, "TIMERS", { filter: "job.wake.>", from: 1, batch: 1 });
    return messages.length === 0;
  });
});

test("a wake that says a number far ahead of its job does not make the job uncountable", async () => {
  const { job_id } = await system.client.submit({
    name: "parked",
    functions: [{ wait_for: "go" }, { name: "honest", args: 1 }],
  });
  const wake = `job.wake.${job_id}`;
  await eventually("it waits outside of memory", () => system.supervisor.liveJobs === 0);
  for (const number of [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1, 2 ** 40]) {
    await system.bus.mux.publish(wake, `${number}`);
    await eventually("the wake is dropped", async () => {
      const { messages } = await readBatch(system.bus, "TIMERS", { filter: wake, from: 1, batch: 1 });
      return messages.length === 0;
    });
  }
  await system.client.signal(job_id, "go");
  assert.is((await system.client.wait(job_id, { timeoutMs: 10_000 })).state, "completed");
});

test(`workers: invocations that are none (seed ${SEED})`, async () => {
  for (const body of everything()) {
    const reply = await system.bus.mux.request("fn.honest", body, 5_000);
    assert.ok(reply.headers?.has("Nats-Service-Error") || reply.data !== undefined);
  }
});

test(`replies and heartbeats of any kind end the attempt or are passed over (seed ${SEED})`, async () => {
  const bodies = everything();
  let next = 0;
  const service = system.bus.nc.subscribe("fn.nonsense", {
    queue: "fn",
    callback: (_, message) => {
      const body = bodies[next % bodies.length] as Buffer;
      const kind = next++ % 4;
      const heads = headers();
      if (kind === 0) heads.set("Async-Status", "heartbeat");
      if (kind === 1) heads.set("Nats-Service-Error-Code", "x".repeat(100));
      if (kind === 2) heads.set("Async-Status", "nonsense");
      message.respond(body, { headers: heads });
      message.respond(body);
      message.respond(body, { headers: heads });
      if (kind === 0) message.respond("null");
    },
  });
  const ids = bodies.map((_, index) => `nonsense-${index}`);
  const job = { name: "nonsense", functions: [{ name: "nonsense" }] };
  for (const [index, jobId] of ids.entries()) {
    await system.client.submit(job, { jobId, encoding: index % 2 ? "msgpack" : "json" });
  }
  for (const id of ids) {
    const ended = await system.client.wait(id, { timeoutMs: 20_000 });
    assert.ok(["completed", "failed"].includes(ended.state));
  }
  service.unsubscribe();
});

test(`stored state that is none: the job has failed and says why (seed ${SEED})`, async () => {
  const wrong: object[] = [
    { job_id: "x" },
    { functions: [] },
    { state: "resting" },
    { current_function: 7 },
    { current_function: -1 },
    { functions: [{ retry_count: 0 }] },
    { token: "1" },
    { state: "failed", finished_at: 1 },
    { state: "waiting", waiting_for: "backoff" },
    { state: "completed" },
    { encoding: "xml" },
    { attempt: 1e300 },
    { created_at: 9e15 },
  ];
  // As a record of the job that it is stored under, but for what is wrong with it; and what is no record at all.
  const states = [
    ...wrong.map((more, index) => packState({ ...VALID, job_id: `stored-${index}`, ...more } as unknown as JobState)),
    ...wrong.map((more) => packr.pack({ ...VALID, ...more })),
    ...everything().filter((body) => body.length > 0),
  ];
  const ids = states.map((_, index) => `stored-${index}`);
  for (const [index, state] of states.entries()) {
    await system.bus.mux.publish(`$KV.jobs.${ids[index]}`, state);
  }
  for (const id of ids) {
    assert.is(await system.client.get(id).catch((error) => error.code), "corrupt_state");
    assert.is(await system.client.cancel(id).catch((error) => error.code), "corrupt_state");
  }
  assert.is((await fetch(`${bridge.url}/v1/job/${ids[0]}`)).status, 409);
  await system.client.list();
  // A wake, or a submission that meets such a state, records the failure.
  for (const [index, id] of ids.entries()) {
    if (index % 2) await system.client.submit({ name: "x", functions: [{ name: "honest" }] }, { jobId: id });
    else system.bus.nc.publish(`job.wake.${id}`, "1");
  }
  for (const id of ids) {
    await eventually("it has failed", async () => {
      const job = await system.client.get(id).catch(() => undefined);
      return job?.error?.code === "corrupt_state";
    });
  }
});

const VALID = {
  job_id: "stored-0",
  name: "x",
  data: null,
  functions: [{ name: "honest", retry_count: 0 }],
  state: "running",
  current_function: 0,
  attempt: 1,
  encoding: "json",
  created_at: 1,
  scheduled_at: 1,
  sequence: 1,
  token: 1,
  version: 1,
  writer: "x",
};

test(`HTTP: every route answers, with a body that says what is wrong (seed ${SEED})`, async () => {
  const send = async (method: string, path: string, type: string, body?: Buffer) => {
    const headers = { "content-type": type };
    const response = await fetch(`${bridge.url}${path}`, {
      method,
      headers,
      ...(body?.length && { body: new Uint8Array(body) }),
    });
    const answer = (await response.json()) as { error?: { code: string } };
    assert.ok(response.status < 500 || response.status === 503, `${method} ${path} answered ${response.status}`);
    if (response.status >= 400) assert.ok(answer.error?.code);
  };
  for (const body of [...BODIES, ...randomBytes().slice(0, 30), ...randomJson().slice(0, 30)]) {
    for (const type of ["application/json", "application/msgpack", "text/plain"]) {
      await send("POST", "/v1/job", type, body);
      await send("POST", "/v1/job/nothing/retry", type, body);
    }
  }
  const paths = ["*", ">", "%00", "%F0%9F%92%A9", "..", "%2e%2e%2f", "a.b", "x".repeat(200), "__proto__", "%", "$KV"];
  for (const path of paths) {
    await send("GET", `/v1/job/${path}`, "application/json");
    await send("DELETE", `/v1/job/${path}`, "application/json");
  }
  const queries = [
    "state=__proto__",
    "limit=1e9",
    "limit=-1",
    "limit=NaN",
    "cursor=%00",
    "cursor=kv-99999999999999999",
    "x=1",
  ];
  for (const query of queries) await send("GET", `/v1/job?${query}`, "application/json");
});

test.run();
