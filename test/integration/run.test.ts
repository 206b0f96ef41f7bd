/** Client.run and `notify`: the result of a job for whoever submits it, however it comes to its end. */
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Client } from "../../src/client/client.ts";
import { AsyncError, InvalidInputError, JobFailedError } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import { testBus } from "../support/nats.ts";
import { NetworkLink } from "../support/network-link.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("run");
let system: System;
/** Calls of functions that have not returned yet: of `held`, with what lets them. */
const held = new Map<string, (result: unknown) => void>();
/** How often `flaky` has failed, by job id. */
const failures = new Map<string, number>();

test.before(async () => {
  system = await System.start({ parkAfterMs: 200 });
  await system.worker(
    (w) =>
      w
        .func("echo", ({ args }) => args)
        .func("boom", () => {
          throw new Error("boom");
        })
        .func("held", ({ jobId, signal }) => {
          const released = new Promise((resolve) => held.set(jobId, resolve));
          return Promise.race([released, once(signal, "abort")]);
        })
        .func("flaky", ({ jobId }) => {
          failures.set(jobId, (failures.get(jobId) ?? 0) + 1);
          if (failures.get(jobId) === 1) throw new Error("the first time");
          return "the second time";
        }),
    { concurrency: 50 },
  );
});
test.after(() => system.close());

const job = (name: string, args?: unknown) => ({ name, functions: [{ name, args }] });

/** The job is being executed; returns how to let it return. */
function release(jobId: string): Promise<(result: unknown) => void> {
  return eventually(`job ${jobId} is executed`, () => held.get(jobId));
}

async function thrownBy(promise: Promise<unknown>): Promise<AsyncError> {
  const error = await promise.then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.instance(error, AsyncError);
  return error;
}

/** Runs `task`, while what is published on subjects that begin with `lost` gets lost. Returns the subjects of all that was. */
async function published(task: () => Promise<void>, lost?: string): Promise<string[]> {
  const { nc } = system.bus;
  const publish = nc.publish.bind(nc);
  const subjects: string[] = [];
  nc.publish = (subject, ...rest) => {
    subjects.push(subject);
    if (lost === undefined || !subject.startsWith(lost)) publish(subject, ...rest);
  };
  try {
    await task();
  } finally {
    nc.publish = publish;
  }
  return subjects;
}

const countOf = (subjects: string[], prefix: string) => subjects.filter((subject) => subject.startsWith(prefix)).length;

test("it returns the result of the last function", async () => {
  const chain = { name: "chain", functions: [{ name: "echo", args: 1 }, ...job("echo", { a: [2] }).functions] };
  assert.equal(await system.client.run(chain), { a: [2] });
  assert.is(await system.client.run(job("echo")), null);
  assert.is(await system.client.run(job("echo", new Uint8Array([1, 2])), { encoding: "msgpack" }), "AQI=");
});

test("many at a time get their own results", async () => {
  const numbers = Array.from({ length: 200 }, (_, n) => n);
  assert.equal(await Promise.all(numbers.map((n) => system.client.run(job("echo", n)))), numbers);
});

test("a job that fails throws, with its id and why", async () => {
  let id = "";
  const error = await thrownBy(system.client.run(job("boom"), { onSubmitted: (jobId) => (id = jobId) }));
  assert.instance(error, JobFailedError);
  assert.is(error.code, "job_failed");
  assert.is((error as JobFailedError).jobId, id);
  assert.is((error as JobFailedError).failure?.message, "boom");
  assert.match(error.message, new RegExp(`job ${id} has failed: boom`));
});

test("a job that is cancelled throws", async () => {
  let id = "";
  const run = thrownBy(system.client.run(job("held"), { onSubmitted: (jobId) => (id = jobId) }));
  await release(await eventually("the job is stored", () => id));
  await system.client.cancel(id);
  assert.is((await within(1_000, "the end", run)).code, "job_cancelled");
});

test("under an id of one's own it is the same job, before and after its end", async () => {
  const runs = [1, 2].map(() => system.client.run(job("held"), { jobId: "mine" }));
  (await release("mine"))("once");
  assert.equal(await within(1_000, "both results", Promise.all(runs)), ["once", "once"]);
  assert.is(await system.client.run(job("held"), { jobId: "mine" }), "once");
  assert.is(held.size, new Set(held.keys()).size);
});

