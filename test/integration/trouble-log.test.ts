/** What servers and workers write to their logs when others die, and when storage is in trouble: once per spell. */
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createLifecycle } from "../../src/actors/lifecycle.ts";
import { logLifecycle } from "../../src/actors/log.ts";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { Client } from "../../src/client/client.ts";
import { startBridge } from "../../src/http/bridge.ts";
import { AsyncError } from "../../src/job/errors.ts";
import { inTempFolder } from "../support/folder.ts";
import { startTestServer } from "../support/nats.ts";
import { NetworkLink } from "../support/network-link.ts";
import { type Running, startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("trouble in logs");
const ACK_WAIT_MS = 2_000;

interface Line {
  level: number;
  msg: string;
  [about: string]: unknown;
}

const linesOf = (text: string): Line[] =>
  text.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Line] : []));
const saying = (lines: Line[], text: string) => lines.filter(({ msg }) => msg.includes(text));

/** A log that is kept. */
function memoryLog() {
  const written: string[] = [];
  const log = pino({ level: "info" }, { write: (line: string) => void written.push(line) });
  return { log, lines: () => linesOf(written.join("")) };
}

async function startServer(url: string): Promise<Running> {
  const server = await startCli(["server", "--nats", url, "--no-http"]);
  await server.line("supervisor is running");
  return server;
}

/** Kills with -9, and waits until it is gone. */
async function kill(server: EmbeddedServer): Promise<void> {
  process.kill(server.pid, "SIGKILL");
  await server.exited;
}

test("the log of a server and of a worker through the death of NATS and of another server, and a drain", async () => {
  await inTempFolder(async (storeDir) => {
    let nats = await startTestServer({ storeDir });
    const bus = await Bus.open({ url: nats.url, name: "test" });
    const running: Running[] = [];
    try {
      await (await Supervisor.start(bus, { topology: { ackWaitMs: ACK_WAIT_MS } })).close();
      const client = new Client(bus);
      const first = await startServer(nats.url);
      running.push(first);
      const worker = await startCli([
        "worker",
        "test/support/pid-worker.ts",
        "--concurrency",
        "20",
        "--nats",
        nats.url,
      ]);
      running.push(worker);
      await worker.line("serving");
      // NATS dies, and is back.
      await kill(nats);
      await delay(700);
      nats = await startTestServer({ storeDir, port: nats.port });
      for (const one of [first, worker]) {
        await one.line("reconnected to NATS after");
        const lines = linesOf(one.output());
        assert.is(saying(lines, "disconnected from NATS").length, 1, one.output());
        const [back] = saying(lines, "reconnected to NATS after");
        assert.ok((back?.afterMs as number) >= 500, JSON.stringify(back));
      }
      // Another server dies with jobs that it has begun.
      await bus.whenConnected(5_000);
      for (let index = 0; index < 6; index++) {
        await client.submit({ name: "long", functions: [{ name: "pid", args: 60_000 }] }, { jobId: `long-${index}` });
      }
      await eventually("they run", async () => (await client.list({ state: "running" })).jobs.length === 6);
      const second = await startServer(nats.url);
      running.push(second);
      await first.kill();
      await second.line("took over");
      const id = linesOf(first.output()).find(({ msg }) => msg === "supervisor is running")?.supervisor;
      await eventually("all are told of", () => {
        const told = saying(linesOf(second.output()), "took over");
        return told.reduce((sum, { jobs }) => sum + (jobs as number), 0) === 6;
      });
      const told = saying(linesOf(second.output()), "took over");
      assert.ok(told.length <= 3, "one line for each job");
      assert.match(told[0]?.msg ?? "", `from ${id}`);
      // And a drain.
      for (let index = 0; index < 6; index++) await client.cancel(`long-${index}`);
      for (let index = 0; index < 3; index++) {
        const scheduled_at = new Date(Date.now() + 9_000).toISOString();
        await client.submit({ name: "later", functions: [{ name: "pid" }], scheduled_at });
      }
      await delay(500);
      second.child.kill("SIGTERM");
      assert.is(await second.exit(), 0);
      const lines = linesOf(second.output());
      const [drained] = saying(lines, "drained in");
      assert.ok(drained, second.output());
      assert.ok((drained.handedOn as number) >= 3, JSON.stringify(drained));
      assert.is(saying(lines, "draining").length, 1);
      worker.child.kill("SIGTERM");
      await worker.line("draining");
    } finally {
      for (const one of running) await one.kill();
      await bus.close();
      await nats.close();
    }
  });
});

