/** Jobs from submission to end, through a real server and real workers. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { AsyncError } from "../../src/job/errors.ts";
import type { JobState } from "../../src/job/state.ts";
import { System, seedJob } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("supervisor");
let system: System;
/** Jobs that the supervisor has begun. */
const claimed = new Set<string>();
/** How often each function of the original's worker has run, by job id. */
const runs = new Map<string, string[]>();

const ran = (jobId: string, what: string) => runs.set(jobId, [...(runs.get(jobId) ?? []), what]);

test.before(async () => {
  system = await System.start({ parkAfterMs: 2_000, roomWaitMs: 1_000 });
  system.supervisor.lifecycle.on("claimed", (jobId) => claimed.add(jobId));
  for (let i = 0; i < 2; i++) {
    await system.worker((worker) =>
      worker
        .func("/v1/test-1", async ({ jobId }) => {
          ran(jobId, "test-1");
          await delay(150);
        })
        .func("/v1/test-2", ({ jobId }) => ran(jobId, "test-2") && "two")
        .func("/v1/say-hello-world", ({ jobId }) => void ran(jobId, "hello"))
        .func("/v1/test-fail", async ({ jobId }) => {
          ran(jobId, "test-fail");
          await delay(20);
          throw new Error("it fails");
        })
        .func("sum", ({ args }) => args.reduce((a: number, b: number) => a + b, 0))
        .func("seen", ({ args, data, results, attempt, jobName }) => ({ args, data, results, attempt, jobName })),
    );
  }
});
test.after(() => system.close());

type Route = (job: Record<string, unknown>, jobId: string) => Promise<string>;

const published =
  (encoding: Encoding): Route =>
  async (job, jobId) => {
    await system.bus.mux.publish(`job.submit.${jobId}`, encode(job, encoding));
    return jobId;
  };

const routes: Record<string, Route> = {
  "a publish of JSON to job.submit": async (job) => {
    const sequence = await system.bus.mux.publish("job.submit", JSON.stringify(job));
    return `seq-${sequence}`;
  },
  "a publish of JSON to job.submit.<id>": published("json"),
  "a publish of MessagePack to job.submit.<id>": published("msgpack"),
  "the client": async (job, jobId) => (await system.client.submit(job as unknown, { jobId })).job_id,
};

const fast = { backoff: { type: "fixed" as const, delay_ms: 30, jitter: 0 } };

/** The job with a short backoff, so that the tests need not wait for the default one. */
async function hasty(name: "job_chain" | "job_retry" | "test") {
  const job = await seedJob(name);
  const functions = job.functions as { retry_options?: object }[];
  for (const fn of functions) if (fn.retry_options) fn.retry_options = { ...fn.retry_options, ...fast };
  return job;
}

Object.entries(routes).forEach(([route, submit], index) => {
  test(`job_chain.json through ${route}: every function runs once, in order`, async () => {
    const jobId = await submit(await hasty("job_chain"), `chain-${index}`);
    const job = await system.client.wait(jobId, { timeoutMs: 10_000 });
    assert.is(job.state, "completed");
    assert.is(job.current_function, 2);
    assert.equal(
      job.functions.map((fn) => fn.retry_count),
      [1, 1, 1],
    );
    assert.equal(runs.get(jobId), ["test-1", "test-2", "hello"]);
  });

  test(`job_retry.json through ${route}: failed after exactly three executions`, async () => {
    const jobId = await submit(await hasty("job_retry"), `retry-${index}`);
    const job = await system.client.wait(jobId, { timeoutMs: 10_000 });
    assert.is(job.state, "failed");
    assert.is(job.error?.code, "function_failed");
    assert.is(job.error?.message, "it fails");
    assert.is(job.functions[0]?.retry_count, 3);
    assert.equal(runs.get(jobId), ["test-fail", "test-fail", "test-fail"]);
  });

  test(`test.json through ${route}: fails at its second function, the third is never run`, async () => {
    const jobId = await submit(await hasty("test"), `test-${index}`);
    const job = await system.client.wait(jobId, { timeoutMs: 10_000 });
    assert.is(job.state, "failed");
    assert.is(job.current_function, 1);
    assert.equal(
      job.functions.map((fn) => fn.retry_count),
      [1, 3, 0],
    );
    assert.equal(runs.get(jobId), ["test-1", "test-fail", "test-fail", "test-fail"]);
  });
});

