/** The dispatcher alone, on a real server: what it tells of attempts. Names in brackets are its invariants. */
import { setTimeout as delay } from "node:timers/promises";
import { headers, type Msg } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Attempt, AttemptListener } from "../../src/actors/attempt.ts";
import { Dispatcher } from "../../src/actors/dispatcher.ts";
import { createLifecycle } from "../../src/actors/lifecycle.ts";
import { ROOM } from "../../src/api/subjects.ts";
import type { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { createJob } from "../../src/job/machine.ts";
import type { AttemptAddress, LiveJob } from "../../src/job/state.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("dispatcher");
let server: EmbeddedServer;
let bus: Bus;

test.before(async () => {
  server = await startTestServer();
  bus = await testBus(server.url);
});
test.after(async () => {
  await bus.close();
  await server.close();
});

/** A job of one function. */
function jobOf(jobId: string, name: string): LiveJob {
  const origin = { jobId, encoding: "json" as const, createdAt: Date.now(), sequence: 1 };
  return createJob({ name: "test", functions: [{ name }] }, origin, Date.now()).state as LiveJob;
}

/** The attempt that a new job begins with. */
const FIRST: AttemptAddress = { index: 0, attempt: 1 };

/** Tells what it is told, in the words of its method. */
function listener(tell: (what: string, attempt: Attempt) => void): AttemptListener {
  return {
    mayBegin: () => true,
    onStarted: (attempt) => tell("started", attempt),
    onProgress: (attempt) => tell("progress", attempt),
    onSucceeded: (attempt) => tell("succeeded", attempt),
    onFailed: (attempt) => tell("failed", attempt),
    onLost: (attempt) => tell("lost", attempt),
    onNoRoom: (attempt) => tell("no room", attempt),
  };
}

async function withDispatcher(use: (dispatcher: Dispatcher) => Promise<void>): Promise<void> {
  const dispatcher = new Dispatcher(bus, createLifecycle(), { onRoom: () => {} });
  try {
    await use(dispatcher);
  } finally {
    dispatcher.close();
  }
}

test("where many attempts last long at once, their starts are recorded some at a time, and each once", () =>
  withDispatcher(async (dispatcher) => {
    const worker = bus.nc.subscribe("fn.holds", { queue: "fn", callback: () => {} });
    const started: string[] = [];
    const batches: number[] = [];
    let batch = 0;
    const onTold = (what: string, { job }: Attempt) => {
      assert.is(what, "started");
      started.push(job.job_id);
      batch += 1;
      if (batch > 1) return;
      setImmediate(() => {
        batches.push(batch);
        batch = 0;
      });
    };
    const attempts = Array.from({ length: 250 }, (_, n) =>
      dispatcher.dispatch(jobOf(`j${n}`, "holds"), FIRST, listener(onTold)),
    );
    bus.nc.publish(ROOM, JSON.stringify({ functions: ["holds"], slots: 250 }));
    await eventually("all are told", () => started.length === 250 && batch === 0);
    assert.is(new Set(started).size, 250);
    assert.ok(batches.length >= 3 && Math.max(...batches) <= 100, batches.join(" "));
    for (const attempt of attempts) attempt.cancel();
    worker.unsubscribe();
  }));

test("[DISPATCH-1] an attempt that ends within a tenth of a second is told to have succeeded, and nothing else", () =>
  withDispatcher(async (dispatcher) => {
    const worker = bus.nc.subscribe("fn.quick", {
      queue: "fn",
      callback: (_, message) => {
        message.respond("1");
        message.respond("2");
      },
    });
    const told: string[] = [];
    const attempts: Attempt[] = [];
    for (let n = 0; n < 20; n++) {
      attempts.push(
        dispatcher.dispatch(
          jobOf(`q${n}`, "quick"),
          FIRST,
          listener((what, { job, functionName, index, attempt }) => {
            told.push(`${job.job_id} ${functionName} ${index} ${attempt} ${what}`);
          }),
        ),
      );
    }
    await eventually("all have ended", () => told.length >= 20);
    await bus.flush();
    assert.equal(told.sort(), Array.from({ length: 20 }, (_, n) => `q${n} quick 0 1 succeeded`).sort());
    assert.not.ok(attempts.some((attempt) => attempt.inFlight));
    worker.unsubscribe();
  }));

test("[DISPATCH-1] an attempt that was cancelled has no outcome; its worker is told to stop, with the subject of its reply", () =>
  withDispatcher(async (dispatcher) => {
    let reply: string | undefined;
    let stopped: { reply: string; job_id: string } | undefined;
    const worker = bus.nc.subscribe("fn.stopped", {
      queue: "fn",
      callback: (_, message) => {
        reply = message.reply;
      },
    });
    const stops = bus.nc.subscribe("job.ctl.stop", {
      callback: (_, message) => {
        stopped = message.json();
      },
    });
    const attempt = dispatcher.dispatch(
      jobOf("stopped", "stopped"),
      FIRST,
      listener((what) => assert.unreachable(what)),
    );
    await eventually("it is invoked", () => reply);
    attempt.cancel();
    await eventually("its worker is told", () => stopped);
    assert.is(stopped?.reply, reply);
    assert.is(stopped?.job_id, "stopped");
    bus.nc.publish(reply ?? "", "too late");
    await bus.flush();
    for (const one of [worker, stops]) one.unsubscribe();
  }));

test("those that were cancelled do not stay in a line behind one that waits, and hold nothing meanwhile (E6)", () =>
  withDispatcher(async (dispatcher) => {
    const quiet = listener(() => {});
    const head = dispatcher.dispatch(jobOf("head", "unserved"), FIRST, quiet);
    const cancelled: Attempt[] = [];
    for (let n = 0; n < 10_000; n++) {
      const attempt = dispatcher.dispatch(jobOf(`c${n}`, "unserved"), FIRST, quiet);
      attempt.cancel();
      cancelled.push(attempt);
    }
    const [line] = [...dispatcher.depths()].filter(({ name }) => name === "unserved");
    assert.ok(line && line.waiting + line.in_flight > 0 && line.waiting < 2_000, JSON.stringify(line));
    assert.not.ok(head.cancelled);
    for (const attempt of cancelled) assert.throws(() => attempt.job, "has let go of its job");
    head.cancel();
  }));

/** Somebody on `$SRV.INFO`: a worker of ours if it has a heartbeat interval, else a service of another maker. */
function service(functions: string[], heartbeatMs?: number, queueGroup = "fn"): () => void {
  const info = {
    type: "io.nats.micro.v1.info_response",
    id: `service-${Math.random()}`,
    name: "by-hand",
    version: "1.0.0",
    metadata: heartbeatMs === undefined ? {} : { heartbeat_ms: String(heartbeatMs) },
    endpoints: functions.map((name) => ({ name, subject: `fn.${name}`, queue_group: queueGroup, metadata: {} })),
  };
  const answers = bus.nc.subscribe("$SRV.INFO", {
    callback: (_, message) => void message.respond(JSON.stringify(info)),
  });
  return () => answers.unsubscribe();
}

const HEARTBEAT_MS = 150;
/** Longer than three heartbeats, and a question. */
const SILENCE_MS = 1_000;

/** Replies to invocations of `fn.<name>` as `reply` does. */
function serves(name: string, reply: (message: Msg) => void): () => void {
  const worker = bus.nc.subscribe(`fn.${name}`, { queue: "fn", callback: (_, message) => reply(message) });
  return () => worker.unsubscribe();
}

/** Dispatches one attempt and resolves to its outcome, or "none" if it has none within `waitMs`. */
function outcome(dispatcher: Dispatcher, name: string, waitMs: number): Promise<string> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      attempt.cancel();
      resolve("none");
    }, waitMs);
    const attempt = dispatcher.dispatch(
      jobOf(`${name}-${Math.random()}`.replace(".", ""), name),
      FIRST,
      listener((what) => {
        if (what === "started" || what === "progress") return;
        clearTimeout(timer);
        resolve(what);
      }),
    );
  });
}

