/** Three servers, three copies of everything. */
import { setTimeout as delay } from "node:timers/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { KV_JOBS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { Worker } from "../../src/worker/worker.ts";
import { freePort, startTestServer } from "../support/nats.ts";
import { silent } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("cluster");
let servers: EmbeddedServer[];
let bus: Bus;
let supervisor: Supervisor;
let worker: Worker;
let client: Client;

test.before(async () => {
  const ports = [await freePort(), await freePort(), await freePort()];
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  servers = await Promise.all(
    ports.map((port, index) =>
      startTestServer({
        extraConfig: `server_name: n${index}\ncluster { name: test, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
      }),
    ),
  );
  const url = servers.map((server) => server.url).join(",");
  bus = await Bus.open({ url, name: "test" });
  supervisor = await eventually(
    "the cluster has a leader",
    () => Supervisor.start(bus, { parkAfterMs: 500 }).catch(() => undefined),
    30_000,
  );
  client = new Client(bus);
  // On another server than the supervisor, so that invocations cross a route.
  const others = servers.filter((server) => !bus.nc.getServer().endsWith(String(server.port)));
  worker = await new Worker({ url: others.map((server) => server.url).join(","), log: silent, concurrency: 10 })
    .func("short", () => delay(10))
    .func("flaky", ({ attempt }) => {
      if (attempt === 1) throw new Error("once");
      return attempt;
    })
    .start();
});
test.after(async () => {
  await worker.close();
  await supervisor.close();
  await bus.close();
  for (const server of servers) await server.close();
});

async function submitAll(prefix: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
  const functions = [{ name: "short" }, { name: "short" }];
  await Promise.all(ids.map((jobId) => client.submit({ name: prefix, functions }, { jobId, timeoutMs: 30_000 })));
  return ids;
}

test("everything has three copies", async () => {
  assert.is(supervisor.topology.replicas, 3);
  const manager = await jetstreamManager(bus.nc);
  for (const stream of ["JOBS", KV_JOBS, "TIMERS", "EVENTS"]) {
    assert.is((await manager.streams.info(stream)).config.num_replicas, 3);
  }
});

test("a full worker behind a route loses no invocation", async () => {
  for (const id of await submitAll("calm", 200)) {
    const job = await client.wait(id, { timeoutMs: 20_000 });
    assert.equal(
      job.functions.map((fn) => [fn.retry_count, fn.lost_count]),
      [
        [1, undefined],
        [1, undefined],
      ],
    );
  }
});

test("a parked job is woken", async () => {
  const retry_options = { retry_limit: 2, backoff: { type: "fixed" as const, delay_ms: 800, jitter: 0 } };
  const { job_id } = await client.submit({ name: "parked", functions: [{ name: "flaky", retry_options }] });
  assert.is((await client.wait(job_id, { timeoutMs: 15_000 })).result, 2);
});

test("when the leader of the states is killed in the middle, every job is completed", async () => {
  const submitted = submitAll("killed", 150);
  const { cluster } = await (await jetstreamManager(bus.nc)).streams.info(KV_JOBS);
  const leader = servers[Number(cluster?.leader?.slice(1))];
  assert.ok(leader);
  process.kill(leader.pid, "SIGKILL");
  await leader.exited;
  for (const id of await submitted) {
    assert.is((await client.wait(id, { timeoutMs: 40_000 })).state, "completed");
  }
});

test.run();