test("between attempts there is the backoff", async () => {
  const backoff = { type: "exponential" as const, delay_ms: 100, factor: 3, jitter: 0 };
  const functions = [{ name: "/v1/test-fail", retry_options: { retry_limit: 3, backoff } }];
  const { job_id } = await system.client.submit({ name: "backoff", functions });
  await system.client.wait(job_id, { timeoutMs: 10_000 });
  const waits = system.events
    .filter((event) => event.job_id === job_id && event.type === "retrying")
    .map((event) => Date.parse((event as { due_at: string }).due_at) - Date.parse(event.at));
  assert.equal(waits, [100, 300]);
});

for (const encoding of ["json", "msgpack"] as const) {
  test(`args, data and results reach the functions of a job in ${encoding}`, async () => {
    const functions = [
      { name: "sum", args: [1, 2, 3] },
      { name: "seen", args: { deep: [null, "x"] } },
      { name: "seen" },
    ];
    const { job_id } = await system.client.submit({ name: "args", data: { shared: true }, functions }, { encoding });
    const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
    const second = { args: { deep: [null, "x"] }, data: { shared: true }, results: [6], attempt: 1, jobName: "args" };
    assert.is(job.state, "completed");
    assert.equal(job.functions[1]?.result, second);
    assert.equal(job.result, { args: null, data: { shared: true }, results: [6, second], attempt: 1, jobName: "args" });
  });
}

test("a job in MessagePack is invoked in MessagePack, one in JSON in JSON", async () => {
  const firstBytes: number[] = [];
  const plain = system.bus.nc.subscribe("fn.raw", {
    queue: "fn",
    callback: (_, message) => {
      firstBytes.push(message.data[0] ?? 0);
      message.respond(
        encode({ got: (decode(message.data) as { data: unknown }).data }, firstBytes.length === 1 ? "msgpack" : "json"),
      );
    },
  });
  const job = { name: "raw", data: { bytes: new Uint8Array([1, 2, 255]) }, functions: [{ name: "raw" }] };
  const packed = await system.client.submit(job, { encoding: "msgpack" });
  assert.equal((await system.client.wait(packed.job_id, { timeoutMs: 5_000 })).result, { got: { bytes: "AQL/" } });
  const text = await system.client.submit({ ...job, data: 1 });
  assert.equal((await system.client.wait(text.job_id, { timeoutMs: 5_000 })).result, { got: 1 });
  assert.ok((firstBytes[0] ?? 0) >= 0x80);
  assert.is(firstBytes[1], "{".charCodeAt(0));
  plain.unsubscribe();
});

test("a subscription in queue group fn that replies plain JSON is a worker", async () => {
  const replies = ['{"answer":42}', "", "just text", '"quoted"'];
  const plain = system.bus.nc.subscribe("fn.plain", {
    queue: "fn",
    callback: (_, message) => void message.respond(replies.shift()),
  });
  const functions = [1, 2, 3, 4].map(() => ({ name: "plain" }));
  const { job_id } = await system.client.submit({ name: "plain", functions });
  const job = await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.equal(
    job.functions.map((fn) => fn.result),
    [{ answer: 42 }, null, "just text", "quoted"],
  );
  plain.unsubscribe();
});

test("a plain worker that replies the service error headers fails the attempt", async () => {
  const { headers } = await import("nats");
  const plain = system.bus.nc.subscribe("fn.broken", {
    queue: "fn",
    callback: (_, message) => {
      const error = headers();
      error.set("Nats-Service-Error-Code", "500");
      error.set("Nats-Service-Error", "out of order");
      message.respond("", { headers: error });
    },
  });
  const { job_id } = await system.client.submit({ name: "broken", functions: [{ name: "broken" }] });
  const job = await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.is(job.state, "failed");
  assert.is(job.error?.message, "out of order");
  assert.is(job.functions[0]?.retry_count, 1);
  plain.unsubscribe();
});

test("without a worker the job waits, uses up no retry, and starts when a worker joins", async () => {
  const { job_id } = await system.client.submit({ name: "early", functions: [{ name: "joins-later" }] });
  await eventually("it is begun", () => claimed.has(job_id));
  await delay(400);
  const waiting = await system.client.get(job_id);
  assert.is(waiting.finished_at, undefined);
  assert.is(waiting.functions[0]?.retry_count, 0);
  const worker = await system.worker((w) => w.func("joins-later", () => "here"));
  const job = await system.client.wait(job_id, { timeoutMs: 1_000 });
  assert.is(job.result, "here");
  assert.is(job.functions[0]?.retry_count, 1);
  await worker.close();
});

