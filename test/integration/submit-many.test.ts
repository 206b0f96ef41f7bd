/** Client.submitMany: many jobs at once, each stored or with the reason why it may not be. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import type { Bus } from "../../src/bus/connection.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { ensureTopology, JOBS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { AsyncError, InvalidInputError } from "../../src/job/errors.ts";
import { inTempFolder } from "../support/folder.ts";
import { startTestServer, testBus } from "../support/nats.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("submit-many");
let system: System;
/** What the handler has seen, by job id. */
const seen = new Map<string, unknown[]>();

test.before(async () => {
  system = await System.start();
  await system.worker(
    (w) =>
      w.func("echo", ({ jobId, args }) => {
        seen.set(jobId, [...(seen.get(jobId) ?? []), args]);
        return args;
      }),
    { concurrency: 50 },
  );
});
test.after(() => system.close());

const echo = (args?: unknown) => ({ name: "echo", functions: [{ name: "echo", args }] });
const codes = (outcomes: { error?: AsyncError | undefined }[]) => outcomes.map(({ error }) => error?.code);

async function submissions(bus: Bus): Promise<string[]> {
  const { messages } = await readBatch(bus, JOBS, { filter: ">", from: 1, batch: 1_000 });
  return messages.map(({ subject }) => subject);
}

test("all are stored and run once; the outcomes are in the order of the jobs", async () => {
  const inputs = Array.from({ length: 300 }, (_, n) => (n % 3 === 0 ? { ...echo(n), job_id: `many-${n}` } : echo(n)));
  const outcomes = await system.client.submitMany(inputs, { inFlight: 20 });
  assert.is(new Set(outcomes.map(({ job_id }) => job_id)).size, 300);
  for (const [n, { job_id, error }] of outcomes.entries()) {
    assert.is(error, undefined);
    assert.match(job_id, n % 3 === 0 ? new RegExp(`^many-${n}$`) : /^auto-[A-Za-z0-9_-]{16}$/);
  }
  for (const [n, { job_id }] of outcomes.entries()) {
    assert.is((await system.client.wait(job_id, { timeoutMs: 10_000 })).result, n);
    assert.equal(seen.get(job_id), [n]);
  }
});

test("no more are in flight than was asked for", async () => {
  const { mux } = system.bus;
  const store = mux.store.bind(mux);
  let open = 0;
  let most = 0;
  mux.store = (subject, payload, headers, timeoutMs, done) => {
    if (!subject.startsWith("job.submit")) return store(subject, payload, headers, timeoutMs, done);
    open += 1;
    most = Math.max(most, open);
    store(subject, payload, headers, timeoutMs, (error, sequence) => {
      open -= 1;
      done(error, sequence);
    });
  };
  try {
    const inputs = Array.from({ length: 60 }, (_, n) => echo(n));
    assert.is((await system.client.submitMany(inputs, { inFlight: 7 })).length, 60);
    assert.is(most, 7);
    for (const inFlight of [0, -1, Number.NaN]) {
      most = 0;
      const outcomes = await system.client.submitMany([echo(1), echo(2)], { inFlight });
      assert.is(most, 1, `${inFlight} is one: what is told to be stored has been sent`);
      for (const { job_id } of outcomes) await system.client.wait(job_id, { timeoutMs: 5_000 });
    }
  } finally {
    mux.store = store;
  }
});

test("nothing to submit is no outcome", async () => {
  assert.equal(await system.client.submitMany([]), []);
});

test("one that is not valid is named with its index, and nothing is submitted", async () => {
  const good = { ...echo(1), job_id: "never-sent" };
  for (const [bad, paths] of [
    [{ name: "x", functions: [] }, ["/1/functions"]],
    [{ name: "x", functions: [{ name: "a b" }, { name: "b*" }] }, ["/1/functions/0/name", "/1/functions/1/name"]],
    [{ ...echo(1), job_id: "seq-1" }, ["/1/job_id"]],
    [null, ["/1"]],
  ] as const) {
    const error = await system.client.submitMany([good, bad, { name: "" }]).catch((cause) => cause);
    assert.instance(error, InvalidInputError);
    assert.equal(
      (error as InvalidInputError).reasons.map(({ path }) => path),
      paths,
    );
  }
  const error = await system.client.get("never-sent").catch((cause) => cause);
  assert.is((error as AsyncError).code, "job_not_found");
});

