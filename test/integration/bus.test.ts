/** The bus on a real server: gate, mux, topology, store, timers, puller. Names in brackets are invariants of the modules. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { headers, type Msg } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Cursor, FIRST_PAGE, formatCursor, parseCursor } from "../../src/api/cursor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { type EmbeddedServer, startEmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { JobList, type Page } from "../../src/bus/store/job-list.ts";
import { JobStore } from "../../src/bus/store/job-store.ts";
import type { Delivery } from "../../src/bus/tokens/delivery.ts";
import { Puller } from "../../src/bus/tokens/puller.ts";
import { Timers, timerNumberOf } from "../../src/bus/tokens/timers.ts";
import { ensureTopology, JOBS, KV_JOBS, SUPERVISOR_CONSUMER, TIMERS } from "../../src/bus/topology.ts";
import { Mux } from "../../src/bus/wire/mux.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { createJob } from "../../src/job/machine.ts";
import type { JobState } from "../../src/job/state.ts";
import { startTestServer } from "../support/nats.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("bus");
let server: EmbeddedServer;
let bus: Bus;

test.before(async () => {
  server = await startTestServer();
  bus = await Bus.open({ url: server.url, name: "test" });
  await ensureTopology(bus);
});
test.after(async () => {
  await bus.close();
  await server.close();
});

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );
}

function job(id: string): JobState {
  const submission = { name: "x", functions: [{ name: "f", args: [1] }] };
  return createJob(submission, { jobId: id, encoding: "json", createdAt: Date.now(), sequence: 1 }, Date.now()).state;
}

test("a request gets its reply; nobody listening and nobody answering are told apart", async () => {
  const echo = bus.nc.subscribe("test.echo", { callback: (_, message) => void message.respond(message.data) });
  const silent = bus.nc.subscribe("test.silent", { callback: () => {} });
  assert.is((await bus.mux.request("test.echo", "hello", 1_000)).string(), "hello");
  assert.is(await codeOf(bus.mux.request("test.nobody", "", 1_000)), "no_responders");
  assert.is(await codeOf(bus.mux.request("test.silent", "", 100)), "bus_timeout");
  assert.is(bus.mux.size, 0);
  echo.unsubscribe();
  silent.unsubscribe();
});

test("[MUX-1] a late reply, a second reply and a forged token have no effect", async () => {
  const seen: Msg[] = [];
  const responder = bus.nc.subscribe("test.late", { callback: (_, message) => void seen.push(message) });
  assert.is(await codeOf(bus.mux.request("test.late", "", 100)), "bus_timeout");
  seen[0]?.respond("too late");
  const replies: string[] = [];
  const waiter = { onReply: (message: Msg) => replies.push(message.string()) > 0, onTimeout: () => {} };
  bus.mux.open("test.late", "", 1_000, waiter);
  await eventually("the second request", () => seen[1]);
  seen[1]?.respond("first");
  seen[1]?.respond("second");
  bus.nc.publish(`${bus.mux.inboxPrefix}1abc`, "forged");
  await bus.flush();
  assert.equal(replies, ["first"]);
  assert.is(bus.mux.size, 0);
  responder.unsubscribe();
});

test("a cancelled request is silent", async () => {
  const responder = bus.nc.subscribe("test.cancelled", { callback: (_, message) => void message.respond("x") });
  const calls: string[] = [];
  const waiter = { onReply: () => calls.push("reply") > 0, onTimeout: () => void calls.push("timeout") };
  bus.mux.open("test.cancelled", "", 50, waiter).cancel();
  await delay(250);
  assert.equal(calls, []);
  responder.unsubscribe();
});

test("[MUX-4] the number of open requests is limited", async () => {
  const small = new Mux(bus.nc, {
    inboxPrefix: "_INBOX_async",
    isConnected: () => true,
    onFault: (error) => assert.unreachable(String(error)),
    maxWaiters: 2,
  });
  const waiter = { onReply: () => true, onTimeout: () => {} };
  const silent = bus.nc.subscribe("test.silent", { callback: () => {} });
  small.open("test.silent", "", 10_000, waiter);
  small.open("test.silent", "", 10_000, waiter);
  assert.throws(
    () => small.open("test.silent", "", 10_000, waiter),
    (error: unknown) => isAsyncError(error, "bus_overloaded"),
  );
  small.close();
  silent.unsubscribe();
});

test("many replies are gathered until it is quiet", async () => {
  const responders = [1, 2, 3].map((n) =>
    bus.nc.subscribe("test.many", { callback: (_, message) => void message.respond(String(n)) }),
  );
  const replies = await bus.mux.requestMany("test.many", "", 2_000, 100);
  assert.equal(replies.map((message) => message.string()).sort(), ["1", "2", "3"]);
  assert.equal(await bus.mux.requestMany("test.nobody", "", 2_000, 100), []);
  for (const responder of responders) responder.unsubscribe();
});

test("of replies that anybody may send no more are kept than fit into a limit", async () => {
  const large = "x".repeat(1_000_000);
  const responder = bus.nc.subscribe("test.flood", {
    callback: (_, message) => {
      for (let i = 0; i < 40; i++) message.respond(large);
    },
  });
  const replies = await bus.mux.requestMany("test.flood", "", 10_000, 2_000);
  assert.is(replies.length, 17);
  responder.unsubscribe();
});

test("a publish is acknowledged, refused, or goes nowhere, and says which", async () => {
  const first = await bus.mux.publish("job.submit.acked", "{}");
  assert.is(await bus.mux.publish("job.submit.acked", "{}"), first + 1);
  const wrong = headers();
  wrong.set("Nats-Expected-Last-Sequence", "999999");
  assert.is(await codeOf(bus.mux.publish("job.submit.x", "{}", wrong)), "jetstream_error");
  assert.is(await codeOf(bus.mux.publish("no.such.stream", "{}")), "jetstream_unavailable");
  assert.is(await codeOf(bus.mux.publish("job.submit.x", "x".repeat(1_100_000))), "payload_too_large");
  await (await jetstreamManager(bus.nc)).streams.purge(JOBS);
});

test("what is stored in callbacks is told once, also what could not be sent", async () => {
  const told: (string | number)[] = [];
  const store = (subject: string, body: string, timeoutMs = 1_000) =>
    new Promise<void>((resolve) => {
      bus.mux.store(subject, body, undefined, timeoutMs, (error, sequence) => {
        told.push(error?.code ?? sequence);
        resolve();
      });
    });
  const sequence = await bus.mux.publish("job.submit.told", "{}");
  await store("job.submit.told", "{}");
  await store("job.submit.told", "x".repeat(1_100_000));
  await store("no.such.stream", "{}");
  const silent = bus.nc.subscribe("test.silent", { callback: () => {} });
  await store("test.silent", "{}", 60);
  const garbled = bus.nc.subscribe("test.garbled", { callback: (_, message) => void message.respond("thanks") });
  await store("test.garbled", "{}");
  assert.equal(told, [sequence + 1, "payload_too_large", "jetstream_unavailable", "bus_timeout", "bus_timeout"]);
  assert.is(bus.mux.size, 0);
  silent.unsubscribe();
  garbled.unsubscribe();
  await (await jetstreamManager(bus.nc)).streams.purge(JOBS);
});

test("[BUS-2] nothing is sent while disconnected; the connection comes back by itself", async () => {
  const storeDir = await mkdtemp(join(tmpdir(), "async-test-"));
  const first = await startEmbeddedServer({ storeDir });
  const own = await Bus.open({ url: first.url, name: "test" });
  await ensureTopology(own);
  const store = new JobStore(own, { replicas: 1 });
  assert.is((await store.commit(job("kept"), 0)).type, "stored");
  await first.close();
  await eventually("the loss is noticed", () => !own.connected);
  assert.is(await codeOf(own.mux.request("test.echo", "", 1_000)), "not_connected");
  const outcome = await store.commit(job("lost"), 0);
  assert.is(outcome.type, "unknown");
  assert.is(await own.whenConnected(50), false);
  let reconnected = 0;
  own.onReconnected(() => {
    reconnected += 1;
  });
  const second = await startEmbeddedServer({ storeDir, port: first.port });
  assert.is(await own.whenConnected(10_000), true);
  assert.is(reconnected, 1);
  assert.is((await store.get("kept"))?.state?.job_id, "kept");
  assert.is(await store.get("lost"), undefined);
  await own.close();
  await second.close();
  await rm(storeDir, { recursive: true });
});

test("the topology can be made twice, and a difference that matters is a clear error", async () => {
  assert.equal(await ensureTopology(bus), await ensureTopology(bus));
  const other = await startTestServer();
  const own = await Bus.open({ url: other.url, name: "test" });
  const manager = await jetstreamManager(own.nc);
  await manager.streams.add({ name: JOBS, subjects: ["job.submit", "job.submit.>"] });
  const error = await ensureTopology(own).catch((cause) => cause);
  assert.ok(isAsyncError(error, "topology_mismatch"), String(error));
  assert.match(error.message, /stream JOBS.*retention is "limits" and must be "workqueue"/);
  await own.close();
  await other.close();
});

test("limits that an operator has changed are left alone", async () => {
  const manager = await jetstreamManager(bus.nc);
  const before = (await manager.streams.info("EVENTS")).config;
  await manager.streams.update("EVENTS", { max_age: 3_600_000_000_000 });
  await ensureTopology(bus);
  assert.is((await manager.streams.info("EVENTS")).config.max_age, 3_600_000_000_000);
  await manager.streams.update("EVENTS", { max_age: before.max_age });
});

test("no server is a clear error", async () => {
  assert.is(await codeOf(Bus.open({ url: "nats://127.0.0.1:1", name: "test" })), "not_connected");
});

test("[STORE-1, STORE-2] a job is created once, committed by revision, and conflicts are told", async () => {
  const store = new JobStore(bus, { replicas: 1 });
  const state = job("store-1");
  assert.is(await store.get("store-1"), undefined);
  const created = await store.commit(state, 0);
  assert.is(created.type, "stored");
  assert.is((await store.commit(state, 0)).type, "conflict");
  const { revision } = created as { revision: number };
  assert.equal(await store.get("store-1"), { revision, state });
  const next = await store.commit({ ...state, version: 1 }, revision);
  assert.is(next.type, "stored");
  assert.is((await store.commit({ ...state, version: 2 }, revision)).type, "conflict");
  assert.is((await store.get("store-1"))?.state?.version, 1);
});

test("a state over the server's limit is refused, not tried again", async () => {
  const store = new JobStore(bus, { replicas: 1 });
  const outcome = await store.commit({ ...job("large"), data: "x".repeat(1_100_000) }, 0);
  assert.is(outcome.type, "refused");
});

test("a job deleted by hand leaves only a revision", async () => {
  const store = new JobStore(bus, { replicas: 1 });
  await store.commit(job("deleted"), 0);
  const marker = headers();
  marker.set("KV-Operation", "DEL");
  const revision = await bus.mux.publish("$KV.jobs.deleted", "", marker);
  assert.equal(await store.get("deleted"), { revision, state: undefined });
  assert.is((await store.commit(job("deleted"), revision)).type, "stored");
});

test("an ended job is removed when its retention is over, a live one is not", async () => {
  const store = new JobStore(bus, { replicas: 1, retentionMs: 1_000 });
  await store.commit(job("live"), 0);
  await store.commit({ ...job("ended"), state: "completed", finished_at: Date.now() } as JobState, 0);
  assert.ok(await store.get("ended"));
  await eventually("the ended job is gone", async () => (await store.get("ended")) === undefined);
  assert.ok(await store.get("live"));
});

test("the store is read from the leader where there are replicas", async () => {
  const direct = new JobStore(bus, { replicas: 1 });
  const leader = new JobStore(bus, { replicas: 3 });
  await direct.commit(job("led"), 0);
  assert.equal(await leader.get("led"), await direct.get("led"));
  assert.is(await leader.get("no-such"), undefined);
});

/** A listing on a server of its own, with submissions that supervisors have got. */
async function withList(use: (system: Listing) => Promise<void>): Promise<void> {
  const own = await startTestServer();
  const other = await Bus.open({ url: own.url, name: "test" });
  try {
    await ensureTopology(other);
    const taken: Delivery[] = [];
    const list = new JobList(
      other,
      new JobStore(other, { replicas: 1 }),
      ({ subject, sequence }) => subject.split(".")[2] ?? `seq-${sequence}`,
    );
    const store = new JobStore(other, { replicas: 1 });
    const take = async (count: number) => {
      const all = taken.length + count;
      const options = { stream: JOBS, consumer: SUPERVISOR_CONSUMER, onTrouble: () => {} };
      const room = () => all - taken.length;
      const puller = new Puller(other, { ...options, room, onDelivery: (delivery) => void taken.push(delivery) });
      await eventually(`${count} are taken`, () => taken.length === all);
      puller.stop();
      return taken.slice(-count);
    };
    await use({ list, store, take, submit: (id) => other.mux.publish(`job.submit.${id}`, "{}") });
  } finally {
    await other.close();
    await own.close();
  }
}