test("a plain worker that joins is found within a second, though it announces nothing", async () => {
  const { job_id } = await system.client.submit({ name: "early", functions: [{ name: "plain-later" }] });
  await eventually("it is begun", () => claimed.has(job_id));
  const plain = system.bus.nc.subscribe("fn.plain-later", {
    queue: "fn",
    callback: (_, message) => void message.respond('"ok"'),
  });
  assert.is((await system.client.wait(job_id, { timeoutMs: 1_000 })).result, "ok");
  plain.unsubscribe();
});

test("a job that finds no worker for long leaves memory and comes back by its timer", async () => {
  const { job_id } = await system.client.submit({ name: "parked", functions: [{ name: "much-later" }] });
  await system.event((event) => event.job_id === job_id && event.type === "waiting");
  const parked = await system.client.get(job_id);
  assert.is(parked.state, "waiting");
  assert.is(parked.waiting_for, "worker");
  assert.is(parked.functions[0]?.retry_count, 0);
  const worker = await system.worker((w) => w.func("much-later", () => 1));
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.state, "completed");
  assert.is(job.functions[0]?.retry_count, 1);
  await worker.close();
});

test("a function without workers does not hold up another", async () => {
  const stuck = await Promise.all(
    Array.from({ length: 200 }, () => system.client.submit({ name: "stuck", functions: [{ name: "nobody" }] })),
  );
  const { job_id } = await system.client.submit({ name: "free", functions: [{ name: "sum", args: [1] }] });
  assert.is((await system.client.wait(job_id, { timeoutMs: 5_000 })).state, "completed");
  const worker = await system.worker((w) => w.func("nobody", () => 0), { concurrency: 50 });
  for (const { job_id: id } of stuck) await system.client.wait(id, { timeoutMs: 15_000 });
  await worker.close();
});

test("a backoff longer than the border is spent outside of memory", async () => {
  const backoff = { type: "fixed" as const, delay_ms: 2_500, jitter: 0 };
  let attempts = 0;
  const worker = await system.worker((w) =>
    w.func("second-time", () => {
      attempts += 1;
      if (attempts === 1) throw new Error("not yet");
      return attempts;
    }),
  );
  const released = within(
    10_000,
    "the parking",
    new Promise<string>((resolve) => {
      system.supervisor.lifecycle.on("released", (jobId, why) => jobId === "long-backoff" && resolve(why));
    }),
  );
  const functions = [{ name: "second-time", retry_options: { retry_limit: 2, backoff } }];
  await system.client.submit({ name: "long", functions }, { jobId: "long-backoff" });
  assert.is(await released, "parked");
  const job = await system.client.wait("long-backoff", { timeoutMs: 10_000 });
  assert.is(job.result, 2);
  await worker.close();
});

test("a job with a start time is scheduled, then runs", async () => {
  const scheduled_at = new Date(Date.now() + 2_600).toISOString();
  const { job_id, state } = await system.client.submit({
    name: "at",
    scheduled_at,
    functions: [{ name: "sum", args: [] }],
  });
  assert.is(state, "scheduled");
  await system.event((event) => event.job_id === job_id && event.type === "accepted");
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.state, "completed");
  assert.ok(Date.parse(job.finished_at ?? "") >= Date.parse(scheduled_at));
});

test("an attempt that takes longer than the function's timeout has failed and is tried again", async () => {
  const aborted: number[] = [];
  const worker = await system.worker((w) =>
    w.func("slow-once", ({ attempt, signal }) => {
      if (attempt > 1) return "quick";
      signal.addEventListener("abort", () => aborted.push(attempt));
      return delay(60_000, undefined, { signal });
    }),
  );
  const functions = [{ name: "slow-once", timeout_ms: 300, retry_options: { retry_limit: 2, ...fast } }];
  const { job_id } = await system.client.submit({ name: "timeout", functions });
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.result, "quick");
  assert.is(job.functions[0]?.retry_count, 2);
  assert.equal(aborted, [1]);
  await worker.close();
});

test("a job that takes longer than its timeout has failed", async () => {
  const worker = await system.worker((w) => w.func("too-slow", ({ signal }) => delay(60_000, undefined, { signal })));
  const { job_id } = await system.client.submit({ name: "late", timeout_ms: 300, functions: [{ name: "too-slow" }] });
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.state, "failed");
  assert.is(job.error?.code, "job_timeout");
  await worker.close();
});

