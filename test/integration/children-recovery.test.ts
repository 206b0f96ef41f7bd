/**
 * Children whose supervisors die between any two of the steps: what the parent commits, the submission, the end of the child, what is stored
 * of it, and the wake of the parent (PARENTS-1 to -3, CHILDREN-1, FAMILY-1 to -3). A supervisor dies here by having its connection cut when
 * it is about to write something, or just after that.
 */
import { setTimeout as delay } from "node:timers/promises";
import { headers, type MsgHdrs } from "nats";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { sweep } from "../../src/actors/sweep.ts";
import { Bus } from "../../src/bus/connection.ts";
import { ChildEnds, endKey } from "../../src/bus/store/child-ends.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { JobStore } from "../../src/bus/store/job-store.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { JOBS } from "../../src/bus/topology.ts";
import { childIdOf } from "../../src/job/children.ts";
import type { Submission } from "../../src/job/schema.ts";
import type { JobState } from "../../src/job/state.ts";
import { NetworkLink } from "../support/network-link.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("children-recovery");
let system: System;
let store: JobStore;
/** What the test has opened. */
const open: (() => Promise<void>)[] = [];
/** The jobs in which `note` was called. */
const noted: string[] = [];
let fails = false;

test.before(async () => {
  system = await System.start("without supervisor");
  store = new JobStore(system.bus, { replicas: 1 });
  // A short lease, so that the tests need not wait for the default one; supervisors take it as they find it.
  await (await Supervisor.start(system.bus, { topology: { ackWaitMs: 1_000 } })).close();
  await system.worker((w) =>
    w
      .func("note", ({ jobId }) => {
        noted.push(jobId);
        return "noted";
      })
      .func("flaky", () => {
        if (fails) throw new Error("boom");
        return "well";
      }),
  );
});
test.after.each(async () => {
  for (const close of open.splice(0).reverse()) await close();
});
test.after(() => system.close());

async function startSupervisor(bus = system.bus): Promise<Supervisor> {
  const supervisor = await Supervisor.start(bus, { parkAfterMs: 200 });
  open.push(() => supervisor.close({ graceMs: 0 }));
  return supervisor;
}

/** A bus on which what is written goes through `write`. */
async function openBus(url: string, write: (send: Bus["mux"]["store"]) => Bus["mux"]["store"]): Promise<Bus> {
  const bus = await Bus.open({ url, name: "watched" });
  open.push(() => bus.close());
  const { mux } = bus;
  mux.store = write(mux.store.bind(mux));
  return bus;
}

type Entry = Submission["functions"][number];
const CHILD: Entry = { job: { functions: [{ name: "note" }] } };

/** A supervisor that dies once, before or after it writes what fits: nothing that it writes from then on gets anywhere. */
class Mortal {
  isDead = false;

  static async start(dies: (subject: string) => "before" | "after" | undefined): Promise<Mortal> {
    const mortal = new Mortal();
    const link = await NetworkLink.start(system.server.port);
    open.push(() => link.close());
    const die = () => {
      mortal.isDead = true;
      void link.close();
    };
    const bus = await openBus(link.url, (send) => (subject, payload, headers, timeoutMs, done) => {
      const when = mortal.isDead ? undefined : dies(subject);
      if (when === "before") die();
      send(subject, payload, headers, timeoutMs, done);
      if (when === "after") void bus.nc.flush().then(die);
    });
    await startSupervisor(bus);
    return mortal;
  }
}

const ended = (jobId: string) => system.client.wait(jobId, { timeoutMs: 30_000 });

async function stateOf(jobId: string) {
  return (await store.get(jobId))?.state;
}

// biome-ignore lint/suspicious/noExplicitAny: the tests look into a few fields of what is answered
async function childrenOf(parent: string): Promise<any[]> {
  const reply = await system.bus.mux.request("job.list", JSON.stringify({ parent }), 5_000);
  return reply.json<{ jobs: [] }>().jobs;
}

type Dies = "before" | "after";
/** What is written at each step at which a supervisor may die; a child that waits for a signal has its parent leave memory. */
const steps: [name: string, writes: (subject: string, parent: string) => boolean, child: "quick" | "waits"][] = [
  ["the submission of the child", (subject) => subject.startsWith("job.submit.sub-"), "quick"],
  ["the first state of the child", (subject) => subject.startsWith("$KV.jobs.sub-"), "quick"],
  ["what is stored of its end", (subject) => subject.includes(".end.sub-"), "quick"],
  ["the timer of the parent that leaves memory", (subject, parent) => subject === `job.timer.${parent}`, "waits"],
  ["the wake of the parent", (subject, parent) => subject === `job.wake.${parent}`, "waits"],
];