interface Listing {
  list: JobList;
  store: JobStore;
  submit: (id: string) => Promise<number>;
  /** As a supervisor would: without acknowledging them. */
  take: (count: number) => Promise<Delivery[]>;
}

/** The ids of all pages, `meanwhile` being done before each page of a part that is not the one before. */
async function listed(list: JobList, batch: number, meanwhile?: (part: Cursor["part"]) => Promise<void>) {
  const seen: string[] = [];
  let part: Cursor["part"] = "stored";
  for (let cursor: Cursor | undefined = FIRST_PAGE; cursor; ) {
    if (cursor.part !== part) await meanwhile?.(cursor.part);
    part = cursor.part;
    const page: Page = await list.page(parseCursor(formatCursor(cursor)), batch);
    for (const entry of page.entries) {
      seen.push(entry.type === "job" ? entry.state.job_id : (entry.submission.subject.split(".")[2] ?? ""));
    }
    cursor = page.next;
  }
  return seen;
}

test("jobs are listed page by page, submissions of which nothing is stored at the end, each once", () =>
  withList(async ({ list, store, submit, take }) => {
    const stored = Array.from({ length: 25 }, (_, i) => `stored-${i}`);
    for (const id of stored) await store.commit(job(id), 0);
    const begun = Array.from({ length: 12 }, (_, i) => `begun-${i}`);
    for (const id of begun) await submit(id);
    await take(12);
    const running = begun.filter((_, i) => i % 3 === 0); // has been stored since, its submission being its lease
    for (const id of running) await store.commit(job(id), 0);
    const waiting = Array.from({ length: 5 }, (_, i) => `waiting-${i}`);
    for (const id of waiting) await submit(id);
    const unstored = begun.filter((id) => !running.includes(id));
    for (const batch of [1, 4, 10, 500]) {
      assert.equal(await listed(list, batch), [...stored, ...running, ...unstored, ...waiting], `pages of ${batch}`);
    }
  }));