test("what fails for many jobs in an outage is one warning, and one line when it is over", async () => {
  const system = await System.start();
  const { log, lines } = memoryLog();
  const close = logLifecycle(system.supervisor.lifecycle, log);
  let troubles = 0;
  system.supervisor.lifecycle.on("trouble", ({ what }) => {
    if (what === "cannot record the end") troubles += 1;
  });
  const { mux } = system.bus;
  const { store } = mux;
  try {
    await system.worker(
      (w) =>
        w.func("fails", () => {
          throw new Error("on purpose");
        }),
      { concurrency: 50 },
    );
    // As while EVENTS has no leader.
    let isDown = true;
    mux.store = (subject, payload, headers, timeoutMs, done) => {
      if (!isDown || !subject.endsWith(".failed")) store.call(mux, subject, payload, headers, timeoutMs, done);
      else done(new AsyncError("jetstream_unavailable", `no stream takes ${subject} right now`), 0);
    };
    const outcomes = await system.client.submitMany(
      Array.from({ length: 200 }, () => ({ name: "failing", functions: [{ name: "fails" }] })),
    );
    await eventually("all are in trouble", () => troubles >= 200);
    await delay(3_000);
    assert.is(saying(lines(), "cannot record the end").length, 1, "it is told while it lasts");
    isDown = false;
    for (const { job_id } of outcomes) assert.is((await system.client.wait(job_id ?? "")).state, "failed");
    const over = await eventually("the end is told", () => saying(lines(), "cannot record the end: over after")[0]);
    assert.ok((over.times as number) >= 200);
    assert.ok((over.forMs as number) >= 3_000);
    const [begun, ...others] = saying(lines(), "cannot record the end").filter(({ level }) => level === 40);
    assert.equal(others, []);
    assert.is(begun?.code, "jetstream_unavailable");
    assert.type(begun?.jobId, "string");
  } finally {
    mux.store = store;
    close();
    await system.close();
  }
});

test("faults of ours are told apart, whatever else goes wrong", () => {
  const { log, lines } = memoryLog();
  const lifecycle = createLifecycle();
  const close = logLifecycle(lifecycle, log);
  for (let count = 0; count < 3; count++) {
    for (const message of ["one", "another"]) {
      lifecycle.emit("trouble", { what: "unexpected failure", jobId: `job-${count}`, error: new TypeError(message) });
    }
  }
  const told = () => saying(lines(), "unexpected failure").map(({ level, msg }) => `${level} ${msg}`);
  assert.equal(told(), ["40 unexpected failure", "40 unexpected failure"]);
  close();
  for (const end of told().slice(2)) assert.match(end, /^30 unexpected failure: over after \d+ s, 3 times$/);
  assert.is(told().length, 4);
});

test("a stream that takes no writes is named in the log of the server, with what to do", async () => {
  const system = await System.start();
  const { log, lines } = memoryLog();
  const close = logLifecycle(system.supervisor.lifecycle, log);
  const { mux } = system.bus;
  const { store } = mux;
  try {
    await system.worker((w) => w.func("quick", () => 1));
    let isFrozen = true;
    mux.store = (subject, payload, headers, timeoutMs, done) => {
      if (!isFrozen || !subject.startsWith("$KV.")) store.call(mux, subject, payload, headers, timeoutMs, done);
      else done(new AsyncError("bus_timeout", `no acknowledgement of ${subject}`), 0);
    };
    await system.client.submit({ name: "quick", functions: [{ name: "quick" }] });
    const named = await eventually("it is named", () => saying(lines(), "stream KV_jobs takes no writes")[0]);
    assert.match(named.msg, "restart nats-server");
    isFrozen = false;
    await eventually("it goes on", () => saying(lines(), "cannot commit: over after")[0]);
  } finally {
    mux.store = store;
    close();
    await system.close();
  }
});

test("that ended jobs are kept for less long, that new ones are refused, and the end of it, are told once each", async () => {
  const system = await System.start({
    topology: { stateMaxBytes: 100_000, ackWaitMs: ACK_WAIT_MS },
    maxLiveJobs: 50,
    retentionMs: 600_000,
    roomWaitMs: 100,
  });
  const { log, lines } = memoryLog();
  const close = logLifecycle(system.supervisor.lifecycle, log);
  const bridge = await startBridge({ client: system.client, port: 0, log });
  try {
    const job = { name: "filling", functions: [{ name: "nobody-yet", args: "x".repeat(1_000) }] };
    const submit = () =>
      fetch(`${bridge.url}/v1/job`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(job),
      });
    let refused = 0;
    await eventually(
      "some are refused",
      async () => {
        const { status } = await submit();
        if (status === 503) refused += 1;
        return refused > 20;
      },
      60_000,
    );
    assert.is(saying(lines(), "no new jobs are taken").length, 1);
    assert.is(saying(lines(), "jobs that end are kept for").length, 1);
    const refusals = saying(lines(), "requests are refused");
    assert.is(refusals.length, 1);
    assert.is(refusals[0]?.code, "storage_full");
    await system.worker((w) => w.func("nobody-yet", () => "done"), { concurrency: 10 });
    await eventually("there is room again", () => saying(lines(), "new jobs are taken again")[0], 90_000);
    await eventually(
      "the spell is over",
      () => saying(lines(), "requests were refused (storage_full): over after")[0],
      20_000,
    );
  } finally {
    await bridge.close();
    close();
    await system.close();
  }
});

test("a connection that comes and goes is told of once, and then how often it was lost", async () => {
  const system = await System.start();
  const link = await NetworkLink.start(system.server.port);
  const worker = await startCli(["worker", "test/support/pid-worker.ts", "--nats", link.url]);
  try {
    await worker.line("serving");
    for (let count = 0; count < 4; count++) {
      link.mend(); // what is open is gone
      await delay(1_000);
    }
    await worker.line("reconnected to NATS for good; lost 4 times in");
    const lines = linesOf(worker.output());
    assert.is(saying(lines, "disconnected from NATS").length, 1);
    assert.is(saying(lines, "reconnected to NATS after").length, 1);
  } finally {
    await worker.kill();
    await link.close();
    await system.close();
  }
});

test.run();