test("who is to be notified besides is, and the result comes all the same", async () => {
  const told = new Promise<JobEvent>((resolve) => {
    system.bus.nc.subscribe("job.notify.somebody-else", { max: 1, callback: (_, m) => resolve(m.json()) });
  });
  assert.is(await system.client.run({ ...job("echo", 7), notify: "somebody-else" }), 7);
  const event = await within(1_000, "the notice", told);
  assert.is((event as { result?: unknown }).result, 7);
});

test("a notice that is lost costs two seconds at most", async () => {
  const subjects = await published(async () => {
    assert.is(await within(4_000, "the result", system.client.run(job("echo", "found"))), "found");
  }, "job.notify.");
  assert.is(countOf(subjects, "job.notify."), 1);
  assert.is(countOf(subjects, "job.get."), 1);
});

test("a job that ends while its client is cut off is found when the client is back", async () => {
  const link = await NetworkLink.start(Number(new URL(system.url).port));
  const bus = await testBus(link.url, "cut-off", { reconnectTimeWait: 50, pingInterval: 200, maxPingOut: 1 });
  try {
    let id = "";
    const run = new Client(bus).run(job("held"), { onSubmitted: (jobId) => (id = jobId) });
    const finish = await release(await eventually("the job is stored", () => id));
    link.cut();
    finish("meanwhile");
    await system.client.wait(id, { timeoutMs: 5_000 });
    link.mend();
    assert.is(await within(5_000, "the result", run), "meanwhile");
  } finally {
    await bus.close();
    await link.close();
  }
});

test("a job that waits outside of memory still knows whom to notify", async () => {
  const retry_options = { retry_limit: 2, backoff: { type: "fixed" as const, delay_ms: 700, jitter: 0 } };
  const flaky = { name: "flaky", functions: [{ name: "flaky", retry_options }] };
  const subjects = await published(async () => {
    assert.is(await within(4_000, "the result", system.client.run(flaky)), "the second time");
  });
  assert.is(countOf(subjects, "job.get."), 0, "it need not look");
});

for (const [size, data] of [
  ["small", null],
  ["large", "x".repeat(10_000)],
] as const) {
  test(`a ${size} job that another supervisor takes over still knows whom to notify`, async () => {
    const other = await System.start("without supervisor");
    const first = await Supervisor.start(other.bus);
    try {
      await other.worker((w) =>
        w
          .func("echo", ({ args }) => args)
          .func("held", ({ jobId }) => new Promise((resolve) => held.set(jobId, resolve))),
      );
      const functions = ["echo", "held", "echo"].map((name) => ({ name, args: name }));
      let id = "";
      const run = other.client.run({ name: "chain", functions, data }, { onSubmitted: (jobId) => (id = jobId) });
      await release(await eventually("the job is stored", () => id));
      held.delete(id);
      await first.close({ graceMs: 0 });
      await using _second = await Supervisor.start(other.bus);
      (await release(id))(1);
      assert.is(await within(1_500, "the result", run), "echo");
    } finally {
      await other.close();
    }
  });
}

test("when its time is over it throws, and the job goes on", async () => {
  let id = "";
  const error = await thrownBy(
    system.client.run(job("held"), { timeoutMs: 300, onSubmitted: (jobId) => (id = jobId) }),
  );
  assert.is(error.code, "bus_timeout");
  assert.match(error.message, id);
  (await release(id))("later");
  assert.is((await system.client.wait(id, { timeoutMs: 5_000 })).result, "later");
});

test("a signal ends the waiting, not the job", async () => {
  const controller = new AbortController();
  let id = "";
  const run = system.client.run(job("held"), { signal: controller.signal, onSubmitted: (jobId) => (id = jobId) });
  const finish = await release(await eventually("the job is stored", () => id));
  controller.abort(new Error("enough"));
  const error = await within(
    1_000,
    "the end of the waiting",
    run.catch((thrown) => thrown),
  );
  assert.is((error as Error).message, "enough");
  finish("all the same");
  assert.is((await system.client.wait(id, { timeoutMs: 5_000 })).result, "all the same");
  const never = await system.client.run(job("echo"), { signal: controller.signal }).catch((thrown) => thrown);
  assert.is((never as Error).message, "enough");
});