test("a job whose timeout passes while it waits for a worker has failed", async () => {
  const { job_id } = await system.client.submit({ name: "late", timeout_ms: 300, functions: [{ name: "no-such" }] });
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.error?.code, "job_timeout");
  assert.is(job.functions[0]?.retry_count, 0);
});

test("the same id again is the same job, before, during and after its run", async () => {
  let executions = 0;
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const worker = await system.worker((w) =>
    w.func("held", async () => {
      executions += 1;
      await finished;
    }),
  );
  const submit = () => system.bus.mux.publish("job.submit.again", '{"name":"again","functions":[{"name":"held"}]}');
  await submit();
  await submit();
  await system.event((event) => event.job_id === "again" && event.type === "started");
  await submit();
  finish();
  await system.client.wait("again", { timeoutMs: 5_000 });
  const repeated = new Promise((resolve) => system.supervisor.lifecycle.once("repeated", resolve));
  await submit();
  assert.is(await within(5_000, "the repetition", repeated), "again");
  assert.is(executions, 1);
  assert.equal(
    system.told("again").filter((type) => type === "completed"),
    ["completed"],
  );
  await worker.close();
});

const invalid: Record<string, string | Uint8Array> = {
  "what is neither JSON nor MessagePack": "{nonsense",
  "random bytes": new Uint8Array([0xc1, 0xff, 0, 1, 2, 3]),
  "a job without functions": '{"name":"x","functions":[]}',
  "a function name with a wildcard": '{"name":"x","functions":[{"name":"a.*"}]}',
  "an empty message": "",
};
for (const [what, body] of Object.entries(invalid)) {
  test(`${what} is recorded as a failed job with the reason`, async () => {
    const sequence = await system.bus.mux.publish("job.submit", body);
    const job = await system.client.wait(`seq-${sequence}`, { timeoutMs: 5_000 });
    assert.is(job.state, "failed");
    assert.is(job.error?.code, "invalid_submission");
    assert.ok(job.error?.message);
  });
}

test("a submission under an impossible id is rejected with an event, and removed", async () => {
  const sequence = await system.bus.mux.publish("job.submit.not.a.token", '{"name":"x","functions":[{"name":"sum"}]}');
  const event = await system.event((one) => one.type === "rejected" && one.job_id === `seq-${sequence}`);
  assert.match(JSON.stringify(event), "the job id in the subject");
});

test("a result that does not fit into the state fails its function, not the supervisor", async () => {
  const worker = await system.worker((w) => w.func("big", () => "x".repeat(600_000)));
  const { job_id } = await system.client.submit({ name: "big", functions: [{ name: "big" }, { name: "big" }] });
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(job.state, "failed");
  assert.is(job.current_function, 1);
  assert.is(job.error?.code, "payload_too_large");
  await worker.close();
});

/** How many of the commits of the job are stored while the supervisor does not hear of it. */
async function commitsWithoutAnswer(name: string, jobId?: string): Promise<number> {
  const { store } = system.supervisor;
  const put = store.put.bind(store);
  let lost = 0;
  store.put = (state, revision, done) =>
    put(state, revision, (outcome) => {
      if (state.name !== name) return done(outcome);
      lost += 1;
      done({ type: "unknown", cause: new AsyncError("bus_timeout", "the acknowledgement was lost on purpose") });
    });
  const functions = [{ name: "sum", args: [1] }, { name: "seen" }, { name: "sum", args: [2] }];
  const { job_id } = await system.client.submit({ name, functions }, jobId === undefined ? {} : { jobId });
  const job = await system.client.wait(job_id, { timeoutMs: 10_000 });
  store.put = put;
  assert.is(job.state, "completed");
  assert.equal(
    job.functions.map((fn) => fn.retry_count),
    [1, 1, 1],
  );
  assert.equal(
    system.told(job_id).filter((type) => type === "completed"),
    ["completed"],
  );
  return lost;
}

test("a commit whose answer is lost is recognised as one's own: nothing runs twice", async () => {
  assert.is(await commitsWithoutAnswer("lost-ack"), 3, "one commit for each function: nobody else can have the job");
});

test("a claim whose answer is lost is recognised too", async () => {
  const commits = await commitsWithoutAnswer("lost-claim", "lost-claim");
  assert.is(commits, 5, "one more for the claim, and one for taking the job over as it is found");
});