for (const [index, [name, writes, child]] of steps.entries()) {
  for (const when of ["before", "after"] satisfies Dies[]) {
    test(`a supervisor that dies ${when} it writes ${name}: nothing is lost, and the child is made once`, async () => {
      const parent = `dies-${index}-${when}`;
      const mortal = await Mortal.start((subject) => (writes(subject, parent) ? when : undefined));
      const wait: Entry[] = child === "quick" ? [] : [{ wait_for: "go" }];
      const functions: Entry[] = [{ job: { functions: [...wait, { name: "note" }] } }];
      await system.client.submit({ name: parent, functions }, { jobId: parent });
      let isNext = false;
      if (child === "waits") {
        await eventually("the parent leaves memory", async () => (await stateOf(parent))?.token === 1);
        if (name.includes("timer")) {
          await eventually("it has died", () => mortal.isDead);
          await startSupervisor();
          isNext = true;
        }
        const [{ job_id }] = await childrenOf(parent);
        await system.client.signal(job_id, "go");
      }
      await eventually("it has died", () => mortal.isDead);
      if (!isNext) await startSupervisor();
      const { state, result } = await ended(parent);
      assert.equal({ state, result }, { state: "completed", result: "noted" });
      const [one, ...others] = await childrenOf(parent);
      assert.equal(others, []);
      const key = endKey(parent, one.job_id);
      await eventually("nothing is left of its end", async () => !(await store.part(key))?.data.length);
      await eventually("nothing is left in JOBS", async () => {
        return (await readLast(system.bus, JOBS, `job.submit.${one.job_id}`)) === undefined;
      });
    });
  }
}

test("the end of a child that comes while its parent leaves memory is not missed", async () => {
  let placed = () => {};
  const isPlacing = new Promise<void>((resolve) => {
    placed = resolve;
  });
  let goOn = () => {};
  const mayPlace = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const bus = await openBus(system.url, (send) => (subject, payload, headers, timeoutMs, done) => {
    if (subject !== "job.timer.leaves") {
      send(subject, payload, headers, timeoutMs, done);
      return;
    }
    placed();
    void mayPlace.then(() => send(subject, payload, headers, timeoutMs, done));
  });
  await startSupervisor(bus);
  await system.client.submit(
    { name: "leaves", functions: [{ job: { functions: [{ wait_for: "go" }, { name: "note" }] } }] },
    { jobId: "leaves" },
  );
  await isPlacing;
  const [child] = await childrenOf("leaves");
  await system.client.signal(child.job_id, "go");
  await eventually("the end is stored", async () => (await store.part(endKey("leaves", child.job_id)))?.data.length);
  goOn();
  assert.is((await ended("leaves")).result, "noted");
});

test("a child that failed while nobody could tell is retried by its parent, and only once", async () => {
  fails = true;
  const mortal = await Mortal.start((subject) => (subject.includes(".end.sub-") ? "before" : undefined));
  await system.client.submit(
    { name: "tells", functions: [{ job: { functions: [{ name: "flaky" }] } }] },
    { jobId: "tells" },
  );
  await eventually("it has died", () => mortal.isDead);
  await startSupervisor();
  assert.is((await ended("tells")).state, "failed");
  fails = false;
  await system.client.retry("tells");
  assert.is((await ended("tells")).state, "completed");
  const [child] = await childrenOf("tells");
  assert.is((await stateOf(child.job_id))?.retries, 1);
});

for (const isCancelled of [false, true]) {
  const what = isCancelled ? "a child of a parent that was cancelled meanwhile" : "a second child";
  test(`a submission that comes late is not ${what}`, async () => {
    const parent = `late-${isCancelled}`;
    let submitLate: (() => void) | undefined;
    const bus = await openBus(system.url, (send) => (subject, payload, headers, timeoutMs, done) => {
      if (!subject.startsWith("job.submit.sub-")) send(subject, payload, headers, timeoutMs, done);
      else submitLate = () => void bus.nc.publish(subject, payload, { headers: headersSent(headers) });
    });
    const held = await startSupervisor(bus);
    await system.client.submit({ name: parent, functions: [CHILD] }, { jobId: parent });
    await eventually("it is about to submit its child", () => submitLate);
    const { created_at = 0 } = (await stateOf(parent)) ?? {};
    const id = childIdOf({ job_id: parent, created_at, index: 0 });
    await held.close({ graceMs: 0 });
    await startSupervisor();
    if (isCancelled) await system.client.cancel(parent).catch(() => undefined);
    const { state } = await ended(parent);
    assert.is(state, isCancelled && state !== "completed" ? "cancelled" : "completed");
    const before = noted.filter((jobId) => jobId === id).length;
    submitLate?.();
    await eventually(
      "it is dealt with",
      async () => (await readLast(system.bus, JOBS, `job.submit.${id}`)) === undefined,
    );
    await delay(100);
    assert.is(noted.filter((jobId) => jobId === id).length, before);
  });
}