test("nothing is listed where there is nothing", () =>
  withList(async ({ list }) => {
    assert.equal(await listed(list, 10), []);
  }));

test("[LIST-1] a job is not missed whose first state is stored after the page that would have shown it", () =>
  withList(async ({ list, store, submit, take }) => {
    await store.commit(job("before"), 0);
    await submit("commits");
    await submit("ends");
    await submit("stays");
    const [, ends] = await take(3);
    const seen = await listed(list, 2, async (part) => {
      if (part !== "submitted") return;
      await store.commit(job("commits"), 0);
      await store.commit({ ...job("ends"), state: "completed", finished_at: Date.now() } as JobState, 0);
      ends?.ack();
      await eventually("it is gone", async () => (await list.submission("job.submit.ends")) === undefined);
    });
    assert.equal(seen, ["before", "stays", "commits", "ends"]);
  }));

test("[LIST-1] a job that changes after it was listed is seen twice, and one that nobody had taken is not missed", () =>
  withList(async ({ list, store, submit, take }) => {
    const { revision } = (await store.commit(job("changes"), 0)) as { revision: number };
    await submit("late");
    const seen = await listed(list, 10, async (part) => {
      if (part === "submitted") await store.commit({ ...job("changes"), version: 1 }, revision);
      if (part !== "changed") return;
      await take(1);
      await store.commit(job("late"), 0);
    });
    assert.equal(seen, ["changes", "late", "changes", "late"]);
  }));

