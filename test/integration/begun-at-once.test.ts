/**
 * Jobs that nobody else can have submitted are begun before anything of them is stored but their submission (ARRIVALS-7): what can be seen of them and done to them then, and what becomes of repetitions.
 */
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { REPEATED_HEADER } from "../../src/api/headers.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { JOBS } from "../../src/bus/topology.ts";
import { REPEATED } from "../../src/client/submission.ts";
import { AsyncError, isAsyncError } from "../../src/job/errors.ts";
import type { JobView } from "../../src/job/view.ts";
import { eventsOf } from "../support/events.ts";
import { testBus } from "../support/nats.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("begun at once");
/** No start is ever recorded: what runs is not stored either, however long it takes. */
const topology = { storeCompleted: true };
const OPTIONS = { recordStartMs: 600_000, roomWaitMs: 1_500, parkAfterMs: 1_500, topology };
let system: System;
const claimed = new Set<string>();
const repeated: string[] = [];
/** What was stored of the job when a handler began, in the order of the executions, by job id. */
const found = new Map<string, (string | undefined)[]>();
const aborted = new Set<string>();
const finish = new Map<string, () => void>();

test.before(async () => {
  system = await System.start(OPTIONS);
  watch(system.supervisor);
  await system.worker(
    (w) =>
      w
        .func("look", ({ jobId }) => note(jobId))
        .func("held", async ({ jobId, signal }) => {
          await note(jobId);
          signal.addEventListener("abort", () => aborted.add(jobId));
          const finished = new Promise<void>((resolve) => finish.set(jobId, resolve));
          await Promise.race([finished, once(signal, "abort")]);
        }),
    { concurrency: 50 },
  );
});
test.after(() => system.close());

function watch(supervisor: Supervisor): void {
  supervisor.lifecycle.on("claimed", (jobId) => claimed.add(jobId));
  supervisor.lifecycle.on("repeated", (jobId) => repeated.push(jobId));
}

async function note(jobId: string): Promise<void> {
  const state = await stored(jobId);
  found.set(jobId, [...(found.get(jobId) ?? []), state]);
}

const stored = async (jobId: string) => (await system.supervisor.store.get(jobId))?.state?.state;
const jobOf = (...names: string[]) => ({ name: names.join("-"), functions: names.map((name) => ({ name })) });
const body = (...names: string[]) => JSON.stringify(jobOf(...names));
const done = (jobId: string): Promise<JobView> => system.client.wait(jobId, { timeoutMs: 10_000 });
const submit = async (...names: string[]) => (await system.client.submit(jobOf(...names))).job_id;
const begun = (jobId: string) => eventually(`${jobId} is begun`, () => claimed.has(jobId));
const holds = (jobId: string) => eventually(`${jobId} runs`, () => finish.has(jobId));

async function submissions(jobId: string): Promise<number> {
  return (await readBatch(system.bus, JOBS, { filter: `job.submit.${jobId}`, from: 1, batch: 10 })).messages.length;
}

const ends = (jobId: string) => eventsOf(system.bus, jobId);

/** Each job of the listing, and how often it is in there. */
async function listed(state?: JobView["state"]): Promise<Map<string, number>> {
  const { jobs } = await system.client.list(state === undefined ? {} : { state });
  const counts = new Map<string, number>();
  for (const { job_id } of jobs) counts.set(job_id, (counts.get(job_id) ?? 0) + 1);
  return counts;
}

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );
}

let made = 0;
const madeUp = () => `auto-test-${++made}`;

// --- when it is stored

test("a job with a made-up id is stored first when its first function has returned", async () => {
  const jobId = await submit("look", "look");
  assert.match(jobId, /^auto-[A-Za-z0-9_-]{16}$/);
  const job = await done(jobId);
  assert.equal(found.get(jobId), [undefined, "running"]);
  assert.equal(
    job.functions.map((fn) => fn.retry_count),
    [1, 1],
  );
});

test("so is one whose id is its sequence", async () => {
  const jobId = `seq-${await system.bus.mux.publish("job.submit", body("look", "look"))}`;
  assert.is((await done(jobId)).state, "completed");
  assert.equal(found.get(jobId), [undefined, "running"]);
});