const heartbeat = (interval?: number) => {
  const sent = headers();
  sent.set("Async-Status", "heartbeat");
  if (interval !== undefined) sent.set("Async-Heartbeat-Ms", String(interval));
  return { headers: sent };
};

/** Resolves when the dispatcher has asked who serves what. */
async function asked(left = ["x"]): Promise<void> {
  bus.nc.publish(ROOM, JSON.stringify({ functions: left, slots: 0 }));
  await delay(1_500);
}

test("[DISPATCH-3] a worker of ours that dies before its first heartbeat is found by the interval it is registered with", () =>
  withDispatcher(async (dispatcher) => {
    const ends = [service(["registered"], HEARTBEAT_MS), serves("registered", () => {})];
    await asked();
    assert.is(await outcome(dispatcher, "registered", 8 * HEARTBEAT_MS + SILENCE_MS), "lost");
    for (const end of ends) end();
  }));

test("[DISPATCH-3] the interval of a heartbeat counts for its attempt, not that of the function", () =>
  withDispatcher(async (dispatcher) => {
    const ends = [
      service(["own.interval"], 60_000),
      serves("own.interval", (message) => message.respond("", heartbeat(HEARTBEAT_MS))),
    ];
    await asked();
    assert.is(await outcome(dispatcher, "own.interval", 8 * HEARTBEAT_MS + SILENCE_MS), "lost");
    for (const end of ends) end();
  }));