test("a cursor of another maker is refused", () => {
  for (const text of [
    "",
    "kv",
    "kv-",
    "kv-x",
    "jobs-5",
    "jobs-5-",
    "changed-1-2",
    "kv-1-2",
    "kv-9999999999999999",
    "seq-1",
  ]) {
    assert.throws(() => parseCursor(text), /not a cursor/, text);
  }
});

/** Collects wakes, acknowledging them. */
function collectWakes(on: Bus): { wakes: { subject: string; number: number }[]; stop: () => void } {
  const wakes: { subject: string; number: number }[] = [];
  const puller = new Puller(on, {
    stream: TIMERS,
    consumer: SUPERVISOR_CONSUMER,
    room: () => 100,
    onDelivery: (delivery) => {
      wakes.push({ subject: delivery.subject, number: timerNumberOf(delivery.data) });
      delivery.ack();
    },
    onTrouble: () => {},
  });
  return { wakes, stop: () => puller.stop() };
}

const owner = (job_id: string, created_at = 1_000) => ({ job_id, created_at });

test("[TIMERS-4] a timer of an earlier job with the same id neither delays nor keeps out that of the new one", async () => {
  const timers = new Timers(bus);
  const { wakes, stop } = collectWakes(bus);
  await timers.schedule(owner("reused", 1_000), Date.now() + 3_600_000, 4);
  await timers.schedule(owner("reused", 2_000), Date.now() + 300, 1);
  await eventually("it has fired", () => wakes.length === 1);
  assert.equal(wakes, [{ subject: "job.wake.reused", number: 1 }]);
  // The same number of another job is no repetition of it.
  await timers.schedule(owner("reused", 3_000), Date.now(), 1);
  await eventually("it has fired as well", () => wakes.length === 2);
  stop();
});