test("a job with a chosen id is stored before its first function runs, wherever the id stands", async () => {
  await system.client.submit(jobOf("look"), { jobId: "chosen" });
  await system.bus.mux.publish("job.submit", JSON.stringify({ ...jobOf("look"), job_id: "in-the-body" }));
  await system.bus.mux.publish("job.submit", JSON.stringify({ ...jobOf("look"), job_id: "auto-in-the-body" }));
  for (const jobId of ["chosen", "in-the-body", "auto-in-the-body"]) {
    await eventually(`${jobId} has run`, () => found.has(jobId));
    await done(jobId);
    assert.equal(found.get(jobId), ["pending"], jobId);
  }
});

test("one that is to start within seconds sleeps unstored; one that is to start later is stored and leaves memory", async () => {
  const at = (ms: number) => new Date(Date.now() + ms).toISOString();
  const soon = await system.client.submit({ ...jobOf("look"), scheduled_at: at(700) });
  const later = await system.client.submit({ ...jobOf("look"), scheduled_at: at(3_000) });
  await eventually("the later one is stored", async () => (await stored(later.job_id)) === "scheduled");
  await eventually("its submission goes", async () => (await submissions(later.job_id)) === 0);
  assert.is(await stored(soon.job_id), undefined);
  assert.is((await system.client.get(soon.job_id)).state, "scheduled");
  assert.is((await done(soon.job_id)).state, "completed");
  assert.is((await done(later.job_id)).state, "completed");
});

test("an invalid submission is stored as failed at once", async () => {
  const jobId = `seq-${await system.bus.mux.publish("job.submit", '{"name":"x","functions":[]}')}`;
  assert.is((await done(jobId)).error?.code, "invalid_submission");
  assert.is(await stored(jobId), "failed");
});

// --- while it is not stored

test("one that waits for a worker can be read and is listed once, though nothing of it is stored", async () => {
  const jobId = await submit("nobody");
  await begun(jobId);
  const job = await system.client.get(jobId);
  assert.is(job.state, "pending");
  assert.is(job.functions[0]?.retry_count, 0);
  assert.is((await listed()).get(jobId), 1);
  assert.is((await listed("pending")).get(jobId), 1);
  assert.is((await listed("running")).get(jobId), undefined);
  assert.is(await stored(jobId), undefined);
  await eventually("it waits outside of memory", async () => (await stored(jobId)) === "waiting");
  assert.is((await listed()).get(jobId), 1);
  await system.client.cancel(jobId);
});

test("jobs in all stages are listed once each, whatever the size of the pages", async () => {
  const holding = await Promise.all([submit("held"), submit("held"), submit("look", "held")]);
  for (const jobId of holding) await holds(jobId);
  const ended = await submit("look");
  await done(ended);
  const ids = [...holding, ended];
  for (const limit of [1, 2, 1_000]) {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await system.client.list({ limit, ...(cursor !== undefined && { cursor }) });
      seen.push(...page.jobs.map((job) => job.job_id).filter((jobId) => ids.includes(jobId)));
      cursor = page.next;
    } while (cursor !== undefined);
    assert.equal(seen.sort(), [...ids].sort(), `pages of ${limit}`);
  }
  for (const jobId of holding) finish.get(jobId)?.();
  for (const jobId of holding) await done(jobId);
});

test("one that runs is cancelled: its handler is told, it has one end, and no token is left", async () => {
  const jobId = await submit("held", "look");
  await holds(jobId);
  assert.is(await stored(jobId), undefined);
  assert.is((await system.client.cancel(jobId)).state, "cancelled");
  await eventually("the signal fires", () => aborted.has(jobId));
  await eventually("the submission goes", async () => (await submissions(jobId)) === 0);
  assert.is(await stored(jobId), "cancelled");
  assert.equal(await ends(jobId), ["cancelled"]);
  assert.equal(found.get(jobId), [undefined], "the second function has not run");
  assert.is((await system.client.cancel(jobId)).state, "cancelled");
});

test("one that waits for a worker is cancelled, and never begins", async () => {
  const jobId = await submit("comes-too-late");
  await begun(jobId);
  const released = new Promise<string>((resolve) => {
    system.supervisor.lifecycle.on("released", (id, why) => id === jobId && resolve(why));
  });
  await system.client.cancel(jobId);
  assert.is(await within(5_000, "the release", released), "ended");
  let executions = 0;
  const worker = await system.worker((w) => w.func("comes-too-late", () => ++executions));
  const next = await submit("comes-too-late");
  await done(next);
  assert.is(executions, 1);
  assert.equal(await ends(jobId), ["cancelled"]);
  await worker.close();
});