test("when the client is closed, whoever waits is told", async () => {
  const client = await Client.connect({ url: system.url });
  const ids: string[] = [];
  const run = thrownBy(client.run(job("held"), { onSubmitted: (jobId) => void ids.push(jobId) }));
  await release(await eventually("the job is stored", () => ids[0]));
  const wait = thrownBy(client.wait(ids[0] ?? ""));
  await client.close();
  for (const error of await within(1_000, "both errors", Promise.all([run, wait]))) assert.is(error.code, "closed");
  held.get(ids[0] ?? "")?.(null);
});

test("a result that fits into no event says where it is", async () => {
  // Each byte is two characters in JSON, in which events and answers are.
  const error = await thrownBy(system.client.run(job("echo", '"'.repeat(600_000)), { encoding: "msgpack" }));
  assert.is(error.code, "payload_too_large");
  assert.match(error.message, "bucket");
});

test("the type of a job is checked, unless nothing is known of it", async () => {
  // @ts-expect-error a slip of the pen
  const slip = await thrownBy(system.client.run({ name: "x", functions: [{ name: "echo", timeout: 1 }] }));
  assert.match(slip.message, "/functions/0/timeout is not a known field");
  const known: number = await system.client.run<number>(job("echo", 1));
  assert.is(known, 1);
  assert.is(await system.client.run<number, unknown>(job("echo", 1)), 1);
});

test("what is not valid is refused with its reasons", async () => {
  for (const [input, path] of [
    [{ name: "x", functions: [] }, "/functions"],
    [{ ...job("echo"), notify: "not a word" }, "/notify"],
    [{ ...job("echo"), notify: "" }, "/notify"],
    [{ ...job("echo"), notify: "x".repeat(65) }, "/notify"],
    [{ ...job("echo"), notify: 7 }, "/notify"],
  ] as const) {
    const error = await thrownBy(system.client.run(input as unknown));
    assert.instance(error, InvalidInputError);
    assert.equal(
      (error as InvalidInputError).reasons.map((reason) => reason.path),
      [path],
    );
  }
});

test("whoever speaks NATS is notified of each end, with the event's own body", async () => {
  const { nc, mux } = system.bus;
  const notices: JobEvent[] = [];
  const subscription = nc.subscribe("job.notify.plain", { callback: (_, m) => void notices.push(m.json()) });
  const submit = (id: string, one: object) =>
    mux.publish(`job.submit.${id}`, JSON.stringify({ ...one, notify: "plain" }));
  const flaky = { name: "flaky", functions: [{ name: "flaky" }] };
  await submit("plain-echo", job("echo", 1));
  await submit("plain-flaky", flaky);
  await submit("plain-held", job("held"));
  await eventually("two are told", () => notices.length === 2);
  await release("plain-held");
  await system.client.cancel("plain-held");
  await system.client.retry("plain-flaky");
  await eventually("all are told", () => new Set(notices.map((event) => event.job_id + event.type)).size === 4);
  subscription.unsubscribe();
  const types = (jobId: string) => notices.filter((event) => event.job_id === jobId).map((event) => event.type);
  assert.equal(types("plain-echo"), ["completed"]);
  assert.equal(types("plain-flaky"), ["failed", "completed"]);
  assert.equal(new Set(types("plain-held")), new Set(["cancelled"]));
  assert.equal(
    notices.find(({ job_id }) => job_id === "plain-echo"),
    system.events.find(({ job_id }) => job_id === "plain-echo"),
  );
  assert.is((await system.client.get("plain-echo")).notify, "plain");
});

test("nothing is listened to any more when the results are there", async () => {
  const { protocol } = system.bus.nc as unknown as { protocol: { subscriptions: { size(): number } } };
  const before = protocol.subscriptions.size();
  await Promise.all([1, 2, 3].map((n) => system.client.run(job("echo", n), { jobId: `listened-${n}` })));
  await Promise.all([1, 2, 3].map((n) => system.client.run(job("echo", n))));
  assert.is(protocol.subscriptions.size(), before);
});

test.run();