test("[TIMERS-1] a timer fires into the wake subject; a new one replaces the old", async () => {
  const timers = new Timers(bus);
  const { wakes, stop } = collectWakes(bus);
  await timers.schedule(owner("fires"), Date.now() + 300, 1);
  await timers.schedule(owner("replaced"), Date.now() + 300, 1);
  await timers.schedule(owner("replaced"), Date.now() + 900, 2);
  await eventually("both have fired", () => wakes.length >= 2);
  await delay(600);
  assert.equal(wakes, [
    { subject: "job.wake.fires", number: 1 },
    { subject: "job.wake.replaced", number: 2 },
  ]);
  stop();
});

test("[TIMERS-2] scheduling the same number again changes nothing, even after it has fired", async () => {
  const timers = new Timers(bus);
  const { wakes, stop } = collectWakes(bus);
  await timers.schedule(owner("again"), Date.now(), 7);
  await eventually("it has fired", () => wakes.length === 1);
  await timers.schedule(owner("again"), Date.now(), 7);
  await delay(600);
  assert.is(wakes.length, 1);
  stop();
});

test("timers survive a killed server and fire when it is back", async () => {
  const storeDir = await mkdtemp(join(tmpdir(), "async-test-"));
  const first = await startEmbeddedServer({ storeDir });
  const own = await Bus.open({ url: first.url, name: "test" });
  await ensureTopology(own);
  await new Timers(own).schedule(owner("survivor"), Date.now() + 500, 1);
  process.kill(first.pid, "SIGKILL");
  await first.exited;
  await own.close();
  const second = await startEmbeddedServer({ storeDir });
  const again = await Bus.open({ url: second.url, name: "test" });
  const { wakes, stop } = collectWakes(again);
  await eventually("it fires", () => wakes.length === 1);
  stop();
  await again.close();
  await second.close();
  await first.close();
  await rm(storeDir, { recursive: true });
});

