/** Answers are true: about ids that exist, jobs that nobody has taken yet, lists, what waits. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import type { ErrorReply, FunctionDepth, ListReply } from "../../src/api/requests.ts";
import { Bus } from "../../src/bus/connection.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { StateName } from "../../src/job/state.ts";
import type { JobView } from "../../src/job/view.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("answers");
let system: System;
let bridge: Bridge;

test.before(async () => {
  system = await System.start({ parkAfterMs: 500 });
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker((w) => w.func("echo", ({ args }) => args).func("other", () => "other"), { concurrency: 20 });
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

const echo = (args: unknown) => ({ name: "first", functions: [{ name: "echo", args }] });
/** Its one job stays in memory. */
const FULL_AT_ONCE = { maxLiveJobs: 1, roomWaitMs: 600_000, relieveAfterMs: 600_000 };

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );

async function post(body: object) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${bridge.url}/v1/job`, { method: "POST", headers, body: JSON.stringify(body) });
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into bodies of many shapes
  return (await response.json()) as any;
}

// --- an id that exists

test("a submission under an id that exists is answered with the job that has it, and what differs", async () => {
  const first = await system.client.submit(echo({ a: 1, b: [2] }), { jobId: "taken" });
  assert.not.ok("existing" in first, "it is new");
  await system.client.wait("taken", { timeoutMs: 5_000 });
  const same = await system.client.submit(
    { name: "first", data: "new data", functions: [{ args: { b: [2], a: 1 }, name: "echo" }] },
    { jobId: "taken" },
  );
  assert.is(same.existing, true);
  assert.is(same.differs, undefined);
  assert.is(same.state, "completed");
  assert.is(same.data, null, "as it is, not as it was submitted now");
  const other = await post({ job_id: "taken", name: "second", functions: [{ name: "other" }] });
  assert.is(other.existing, true);
  assert.equal(other.differs, ["name", "functions"]);
  assert.is(other.name, "first");
  assert.not.ok("existing" in (await system.client.get("taken")), "it is a field of the answer, not of the job");
});

test("the command says that the job existed", async () => {
  await system.client.submit(echo(1), { jobId: "by-command" });
  const cli = await startCli(["submit", "-", "--id", "by-command", "--nats", system.url]);
  cli.child.stdin?.end(JSON.stringify({ name: "changed", functions: [{ name: "echo", args: 1 }] }));
  assert.is(await cli.exit(), 0);
  assert.match(cli.output(), "exists already");
  assert.match(cli.output(), "differs in its name from");
});

test("run returns the result of the job that has the id, but not of another one", async () => {
  const definition = { name: "first", functions: [{ name: "echo", args: "mine" }] };
  assert.is(await system.client.run(definition, { jobId: "ran", timeoutMs: 5_000 }), "mine");
  assert.is(await system.client.run(definition, { jobId: "ran", timeoutMs: 5_000 }), "mine");
  const other = { name: "first", functions: [{ name: "other" }] };
  assert.is(await code(system.client.run(other, { jobId: "ran", timeoutMs: 5_000 })), "job_exists");
});

test("of two that submit an id at once one is told that it exists", async () => {
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(
      ["one", "two"].map((name) => system.client.submit({ ...echo(1), name }, { jobId: `race-${round}` })),
    );
    const found = (await system.client.get(`race-${round}`)).name;
    assert.is(answers.filter((one) => one.existing).length, 1);
    assert.equal(answers.find((one) => one.existing)?.differs, ["name"]);
    assert.ok(answers.every((one) => one.name === found));
  }
});

test("also while no supervisor has room for either, and where nobody can be asked that is said", async () => {
  const full = await System.start(FULL_AT_ONCE);
  try {
    await full.client.submit({ name: "fills", functions: [{ name: "nobody" }] }, { jobId: "fills" });
    assert.not.ok("existing" in (await full.client.submit(echo(1), { jobId: "waits" })));
    const again = await full.client.submit({ ...echo(1), name: "late" }, { jobId: "waits" });
    assert.equal(again.differs, ["name"]);
    await full.supervisor.close({ graceMs: 0 });
    const alone = await within(5_000, "an answer", full.client.submit(echo(1), { jobId: "alone" }));
    assert.is(alone.unconfirmed, true);
  } finally {
    await full.close();
  }
});

// --- a job that nobody has taken yet, and ids that cannot be

const raw = (subject: string, body: unknown) => system.bus.mux.publish(subject, JSON.stringify(body));

test("a job whose id is in the body only is found, waited for and cancelled before a supervisor has room for it", async () => {
  const full = await System.start(FULL_AT_ONCE);
  try {
    const submit = (body: object) => full.bus.mux.publish("job.submit", JSON.stringify(body));
    await full.client.submit({ name: "fills", functions: [{ name: "nobody" }] }, { jobId: "fills" });
    await eventually("it is full", () => full.supervisor.liveJobs === 1);
    for (let i = 0; i < 50; i++) await submit({ ...echo(i), job_id: `other-${i}` });
    await submit({ ...echo("wanted"), job_id: "in-body" });
    const found = await full.client.get("in-body");
    assert.equal([found.state, found.functions[0]?.args], ["pending", "wanted"]);
    const waiting = full.client.wait("in-body", { timeoutMs: 10_000 });
    assert.is((await full.client.cancel("in-body")).state, "cancelled");
    assert.is((await waiting).state, "cancelled");
    const missing = await full.client.get("in-no-body").catch((error) => error);
    assert.is(missing.code, "job_not_found");
    assert.match(missing.message, "when a supervisor has taken it");
  } finally {
    await full.close();
  }
});

test("a bad id is recorded under the sequence, and asking for one is a bad request", async () => {
  const inBody = await raw("job.submit", { ...echo(1), job_id: "not an id" });
  const failed = await eventually("it has failed", async () => {
    const job = await system.client.get(`seq-${inBody}`);
    return job.state === "failed" ? job : undefined;
  });
  assert.match(failed.error?.message ?? "", "job_id");
  const inSubject = await raw("job.submit.not.an-id", echo(1));
  await eventually("it is rejected", () => system.events.some(({ job_id }) => job_id === `seq-${inSubject}`));
  await eventually("that is recorded", async () => {
    return (await code(system.client.get(`seq-${inSubject}`))) === "invalid_job_id";
  });
  for (const request of [
    "job.get.not.an-id",
    "job.cancel.not.an-id",
    "job.retry.not.an-id",
    "job.explain.not.an-id",
    "job.signal.not-an-$id.x",
  ]) {
    const reply = await system.bus.mux.request(request, "", 2_000);
    assert.is(reply.headers?.get("Nats-Service-Error-Code"), "400", request);
  }
});

// --- a retry that is repeated

test("a second retry that asks for something else is refused, one that asks for the same is a repetition", async () => {
  for (const encoding of ["json", "msgpack"] as const) {
    const jobId = `retried-${encoding}`;
    await system.client.submit(
      { name: "retried", functions: [{ name: "echo" }, { name: "unserved" }] },
      { jobId, encoding },
    );
    await eventually("its first function is done", async () => (await system.client.get(jobId)).current_function === 1);
    await system.client.cancel(jobId);
    const patch = { data: { b: 1, a: [1] }, args: "new" };
    await system.client.retry(jobId, patch);
    const again = await system.client.retry(jobId, { data: { a: [1], b: 1 }, args: "new" });
    assert.equal(again.data, patch.data);
    for (const other of [{ data: "other", args: "new" }, { ...patch, args: "other" }, { args: null }]) {
      assert.is(await code(system.client.retry(jobId, other)), "job_not_ended", JSON.stringify(other));
    }
    const found = await system.client.get(jobId);
    assert.equal([found.data, found.functions[1]?.args], [patch.data, "new"]);
    await system.client.cancel(jobId);
  }
});

// --- lists

/** All pages over the request API. */
async function pages(of: System, request: object): Promise<{ ids: string[]; sizes: number[]; truncated: string[] }> {
  const found = { ids: [] as string[], sizes: [] as number[], truncated: [] as string[] };
  for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
    const body = JSON.stringify({ ...request, ...(cursor !== undefined && { cursor }) });
    const reply = await of.bus.mux.request("job.list", body, 5_000);
    assert.is(reply.headers?.get("Nats-Service-Error") || "", "");
    const page = reply.json<ListReply>();
    for (const job of page.jobs) {
      found.ids.push(job.job_id);
      if (job.truncated) found.truncated.push(job.job_id);
    }
    found.sizes.push(reply.data.length);
    cursor = page.next;
    assert.ok(found.sizes.length < 1_000, "it comes to an end");
  }
  return found;
}

test("the newest jobs come first where they are asked for, over pages of every size", async () => {
  const own = await System.start(FULL_AT_ONCE);
  try {
    let release = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    await own.worker((w) => w.func("echo", ({ args }) => args).func("held", () => released));
    const ids = Array.from({ length: 23 }, (_, i) => `job-${i}`);
    for (const jobId of ids) {
      await own.client.submit(echo(1), { jobId });
      await own.client.wait(jobId, { timeoutMs: 5_000 });
    }
    const completed = await own.client.list({ order: "newest", state: "completed" });
    assert.equal(
      completed.jobs.map(({ job_id }) => job_id),
      ids.toReversed(),
    );
    await own.client.submit({ name: "x", functions: [{ name: "held" }] }, { jobId: "fills" });
    // Then it changes no more, and has the only place in memory.
    await eventually("its start is stored", async () => (await own.client.get("fills")).state === "running");
    for (let i = 0; i < 5; i++) await own.client.submit(echo(1), { jobId: `waits-${i}` });
    const newest = [...[4, 3, 2, 1, 0].map((i) => `waits-${i}`), "fills", ...ids.toReversed()];
    for (const limit of [1, 2, 10, 1_000]) {
      assert.equal((await pages(own, { limit, order: "newest" })).ids, newest, `pages of ${limit}`);
    }
    const { jobs, next } = await own.client.list({ order: "newest", limit: 3 });
    assert.equal(
      jobs.map(({ job_id }) => job_id),
      newest.slice(0, 3),
    );
    const cli = await startCli(["list", "--limit", "3", "--cursor", next ?? "", "--nats", own.url]);
    assert.is(await cli.exit(), 0);
    for (const id of newest.slice(3, 6)) assert.match(cli.output(), new RegExp(`^${id}\\b`, "m"));
    const other = await startBridge({ client: own.client, port: 0 });
    const shown = (await (await fetch(`${other.url}/v1/job?order=newest&limit=2`)).json()) as { Jobs: JobView[] };
    assert.equal(
      shown.Jobs.map(({ job_id }) => job_id),
      newest.slice(0, 2),
    );
    assert.is((await fetch(`${other.url}/v1/job?order=sideways`)).status, 400);
    await other.close();
    release();
  } finally {
    await own.close();
  }
});

test("pages are measured in bytes before a job is added, and a job that fits into none is shown without its payloads", async () => {
  const own = await System.start();
  try {
    await own.worker((w) => w.func("echo", () => 1));
    const job = (data: unknown) => ({ name: "large", data, functions: [{ name: "echo" }] });
    await own.client.submit(job("x".repeat(500_000)), { jobId: "half" });
    await own.client.submit(job("x".repeat(700_000)), { jobId: "more" });
    // Bytes of MessagePack are base64 in JSON, so this fits into a message, but not into an answer.
    await own.client.submit(job(Buffer.alloc(900_000)), { jobId: "too-large", encoding: "msgpack" });
    const many = Array.from({ length: 100 }, (_, i) => `chinese-${i}`);
    await own.client.submitMany(many.map((job_id) => ({ ...job("你".repeat(5_000)), job_id })));
    const ids = ["half", "more", "too-large", ...many];
    for (const id of ids.filter((one) => one !== "too-large")) await own.client.wait(id, { timeoutMs: 20_000 });
    await eventually("all are done", () => own.supervisor.liveJobs === 0);
    for (const order of ["oldest", "newest"]) {
      const found = await pages(own, { order });
      assert.equal(found.ids.toSorted(), ids.toSorted(), order);
      assert.equal(found.truncated, ["too-large"], order);
      assert.ok(Math.max(...found.sizes) <= 1024 ** 2);
    }
  } finally {
    await own.close();
  }
});

test("one listing names each job once, however much happens meanwhile", async () => {
  const own = await System.start();
  try {
    await own.worker((w) => w.func("echo", () => 1), { concurrency: 50 });
    const chain = { name: "busy", functions: Array.from({ length: 5 }, () => ({ name: "echo" })) };
    let isOver = false;
    const load = (async () => {
      while (!isOver) {
        await own.client.submitMany(Array.from({ length: 50 }, () => chain));
        await delay(20);
      }
    })();
    await delay(500);
    for (let i = 0; i < 3; i++) {
      const ids = (await own.client.list({ limit: 2_000 })).jobs.map(({ job_id }) => job_id);
      assert.is(new Set(ids).size, ids.length);
    }
    isOver = true;
    await load;
  } finally {
    await own.close();
  }
});

test("a filtered list looks at a limited number of jobs, a few at a time, and leaves the event loop to others", async () => {
  const own = await System.start();
  try {
    await own.worker((w) => w.func("echo", () => 1), { concurrency: 50 });
    const count = 5_000;
    await own.client.submitMany(Array.from({ length: count }, (_, i) => ({ ...echo(i), job_id: `done-${i}` })));
    await eventually("all are done", () => own.told("done-0").length > 0 && own.supervisor.liveJobs === 0, 30_000);
    const ask = () => own.bus.mux.request("job.list", '{"state":"running"}', 5_000);
    const first = await ask();
    assert.ok(first.json<ListReply>().next, "it has not looked at all of them");
    const many = await Promise.all(Array.from({ length: 20 }, ask));
    const refused = many.filter((reply) => reply.headers?.get("Nats-Service-Error-Code") === "503");
    assert.ok(refused.length >= 10, `${refused.length} of 20 at once are refused`);
    assert.is(refused[0]?.json<ErrorReply>().code, "bus_overloaded");
    const listed = await own.client.list({ state: "running" });
    assert.equal(listed, { jobs: [] }, "our client goes on by itself");
    // The asker that waits for 1 ms has gone after the first batch.
    const short = await own.bus.mux.request("job.list", '{"state":"running","timeout_ms":1}', 5_000);
    const reached = Number(short.json<ListReply>().next?.split("-")[1]);
    assert.ok(reached > 0 && reached < Number(first.json<ListReply>().next?.split("-")[1]));
  } finally {
    await own.close();
  }
});

// --- what waits for a worker

test("a job is running only while a worker has it, else it waits for one, and filters agree", async () => {
  const own = await System.start({ roomWaitMs: 600_000 });
  try {
    let release = () => {};
    const holding = new Promise<void>((resolve) => {
      release = resolve;
    });
    await own.worker((w) => w.func("quick", () => 1), { concurrency: 20 });
    await own.worker((w) => w.func("slow", () => holding), { concurrency: 3 });
    const jobs = Array.from({ length: 20 }, () => ({
      name: "chain",
      functions: [{ name: "quick" }, { name: "slow" }],
    }));
    const chains = (await own.client.submitMany(jobs)).map(({ job_id }) => job_id);
    const singles = (await own.client.submitMany(jobs.map(() => ({ name: "one", functions: [{ name: "slow" }] })))).map(
      ({ job_id }) => job_id,
    );
    const ids = async (state: StateName) => (await own.client.list({ state })).jobs.map(({ job_id }) => job_id);
    const waits = async (id: string) => {
      const job = await own.client.get(id);
      return job.state === "waiting" && job.waiting_for === "worker";
    };
    await eventually("three run and the others wait", async () => {
      return (await ids("running")).length === 3 && (await ids("waiting")).length === 37;
    });
    assert.equal(await ids("pending"), []);
    const running = await ids("running");
    for (const id of [...chains, ...singles]) {
      if (running.includes(id)) assert.is((await own.client.get(id)).state, "running");
      else assert.ok(await waits(id));
    }
    release();
    for (const id of [...chains, ...singles]) await own.client.wait(id, { timeoutMs: 10_000 });
    assert.equal([await ids("running"), await ids("waiting")], [[], []]);
  } finally {
    await own.close();
  }
});

test("what waits for each function is told with its age, over all supervisors and in the backlog", async () => {
  const own = await System.start({ roomWaitMs: 600_000 });
  const otherBus = await Bus.open({ url: own.url, name: "second" });
  const second = await Supervisor.start(otherBus, { roomWaitMs: 600_000 });
  let patient: Supervisor | undefined;
  try {
    let release = () => {};
    const holding = new Promise<void>((resolve) => {
      release = resolve;
    });
    await own.worker((w) => w.func("slow.one", () => holding).func("idle", () => 1), { concurrency: 3 });
    const jobs = (name: string, count: number) =>
      own.client.submitMany(Array.from({ length: count }, () => ({ name, functions: [{ name }] })));
    await jobs("slow.one", 20);
    await jobs("unserved", 2);
    const found = await eventually("all of them wait", async () => {
      const { functions } = await own.client.functions();
      const slow = functions.find(({ name }) => name === "slow.one");
      const isSettled = slow?.waiting === 17 && functions.find(({ name }) => name === "unserved")?.waiting === 2;
      return isSettled && (slow.oldest_ms ?? 0) > 100 ? functions : undefined;
    });
    const withoutAge = found.map(({ oldest_ms: _, ...rest }) => rest);
    assert.equal(withoutAge.slice(0, 3), [
      { name: "slow.one", waiting: 17, in_flight: 3, workers: 1, slots: 3 },
      { name: "unserved", waiting: 2, in_flight: 0, workers: 0, slots: 0, unserved: true },
      { name: "idle", waiting: 0, in_flight: 0, workers: 1, slots: 3 },
    ]);
    assert.not.ok("oldest_ms" in (found[2] ?? {}));
    // The backlog counts as well: two supervisors go, the third one sends its jobs there at once.
    await second.close({ graceMs: 0 });
    await own.supervisor.close({ graceMs: 0 });
    patient = await Supervisor.start(own.bus, { roomWaitMs: 100 });
    const unserved = await eventually(
      "they are in the backlog",
      async () => {
        const { state } = (await readBatch(own.bus, "TIMERS", { filter: "job.wait.unserved.*", from: 1, batch: 2 }))
          .messages.length
          ? { state: "waits" }
          : { state: "not yet" };
        const { functions } = await own.client.functions();
        const depth = functions.find(({ name }) => name === "unserved");
        return state === "waits" && depth?.waiting === 2 ? depth : undefined;
      },
      30_000,
    );
    assert.type(unserved.oldest_ms, "number");
    const other = await startBridge({ client: own.client, port: 0 });
    const shown = (await (await fetch(`${other.url}/v1/function`)).json()) as FunctionsBody;
    assert.is(shown.Count, shown.Functions.length);
    assert.ok(shown.Functions.some(({ name, slots }) => name === "slow.one" && slots === 3));
    await other.close();
    const cli = await startCli(["functions", "--nats", own.url]);
    assert.is(await cli.exit(), 0);
    assert.match(cli.output(), /^FUNCTION +WAITING +OLDEST/m);
    release();
  } finally {
    await patient?.close({ graceMs: 0 });
    await second.close({ graceMs: 0 });
    await otherBus.close();
    await own.close();
  }
});

interface FunctionsBody {
  Count: number;
  Functions: FunctionDepth[];
}

test("whoever listens to questions may answer them, with anything: that is an error with a code, or the other answer", async () => {
  const own = await startTestServer();
  const bus = await testBus(own.url);
  const client = new Client(bus);
  const bodies = [
    '{"jobs":5}',
    '{"jobs":[null]}',
    '{"events":7}',
    '{"functions":null}',
    '{"functions":5}',
    '{"state":"waiting","entries":[null]}',
    "{}",
    "[]",
    "null",
  ];
  bodies.push('{"existing":true}', '{"existing":true,"functions":5}', '{"jobs":[],"events":[],"next":5}');
  const bridge = await startBridge({ client, port: 0 });
  try {
    await ensureTopology(bus);
    for (const body of bodies) {
      const liars = [
        "job.list",
        "job.get.*",
        "job.events.*",
        "job.explain.*",
        "function.*",
        "definition.*",
        "job.cancel.*",
        "job.retry.*",
        "job.signal.*.*",
      ].map((subject) => bus.nc.subscribe(subject, { callback: (_, message) => void message.respond(body) }));
      const job = { name: "x", functions: [{ name: "x" }] };
      const asked: Promise<unknown>[] = [
        client.get("x"),
        client.cancel("x"),
        client.retry("x"),
        client.signal("x", "y"),
        client.functions(),
        client.list(),
      ];
      asked.push(
        client.events("x"),
        client.explain("x"),
        client.submit(job, { jobId: "x" }),
        client.run(job, { jobId: "y", timeoutMs: 200 }),
        client.submit({ name: "x" }, { timeoutMs: 200 }),
        client.define(job),
        client.definition("x"),
        client.definitions(),
        client.removeDefinition("x"),
        client.functionSettings("x"),
        client.setFunction("x", { retry_limit: 2 }),
      );
      for (const outcome of await Promise.allSettled<unknown>(asked)) {
        if (outcome.status === "rejected") assert.ok(isAsyncError(outcome.reason), `${body}: ${outcome.reason}`);
      }
      for (const path of ["/v1/job", "/v1/job/x", "/v1/function", "/v1/job/x/events", "/v1/job/x/explain"]) {
        assert.is.not((await fetch(`${bridge.url}${path}`)).status, 500, `${path}: ${body}`);
      }
      for (const liar of liars) liar.unsubscribe();
    }
  } finally {
    await bridge.close();
    await bus.close();
    await own.close();
  }
});

// --- supervisors of several versions

test("a retry that an older supervisor does not understand is asked for again, as another one may", async () => {
  const mixed = await System.start("without supervisor");
  try {
    const answers = [
      { code: "invalid_request", message: "from is not a known field; there are data and args" },
      { job_id: "mixed", state: "pending", functions: [] },
    ];
    const asked: unknown[] = [];
    mixed.bus.nc.subscribe("job.retry.mixed", {
      callback: (_error, message) => {
        asked.push(message.json());
        const answer = answers[Math.min(asked.length, answers.length) - 1] ?? {};
        const refusal = { "Nats-Service-Error": "refused", "Nats-Service-Error-Code": "400" };
        message.respond(JSON.stringify(answer), "code" in answer ? { headers: headersOf(refusal) } : {});
      },
    });
    assert.is((await mixed.client.retry("mixed", { from: "b" })).state, "pending");
    assert.equal(asked, [{ from: "b" }, { from: "b" }]);
    answers.pop();
    assert.is(await code(mixed.client.retry("mixed", { from: "b" })), "newer_format");
  } finally {
    await mixed.close();
  }
});

test("a retry that runs entries again is asked for once where no answer comes, any other one again", async () => {
  const silent = await System.start("without supervisor");
  try {
    const asked: unknown[] = [];
    silent.bus.nc.subscribe("job.retry.unheard", { callback: (_error, message) => void asked.push(message.json()) });
    assert.is(await code(silent.client.retry("unheard", { from: "b" })), "bus_timeout");
    assert.is(await code(silent.client.retry("unheard", { failed: true })), "bus_timeout");
    assert.equal(asked, [{ from: "b" }, { failed: true }]);
    assert.is(await code(silent.client.retry("unheard")), "bus_timeout");
    assert.ok(asked.length > 3, "it is asked for again");
  } finally {
    await silent.close();
  }
});

test.run();