/** Without what makes the server refuse a second copy: one that was on its way, and is stored after the first is gone. */
function headersSent(sent: MsgHdrs | undefined): MsgHdrs {
  const made = headers();
  const lines = Buffer.from((sent as unknown as { encode(): Uint8Array }).encode())
    .toString()
    .split("\r\n");
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(": ");
    if (colon > 0 && !line.startsWith("Nats-")) made.set(line.slice(0, colon), line.slice(colon + 2));
  }
  return made;
}

// --- the sweep

/** What is younger is not looked at. */
const SETTLED_MS = 5_100;

function sweeping({ topology }: Supervisor) {
  const { bus } = system;
  return { bus, store, tokens: new Tokens(bus), eventLog: new EventLog(bus, topology), writer: "test" };
}

test("the sweep removes ends that no parent waits for, and reminds those that do", async () => {
  const next = await startSupervisor();
  await system.client.submit(
    { name: "swept", functions: [{ job: { functions: [{ wait_for: "go" }] } }] },
    { jobId: "swept" },
  );
  await eventually("it rests", async () => (await stateOf("swept"))?.token === 1);
  const parent = await stateOf("swept");
  assert.ok(parent);
  const id = childIdOf({ job_id: "swept", created_at: parent.created_at, index: 0 });
  const ends = new ChildEnds(store);
  const end = { run: 1, outcome: { state: "completed" as const, result: 1 } };
  const other = childIdOf({ job_id: "swept", created_at: parent.created_at, index: 5 });
  await ends.put(parent, other, end);
  await ends.put({ job_id: "nobody", created_at: 1 }, id, end);
  await store.putPart(endKey("swept", other.replace(/.$/, "_")), Buffer.from("nonsense"), 0);
  // Its end is stored, and whoever did it has died.
  await ends.put(parent, id, end);
  await delay(SETTLED_MS);
  await sweep(sweeping(next), { fix: true });
  assert.is((await ended("swept")).result, 1);
  for (const key of [endKey("swept", other), endKey("nobody", id), endKey("swept", id)]) {
    await eventually(`${key} is gone`, async () => !(await store.part(key))?.data.length);
  }
  await system.client.cancel(id);
});

test("SWEEP-5: a parent whose child is not there any more is reminded, and submits it", async () => {
  const next = await startSupervisor();
  const told: string[] = [];
  next.lifecycle.on("trouble", ({ what }) => told.push(what));
  const functions: Entry[] = [{ job: { functions: [{ wait_for: "go" }] } }];
  await system.client.submit({ name: "missing", functions }, { jobId: "missing" });
  await eventually("it rests", async () => (await stateOf("missing"))?.token === 1);
  const [{ job_id }] = await childrenOf("missing");
  // Somebody deletes it by hand.
  const child = await eventually("the child rests", async () => {
    const stored = await store.get(job_id);
    return stored?.state?.token === 1 ? stored : undefined;
  });
  store.removePart(job_id, child.revision);
  await eventually("it is gone", async () => (await store.get(job_id))?.state === undefined);
  // A minute passes.
  const parent = await store.get("missing");
  assert.ok(parent?.state);
  const live = parent.state.live?.map((branch) => ({ ...branch, since: branch.since - 120_000 })) ?? [];
  await store.commit({ ...parent.state, live, version: parent.state.version + 1 } as JobState, parent.revision);
  await delay(SETTLED_MS);
  const { stranded } = await sweep(sweeping(next), { fix: true });
  // That of the supervisor may have been quicker.
  const found = [...told, ...stranded.map(({ problem }) => problem)].join();
  assert.match(found, `it waits for child job ${job_id}, which does not exist`);
  await eventually("it is submitted again", async () => (await store.get(job_id))?.state);
  await system.client.signal(job_id, "go", 5);
  assert.is((await ended("missing")).result, 5);
});

test.run();
