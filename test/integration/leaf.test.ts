/**
 * Leaf nodes and JetStream domains. Clients and workers need no JetStream on the server they are connected to; a supervisor
 * reaches that of the hub by its domain.
 */
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "nats";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus, type BusOptions } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import { AsyncError } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { withHubAndLeaf } from "../support/leaf.ts";
import { startCli, toEnd } from "../support/process.ts";
import { silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

/** A supervisor on a connection of its own. */
async function supervise(options: Omit<BusOptions, "name">, use: (supervisor: Supervisor, bus: Bus) => Promise<void>) {
  const bus = await Bus.open({ ...options, name: "test" });
  try {
    const supervisor = await eventually("JetStream is ready", () => startedOn(bus), 20_000);
    try {
      await use(supervisor, bus);
    } finally {
      await supervisor.close({ graceMs: 100 });
    }
  } finally {
    await bus.close();
  }
}

async function startedOn(bus: Bus): Promise<Supervisor | undefined> {
  try {
    return await Supervisor.start(bus, { parkAfterMs: 100 });
  } catch (error) {
    if (error instanceof AsyncError && error.code === "jetstream_unavailable") return undefined;
    throw error;
  }
}

const cli = (args: string[], env: Record<string, string>) => toEnd(startCli(args, env));

for (const hubDomain of ["", "domain: hub"]) {
  test(`at a leaf node without JetStream everything but a supervisor is as ever; hub: ${hubDomain || "no domain"}`, () =>
    withHubAndLeaf({ hub: hubDomain }, ({ hub, leaf }) =>
      supervise({ url: hub }, async () => {
        const NATS_URL = leaf;
        const worker = await startCli(["worker", "workers/example.ts"], { NATS_URL });
        const client = await Client.connect({ url: leaf });
        const plain = await connect({ servers: leaf });
        try {
          assert.not.ok(client.bus.nc.info?.jetstream);
          await worker.line("serving");
          plain.subscribe("fn.plain", { queue: "fn", callback: (_, message) => void message.respond('"plain"') });
          await plain.flush();
          const job = { name: "leaf", functions: [{ name: "plain" }, { name: "/v1/test-1", args: [1] }] };
          const { job_id } = await client.submit(job, { jobId: "at-the-leaf" });
          const done = await client.wait(job_id, { timeoutMs: 20_000 });
          assert.is(done.state, "completed");
          assert.is(done.functions[0]?.result, "plain");
          assert.is(await client.run({ name: "run", functions: [{ name: "plain" }] }, { timeoutMs: 20_000 }), "plain");
          assert.is((await client.get("at-the-leaf")).state, "completed");
          assert.is((await client.list()).jobs.length, 2);
          assert.ok((await client.functions()).functions.length >= 1);

          if (hubDomain === "") return; // it would say the same again
          const workers = await cli(["workers", "--json"], { NATS_URL });
          assert.is(workers.code, 0, workers.output);
          assert.ok(workers.output.includes("test-1"), workers.output);
          assert.is((await cli(["get", "at-the-leaf"], { NATS_URL })).code, 0);
          const doctor = await cli(["doctor"], { NATS_URL });
          assert.is(doctor.code, 1, doctor.output);
          assert.match(doctor.output, /cannot be seen from here/);
          assert.match(doctor.output, /--domain/);
          assert.match(doctor.output, /1 supervisor\(s\)/);
          const server = await cli(["server", "--http", "127.0.0.1:0"], { NATS_URL });
          assert.is(server.code, 3, server.output);
          assert.match(server.output, /--domain/);
        } finally {
          await plain.close();
          await client.close();
          await worker.kill();
        }
      }),
    ));
}

for (const leafJetStream of [undefined, "domain: leaf", ""]) {
  const what = leafJetStream === undefined ? "without JetStream" : `with JetStream, ${leafJetStream || "no domain"}`;
  test(`a supervisor at a leaf node (${what}) runs jobs in the domain of the hub`, () =>
    withHubAndLeaf(
      { hub: "domain: hub", ...(leafJetStream !== undefined && { leaf: leafJetStream }) },
      ({ hub, leaf }) =>
        supervise({ url: leaf, domain: "hub" }, async (supervisor, bus) => {
          const worker = await new Worker({ url: leaf, log: silent })
            .func("echo", ({ args }) => args)
            .func("late", ({ attempt }) => {
              if (attempt === 1) throw new Error("once");
              return "in time";
            })
            .start();
          // At the hub: its users know nothing of the supervisor's leaf.
          const client = await Client.connect({ url: hub });
          try {
            const retry_options = { retry_limit: 2, backoff: { type: "fixed", delay_ms: 500 } } as const;
            const parked = new Promise((resolve) => supervisor.lifecycle.on("released", (_, why) => resolve(why)));
            const large = { name: "echo", args: "x".repeat(4_000) }; // stored briefly
            const job = { name: "parked", functions: [large, { name: "late", retry_options }] };
            assert.is(await client.run(job, { jobId: "parked", timeoutMs: 30_000 }), "in time");
            assert.is(await parked, "parked");
            const { job_id } = await client.submit({ name: "unserved", functions: [{ name: "nobody" }] });
            assert.is((await client.cancel(job_id)).state, "cancelled");
            assert.is((await client.retry(job_id)).state, "pending");
            await client.cancel(job_id);
            assert.equal((await client.list()).jobs.map(({ state }) => state).toSorted(), ["cancelled", "completed"]);

            if (leafJetStream === "domain: leaf") {
              const doctor = await cli(["doctor", "--fix"], { NATS_URL: leaf, ASYNC_NATS_DOMAIN: "hub" });
              assert.is(doctor.code, 0, doctor.output);
              assert.match(doctor.output, /in domain hub/);
            }
            const manager = await jetstreamManager(client.bus.nc);
            assert.ok((await manager.streams.info("KV_jobs")).state.messages >= 2);
            if (leafJetStream !== undefined) {
              const own = await jetstreamManager(bus.nc);
              assert.equal(await own.streams.names().next(), [], "nothing is stored at the leaf");
            }
          } finally {
            await client.close();
            await worker.close();
          }
        }),
    ));
}

test("the JetStream of a leaf node is one server, though the leaf names a cluster", () =>
  withHubAndLeaf({ hub: "domain: hub", leaf: "domain: leaf" }, ({ leaf }) =>
    supervise({ url: leaf }, async ({ topology }, bus) => {
      assert.ok(bus.nc.info?.cluster, "it would be no test otherwise");
      assert.is(topology.replicas, 1);
      // Streams of both would store each submission twice.
      const other = await Bus.open({ url: leaf, domain: "hub", name: "test" });
      const error = await Supervisor.start(other).catch((thrown) => thrown);
      assert.is(error.code, "topology_mismatch");
      assert.match(error.message, /in the JetStream of this server too \(domain leaf\)/);
      await other.close();
    }),
  ));

test("a domain that is not there is a clear error, and so are three copies that were asked for", () =>
  withHubAndLeaf({ hub: "domain: hub" }, async ({ leaf }) => {
    const nowhere = await Bus.open({ url: leaf, domain: "nowhere", name: "test" });
    const error = await Supervisor.start(nowhere).catch((thrown) => thrown);
    assert.is(error.code, "jetstream_unavailable");
    assert.match(error.message, /domain: nowhere/);
    await nowhere.close();
    const there = await Bus.open({ url: leaf, domain: "hub", name: "test" });
    const refused = await Supervisor.start(there, { topology: { replicas: 3 } }).catch((thrown) => thrown);
    assert.is(refused.code, "jetstream_error");
    assert.match(refused.message, /3 copies/);
    await there.close();
  }));

test.run();
