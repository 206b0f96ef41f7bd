/**
 * The border: what strangers send, listeners and handlers of users, and what the server refuses stop nobody. Each test has an
 * innocent job that is done all the same.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Packr } from "msgpackr";
import { headers } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { streamInfo } from "../../src/bus/stream-info.ts";
import { KV_JOBS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { type InvalidInputError, isAsyncError } from "../../src/job/errors.ts";
import { RetryAfter } from "../../src/worker/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { startCli } from "../support/process.ts";
import { System, silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("border");
let system: System;
let raw: Socket;
const troubles: string[] = [];
const disconnects: string[] = [];

test.before(async () => {
  system = await System.start({ heartbeatMs: 300, topology: { ackWaitMs: 2_000 } });
  await system.worker((w) => w.func("honest", ({ args }) => args), { concurrency: 10 });
  system.supervisor.lifecycle.on("trouble", ({ what }) => troubles.push(what));
  void (async () => {
    for await (const { type } of system.bus.nc.status()) if (type === "disconnect") disconnects.push(type);
  })();
  const { port, hostname } = new URL(system.url.replace("nats:", "http:"));
  raw = connect(Number(port), hostname);
  await once(raw, "connect");
  raw.write('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n');
  raw.on("data", (bytes) => bytes.includes("PING\r\n") && raw.write("PONG\r\n"));
});
test.after(async () => {
  raw.destroy();
  await system.close();
});
test.after.each(async () => {
  await honest();
  assert.equal(disconnects, []);
});

/** An innocent job, which is done soon. */
async function honest(client = system.client): Promise<void> {
  const result = await client.run({ name: "honest", functions: [{ name: "honest", args: 7 }] }, { timeoutMs: 10_000 });
  assert.is(result, 7);
}

const end = async (job: Record<string, unknown>, encoding: "json" | "msgpack" = "json") =>
  system.client.wait((await system.client.submit({ name: "x", ...job } as unknown, { encoding })).job_id, {
    timeoutMs: 15_000,
  });

const pub = (subject: string, body: string) => raw.write(`PUB ${subject} ${Buffer.byteLength(body)}\r\n${body}\r\n`);

function hpub(subject: string, body: string, head = "NATS/1.0\r\nbad key: x\r\n\r\n"): void {
  raw.write(`HPUB ${subject} ${head.length} ${head.length + Buffer.byteLength(body)}\r\n${head}${body}\r\n`);
}

// --- messages (A1, A10)

for (const size of [10, 100_000]) {
  test(`a submission of ${size} bytes with headers that cannot be read is a job`, async () => {
    const id = `bad-headers-${size}`;
    hpub(`job.submit.${id}`, JSON.stringify({ name: id, functions: [{ name: "honest", args: "x".repeat(size) }] }));
    const job = await eventually("the job", () => system.client.get(id).catch(() => undefined));
    assert.is((await system.client.wait(job.job_id, { timeoutMs: 10_000 })).state, "completed");
  });
}

test("headers that cannot be read, on every subject that supervisors listen to, stop nobody", async () => {
  for (const subject of ["job.wake.x", "job.get.x", "job.cancel.x", "job.list", "job.ctl.room", "job.ctl.stop"]) {
    hpub(subject, "{}");
  }
  hpub("job.ctl.queued", "nonsense");
  hpub("fn.honest", "{}");
  hpub("$SRV.INFO", "");
  await system.bus.flush();
});

test("a reply and a service's info with headers that cannot be read are read without", async () => {
  const reply = system.bus.nc.subscribe("fn.odd-reply", {
    queue: "fn",
    callback: (_, message) => hpub(message.reply ?? "", '"fine"'),
  });
  const info = system.bus.nc.subscribe("$SRV.INFO", {
    callback: (_, { reply }) => {
      if (!reply) return; // what the test before has sent
      hpub(reply, "{}");
      pub(reply, '{"endpoints":[null,7,{}],"id":7,"name":null,"metadata":"x"}');
    },
  });
  assert.is((await end({ functions: [{ name: "odd-reply" }] })).result, "fine");
  assert.ok((await system.client.workers()).some(({ Capabilities }) => Capabilities.includes("honest")));
  reply.unsubscribe();
  info.unsubscribe();
});