test("[PULLER-1] no more is pulled than there is room for; what is acknowledged makes room", async () => {
  const own = await startTestServer();
  const other = await Bus.open({ url: own.url, name: "test" });
  await ensureTopology(other);
  for (let i = 0; i < 50; i++) await other.mux.publish("job.submit", String(i));
  const taken: Delivery[] = [];
  let done = 0;
  const puller = new Puller(other, {
    stream: JOBS,
    consumer: SUPERVISOR_CONSUMER,
    room: () => 7 - (taken.length - done),
    onDelivery: (delivery) => void taken.push(delivery),
    onTrouble: () => {},
  });
  await eventually("the room is filled", () => taken.length === 7);
  await delay(300);
  assert.is(taken.length, 7);
  const finish = setInterval(() => {
    for (; done < taken.length; done++) taken[done]?.ack();
    puller.refill();
  }, 10);
  await eventually("all have come", () => taken.length === 50);
  clearInterval(finish);
  assert.equal(new Set(taken.map((delivery) => delivery.sequence)).size, 50);
  puller.stop();
  await other.close();
  await own.close();
});

test("[PULLER-2] a puller whose consumer was made anew, or whose server was restarted, goes on by itself", async () => {
  const storeDir = await mkdtemp(join(tmpdir(), "async-test-"));
  const first = await startEmbeddedServer({ storeDir });
  const own = await Bus.open({ url: first.url, name: "test" });
  await ensureTopology(own);
  const taken: string[] = [];
  const troubles: string[] = [];
  const puller = new Puller(own, {
    stream: JOBS,
    consumer: SUPERVISOR_CONSUMER,
    room: () => 10,
    onDelivery: (delivery) => {
      taken.push(Buffer.from(delivery.data).toString());
      delivery.ack();
    },
    onTrouble: (reason) => void troubles.push(reason),
  });
  await own.mux.publish("job.submit", "before");
  await eventually("the first", () => taken.length === 1);

  await (await jetstreamManager(own.nc)).consumers.delete(JOBS, SUPERVISOR_CONSUMER);
  await eventually("the trouble is told", () => troubles.length > 0);
  await ensureTopology(own);
  await own.mux.publish("job.submit", "after the deletion");
  await eventually("the second", () => taken.includes("after the deletion"));

  process.kill(first.pid, "SIGKILL");
  await first.exited;
  const second = await startEmbeddedServer({ storeDir, port: first.port });
  await own.whenConnected(10_000);
  await eventually("a submission after the restart", () =>
    own.mux.publish("job.submit", "after the restart").then(
      () => true,
      () => false,
    ),
  );
  await within(
    10_000,
    "the third",
    eventually("the third", () => taken.includes("after the restart")),
  );
  puller.stop();
  await own.close();
  await second.close();
  await first.close();
  await rm(storeDir, { recursive: true });
});

test("the bucket is one that any KV client can read", async () => {
  const { config } = await (await jetstreamManager(bus.nc)).streams.info(KV_JOBS);
  assert.equal(config.subjects, ["$KV.jobs.>"]);
  assert.is(config.max_msgs_per_subject, 1);
  assert.is(config.allow_rollup_hdrs, true);
  assert.is(config.allow_direct, true);
});

test.run();