test("one that ends while it is being cancelled has ended: the cancel is refused, or it is cancelled, never both", async () => {
  for (let n = 0; n < 20; n++) {
    const jobId = await submit("held");
    await holds(jobId);
    const cancelled = codeOf(system.client.cancel(jobId));
    finish.get(jobId)?.();
    const state = (await done(jobId)).state;
    assert.is(await cancelled, state === "cancelled" ? undefined : "job_ended");
    assert.equal(await ends(jobId), [state]);
  }
});

test("one that has not ended cannot be retried by hand", async () => {
  const jobId = await submit("held");
  await holds(jobId);
  assert.is(await codeOf(system.client.retry(jobId)), "job_not_ended");
  finish.get(jobId)?.();
  assert.is((await done(jobId)).state, "completed");
});

test("a supervisor that goes hands over what is not stored: another one claims it and runs it again", async () => {
  const jobId = await submit("held");
  await holds(jobId);
  finish.delete(jobId);
  const first = system.supervisor;
  const closed = first.close({ graceMs: 0 });
  await system.startSupervisor(OPTIONS);
  watch(system.supervisor);
  await closed;
  await holds(jobId);
  assert.equal(found.get(jobId), [undefined, "pending"]);
  finish.get(jobId)?.();
  const job = await done(jobId);
  assert.is(job.state, "completed");
  assert.equal(await ends(jobId), ["completed"]);
});

// --- repetitions

test("a made-up id that is repeated while its job runs, and after its end, is executed once", async () => {
  const jobId = madeUp();
  const subject = `job.submit.${jobId}`;
  await system.bus.mux.publish(subject, body("held"));
  await holds(jobId);
  await system.bus.mux.publish(subject, body("held"), REPEATED);
  await eventually(
    "the repetition is dropped",
    async () => repeated.includes(jobId) && (await submissions(jobId)) === 1,
  );
  finish.get(jobId)?.();
  await done(jobId);
  await system.bus.mux.publish(subject, body("held"), REPEATED);
  await eventually("so is the next", async () => (await submissions(jobId)) === 0);
  assert.equal(found.get(jobId), [undefined]);
  assert.equal(await ends(jobId), ["completed"]);
});

test("so it is where another supervisor gets the repetition while nothing is stored", async () => {
  const bus = await testBus(system.url);
  const other = await Supervisor.start(bus, OPTIONS);
  watch(other);
  try {
    for (let n = 0; n < 10; n++) {
      const jobId = madeUp();
      const before = repeated.length;
      await system.bus.mux.publish(`job.submit.${jobId}`, body("held"));
      await holds(jobId);
      for (let copies = 0; copies < 4; copies++) {
        await system.bus.mux.publish(`job.submit.${jobId}`, body("held"), REPEATED);
      }
      await eventually("all are dropped", () => repeated.length === before + 4);
      assert.is(await stored(jobId), undefined);
      finish.get(jobId)?.();
      await done(jobId);
      assert.equal(found.get(jobId), [undefined]);
      assert.equal(await ends(jobId), ["completed"]);
    }
  } finally {
    await other.close();
    await bus.close();
  }
});

test("where the subject names no id, nothing repeats what waits there: each submission is a job", async () => {
  const first = `seq-${await system.bus.mux.publish("job.submit", body("held"))}`;
  await holds(first);
  const publish = (text: string) => system.bus.mux.publish("job.submit", text, REPEATED);
  const next = `seq-${await publish(body("held"))}`;
  const broken = `seq-${await publish("no job")}`;
  const named = "in-the-body";
  await publish(JSON.stringify({ ...jobOf("look"), job_id: named }));
  await holds(next);
  finish.get(first)?.();
  finish.get(next)?.();
  for (const jobId of [first, next, named]) assert.is((await done(jobId)).state, "completed");
  assert.is((await done(broken)).state, "failed");
});