test("a message to a pull inbox that no consumer has sent is ignored", async () => {
  const pulls: string[] = [];
  const watch = system.bus.nc.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", {
    callback: (_, message) => void pulls.push(message.reply ?? ""),
  });
  await system.bus.nc.flush();
  await honest();
  const inbox = await eventually("a pull", () => pulls.at(-1));
  watch.unsubscribe();
  pub(inbox, "forged");
  raw.write(`PUB ${inbox} some.reply 6\r\nforged\r\n`);
  raw.write(`PUB ${inbox} $JS.ACK.x 6\r\nforged\r\n`);
});

test("pulls are not asked for under the prefix of the replies that workers see (A9)", async () => {
  const seen: string[] = [];
  const pulls = system.bus.nc.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", {
    callback: (_, message) => void seen.push(message.reply ?? ""),
  });
  await honest();
  await eventually("a pull", () => seen.length > 0);
  pulls.unsubscribe();
  for (const reply of seen) assert.not(reply.startsWith(system.bus.mux.inboxPrefix), reply);
});

test("a heartbeat in MessagePack with a 64-bit integer harms nothing (A1)", async () => {
  const worker = system.bus.nc.subscribe("fn.big-progress", {
    queue: "fn",
    callback: (_, message) => {
      const heartbeat = headers();
      heartbeat.set("Async-Status", "heartbeat");
      message.respond(new Packr({ useRecords: false }).pack({ done: 2n ** 63n - 1n }), { headers: heartbeat });
      message.respond('"done"');
    },
  });
  assert.is((await end({ functions: [{ name: "big-progress" }] })).result, "done");
  const told = await system.event((event) => event.type === "progress");
  assert.equal((told as { progress?: unknown }).progress, { done: "9223372036854775807" });
  worker.unsubscribe();
});

test("a submission with headers that look like a status of the server is a job like others", async () => {
  const head = "NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 1\r\n\r\n";
  hpub("job.submit.status", JSON.stringify({ name: "status", functions: [{ name: "honest" }] }), head);
  const job = await eventually("the job", () => system.client.get("status").catch(() => undefined));
  // Well before its message would be delivered again.
  assert.is((await system.client.wait(job.job_id, { timeoutMs: 1_500 })).state, "completed");
});

test("a reply with headers of 40,000 names is read in no time to speak of", async () => {
  const names = Array.from({ length: 40_000 }, (_, i) => `${i.toString(36)}:\r\n`).join("");
  const worker = system.bus.nc.subscribe("fn.many-headers", {
    queue: "fn",
    callback: (_, message) => hpub(message.reply ?? "", '"fine"', `NATS/1.0\r\n${names}\r\n`),
  });
  assert.is((await end({ functions: [{ name: "many-headers" }] })).result, "fine"); // the client would take 50 s
  worker.unsubscribe();
});