test("[DISPATCH-3] a plain worker that tells progress now and then is not taken for silent, whoever else serves the function", () =>
  withDispatcher(async (dispatcher) => {
    const ends = [
      service(["tells"], HEARTBEAT_MS),
      serves("tells", (message) => {
        message.respond("50", heartbeat());
        setTimeout(() => message.respond("1"), SILENCE_MS);
      }),
    ];
    await asked();
    assert.is(await outcome(dispatcher, "tells", 5 * SILENCE_MS), "succeeded");
    for (const end of ends) end();
  }));

test("[DISPATCH-3] once the workers with heartbeats are gone, a plain one may be silent", () =>
  withDispatcher(async (dispatcher) => {
    const leave = service(["gone"], HEARTBEAT_MS);
    await asked();
    leave();
    await asked(["gone"]);
    const end = serves("gone", (message) => void setTimeout(() => message.respond("1"), SILENCE_MS));
    for (let n = 0; n < 3; n++) assert.is(await outcome(dispatcher, "gone", 5 * SILENCE_MS), "succeeded");
    end();
  }));

test("[DISPATCH-3] a worker that does not answer any more may be hung: attempts that it swallows are lost, again and again", () =>
  withDispatcher(async (dispatcher) => {
    const hang = service(["hung"], HEARTBEAT_MS);
    const end = serves("hung", () => {});
    await asked();
    hang();
    for (let n = 0; n < 3; n++) assert.is(await outcome(dispatcher, "hung", 5 * SILENCE_MS), "lost");
    end();
  }));

test("[DISPATCH-3] if they are gone without a word, that costs one attempt", () =>
  withDispatcher(async (dispatcher) => {
    const die = service(["died"], HEARTBEAT_MS);
    await asked();
    die();
    const end = serves("died", (message) => void setTimeout(() => message.respond("1"), SILENCE_MS));
    assert.is(await outcome(dispatcher, "died", 5 * SILENCE_MS), "lost");
    await delay(SILENCE_MS);
    assert.is(await outcome(dispatcher, "died", 5 * SILENCE_MS), "succeeded");
    end();
  }));

test("[DISPATCH-3] where a plain service is registered beside workers with heartbeats, silence shows nothing", () =>
  withDispatcher(async (dispatcher) => {
    const ends = [
      service(["mixed"], HEARTBEAT_MS),
      service(["mixed"]),
      serves("mixed", (message) => void setTimeout(() => message.respond("1"), SILENCE_MS)),
    ];
    await asked();
    assert.is(await outcome(dispatcher, "mixed", 5 * SILENCE_MS), "succeeded");
    for (const end of ends) end();
  }));

test("[DISPATCH-3] a plain worker that is not registered shows itself by its first late reply", () =>
  withDispatcher(async (dispatcher) => {
    const ends = [
      service(["unseen"], HEARTBEAT_MS),
      serves("unseen", (message) => void setTimeout(() => message.respond("1"), SILENCE_MS)),
    ];
    await asked();
    assert.is(await outcome(dispatcher, "unseen", 5 * SILENCE_MS), "lost");
    await delay(SILENCE_MS);
    for (let n = 0; n < 2; n++) assert.is(await outcome(dispatcher, "unseen", 5 * SILENCE_MS), "succeeded");
    for (const end of ends) end();
  }));

test("a service in another queue group is told of once, until it has gone and come again", async () => {
  const lifecycle = createLifecycle();
  const told: string[] = [];
  lifecycle.on("trouble", ({ what }) => told.push(what));
  const leave = service(["twice", "and.more"], undefined, "q");
  const dispatcher = new Dispatcher(bus, lifecycle, { onRoom: () => {} });
  const askAgain = () => bus.nc.publish(ROOM, JSON.stringify({ functions: ["x"], slots: 0 }));
  try {
    await eventually("it is told", () => told.length >= 2);
    assert.match(told[0] ?? "", "function twice is served outside of queue group fn");
    assert.match(told[0] ?? "", "queue group q");
    askAgain();
    await delay(1_600);
    assert.is(told.length, 2);
    leave();
    askAgain();
    await delay(1_600);
    const leaveAgain = service(["twice"], undefined, "q");
    askAgain();
    await eventually("it is told again", () => told.length === 3);
    leaveAgain();
  } finally {
    dispatcher.close();
  }
});

test.run();