test("in MessagePack too", async () => {
  const outcomes = await system.client.submitMany([echo(new Uint8Array([1, 2, 255])), echo(2n ** 60n)], {
    encoding: "msgpack",
  });
  assert.equal(codes(outcomes), [undefined, undefined]);
  const [bytes, big] = outcomes.map(({ job_id }) => job_id);
  assert.is((await system.client.wait(bytes ?? "", { timeoutMs: 5_000 })).result, "AQL/");
  assert.is((await system.client.wait(big ?? "", { timeoutMs: 5_000 })).result, String(2n ** 60n));
  const [args] = seen.get(bytes ?? "") ?? [];
  assert.equal(Uint8Array.from(args as Uint8Array), Uint8Array.of(1, 2, 255));
});

test("one that cannot be stored says why, the others are", async () => {
  const outcomes = await system.client.submitMany([echo(1), echo("x".repeat(1_100_000)), echo(3)]);
  assert.equal(codes(outcomes), [undefined, "payload_too_large", undefined]);
  for (const { job_id, error } of outcomes) {
    if (!error) assert.is((await system.client.wait(job_id, { timeoutMs: 5_000 })).state, "completed");
  }
});

test("those of which it is not known whether they are stored are sent again, and run once", async () => {
  const { mux } = system.bus;
  const store = mux.store.bind(mux);
  let lost = 0;
  mux.store = (subject, payload, headers, timeoutMs, done) => {
    const loses = subject.startsWith("job.submit") && !headers;
    store(subject, payload, headers, timeoutMs, (error, sequence) => {
      if (!loses) return done(error, sequence);
      lost += 1;
      done(new AsyncError("bus_timeout", "the acknowledgement was lost on purpose"), 0);
    });
  };
  try {
    const outcomes = await system.client.submitMany(Array.from({ length: 30 }, (_, n) => echo(n)));
    assert.is(lost, 30, "the first try of each has no header");
    for (const [n, { job_id, error }] of outcomes.entries()) {
      assert.is(error, undefined);
      assert.is((await system.client.wait(job_id, { timeoutMs: 5_000 })).result, n);
    }
    await eventually("nothing is left", async () => (await submissions(system.bus)).length === 0);
    for (const [n, { job_id }] of outcomes.entries()) assert.equal(seen.get(job_id), [n]);
  } finally {
    mux.store = store;
  }
});

test("while NATS is away it is tried until it is back; what takes longer than the time has an error each", () =>
  inTempFolder(async (storeDir) => {
    const first = await startTestServer({ storeDir });
    const bus = await testBus(first.url);
    await ensureTopology(bus);
    const client = new Client(bus);
    await first.close();
    await eventually("the loss is noticed", () => !bus.connected);
    const given = await client.submitMany([echo(1), echo(2)], { timeoutMs: 200 });
    assert.equal(codes(given), ["not_connected", "not_connected"]);
    const submitted = client.submitMany([echo(1), { ...echo(2), job_id: "mine" }, echo(3)], { timeoutMs: 20_000 });
    const second = await startTestServer({ storeDir, port: first.port });
    try {
      const outcomes = await submitted;
      assert.equal(codes(outcomes), [undefined, undefined, undefined]);
      assert.equal((await submissions(bus)).sort(), outcomes.map(({ job_id }) => `job.submit.${job_id}`).sort());
      const supervisor = await Supervisor.start(bus);
      await client.cancel("mine");
      await supervisor.close({ graceMs: 100 });
    } finally {
      await bus.close();
      await second.close();
    }
  }));

test.run();