test("[READ-1] what is stored with headers that say what those of the server say hides nothing else", async () => {
  const heads = [
    "NATS/1.0\r\nbad key: x\r\n\r\n",
    "NATS/1.0 409 Whatever\r\n\r\n",
    "NATS/1.0 404\r\n\r\n",
    "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
    "NATS/1.0\r\nNats-Sequence: 1\r\nNats-Last-Sequence: 0\r\nNats-Subject: $KV.jobs.other\r\nNats-Num-Pending: 0\r\n\r\n",
  ];
  const before = (await system.client.list({ limit: 1_000 })).jobs.length;
  for (const [index, head] of heads.entries()) hpub(`$KV.jobs.head-${index}`, "x", head);
  raw.write("PING\r\n");
  for (const index of heads.keys()) {
    const subject = `$KV.jobs.head-${index}`;
    await eventually(`${subject} is stored`, async () => (await subjectsOf(subject)) > 0);
  }
  await honest();
  assert.is((await system.client.list({ limit: 1_000 })).jobs.length, before + 1);
  assert.is((await system.client.list({ limit: 1, order: "newest" })).jobs[0]?.name, "honest");
  for (const index of heads.keys()) await rejects(system.client.get(`head-${index}`), "corrupt_state");
  const doctor = await startCli(["doctor", "--nats", system.url, "--json"]);
  await doctor.exit();
  assert.match(doctor.output(), "supervisor(s)");
  // Whoever tidies up begins at the first of them.
  for (const index of heads.keys()) system.bus.nc.publish(`$KV.jobs.head-${index}`, "");
});

test("a result as deep as any that is taken is stored, shown and passed on", async () => {
  const deep = JSON.parse("[".repeat(200) + "]".repeat(200));
  const worker = system.bus.nc.subscribe("fn.deep", {
    queue: "fn",
    callback: (_, message) => void message.respond(JSON.stringify(deep)),
  });
  for (const encoding of ["json", "msgpack"] as const) {
    const job = await end({ functions: [{ name: "deep" }, { name: "honest", args: 1 }] }, encoding);
    assert.is(job.state, "completed", job.error?.message ?? "");
    assert.equal(job.functions[0]?.result, deep);
  }
  worker.unsubscribe();
});

// --- listeners of users

test("listeners that throw harm nobody, and are told of", async () => {
  const { lifecycle } = system.supervisor;
  const boom = () => {
    throw new Error("boom");
  };
  const rejects = async () => boom();
  lifecycle.on("job", boom);
  lifecycle.on("released", boom);
  lifecycle.on("claimed", rejects);
  await honest();
  await eventually("nothing in memory", () => system.supervisor.liveJobs === 0);
  for (const event of ["job", "released", "claimed"]) {
    await eventually(event, () => troubles.includes(`a listener of "${event}" failed`));
  }
  lifecycle.off("job", boom);
  lifecycle.off("released", boom);
  lifecycle.off("claimed", rejects);
});

test("onSubmitted and onEvent that throw do not harm their job", async () => {
  const boom = () => {
    throw new Error("boom");
  };
  const faults: string[] = [];
  const stop = system.bus.onFault(({ what }) => faults.push(what));
  const job = { name: "x", functions: [{ name: "honest", args: 1 }] };
  assert.is(await system.client.run(job, { onSubmitted: boom, timeoutMs: 10_000 }), 1);
  const { job_id } = await system.client.submit({ ...job, scheduled_at: new Date(Date.now() + 300).toISOString() });
  assert.is((await system.client.wait(job_id, { onEvent: boom, timeoutMs: 10_000 })).result, 1);
  stop();
});

// --- handlers (A3, A11)

const hostile = new Proxy(
  {},
  {
    get: () => {
      throw new Error("get");
    },
    has: () => {
      throw new Error("has");
    },
    getPrototypeOf: () => {
      throw new Error("getPrototypeOf");
    },
    ownKeys: () => {
      throw new Error("ownKeys");
    },
  },
);
const THEN = "then";
const throwing = Object.defineProperty({}, THEN, {
  enumerable: true,
  get: () => {
    throw new Error("no then");
  },
});
const odd = (name: string, value: unknown) => Object.defineProperty(new Error("well"), name, { value });
const ODD: Record<string, unknown> = {
  hostile,
  prototypeless: Object.create(null),
  message: odd("message", { an: "object" }),
  nothing: odd("message", undefined),
  stack: odd("stack", 7),
  name: odd("name", "n".repeat(3_000_000)),
  symbol: Symbol("s"),
  undefined: undefined,
  delay: new RetryAfter(1n as never),
};

