/** What is started again, closed twice, closed in mid-work, or shared by two: nothing is left behind, and who waits is told. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { STATUS_HEADER } from "../../src/api/headers.ts";
import { STOP } from "../../src/api/subjects.ts";
import { Bus } from "../../src/bus/connection.ts";
import { readStop } from "../../src/bus/messages/nudges.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer } from "../support/nats.ts";
import { silent } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const USERS = `authorization { users: [
  { user: all, password: x }
  { user: limited, password: x, permissions: { subscribe: { deny: ["fn.secret", "fn.secret *"] } } }
] }`;

const test = suite("closing");
let server: Awaited<ReturnType<typeof startTestServer>>;

test.before(async () => {
  server = await startTestServer({ extraConfig: USERS });
});
test.after(() => server.close());

const busOf = (user = "all") => Bus.open({ url: server.url, user, password: "x", name: "test" });
const run = (client: Client, name: string) => client.run({ name, functions: [{ name }] }, { timeoutMs: 20_000 });

async function failureOf(work: Promise<unknown>): Promise<Error & { code?: string }> {
  const failure = await work.then(
    () => undefined,
    (error) => error,
  );
  assert.instance(failure, Error);
  return failure;
}

test("a start that was refused leaves nothing on a connection that was given, and the worker can be started elsewhere", async () => {
  const limited = await busOf("limited");
  const all = await busOf();
  const supervisor = await Supervisor.start(all);
  const client = new Client(all);
  const subscriptions = () =>
    limited.nc.stats().inMsgs >= 0 && (limited.nc as unknown as Counted).protocol.subscriptions.size();
  try {
    const before = subscriptions();
    const worker = new Worker({ log: silent, bus: limited }).func("open", () => "served").func("secret", () => "kept");
    for (let time = 0; time < 2; time++) {
      assert.is((await failureOf(worker.start())).code, "permission_denied");
      assert.is(subscriptions(), before, "no queue group is left joined");
    }
    // Nobody refuses what others could take.
    const other = await new Worker({ log: silent, bus: all }).func("open", () => "by the other").start();
    assert.is(await run(client, "open"), "by the other");
    await other.close();
    await worker.start({ bus: all });
    assert.is(await run(client, "secret"), "kept");
    await worker.close();
  } finally {
    await supervisor.close();
    await all.close();
    await limited.close();
  }
});

interface Counted {
  protocol: { subscriptions: { size(): number } };
}

test("nothing is started on a connection that is closed", async () => {
  const bus = await busOf();
  await bus.close();
  assert.is((await failureOf(Supervisor.start(bus))).code, "closed");
  const worker = new Worker({ log: silent, bus }).func("f", () => 1);
  assert.is((await failureOf(worker.start())).code, "closed");
});

test("the list of workers of a client that is closed, or closes meanwhile, is no list", async () => {
  const bus = await busOf();
  const worker = await new Worker({ log: silent, bus }).func("f", () => 1).start();
  const client = await Client.connect({ url: server.url, user: "all", password: "x" });
  assert.is((await client.workers()).length, 1);
  const asked = failureOf(client.workers());
  await client.close();
  assert.is((await within(2_000, "its end", asked)).code, "closed");
  assert.is((await failureOf(client.workers())).code, "closed");
  await worker.close();
  await bus.close();
});

test("two supervisors on one connection share the jobs, and when one is closed the other goes on", async () => {
  const bus = await busOf();
  const troubles: string[] = [];
  const options = { parkAfterMs: 200 };
  const supervisors = [await Supervisor.start(bus, options), await Supervisor.start(bus, options)];
  const [, second] = supervisors as [Supervisor, Supervisor];
  const ended = [0, 0];
  for (const [index, { lifecycle }] of supervisors.entries()) {
    lifecycle.on("trouble", ({ what }) => troubles.push(what));
    lifecycle.on("released", (_, why) => {
      if (why === "ended") ended[index] = (ended[index] ?? 0) + 1;
    });
  }
  const runs = new Map<string, number>();
  const worker = new Worker({ log: silent, bus: { url: server.url, user: "all", password: "x" } }).func(
    "count",
    ({ jobId }) => void runs.set(jobId, (runs.get(jobId) ?? 0) + 1),
  );
  try {
    await worker.start();
    const client = new Client(bus);
    const job = { name: "x", functions: [{ name: "count" }] };
    const ids = (await client.submitMany(Array.from({ length: 400 }, () => job))).map((one) => one.job_id);
    for (const id of ids) assert.is((await client.wait(id, { timeoutMs: 20_000 })).state, "completed");
    assert.equal(
      [...runs.values()].filter((count) => count !== 1),
      [],
      "each ran once",
    );
    await eventually("both are done", () => (ended[0] ?? 0) + (ended[1] ?? 0) === 400);
    assert.ok(
      ended.every((count) => count > 0),
      `one of them has had them all: ${ended}`,
    );

    // Whoever is left answers the heartbeats of attempts that nobody waits for: that is how a worker hears that it may stop.
    await second.close({ graceMs: 100 });
    const stops: string[] = [];
    bus.nc.subscribe(STOP, { callback: (_, { data }) => void stops.push(readStop(data)?.reply ?? "") });
    const stray = `${bus.mux.inboxPrefix}nobody`;
    bus.nc.publish(stray, "", { headers: headersOf({ [STATUS_HEADER]: "heartbeat" }) });
    await eventually("it may stop", () => stops.includes(stray));
    assert.equal(troubles, []);
  } finally {
    await worker.close({ graceMs: 100 });
    for (const supervisor of supervisors) await supervisor.close({ graceMs: 0 });
    await bus.close();
  }
});

test("a second close of a client waits for the first", async () => {
  const client = await Client.connect({ url: server.url, user: "all", password: "x" });
  await client.submit({ name: "x", functions: [{ name: "nobody" }] }).catch((error) => {
    if (!isAsyncError(error)) throw error;
  });
  const order: string[] = [];
  await Promise.all([client.close().then(() => order.push("first")), client.close().then(() => order.push("second"))]);
  assert.equal(order, ["first", "second"]);
  assert.ok(client.bus.closed);
});

test.run();