test("a job that someone else has ended meanwhile is left as it is, and its token goes", async () => {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const worker = await system.worker((w) => w.func("overtaken", () => finished));
  const { job_id } = await system.client.submit({
    name: "overtaken",
    functions: [{ name: "overtaken" }, { name: "sum" }],
  });
  await system.event((event) => event.job_id === job_id && event.type === "started");
  const released = new Promise<string>((resolve) => {
    system.supervisor.lifecycle.on("released", (jobId, why) => jobId === job_id && resolve(why));
  });
  const { store } = system.supervisor;
  const stored = await eventually("the start is stored", async () => {
    const found = await store.get(job_id);
    return found?.state?.state === "running" ? found : undefined;
  });
  const cancelled = {
    ...stored.state,
    state: "cancelled",
    finished_at: Date.now(),
    writer: "someone-else",
  } as JobState;
  assert.is((await store.commit(cancelled, stored.revision)).type, "stored");
  finish();
  assert.is(await within(5_000, "the release", released), "ended");
  const job = await system.client.get(job_id);
  assert.is(job.state, "cancelled");
  assert.is(job.functions[1]?.retry_count, 0);
  await worker.close();
});

/** How many events of each type stream EVENTS keeps of a job. */
async function kept(jobId: string): Promise<Record<string, number>> {
  const { jetstreamManager } = await import("@nats-io/jetstream");
  const manager = await jetstreamManager(system.bus.nc);
  const info = await manager.streams.info("EVENTS", { subjects_filter: `job.event.${jobId}.>` });
  const subjects = Object.entries(info.state.subjects ?? {});
  return Object.fromEntries(subjects.map(([subject, count]) => [subject.split(".").at(-1), count]));
}

test("the failure of a job is kept in stream EVENTS exactly once (EVENTS-2); what passes quickly is not told", async () => {
  const { job_id } = await system.client.submit({ name: "told", functions: [{ name: "sum", args: [1] }] });
  await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.equal(await kept(job_id), {}, "of a job that completes, the state is the only record");
  const failing = await system.client.submit({ name: "told", functions: [{ name: "sum", args: "none" }] });
  await system.client.wait(failing.job_id, { timeoutMs: 5_000 });
  assert.equal(await kept(failing.job_id), { failed: 1 });
});

test("the first function of a job that nobody else can have is stored as running once it lasts a tenth of a second", async () => {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let storedAtFirst: unknown;
  const worker = await system.worker((w) =>
    w.func("held-first", async ({ jobId }) => {
      storedAtFirst = await system.supervisor.store.get(jobId);
      await finished;
    }),
  );
  const { job_id } = await system.client.submit({ name: "held", functions: [{ name: "held-first" }] });
  const stored = await eventually("it is stored", () => system.supervisor.store.get(job_id));
  assert.is(storedAtFirst, undefined);
  assert.is(stored.state?.state, "running");
  assert.is(stored.state?.version, 1);
  assert.is((await system.client.get(job_id)).functions[0]?.retry_count, 1);
  finish();
  assert.is((await system.client.wait(job_id, { timeoutMs: 5_000 })).state, "completed");
  await worker.close();
});

test("the start and the success of an attempt are told if it lasts a tenth of a second", async () => {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const worker = await system.worker((w) => w.func("lasting", () => finished));
  const functions = [{ name: "sum", args: [1] }, { name: "lasting" }, { name: "sum", args: [2] }];
  const { job_id } = await system.client.submit({ name: "told", functions });
  await system.event((event) => event.job_id === job_id && event.type === "started");
  const running = (await system.supervisor.store.get(job_id))?.state;
  assert.is(running?.state, "running", "it is stored before it is told");
  assert.is(running?.functions.at(1)?.retry_count, 1);
  assert.type(running?.functions.at(1)?.started_at, "number");
  assert.ok((await system.client.list({ state: "running" })).jobs.some((job) => job.job_id === job_id));
  finish();
  await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.equal(await kept(job_id), { started: 1, succeeded: 1 });
  assert.equal(system.told(job_id), ["started", "succeeded", "completed"]);
  await worker.close();
});

test("when all jobs have ended, no token is left in the streams", async () => {
  const { jetstreamManager } = await import("@nats-io/jetstream");
  const manager = await jetstreamManager(system.bus.nc);
  for (const stream of ["JOBS", "TIMERS"]) {
    await eventually(`${stream} is empty`, async () => (await manager.streams.info(stream)).state.messages === 0);
  }
  assert.is(system.supervisor.liveJobs, 0);
});

test.run();