for (const where of ["a process of their own", "the supervisor's process"]) {
  test(`whatever handlers throw or return is answered, in ${where} (A3)`, async () => {
    const prefix = where.startsWith("a") ? "own" : "here";
    const worker = await system.worker(
      (w) =>
        w
          .func(`${prefix}.throws`, ({ args }) => {
            throw ODD[args];
          })
          .func(`${prefix}.rejects`, async ({ args }) => {
            throw ODD[args];
          })
          .func(`${prefix}.proxy`, () => hostile)
          .func(`${prefix}.then`, () => throwing)
          .func(`${prefix}.promise`, async () => hostile)
          .func(`${prefix}.map`, () => ({ a: [new Map([[1, 2]])] }))
          .func(`${prefix}.code`, () => {
            throw { code: "E_NO", message: "no such thing" };
          })
          .func(`${prefix}.cause`, () => {
            throw new TypeError("fetch failed", {
              cause: new AggregateError([new Error("first"), new Error("second")]),
            });
          }),
      { concurrency: 10, ...(prefix === "here" && { bus: system.bus }) },
    );
    const run = async (name: string, args: unknown, encoding: "json" | "msgpack") => {
      const job = await end({ functions: [{ name: `${prefix}.${name}`, args }] }, encoding);
      assert.is(job.state, "failed", name);
      assert.is(job.error?.code, "function_failed", name);
      return job.error?.message ?? "";
    };
    for (const encoding of ["json", "msgpack"] as const) {
      for (const name of ["throws", "rejects"]) for (const kind in ODD) await run(name, kind, encoding);
      for (const name of ["proxy", "then", "promise"]) await run(name, null, encoding);
      assert.match(await run("map", null, encoding), "is a Map");
      assert.match(await run("code", null, encoding), "no such thing [E_NO]");
      assert.match(await run("cause", null, encoding), /fetch failed \(cause:.*first.*second/);
    }
    assert.ok((await system.client.workers()).some(({ ID }) => ID === worker.id)); // it still answers
    await worker.close();
  });
}

// --- what cannot be sent (A4)

test("what cannot be sent of a submission is told with its path, and nothing is sent", async () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  for (const [args, encoding, path, why] of [
    [{ big: [1n] }, "json", "/functions/0/args/big/0", "big integer"],
    [2n ** 70n, "msgpack", "/functions/0/args", "64 bits"],
    [cyclic, "json", "/functions/0/args/self", "circular"],
    [cyclic, "msgpack", "/functions/0/args/self", "circular"],
    [{ "a/b": new Map() }, "json", "/functions/0/args/a~1b", "Map"],
    [new Set([1]), "msgpack", "/functions/0/args", "Set"],
    [[new Response("x")], "json", "/functions/0/args/0", "Response"],
    [new Map().values(), "msgpack", "/functions/0/args", "Map Iterator"],
    [(function* () {})(), "json", "/functions/0/args", "Generator"],
    [new URLSearchParams("a=1"), "json", "/functions/0/args", "URLSearchParams"],
    [new Error("x"), "json", "/functions/0/args", "Error"],
    [hostile, "json", "/functions/0/args", "cannot be read"],
  ] as const) {
    const job = { name: "x", functions: [{ name: "honest", args }] };
    const one = await rejects(system.client.submit(job, { encoding }), "invalid_submission");
    assert.is((one as InvalidInputError).reasons[0]?.path, path);
    assert.match(one.message, why);
    const many = await rejects(system.client.submitMany([job], { encoding }), "invalid_submission");
    assert.is((many as InvalidInputError).reasons[0]?.path, `/0${path}`);
  }
  await rejects(system.client.submit(hostile as unknown), "invalid_submission");
});

test("dates, bytes, empty objects and what says how it is to be shown are sent as before", async () => {
  const args = { date: new Date(0), own: { toJSON: () => [1] }, empty: {}, instance: new (class A {})() };
  const shown = { date: "1970-01-01T00:00:00.000Z", own: [1], empty: {}, instance: {} };
  for (const encoding of ["json", "msgpack"] as const) {
    assert.equal((await end({ functions: [{ name: "honest", args }] }, encoding)).result, shown);
  }
});

