/** Accounts with limits: what fits works, and what does not is said before anything is made. */
import { jetstreamManager } from "@nats-io/jetstream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import type { TopologyOptions } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer } from "../support/nats.ts";
import { startCli } from "../support/process.ts";
import { silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const MIB = 1024 ** 2;
const ACCOUNTS = {
  limited: "jetstream { max_file: 100M }",
  roomless: "jetstream { max_file: 100M }",
  tiny: "jetstream { max_file: 4M }",
  none: "",
  two: "jetstream { max_file: 100M, max_streams: 2 }",
  bounded: "jetstream { max_file: 100M, max_bytes_required: true }",
};
const SMALL: TopologyOptions = { jobsMaxBytes: MIB, stateMaxBytes: MIB, eventsMaxBytes: MIB / 4 };

const test = suite("account");
let server: EmbeddedServer;

test.before(async () => {
  const accounts = Object.entries(ACCOUNTS).map(([name, jetStream]) => {
    return `${name.toUpperCase()} {\n${jetStream}\nusers: [{ user: ${name}, password: secret }]\n}`;
  });
  server = await startTestServer({ extraConfig: `accounts {\n${accounts.join("\n")}\n}` });
});
test.after(async () => {
  await server.close();
});

const busOf = (account: keyof typeof ACCOUNTS) =>
  Bus.open({ url: server.url, user: account, password: "secret", name: "test" });

async function refused(account: keyof typeof ACCOUNTS, topology: TopologyOptions = {}) {
  const bus = await busOf(account);
  try {
    const error = await Supervisor.start(bus, { topology }).catch((thrown) => thrown);
    assert.instance(error, Error);
    const made = account === "none" ? [] : await (await jetstreamManager(bus.nc)).streams.names().next();
    assert.equal(made, [], "no stream is left behind");
    return error as Error & { code: string };
  } finally {
    await bus.close();
  }
}

test("an account of 100 MB runs jobs, with limits of its size; and its doctor is content", async () => {
  const env = { NATS_URL: server.url, ASYNC_NATS_USER: "limited", ASYNC_NATS_PASSWORD: "secret" };
  const limits = ["--jobs-max-bytes", "20M", "--state-max-bytes", "40M", "--events-max-bytes", "10M"];
  const supervisor = await startCli(["server", "--http", "127.0.0.1:0", ...limits], env);
  const bus = await busOf("limited");
  try {
    await supervisor.line("listening");
    const worker = await new Worker({ bus: { url: server.url, user: "limited", password: "secret" }, log: silent })
      .func("echo", ({ args }) => args)
      .start();
    const client = new Client(bus);
    assert.is(await client.run({ name: "x", functions: [{ name: "echo", args: 7 }] }, { timeoutMs: 20_000 }), 7);
    const { config } = await (await jetstreamManager(bus.nc)).streams.info("KV_jobs");
    assert.is(config.max_bytes, 40 * MIB);
    const doctor = await startCli(["doctor"], env);
    assert.is(await doctor.exit(), 0, doctor.output());
    await worker.close();
  } finally {
    await bus.close();
    await supervisor.kill();
  }
});

test("what does not fit is refused before a stream is made, and what would fit is said", async () => {
  const error = await refused("roomless");
  assert.is(error.code, "jetstream_error");
  assert.match(error.message, /has 95.4 MiB left for streams, but 6 GiB are asked for/);
  const flags = /--jobs-max-bytes (\d+)K --state-max-bytes (\d+)K --events-max-bytes (\d+)K/.exec(error.message) ?? [];
  const [jobsMaxBytes = 0, stateMaxBytes = 0, eventsMaxBytes = 0] = flags.slice(1).map((k) => Number(k) * 1024);
  const bus = await busOf("roomless");
  const supervisor = await Supervisor.start(bus, { topology: { jobsMaxBytes, stateMaxBytes, eventsMaxBytes } });
  await supervisor.close();
  await bus.close();
});

test("an account without JetStream, with too few streams, or that asks for a limit of each, is told so", async () => {
  const none = await refused("none");
  assert.is(none.code, "jetstream_unavailable");
  assert.match(none.message, /enable it for this account/);
  assert.match((await refused("two", SMALL)).message, /may have 2 more stream\(s\), but 4 are missing/);
  assert.match((await refused("bounded", SMALL)).message, /requires a limit \(max_bytes\) of each stream/);
});

test("an account that is full refuses submissions as full, and doctor says so", async () => {
  const bus = await busOf("tiny");
  const supervisor = await Supervisor.start(bus, { topology: SMALL, parkAfterMs: 50 });
  try {
    // Another user of the same account takes the rest of it.
    const manager = await jetstreamManager(bus.nc);
    await manager.streams.add({ name: "OTHER", subjects: ["other"] });
    const chunk = "x".repeat(100_000);
    await eventually("it is full", () =>
      bus.mux.publish("other", chunk).then(
        () => false,
        () => true,
      ),
    );
    const client = new Client(bus);
    const error = await client.submit({ name: "x", functions: [{ name: "f", args: chunk }] }).catch((thrown) => thrown);
    assert.is(error.code, "jobs_full");
    const env = { NATS_URL: server.url, ASYNC_NATS_USER: "tiny", ASYNC_NATS_PASSWORD: "secret" };
    const doctor = await startCli(["doctor"], env);
    assert.is(await doctor.exit(), 1, doctor.output());
    assert.match(doctor.output(), /the account is \d+ % full/);
    // When there is room again, all is well.
    await manager.streams.purge("OTHER");
    await client.submit({ name: "x", functions: [{ name: "f", args: chunk }] });
  } finally {
    await supervisor.close({ graceMs: 100 });
    await bus.close();
  }
});

test.run();
