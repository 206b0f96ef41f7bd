/** The dispatcher alone, on a real server: what it tells of attempts. Names in brackets are its invariants. */
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

test.run();