test("what JSON would change in silence is refused with its path: NaN, infinite numbers, bytes", async () => {
  const changed: [unknown, RegExp][] = [
    [Number.NaN, /^it is NaN: JSON has none/],
    [{ a: [1, Number.NEGATIVE_INFINITY] }, /^\/a\/1 is -Infinity/],
    [{ bytes: new Uint8Array([1, 2]) }, /^\/bytes is bytes: JSON has none/],
    [{ text: "a\ud800" }, /^\/text has half of a character in it/],
  ];
  const worker = await new Worker()
    .func("changed", ({ args }) => changed[args as number]?.[0])
    .start({ bus: system.bus, log: silent });
  try {
    for (const [index, [value, expected]] of changed.entries()) {
      const { error } = await end({ functions: [{ name: "changed", args: index }] }, "json");
      assert.match(error?.message ?? "", new RegExp(expected.source.replace("^", "")));
      const packed = await end({ functions: [{ name: "changed", args: index }] }, "msgpack");
      const isHalf = /half/.test(expected.source);
      assert.is(packed.state, isHalf ? "failed" : "completed", "MessagePack has the others");
      await rejects(
        system.client.submit({ name: "x", functions: [{ name: "honest", args: value }] }),
        "invalid_submission",
      );
    }
    assert.is((await end({ functions: [{ name: "honest", args: null }] }, "json")).result, null);
  } finally {
    await worker.close();
  }
});

// --- what is decoded (A2, A6, A7)

test("a MessagePack submission with extensions of msgpackr fails, and can be shown, cancelled and listed", async () => {
  const clone = new Packr({ structuredClone: true, useRecords: false, moreTypes: true });
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const values = [cyclic, new Set([1]), new Error("x"), 2n ** 80n, new Date(), /x/, new Float32Array(2)];
  for (const [index, args] of values.entries()) {
    const id = `extension-${index}`;
    const body = clone.pack({ name: "x", functions: [{ name: "honest", args }] });
    // A map in its first byte, as everything that is a job.
    system.bus.nc.publish(`job.submit.${id}`, body);
    const job = await eventually(id, () => system.client.get(id).catch(() => undefined));
    assert.is((await system.client.wait(job.job_id, { timeoutMs: 10_000 })).error?.code, "invalid_submission", id);
    await rejects(system.client.cancel(id), "job_ended");
  }
  const { jobs } = await system.client.list();
  assert.ok(jobs.some(({ job_id }) => job_id === "extension-0"));
});

test("a shell worker serves jobs of both encodings with the same replies (A6)", async () => {
  const replies: [string, unknown][] = [
    ["ok", "ok"],
    ['"ok"', "ok"],
    ["true", true],
    ["3.5", 3.5],
    ["7", 7],
    ["A", "A"],
    ["hello from a shell", "hello from a shell"],
    ["über", "über"],
    ["é", "é"],
    ["[1]", [1]],
    ["", null],
  ];
  const worker = system.bus.nc.subscribe("fn.shell", {
    queue: "fn",
    callback: (_, message) =>
      void message.respond(
        replies[message.string().includes("at-") ? Number(/at-(\d+)/.exec(message.string())?.[1]) : 0]?.[0],
      ),
  });
  for (const encoding of ["json", "msgpack"] as const) {
    for (const [index, [reply, result]] of replies.entries()) {
      const job = await end({ functions: [{ name: "shell", args: `at-${index}` }] }, encoding);
      assert.equal(job.result ?? null, result, `${encoding} ${reply}`);
    }
  }
  worker.unsubscribe();
});

