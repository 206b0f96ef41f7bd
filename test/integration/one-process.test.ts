/** Workers on the connection of a supervisor: their invocations do not go over the bus, and that is all that is different. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { FatalError } from "../../src/worker/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { type Running, startCli } from "../support/process.ts";
import { System, silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("one process");
let system: System;

test.before(async () => {
  system = await System.start({ heartbeatMs: 300, topology: { ackWaitMs: 2_000 } });
});
test.after(() => system.close());

/** On the supervisor's own connection. */
const here = (define: (worker: Worker) => Worker, concurrency = 2) =>
  system.worker(define, { bus: system.bus, concurrency });

const submit = (name: string, more: object = {}) =>
  system.client.submit({ name, functions: [{ name }], ...more }).then(({ job_id }) => job_id);

const end = async (name: string, more: object = {}) =>
  system.client.wait(await submit(name, more), { timeoutMs: 15_000 });

/** What goes over the bus to a function, whoever serves it, until it is asked for. */
function watch(name: string): () => string[] {
  const seen: string[] = [];
  const subscription = system.bus.nc.subscribe(`fn.${name}`, {
    callback: (_, message) => void seen.push(message.subject),
  });
  return () => {
    subscription.unsubscribe(); // nobody would be told that there is no worker
    return seen;
  };
}

test("a chain is executed here, and nothing of it goes over the bus", async () => {
  const seen = watch(">");
  await here((w) =>
    w
      .func("here.first", ({ args, data }) => ({ ...data, args }))
      .func("here.second", async ({ results }) => results)
      .func("here.third", () => undefined),
  );
  const functions = [{ name: "here.first", args: [1] }, { name: "here.second" }, { name: "here.third" }];
  const job = await end("chain", { functions, data: { x: 1 } });
  assert.equal(
    job.functions.map(({ result }) => result),
    [{ x: 1, args: [1] }, [{ x: 1, args: [1] }], null],
  );
  assert.equal(seen(), []);
});

test("what handlers do to what they are given does not reach the job", async () => {
  await here((w) =>
    w.func("vandal", ({ args, data }) => {
      args.push("more");
      data.gone = true;
      return data;
    }),
  );
  const job = await end("vandal", { functions: [{ name: "vandal", args: [1] }], data: {} });
  assert.equal([job.data, job.functions[0]?.args, job.result], [{}, [1], { gone: true }]);
});

test("failures are retried, fatal ones are not, and both keep their words", async () => {
  let failures = 2;
  await here((w) =>
    w
      .func("shaky", () => {
        if (failures-- > 0) throw new TypeError("not yet");
        return "at last";
      })
      .func("hopeless", () => {
        throw new FatalError("never");
      }),
  );
  const retry_options = { retry_limit: 5, backoff: { type: "fixed", delay_ms: 0 } };
  const shaky = await end("shaky", { functions: [{ name: "shaky", retry_options }] });
  assert.equal([shaky.result, shaky.functions[0]?.retry_count], ["at last", 3]);
  const hopeless = await end("hopeless", { functions: [{ name: "hopeless", retry_options }] });
  assert.equal(
    [hopeless.state, hopeless.error?.name, hopeless.error?.message, hopeless.functions[0]?.retry_count],
    ["failed", "FatalError", "never", 1],
  );
});

test("a result that would not fit into a message is a failure here too", async () => {
  await here((w) => w.func("huge", () => "x".repeat(2 * 1024 * 1024)));
  const job = await end("huge");
  assert.is(job.state, "failed");
  assert.match(job.error?.message ?? "", /the result cannot be sent/);
});

test("jobs in MessagePack keep what JSON has no word for", async () => {
  await here((w) => w.func("bytes", ({ data }) => data));
  const data = new Uint8Array([1, 2, 255]);
  const { job_id } = await system.client.submit(
    { name: "bytes", functions: [{ name: "bytes" }], data },
    { encoding: "msgpack" },
  );
  const { result } = await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.equal(result, Buffer.from(data).toString("base64"));
});

test("a cancelled job stops what runs of it", async () => {
  let stopped = false;
  let begun = false;
  await here((w) =>
    w.func("endless", async ({ signal }) => {
      begun = true;
      await delay(20_000, undefined, { signal }).catch(() => {
        stopped = true;
      });
    }),
  );
  const jobId = await submit("endless");
  await eventually("it runs", () => begun);
  await system.client.cancel(jobId);
  await eventually("it is stopped", () => stopped);
});

test("no more attempts run at a time than its concurrency; the rest go to workers elsewhere", async () => {
  let running = 0;
  let most = 0;
  const places = { here: 0, elsewhere: 0 };
  const serve = (place: keyof typeof places) => (w: Worker) =>
    w.func("both", async () => {
      places[place] += 1;
      if (place === "here") most = Math.max(most, ++running);
      await delay(20);
      if (place === "here") running -= 1;
    });
  await here(serve("here"), 2);
  await system.worker(serve("elsewhere"), { concurrency: 2 });
  const ids = await Promise.all(Array.from({ length: 60 }, () => submit("both")));
  for (const id of ids) assert.is((await system.client.wait(id, { timeoutMs: 15_000 })).error, undefined);
  assert.is(most, 2);
  assert.is(places.here + places.elsewhere, 60);
  assert.ok(places.here >= 10 && places.elsewhere >= 10, JSON.stringify(places));
});

test("a worker that closes leaves the connection open, and its functions to others", async () => {
  const seen = watch("left");
  const worker = new Worker({ log: silent, bus: system.bus }).func("left", () => "here");
  await worker.start();
  assert.is((await end("left")).result, "here");
  await worker.close();
  assert.ok(system.bus.connected);
  await system.worker((w) => w.func("left", () => "elsewhere"));
  assert.is((await end("left")).result, "elsewhere");
  assert.is(seen().length, 1);
});

test("`async server` executes the functions of modules itself; killed, it leaves its jobs to the next one", async () => {
  const other = await System.start("without supervisor");
  const running: Running[] = [];
  const start = async () => {
    const one = await startCli(["server", "test/support/pid-worker.ts", "--no-http", "--concurrency", "3"], {
      NATS_URL: other.url,
    });
    running.push(one);
    await one.line("supervisor is running");
    return one;
  };
  try {
    // A short lease, which supervisors take as they find it.
    await (await Supervisor.start(other.bus, { topology: { ackWaitMs: 2_000 } })).close();
    const first = await start();
    const functions = [{ name: "pid" }, { name: "pid", args: 1_000 }];
    const { job_id } = await other.client.submit({ name: "pids", functions });
    await first.line("begin 1");
    await first.kill();
    const second = await start();
    const job = await other.client.wait(job_id, { timeoutMs: 20_000 });
    assert.equal(
      job.functions.map(({ result }) => result),
      [first.child.pid, second.child.pid],
    );
    const [worker] = await other.client.workers();
    assert.is(worker?.MaxParallel, 3);
    second.child.kill("SIGTERM");
    assert.is(await second.exit(), 0);
  } finally {
    for (const one of running) await one.kill();
    await other.close();
  }
});

test("modules that are none are refused before anything is started", async () => {
  const refused = await startCli(["server", "package.json", "--no-http"], { NATS_URL: system.url });
  try {
    assert.is(await refused.exit(), 2);
    assert.match(refused.output(), /package\.json/);
  } finally {
    await refused.kill();
  }
});

test.run();