test("so it is where there is no worker: while the job waits in memory, and outside of it", async () => {
  const jobId = madeUp();
  const subject = `job.submit.${jobId}`;
  await system.bus.mux.publish(subject, body("joins-later"));
  await begun(jobId);
  await system.bus.mux.publish(subject, body("joins-later"), REPEATED);
  await eventually("the repetition is dropped", async () => (await submissions(jobId)) === 1);
  await eventually("it waits outside of memory", async () => (await stored(jobId)) === "waiting");
  await eventually("the first submission goes", async () => (await submissions(jobId)) === 0);
  await system.bus.mux.publish(subject, body("joins-later"), REPEATED);
  await eventually("the repetition is dropped", async () => (await submissions(jobId)) === 0);
  let executions = 0;
  const worker = await system.worker((w) => w.func("joins-later", () => ++executions));
  assert.is((await done(jobId)).result, 1);
  assert.equal(await ends(jobId), ["waiting", "completed"]);
  assert.is(executions, 1);
  await worker.close();
});

test("a repetition whose first submission got lost is the job", async () => {
  const jobId = madeUp();
  await system.bus.mux.publish(`job.submit.${jobId}`, body("look"), REPEATED);
  assert.is((await done(jobId)).state, "completed");
  assert.equal(found.get(jobId), ["pending"], "it is claimed first");
});

test("repetitions that wait for a supervisor together are one job", async () => {
  await system.supervisor.close();
  const jobId = madeUp();
  await system.bus.mux.publish(`job.submit.${jobId}`, body("look"));
  for (let copies = 0; copies < 3; copies++) {
    await system.bus.mux.publish(`job.submit.${jobId}`, body("look"), REPEATED);
  }
  await system.startSupervisor(OPTIONS);
  watch(system.supervisor);
  await done(jobId);
  await eventually("nothing is left", async () => (await submissions(jobId)) === 0);
  assert.is(found.get(jobId)?.length, 1);
  assert.equal(await ends(jobId), ["completed"]);
});

/** Submits while the first acknowledgements get lost; tells which tries said that they may be repetitions. */
async function tries(jobId: string | undefined, lost: number): Promise<{ jobId: string; repeated: boolean[] }> {
  const { mux } = system.bus;
  const store = mux.store.bind(mux);
  const said: boolean[] = [];
  mux.store = (subject, payload, headers, timeoutMs, done) => {
    if (!subject.startsWith("job.submit.")) {
      store(subject, payload, headers, timeoutMs, done);
      return;
    }
    const block = Buffer.from((headers as unknown as { encode(): Uint8Array } | undefined)?.encode() ?? []);
    const count = said.push(block.includes(REPEATED_HEADER));
    store(subject, payload, headers, timeoutMs, (error, sequence) => {
      if (count <= lost) done(new AsyncError("bus_timeout", "the acknowledgement was lost on purpose"), 0);
      else done(error, sequence);
    });
  };
  try {
    const job = await system.client.submit(jobOf("look"), jobId === undefined ? {} : { jobId });
    return { jobId: job.job_id, repeated: said };
  } finally {
    mux.store = store;
  }
}

test("the client says from its second try on that it may repeat itself, and the job runs once", async () => {
  const { jobId, repeated: said } = await tries(undefined, 2);
  assert.equal(said, [false, true, true]);
  await done(jobId);
  await eventually("nothing is left", async () => (await submissions(jobId)) === 0);
  assert.equal(found.get(jobId), [undefined]);
  assert.equal(await ends(jobId), ["completed"]);
});

test("the client says so at once of a made-up id that it is given: who has it has submitted it before", async () => {
  const { jobId } = await tries(undefined, 0);
  await done(jobId);
  const again = await tries(jobId, 0);
  assert.equal(again, { jobId, repeated: [true] });
  assert.equal((await tries("chosen-freely", 0)).repeated, [false]);
  await done("chosen-freely");
  await eventually("nothing is left", async () => (await submissions(jobId)) === 0);
  assert.equal(found.get(jobId), [undefined]);
});

test("when all jobs have ended, no token is left in the streams", async () => {
  for (const stream of [JOBS, "TIMERS"]) {
    await eventually(`${stream} is empty`, async () => {
      return (await readBatch(system.bus, stream, { filter: ">", from: 1, batch: 1 })).messages.length === 0;
    });
  }
  assert.is(system.supervisor.liveJobs, 0);
});

test.run();