test("small numbers of our own workers, and of those that say what they send, are numbers in MessagePack jobs", async () => {
  const worker = system.bus.nc.subscribe("fn.packed", {
    queue: "fn",
    callback: (_, message) => {
      const type = headers();
      type.set("Content-Type", "application/msgpack");
      message.respond(Uint8Array.of(55), { headers: type });
    },
  });
  assert.is((await end({ functions: [{ name: "packed" }] }, "msgpack")).result, 55);
  for (const args of [0, 9, 32, 55, 65, 126, 127, 128, -1]) {
    assert.is((await end({ functions: [{ name: "honest", args }] }, "msgpack")).result, args);
  }
  worker.unsubscribe();
});

test("numbers arrive exactly as they were sent, or are refused with their digits (A7)", async () => {
  for (const number of ["9007199254740993", "1e999", "-1e999", "1152921504606846976"]) {
    const id = `number-${number.replaceAll(/\W/g, "")}-${number.length}`;
    pub(`job.submit.${id}`, `{"name":"x","functions":[{"name":"honest","args":{"n":${number}}}]}`);
    await eventually(id, () => system.client.get(id).catch(() => undefined));
    const job = await system.client.wait(id, { timeoutMs: 10_000 });
    assert.is(job.error?.code, "invalid_submission", number);
    assert.match(job.error?.message ?? "", number);
  }
  const worker = system.bus.nc.subscribe("fn.exact", {
    queue: "fn",
    callback: (_, message) => void message.respond('{"n":9007199254740993}'),
  });
  for (const encoding of ["json", "msgpack"] as const) {
    const job = await end({ functions: [{ name: "exact" }] }, encoding);
    assert.is(job.error?.name, "InvalidReply");
    assert.match(job.error?.message ?? "", "9007199254740993");
  }
  worker.unsubscribe();
  const args = [9007199254740991, 2 ** 60, 1e300, 0.1, "9007199254740993", 1234567890123456];
  assert.equal((await end({ functions: [{ name: "honest", args }] })).result, args);
  const big = { functions: [{ name: "honest", args: 9007199254740993n }] };
  assert.is((await end(big, "msgpack")).result, "9007199254740993");
});

test("a key __proto__ comes back as it was sent, in both encodings (A2.6)", async () => {
  const args = JSON.parse('{"__proto__":{"a":1},"b":2}');
  for (const encoding of ["json", "msgpack"] as const) {
    const { result } = await end({ functions: [{ name: "honest", args }] }, encoding);
    assert.is(JSON.stringify(result), JSON.stringify(args));
  }
});

// --- a small server, and one with permissions (A5, A8)

test("what a small server does not take is refused, whatever its size, and no connection is lost (A8)", async () => {
  const small = await startTestServer({ extraConfig: "max_payload: 8192" });
  const bus = await testBus(small.url);
  const supervisor = await Supervisor.start(bus);
  const client = new Client(bus);
  let lost = 0;
  void (async () => {
    for await (const { type } of bus.nc.status()) if (type === "disconnect") lost += 1;
  })();
  const worker = new Worker({ url: small.url, log: silent })
    .func("honest", ({ args }) => args)
    .func("large", () => "x".repeat(9_000))
    .func("fails", () => {
      throw Object.assign(new Error("ü".repeat(5_000)), { stack: "s".repeat(20_000) });
    });
  await worker.start();
  const submit = (name: string) => client.run({ name, functions: [{ name }] }, { timeoutMs: 10_000 });
  for (const name of ["large", "fails"]) await rejects(submit(name), "job_failed");
  const big = { name: "big", functions: [{ name: "honest", args: "x".repeat(9_000) }] };
  await rejects(client.submit(big), "payload_too_large");
  await honest(client);
  assert.is(lost, 0);
  await worker.close();
  await supervisor.close();
  await bus.close();
  await small.close();
});

/** How many messages of that subject stream KV_jobs has: what somebody else has written may not be readable in any other way. */
async function subjectsOf(subject: string): Promise<number> {
  const { state } = await streamInfo(system.bus, KV_JOBS, 2_000, { subjects_filter: subject });
  return Object.keys(state?.subjects ?? {}).length;
}

