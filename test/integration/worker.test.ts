/** What a worker does for its attempts and its queue groups. */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Msg } from "nats";
import { type Logger, pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { Handler } from "../../src/worker/context.ts";
import { FatalError, RetryAfter } from "../../src/worker/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { testBus } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { System, silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("worker");
let system: System;

test.before(async () => {
  system = await System.start({ heartbeatMs: 300 });
});
test.after(() => system.close());

const submit = (name: string, more: object = {}, job: object = {}) =>
  system.client.submit({ name, functions: [{ name, ...more }], ...job });

const end = async (name: string, more: object = {}) => {
  const { job_id } = await submit(name, more);
  return system.client.wait(job_id, { timeoutMs: 15_000 });
};

/** An invocation as a supervisor sends it, with all replies in order. */
function invoke(fn: string, onReply: (message: Msg) => void, body: object = {}): void {
  const inbox = `_INBOX_async.test.${Math.random().toString(36).slice(2)}`;
  system.bus.nc.subscribe(inbox, { callback: (_, message) => onReply(message) });
  const invocation = {
    job_id: "by-hand",
    job_name: "x",
    function: fn,
    index: 0,
    attempt: 1,
    args: null,
    data: null,
    results: [],
  };
  system.bus.nc.publish(`fn.${fn}`, JSON.stringify({ ...invocation, timeout_ms: null, deadline: null, ...body }), {
    reply: inbox,
  });
}

const reply = (fn: string, body?: object) => new Promise<Msg>((resolve) => invoke(fn, resolve, body));

test("no more attempts run at a time than its concurrency, and all jobs are done", async () => {
  let running = 0;
  let most = 0;
  await system.worker(
    (w) =>
      w.func("limited", async () => {
        running += 1;
        most = Math.max(most, running);
        await delay(20);
        running -= 1;
      }),
    { concurrency: 3 },
  );
  const jobs = await Promise.all(Array.from({ length: 40 }, () => submit("limited")));
  for (const { job_id } of jobs) await system.client.wait(job_id, { timeoutMs: 15_000 });
  assert.is(most, 3);
});

test("a full worker leaves the queue group, so that a free one is found", async () => {
  const held: (() => void)[] = [];
  const full = await system.worker(
    (w) => w.func("either", () => new Promise<string>((resolve) => held.push(() => resolve("first")))),
    {
      concurrency: 1,
    },
  );
  const first = await submit("either");
  await eventually("the first worker is full", () => held.length === 1);
  await system.worker((w) => w.func("either", () => "second"), { concurrency: 1 });
  for (let i = 0; i < 10; i++) assert.is((await end("either")).result, "second");
  held[0]?.();
  assert.is((await system.client.wait(first.job_id, { timeoutMs: 5_000 })).result, "first");
  await full.close();
});

test("invocations that cross the leaving of a worker on their way are answered, not lost", async () => {
  // Handlers that take a moment make a worker of one slot leave and join all the time.
  await system.worker((w) => w.func("crossing", () => delay(1)), { concurrency: 1 });
  const jobs = await Promise.all(Array.from({ length: 200 }, () => submit("crossing")));
  for (const { job_id } of jobs) {
    const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
    assert.is(job.functions[0]?.retry_count, 1);
    assert.is(job.functions[0]?.lost_count, undefined);
  }
});

test("what reaches a full worker is answered 429, without being executed", async () => {
  let executions = 0;
  let finish = () => {};
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  await system.worker(
    (w) =>
      w.func("one-at-a-time", () => {
        executions += 1;
        return done;
      }),
    { concurrency: 1 },
  );
  const all = Promise.all(Array.from({ length: 20 }, () => reply("one-at-a-time")));
  await eventually("one is running", () => executions === 1);
  finish();
  // Those that the server comes to when the worker has left find nobody.
  const codes = (await all).map(({ headers }) => headers?.get("Nats-Service-Error-Code") || headers?.code || "result");
  assert.equal(
    codes.filter((code) => code !== "429" && code !== 503),
    ["result"],
  );
  assert.ok(codes.includes("429"));
  assert.is(executions, 1);
});

test("a FatalError ends the job at once, whatever the retry limit", async () => {
  await system.worker((w) =>
    w.func("fatal", () => {
      throw new FatalError("never again");
    }),
  );
  const job = await end("fatal", { retry_options: { retry_limit: 5 } });
  assert.is(job.state, "failed");
  assert.is(job.functions[0]?.retry_count, 1);
  assert.is(job.error?.name, "FatalError");
  assert.match(job.error?.stack ?? "", "worker.test");
});

test("RetryAfter replaces the backoff", async () => {
  await system.worker((w) =>
    w.func("after", ({ attempt }) => {
      if (attempt === 1) throw new RetryAfter(120);
      return attempt;
    }),
  );
  const backoff = { type: "fixed", delay_ms: 600_000 };
  const job = await end("after", { retry_options: { retry_limit: 2, backoff } });
  assert.is(job.result, 2);
});

test("heartbeats keep a long attempt alive, and progress is told", async () => {
  await system.worker(
    (w) =>
      w.func("long", async ({ heartbeat }) => {
        heartbeat({ percent: 10 });
        await delay(1_800); // twice the silence that would be a lost attempt
        heartbeat({ percent: 90 });
        return "done";
      }),
    { heartbeatMs: 300 },
  );
  const job = await end("long");
  assert.is(job.result, "done");
  assert.is(job.functions[0]?.retry_count, 1);
  const progress = system.events.filter((event) => event.job_id === job.job_id && event.type === "progress");
  assert.equal(
    progress.map((event) => (event as { progress: unknown }).progress),
    [{ percent: 10 }, { percent: 90 }],
  );
});

test("the attempt of a killed worker is run again elsewhere, without using up a retry", async () => {
  const victim = await startProcess("test/support/dying-worker.ts", [], { NATS_URL: system.url });
  const { job_id } = await submit("mortal");
  await victim.line("executing");
  victim.child.kill("SIGKILL");
  await once(victim.child, "exit");
  const other = await system.worker((w) => w.func("mortal", ({ attempt }) => `alive in attempt ${attempt}`));
  const job = await system.client.wait(job_id, { timeoutMs: 15_000 });
  await other.close();
  assert.is(job.result, "alive in attempt 2");
  assert.is(job.functions[0]?.lost_count, 1);
});

test("SIGTERM lets the attempt in execution end, then the process exits with 0", async () => {
  const mortal = await startProcess("test/support/dying-worker.ts", [], { NATS_URL: system.url, ASYNC_TEST_MS: "700" });
  const { job_id } = await submit("mortal");
  await mortal.line("executing");
  mortal.child.kill("SIGTERM");
  assert.is(await mortal.exit(), 0, mortal.output());
  const job = await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.is(job.result, "finished");
  assert.is(job.functions[0]?.retry_count, 1);
});

test("the context tells what the handler may want to know", async () => {
  await system.worker((w) =>
    w.func("context", ({ jobId, jobName, attempt, idempotencyKey, deadline, signal, log }) => {
      log.debug("seen");
      return { jobId, jobName, attempt, idempotencyKey, deadline: deadline instanceof Date, aborted: signal.aborted };
    }),
  );
  const job = await end("context", { timeout_ms: 5_000 });
  assert.equal(job.result, {
    jobId: job.job_id,
    jobName: "context",
    attempt: 1,
    idempotencyKey: `${job.job_id}/0`,
    deadline: true,
    aborted: false,
  });
});

test("closing lets the attempt in execution end, and its job is completed", async () => {
  const worker = await system.worker((w) => w.func("drained", () => delay(400, "in time")));
  const { job_id } = await submit("drained");
  await system.event((event) => event.job_id === job_id && event.type === "started");
  await worker.close();
  const job = await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.is(job.result, "in time");
  assert.is(job.functions[0]?.retry_count, 1);
});

test("[WORKER-5] what does not end within the grace period is begun again elsewhere, and no failure is counted", async () => {
  const reasons: unknown[] = [];
  const stubborn = await system.worker((w) =>
    w.func("given-back", async ({ signal }) => {
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      await delay(60_000, undefined, { signal });
    }),
  );
  const { job_id } = await submit("given-back");
  await system.event((event) => event.job_id === job_id && event.type === "started");
  await stubborn.close({ graceMs: 50 });
  await system.worker((w) => w.func("given-back", () => "by another"));
  const job = await system.client.wait(job_id, { timeoutMs: 5_000 });
  assert.is(job.result, "by another");
  assert.is(reasons.length, 1);
});

/** What a worker replies to an invocation by hand while it is closed, heartbeats included. */
async function repliesOnClose(fn: string, handler: Handler): Promise<Msg[]> {
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const worker = await system.worker((w) =>
    w.func(fn, (context) => {
      begin();
      return handler(context);
    }),
  );
  const replies: Msg[] = [];
  invoke(fn, (message) => replies.push(message));
  await begun;
  await worker.close({ graceMs: 50 });
  await system.bus.nc.flush(); // what the worker has sent before is here
  return replies;
}

const interrupted = {
  name: "Interrupted",
  message: "the worker was told to stop, and the attempt did not end within its grace period of 50 ms",
  interrupted: true,
};

test("[WORKER-5] an attempt that the end of the grace period interrupts is answered so, after its newest progress", async () => {
  const handlers: Record<string, Handler> = {
    "interrupted.obedient": ({ signal, heartbeat }) => {
      for (const row of [1, 2]) heartbeat({ row });
      return delay(60_000, undefined, { signal });
    },
    "interrupted.stubborn": ({ signal, heartbeat }) => {
      heartbeat({ row: 1 });
      signal.addEventListener("abort", () => heartbeat({ row: 2 }));
      return new Promise(() => {});
    },
  };
  for (const [fn, handler] of Object.entries(handlers)) {
    const replies = await repliesOnClose(fn, handler);
    const last = replies.pop();
    const progress = replies.filter(
      ({ headers, data }) => headers?.get("Async-Status") === "heartbeat" && data.length > 0,
    );
    assert.equal(
      progress.map((message) => message.json()),
      [{ row: 1 }, { row: 2 }],
    );
    assert.is(last?.headers?.get("Nats-Service-Error-Code"), "500");
    assert.equal(last?.json(), interrupted);
  }
});

test("[WORKER-5] what a handler answers in the moment after its signal has fired counts", async () => {
  const untilTold = (signal: AbortSignal) => once(signal, "abort").then(() => delay(50));
  const [result, ...more] = await repliesOnClose("moment.result", async ({ signal }) => {
    await untilTold(signal);
    return `told: ${signal.reason.name}`;
  });
  assert.equal([result?.json(), result?.headers, more], ["told: Interrupted", undefined, []]);
  const [error] = await repliesOnClose("moment.error", async ({ signal }) => {
    await untilTold(signal);
    throw new Error("disk full");
  });
  const { name, message, ...rest } = error?.json<Record<string, unknown>>() ?? {};
  assert.equal([name, message, Object.keys(rest)], ["Error", "disk full", ["stack"]]);
});

test("the context has what an invocation says of results, of the failure before, and of progress", async () => {
  await system.worker((w) =>
    w.func("handed.over", ({ result, error, lastProgress, idempotencyKey }) => ({
      plan: result("plan"),
      error,
      lastProgress,
      idempotencyKey,
    })),
  );
  const error = { code: "function_failed", name: "CardDeclined", message: "no money" };
  const more = {
    result_ids: ["plan", null],
    results: [{ n: 1 }, 2],
    error,
    last_progress: 7,
    idempotency_key: "x/0/r1",
  };
  const answer = (await reply("handed.over", more)).json();
  assert.equal(answer, { plan: { n: 1 }, error, lastProgress: 7, idempotencyKey: "x/0/r1" });
  const wrong = (await reply("handed.over")).json<{ message: string }>();
  assert.match(wrong.message, 'no result that was handed over has the id "plan" (none has): add it to `needs`');
});

test("a worker is a NATS service whose endpoints are its functions", async () => {
  const worker = await system.worker((w) => w.func("/v1/listed", () => 1).func("also.listed", () => 2), {
    name: "lister",
    concurrency: 7,
  });
  const found = (await system.client.workers()).find((one) => one.ID === worker.id);
  assert.is(found?.Name, "lister");
  assert.is(found?.MaxParallel, 7);
  assert.is(found?.State, "idle");
  assert.equal(found?.Capabilities, ["/v1/listed", "also.listed"]);
  await end("/v1/listed");
  const stats = (await system.bus.mux.request(`$SRV.STATS.lister.${worker.id}`, "", 2_000)).json<{
    type: string;
    endpoints: { subject: string; num_requests: number; queue_group: string }[];
  }>();
  assert.is(stats.type, "io.nats.micro.v1.stats_response");
  assert.is(stats.endpoints[0]?.subject, "fn./v1/listed");
  assert.is(stats.endpoints[0]?.queue_group, "fn");
  assert.is(stats.endpoints[0]?.num_requests, 1);
  await worker.close();
  const left = (await system.client.workers()).some((one) => one.ID === worker.id);
  assert.is(left, false);
});

test("a result that cannot be encoded or is too large fails for good, with a clear error", async () => {
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  await system.worker((w) => w.func("cyclic", () => cycle).func("huge", () => "x".repeat(2_000_000)));
  for (const name of ["cyclic", "huge"]) {
    const job = await end(name, { retry_options: { retry_limit: 3 } });
    assert.is(job.state, "failed");
    assert.is(job.functions[0]?.retry_count, 1);
    assert.match(job.error?.message ?? "", "the result cannot be sent");
  }
});

test("a request that is no invocation is answered with an error", async () => {
  await system.worker((w) => w.func("strict", () => 1));
  const answer = await system.bus.mux.request("fn.strict", "hello", 2_000);
  assert.is(answer.headers?.get("Nats-Service-Error-Code"), "400");
});

test("wrong definitions are refused with a code", () => {
  const refused: [string, () => unknown][] = [
    ["invalid_function_name", () => new Worker().func("a b", () => 1)],
    ["duplicate_function", () => new Worker().func("a", () => 1).func("a", () => 2)],
    ["invalid_option", () => new Worker({ concurrency: 0 })],
    ["invalid_option", () => new Worker({ name: "not a name" })],
  ];
  for (const [code, define] of refused) {
    assert.throws(define, (error: unknown) => isAsyncError(error) && error.code === code);
  }
});

test("ASYNC_CONCURRENCY is the default concurrency, else it is 2", async () => {
  const concurrency = async () => {
    const worker = await system.worker((w) => w.func("sized", () => 1), { log: silent });
    const found = (await system.client.workers()).find((one) => one.ID === worker.id);
    await worker.close();
    return found?.MaxParallel;
  };
  assert.is(await concurrency(), 2);
  process.env.ASYNC_CONCURRENCY = "9";
  try {
    assert.is(await concurrency(), 9);
  } finally {
    delete process.env.ASYNC_CONCURRENCY;
  }
});

/** A log that keeps its lines. */
function keptLog(): { log: Logger; lines: { msg: string; fn?: string; functions?: string[] }[] } {
  const lines: { msg: string }[] = [];
  return { lines, log: pino({ level: "warn" }, { write: (line: string) => void lines.push(JSON.parse(line)) }) };
}

test("[WORKER-6] a handler that goes on when its attempt was given up is told of once, shown, and loses its slot in time", async () => {
  const { log, lines } = keptLog();
  const held: (() => void)[] = [];
  const worker = await system.worker(
    (w) =>
      w.func("never.ends", () => new Promise<void>((resolve) => held.push(resolve))).func("quick.beside", () => "ok"),
    { log, heartbeatMs: 200, abandonedAfterMs: 3_000, concurrency: 2 },
  );
  for (let n = 0; n < 2; n++) assert.is((await end("never.ends", { timeout_ms: 300 })).state, "failed");
  const shown = () => system.client.workers().then((all) => all.find(({ ID }) => ID === worker.id)?.Abandoned);
  await eventually("both are shown", async () => (await shown()) === 2);
  const waiting = await submit("quick.beside");
  assert.is((await system.client.wait(waiting.job_id, { timeoutMs: 15_000 })).result, "ok");
  const about = (word: string) => lines.filter(({ msg, fn }) => fn === "never.ends" && msg.includes(word));
  await eventually("both slots are given to others", () => about("its slot is given to others").length === 2);
  assert.is(about("goes on although").length, 2);
  assert.is(await shown(), 2);
  for (const release of held) release();
  await eventually("they have ended", async () => (await shown()) === 0);
  await worker.close();
});

test("[WORKER-6] by option, a worker ends its process when handlers that were given up have all slots", async () => {
  const stuck = await startProcess("test/support/stuck-worker.ts", [], { NATS_URL: system.url });
  await stuck.line("serving");
  for (let n = 0; n < 2; n++) assert.is((await end("stuck", { timeout_ms: 300 })).state, "failed");
  assert.is(await stuck.exit(), 1);
  assert.match(stuck.output(), "stuck: handlers whose attempts were given up");
});

test("a handler that keeps the event loop busy is named in the worker's log", async () => {
  const { log, lines } = keptLog();
  const worker = await system.worker(
    (w) =>
      w.func("busy", () => {
        const end = performance.now() + 600;
        while (performance.now() < end);
      }),
    { log, heartbeatMs: 100 },
  );
  await end("busy");
  await eventually("it is told", () => lines.some(({ msg }) => msg.includes("event loop busy")));
  assert.equal(lines.find(({ msg }) => msg.includes("event loop busy"))?.functions, ["busy"]);
  await worker.close();
});

test("a start that cannot connect can be tried again", async () => {
  const worker = new Worker({ log: silent }).func("second.try", () => "served");
  await worker.start({ url: "nats://127.0.0.1:1" }).then(
    () => assert.unreachable(),
    (error) => {
      assert.ok(isAsyncError(error, "not_connected"), String(error));
    },
  );
  await worker.close();
  await worker.start({ url: system.url });
  assert.is((await end("second.try")).result, "served");
  await worker.close();
  await worker.start().then(
    () => assert.unreachable(),
    (error) => assert.ok(isAsyncError(error, "closed")),
  );
});

test("a second close waits for the first, whatever is closed", async () => {
  const bus = await testBus(system.url);
  const supervisor = await Supervisor.start(bus, {});
  let running = false;
  const worker = await new Worker({ log: silent, bus })
    .func("until.closed", async () => {
      running = true;
      await delay(500);
    })
    .start();
  await submit("until.closed");
  await eventually("it runs", () => running);
  for (const one of [worker, supervisor, bus]) {
    const order: string[] = [];
    await Promise.all([one.close().then(() => order.push("first")), one.close().then(() => order.push("second"))]);
    assert.equal(order, ["first", "second"]);
  }
});

test("closing a worker that is being started closes it", async () => {
  const worker = new Worker({ log: silent, url: system.url }).func("closed.early", () => 1).func("and.this", () => 2);
  const started = worker.start();
  await worker.close();
  await started;
  assert.is(await system.client.workers().then((all) => all.some(({ ID }) => ID === worker.id)), false);
});

test.run();