async function rejects(promise: Promise<unknown>, code: string): Promise<Error> {
  let thrown: unknown;
  await promise.catch((error) => {
    thrown = error;
  });
  assert.ok(isAsyncError(thrown), `not refused: ${String(thrown)}`);
  assert.is(thrown.code, code);
  return thrown;
}

const ACCOUNTS = `
authorization {
  users: [
    { user: all, password: x }
    { user: limited, password: x, permissions: {
      publish: { deny: ["job.submit.>", "fn.secret"] }, subscribe: { deny: ["fn.secret", "fn.secret *", "job.event.>"] } } }
    { user: deaf, password: x, permissions: { subscribe: { deny: ["_INBOX_async.>"] } } }
  ]
}`;

test("what the server does not permit is told at once to whoever waits, with the subject (A5)", async () => {
  const server = await startTestServer({ extraConfig: ACCOUNTS });
  const as = (user: string) => testBus(server.url, user, { user, pass: "x" });
  const all = await as("all");
  const supervisor = await Supervisor.start(all);
  const limited = await as("limited");
  const deaf = await as("deaf");
  const begun = performance.now();
  const job = { name: "x", functions: [{ name: "honest", args: 7 }] };
  const error = await rejects(new Client(limited).submit(job), "permission_denied");
  assert.match(error.message, "job.submit.auto-");
  const [outcome] = await new Client(limited).submitMany([job]);
  assert.is(outcome?.error?.code, "permission_denied");
  assert.match((await rejects(new Client(deaf).get("x"), "permission_denied")).message, "_INBOX_async.");
  const worker = new Worker({ log: silent, bus: { url: server.url, client: { user: "limited", pass: "x" } } });
  worker.func("secret", () => 1);
  assert.match((await rejects(worker.start(), "permission_denied")).message, "fn.secret");
  assert.ok(performance.now() - begun < 3_000, "it took long");

  const good = new Worker({ log: silent, bus: { url: server.url, client: { user: "all", pass: "x" } } });
  await good.func("honest", ({ args }) => args).start();
  await honest(new Client(all));
  // Watching is refused as well; the job is looked at instead.
  const { job_id } = await new Client(all).submit(job);
  assert.is((await new Client(limited).wait(job_id, { timeoutMs: 10_000 })).result, 7);
  await good.close();
  await supervisor.close();
  for (const bus of [all, limited, deaf]) await bus.close();
  await server.close();
});

test("a supervisor that may not invoke a function fails its attempts and goes on with others (A5)", async () => {
  const server = await startTestServer({ extraConfig: ACCOUNTS });
  const limited = await testBus(server.url, "limited", { user: "limited", pass: "x" });
  const all = await testBus(server.url, "all", { user: "all", pass: "x" });
  const supervisor = await Supervisor.start(limited);
  const client = new Client(all);
  const worker = new Worker({ log: silent, bus: { url: server.url, client: { user: "all", pass: "x" } } });
  await worker.func("honest", ({ args }) => args).start();
  const { job_id } = await client.submit({ name: "x", functions: [{ name: "secret" }] });
  const job = await client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.error?.name, "PermissionDenied");
  assert.match(job.error?.message ?? "", "fn.secret");
  await honest(client);
  await worker.close();
  await supervisor.close();
  for (const bus of [all, limited]) await bus.close();
  await server.close();
});

test("a connection that ends for good tells why (BUS-3)", async () => {
  const server = await startTestServer();
  const bus = await Bus.open({ url: server.url, name: "lost" });
  const lost = new Promise<Error>((resolve) => bus.onLost(resolve));
  const { protocol } = bus.nc as unknown as { protocol: { close(error: Error): Promise<void> } };
  await protocol.close(new Error("no more"));
  assert.match((await lost).message, "no more");
  assert.ok(bus.closed);
  await bus.close();
  await server.close();
});

test.run();
