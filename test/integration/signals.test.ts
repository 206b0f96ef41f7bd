/**
 * Signals as they are stored and told of (SIGNALS-1 to -3, REQUEST-1 to -4). No supervisor takes the jobs here, so nobody uses the
 * signals.
 */
import { setTimeout as delay } from "node:timers/promises";
import { Packr } from "msgpackr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SignalRequests } from "../../src/actors/signals.ts";
import { sweep } from "../../src/actors/sweep.ts";
import { tidy } from "../../src/actors/tidy.ts";
import { openSignal } from "../../src/bus/messages/signal-payload.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { inboxKey, packInbox } from "../../src/bus/store/inbox.ts";
import type { JobStore } from "../../src/bus/store/job-store.ts";
import { Signals } from "../../src/bus/store/signals.ts";
import { deleteMessage, readLast } from "../../src/bus/store/stream-read.ts";
import { TIMERS } from "../../src/bus/topology.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { JetStreamError } from "../../src/bus/wire/jetstream.ts";
import { AsyncError, isAsyncError } from "../../src/job/errors.ts";
import type { JobState } from "../../src/job/state.ts";
import { type Made, SignalRig } from "../support/signal-rig.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("signals");
let rig: SignalRig;

test.before(async () => {
  rig = await SignalRig.start();
});
test.after(() => rig.close());

const packr = new Packr({ useRecords: false });

/** A request as anybody may send it. */
async function ask(target: string, body: string | Uint8Array = "", key?: string) {
  const headers = key === undefined ? undefined : headersOf({ "Async-Signal-Key": key });
  const reply = await rig.system.bus.mux.request(`job.signal.${target}`, body, 5_000, headers);
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
  const answer = reply.json<any>();
  return { status: Number(reply.headers?.get("Nats-Service-Error-Code") || 200), ...answer };
}

/** What the owner of a job would get. */
async function values(job: JobState, name = "approval"): Promise<unknown[]> {
  const found: unknown[] = [];
  for (let after = 0; ; ) {
    const signal = await rig.signals.read(job.job_id, job.created_at, name, after);
    if (!signal) return found;
    const opened = openSignal(signal, job.encoding);
    found.push(opened.problem === undefined ? opened.value : opened);
    after = signal.n;
  }
}

async function refusal(call: Promise<unknown>): Promise<AsyncError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(isAsyncError(error), String(error));
  return error;
}

/** The same requests, with something else in place of what they lean on. */
function requestsWith(other: Partial<ConstructorParameters<typeof SignalRequests>[0]>): SignalRequests {
  const { signals, tokens, control, system } = rig;
  const find = (jobId: string) => control.find(jobId);
  return new SignalRequests({ bus: system.bus, signals, tokens, find, ...other });
}

/** A store of which the first writes get no answer, although they are stored, or not. */
function lossyStore(writes: ("stored" | "not stored")[]): JobStore {
  const { store } = rig;
  const part: JobStore["part"] = (key) => store.part(key);
  const putPart: JobStore["putPart"] = async (key, body, after) => {
    const next = writes.shift();
    if (next !== "not stored") {
      const sequence = await store.putPart(key, body, after);
      if (next === undefined) return sequence;
    }
    throw new AsyncError("bus_timeout", "no answer");
  };
  return { part, putPart } as JobStore;
}

// --- stored, and told of

test("a signal is answered when it is stored, with its number; its owner gets them in order, each when it has used the one before", async () => {
  const job = await rig.job("order");
  for (const [index, value] of [{ ok: true }, null, "third"].entries()) {
    const { status, ...answer } = await ask("order.approval", JSON.stringify(value));
    assert.is(status, 200);
    assert.equal(answer, { job_id: "order", name: "approval", number: index + 1 });
  }
  assert.equal(await values(job), [{ ok: true }, null, "third"]);
  assert.is((await rig.signals.read("order", job.created_at, "approval", 1))?.n, 2);
  assert.is(await rig.signals.read("order", job.created_at, "approval", 3), undefined);
  assert.is(await rig.signals.read("order", job.created_at, "other", 0), undefined);
});

test("each name has an inbox of its own, also those that every object has", async () => {
  const names = ["constructor", "__proto__", "definition"];
  const job = await rig.job("names", { names, signals: {} });
  for (const name of names) assert.is((await ask(`names.${name}`, JSON.stringify(name))).number, 1);
  for (const name of names) assert.equal(await values(job, name), [name]);
});

test("INBOX-2: sixteen are kept, the next one is refused until one has been used", async () => {
  const job = await rig.job("full");
  // At the same time, by two supervisors.
  const other = requestsWith({ signals: new Signals(rig.system.bus, rig.store, () => {}) });
  const answers = await Promise.all(
    Array.from({ length: 16 }, (_, i) =>
      i % 2 ? ask("full.approval", String(i)) : other.take("full.approval", Buffer.from(String(i))),
    ),
  );
  const numbers = answers.map(({ number }) => number).sort((a, b) => a - b);
  assert.equal(
    numbers,
    Array.from({ length: 16 }, (_, i) => i + 1),
  );
  const sent = Array.from({ length: 16 }, (_, i) => i);
  assert.equal(new Set(await values(job)), new Set(sent));
  const refused = await ask("full.approval", "17");
  assert.is(refused.status, 409);
  assert.is(refused.code, "signals_full");
  await rig.put({ ...job, signals: { approval: 1 }, version: 2 });
  assert.is((await ask("full.approval", "17")).number, 17);
  assert.is((await rig.inbox("full"))?.kept.length, 16);
});

test("INBOX-3: the same key again stores nothing and is answered with the first number, also when that has been used", async () => {
  const job = await rig.job("keyed");
  assert.equal(await ask("keyed.approval", "1", "k"), { status: 200, job_id: "keyed", name: "approval", number: 1 });
  const again = { status: 200, job_id: "keyed", name: "approval", number: 1, repeated: true };
  assert.equal(await ask("keyed.approval", "1", "k"), again);
  assert.equal(await ask("keyed.approval", '"other"', "k"), again);
  await rig.put({ ...job, signals: { approval: 1 }, version: 2 });
  assert.is((await ask("keyed.approval", "2", "another")).number, 2);
  assert.equal(await ask("keyed.approval", "1", "k"), again);
  assert.equal(await values(job), [2]);
});

test("SIGNALS-1: a signal whose answer was lost is stored once, with a key and without", async () => {
  for (const [index, key] of ["k", undefined].entries()) {
    const job = await rig.job(`lossy-${index}`);
    const signals = new Signals(rig.system.bus, lossyStore(["stored", "not stored", "stored"]), () => {});
    for (const n of [1, 2]) {
      const sent = await signals.send(job, "approval", Buffer.from(String(n)), key && key + n);
      assert.is(sent.n, n);
      assert.not(sent.repeated, "it is the first one with its key");
    }
    assert.equal(await values(job), [1, 2]);
  }
});

test("SIGNALS-1: where no answer comes at all, it is said that it may be stored, and by which key it can be sent again", async () => {
  const job = await rig.job("silent");
  const never = new Signals(
    rig.system.bus,
    lossyStore(Array.from({ length: 50 }, () => "not stored" as const)),
    () => {},
  );
  const error = await refusal(never.send(job, "approval", Buffer.of(), "my-key"));
  assert.is(error.code, "bus_timeout");
  assert.match(error.message, "my-key");
});

test("an id that is used again begins with an empty inbox", async () => {
  const before = await rig.job("again", { created_at: Date.now() - 60_000 });
  await ask("again.approval", '"old"');
  await rig.end(before);
  const now = await rig.job("again");
  assert.equal(await values(now), []);
  assert.is((await ask("again.approval", '"new"')).number, 1);
  assert.equal(await values(now), ["new"]);
});

test("SIGNALS-3: what somebody else has written counts as empty, and is told of", async () => {
  const job = await rig.job("odd", { signals: { approval: 4 } });
  for (const body of [Buffer.from("nonsense"), packr.pack({ last: "x" }), packr.pack([1])]) {
    await rig.system.bus.mux.publish(`$KV.jobs.${inboxKey("odd", "approval")}`, body);
    const told = rig.problems.length;
    assert.is(await rig.signals.read("odd", job.created_at, "approval", 0), undefined);
    assert.is(rig.problems.length, told + 1);
    assert.match(rig.problems.at(-1) ?? "", "odd.signal.approval is no inbox");
  }
  assert.is((await ask("odd.approval", "5")).number, 5);
  const inbox = { created_at: job.created_at, last: 5, kept: [{ n: 5, at: 1, payload: Buffer.of(0xc1) }], keys: [] };
  await rig.system.bus.mux.publish(`$KV.jobs.${inboxKey("odd", "approval")}`, packInbox(inbox));
  const [opened] = (await values(job)) as [{ problem: string }];
  assert.match(opened.problem, "not valid JSON");
});

// --- payloads

test("a JSON job gets what MessagePack has as JSON shows it, a MessagePack job as it is", async () => {
  const large = 9_007_199_254_740_993n;
  const body = packr.pack({ id: large, bytes: Buffer.from("hello"), small: 1 });
  const expected = { json: { id: String(large), bytes: "aGVsbG8=", small: 1 }, msgpack: large };
  const job = await rig.job("as-json");
  assert.is((await ask("as-json.approval", body)).status, 200);
  assert.equal(await values(job), [expected.json]);
  const packed = await rig.job("as-msgpack", { encoding: "msgpack" });
  assert.is((await ask("as-msgpack.approval", body)).status, 200);
  assert.is(((await values(packed)) as { id: unknown }[])[0]?.id, expected.msgpack);
  await rig.put({ ...job, data: (await values(job))[0], version: 2 });
  assert.equal((await rig.system.client.get("as-json")).data, expected.json, "it can be part of a state");
});

test("what cannot be read, and what is too large, is refused, and nothing is stored", async () => {
  await rig.job("refused");
  const half = rig.system.bus.maxPayload / 2;
  const bad: [body: string | Uint8Array, status: number, code: string][] = [
    ["{", 400, "invalid_request"],
    ["yes", 400, "invalid_request"],
    [packr.pack({ a: Number.NaN }), 400, "invalid_request"],
    [Buffer.of(0xd4, 1, 1), 400, "invalid_request"],
    ["9007199254740993", 400, "invalid_request"],
    ["[".repeat(300) + "]".repeat(300), 400, "invalid_request"],
    [JSON.stringify("x".repeat(half)), 413, "payload_too_large"],
  ];
  for (const [body, status, code] of bad) {
    const answer = await ask("refused.approval", body);
    assert.equal({ status: answer.status, code: answer.code }, { status, code }, String(body).slice(0, 20));
  }
  assert.is(await rig.inboxMessage("refused"), undefined);
  for (const key of ["ä", "x".repeat(201)]) assert.is((await ask("refused.approval", "1", key)).status, 400);
});

test("large ones that do not fit into a message together are refused as if there were too many", async () => {
  const job = await rig.job("large");
  const body = JSON.stringify("x".repeat(rig.system.bus.maxPayload / 2 - 100));
  assert.is((await ask("large.approval", body)).number, 1);
  const refused = await ask("large.approval", body);
  assert.is(refused.code, "signals_full");
  assert.match(refused.message, "do not fit into a message together");
  assert.is((await ask("large.approval", "1")).number, 2, "a small one does");
  await rig.put({ ...job, signals: { approval: 2 }, version: 2 });
  assert.is((await ask("large.approval", body)).number, 3);
});

test("a bucket without room is told as such, and nothing is stored", async () => {
  const job = await rig.job("no-room");
  const noRoom = async () => {
    throw new JetStreamError("jobs_full", 10077, "maximum bytes exceeded");
  };
  const store = { part: (key: string) => rig.store.part(key), putPart: noRoom } as unknown as JobStore;
  const signals = new Signals(rig.system.bus, store, () => {});
  assert.is((await refusal(signals.send(job, "approval", Buffer.of()))).code, "storage_full");
});

test("REQUEST-4: what is held for who sends signals has a limit, beyond it one is refused and may try again", async () => {
  const job = await rig.job("crowded");
  let found: () => void = () => {};
  const finding = new Promise<void>((resolve) => {
    found = resolve;
  });
  const requests = requestsWith({ find: () => finding.then(() => ({ state: { ...job, functions: [] } })) });
  const body = Buffer.alloc(1024 ** 2);
  const outcomes: string[] = [];
  const all = Array.from({ length: 70 }, async () =>
    outcomes.push((await refusal(requests.take("crowded.x", body))).code),
  );
  await eventually("those beyond it are refused", () => outcomes.length > 0);
  assert.equal(new Set(outcomes), new Set(["bus_overloaded"]));
  assert.is(outcomes.length, 70 - 63);
  found();
  await Promise.all(all);
  assert.is(outcomes.filter((code) => code === "unknown_signal").length, 63);
  assert.is((await refusal(requests.take("crowded.x", body))).code, "unknown_signal", "there is room again");
});

// --- which jobs take signals

test("an unknown job, an ended one, and a name that no entry waits for are refused", async () => {
  const ended = await rig.job("ended");
  await rig.end(ended);
  await rig.job("typo", { names: ["approval", "payment"] });
  await rig.put({ ...(await rig.job("chain")), functions: [{ name: "f", retry_count: 0 }], live: [], version: 2 });
  const cases: [target: string, status: number, code: string, message: RegExp][] = [
    ["nothing.approval", 404, "job_not_found", /no job nothing/],
    ["ended.approval", 409, "job_ended", /it is cancelled/],
    ["ended.other", 409, "job_ended", /it is cancelled/],
    ["typo.aproval", 404, "unknown_signal", /did you mean approval\?/],
    ["typo.zzz", 404, "unknown_signal", /it waits for approval, payment$/],
    ["chain.approval", 404, "unknown_signal", /it waits for none/],
    ["typo", 400, "invalid_request", /names no signal/],
    ["typo.a.b", 400, "invalid_request", /name of the signal/],
    ["ty$po.approval", 400, "invalid_job_id", /job id/],
  ];
  for (const [target, status, code, message] of cases) {
    const answer = await ask(target, "1");
    assert.equal({ status: answer.status, code: answer.code }, { status, code }, target);
    assert.match(answer.message, message);
  }
  assert.is(await rig.inboxMessage("ended"), undefined);
});

test("REQUEST-2: a job that ends while the signal is stored has not taken it, and keeps no inbox", async () => {
  const job = await rig.job("races");
  let looks = 0;
  const requests = requestsWith({
    find: async (jobId) => {
      looks += 1;
      if (looks === 2) await rig.end(job);
      return rig.control.find(jobId);
    },
  });
  assert.is((await refusal(requests.take("races.approval", Buffer.of()))).code, "job_ended");
  await eventually("the inbox goes", async () => ((await rig.inboxMessage("races"))?.data.length ?? 0) === 0);
});

test("REQUEST-2: a job that has ended because it used that signal has taken it", async () => {
  const job = await rig.job("used-it");
  let looks = 0;
  const requests = requestsWith({
    find: async (jobId) => {
      looks += 1;
      if (looks === 2) await rig.end(job, { signals: { approval: 1 } });
      return rig.control.find(jobId);
    },
  });
  assert.equal(await requests.take("used-it.approval", Buffer.of()), {
    job_id: "used-it",
    name: "approval",
    number: 1,
  });
});

test("a job that is only a submission takes signals, and has them once it is stored, also where its time is read a ms apart", async () => {
  const createdAt = Date.now();
  const stored = await rig.job("not-taken", { created_at: createdAt + 1 });
  const untaken: JobState = { ...stored, created_at: createdAt, live: [], version: 0 };
  const requests = requestsWith({ find: async () => ({ state: untaken }) });
  assert.is((await requests.take("not-taken.approval", Buffer.from('"early"'))).number, 1);
  assert.equal(await values(stored), ["early"]);
  assert.is((await ask("not-taken.approval", '"late"')).number, 2);
  assert.equal(await values(untaken), ["early", "late"]);
});

test("SIGNALS-2: the inboxes of a completed job are removed, those of one that was retried meanwhile are not", async () => {
  const names = ["approval", "payment"];
  const job = await rig.job("removed", { names });
  for (const name of names) await ask(`removed.${name}`, "1");
  await rig.signals.remove("removed", names);
  assert.equal(await values(job), [1], "it lives");
  await rig.end(job, {}, "completed");
  await rig.signals.remove("removed", names);
  for (const name of names) {
    await eventually("it goes", async () => ((await rig.inboxMessage("removed", name))?.data.length ?? 0) === 0);
  }
  await rig.signals.remove("removed", names);
  await rig.put({ ...job, signals: { approval: 1 }, version: 9 });
  assert.is((await ask("removed.approval", "2")).number, 2, "after a retry the numbers go on");
});

test("SIGNALS-2: what a job that was cancelled has not used stays for a retry, for as long as the job does", async () => {
  const names = ["approval", "payment"];
  const job = await rig.job("kept", { names });
  for (const name of names) await ask(`kept.${name}`, "1");
  await rig.end(job, { signals: { payment: 1 } });
  await rig.signals.remove("kept", names);
  await eventually("what was used goes", async () => (await rig.inboxMessage("kept", "payment"))?.data.length === 0);
  const expires = async () => (await rig.inboxMessage("kept"))?.expires === true;
  await eventually("the other one has an end", expires);
  assert.equal(await values(job), [1]);
});

// --- who is told

test("REQUEST-3: whoever has the job is told, and a job that rests on its timer is woken by its token", async () => {
  const told: string[] = [];
  const subscription = rig.system.bus.nc.subscribe("job.ctl.changed.*", {
    callback: (_, { subject }) => void told.push(subject),
  });
  const made: [jobId: string, made: Made][] = [
    ["held", {}],
    ["parked", { token: 3 }],
    ["elsewhere", { token: 3, live: [{ index: 0, attempt: 1, wait: "none", since: 1 }] }],
  ];
  for (const [jobId, more] of made) {
    const job = await rig.job(jobId, more);
    await ask(`${jobId}.approval`, "1", "k");
    await eventually("it is told", () => told.includes(`job.ctl.changed.${jobId}`));
    assert.is(await rig.wake(jobId), jobId === "parked" ? `3 ${job.created_at}` : undefined, jobId);
  }
  // A repetition tells and wakes once more: the first sender may have died before it did.
  const wake = await readLast(rig.system.bus, TIMERS, "job.wake.parked");
  await deleteMessage(rig.system.bus, TIMERS, wake?.sequence ?? 0);
  told.length = 0;
  assert.ok((await ask("parked.approval", "1", "k")).repeated);
  await eventually("it is told", () => told.includes("job.ctl.changed.parked"));
  assert.ok(await rig.wake("parked"));
  assert.is((await ask("parked.approval", "2")).number, 2, "that there is a wake is fine");
  subscription.unsubscribe();
});

test("REQUEST-3: while a supervisor still lets go of an older token, the wake waits for that", async () => {
  const job = await rig.job("leaving", { token: 2 });
  const older = await rig.system.bus.mux.publish("job.wake.leaving", `1 ${job.created_at}`);
  const asked = ask("leaving.approval", "1");
  await delay(50);
  assert.is(await rig.wake("leaving"), `1 ${job.created_at}`);
  await deleteMessage(rig.system.bus, TIMERS, older);
  assert.is((await asked).status, 200);
  assert.is(await rig.wake("leaving"), `2 ${job.created_at}`);
});

test("REQUEST-3: a job that cannot be woken in time is an error that says so; the same again wakes it", async () => {
  const job = await rig.job("stuck", { token: 2 });
  for (const body of [`1 ${job.created_at}`, "nonsense"]) {
    const older = await rig.system.bus.mux.publish("job.wake.stuck", body);
    const refused = await ask("stuck.approval", "1", "my-key");
    assert.is(refused.status, 503);
    assert.match(refused.message, /stored, as number 1, .* same key: my-key/);
    await deleteMessage(rig.system.bus, TIMERS, older);
  }
  assert.is((await ask("stuck.approval", "1", "my-key")).number, 1);
  assert.is(await rig.wake("stuck"), `2 ${job.created_at}`);
});

// --- the sweep

async function tidyInbox(jobId: string): Promise<void> {
  const message = await rig.inboxMessage(jobId);
  assert.ok(message);
  const { store, tokens, system } = rig;
  await tidy({ bus: system.bus, store, tokens }, message);
}

test("the sweep removes the inbox of a job that has ended, and wakes a parked one whose sender has died before it did", async () => {
  const ended = await rig.job("swept-ended");
  const parked = await rig.job("swept-parked", { token: 5 });
  const used = await rig.job("swept-used", { token: 5 });
  const all = [ended, parked, used];
  for (const job of all) await rig.signals.send(job, "approval", Buffer.of());
  await rig.end(ended, {}, "completed");
  await rig.put({ ...used, signals: { approval: 1 }, version: 2 });
  const { store, tokens, system } = rig;
  const eventLog = new EventLog(system.bus, { storesCompleted: false });
  const sweepNow = () =>
    sweep({ bus: system.bus, store, tokens, eventLog, writer: "test/sweep" }, { fix: true, skip: () => true });
  await sweepNow();
  assert.is(await rig.wake("swept-parked"), undefined, "what is young is left to its sender");
  await eventually(
    "it is woken",
    async () => {
      await sweepNow();
      return rig.wake("swept-parked");
    },
    20_000,
  );
  assert.is(await rig.wake("swept-parked"), `5 ${parked.created_at}`);
  await eventually(
    "the other inbox goes",
    async () => ((await rig.inboxMessage("swept-ended"))?.data.length ?? 0) === 0,
  );
  assert.is(await rig.wake("swept-used"), undefined);
  assert.equal(await values(parked), [null]);
});

test("the sweep removes the inbox of a job that is gone, but not of one that is only a submission yet", async () => {
  const { bus } = rig.system;
  const gone = { job_id: "never-was", created_at: Date.now(), encoding: "json" as const };
  await rig.signals.send(gone, "approval", Buffer.of());
  const sequence = await bus.mux.publish("job.submit.submitted", '{"name":"x","functions":[{"name":"x"}]}');
  const { state } = await rig.control.find("submitted");
  await rig.signals.send(state, "approval", Buffer.of());
  await tidyInbox("submitted");
  await tidyInbox("never-was");
  await delay(100);
  assert.ok(await rig.inbox("submitted"), "it waits in stream JOBS");
  await deleteMessage(bus, "JOBS", sequence);
  for (const jobId of ["submitted", "never-was"]) {
    await tidyInbox(jobId);
    await eventually("it goes", async () => ((await rig.inboxMessage(jobId))?.data.length ?? 0) === 0);
  }
});

test("inboxes are no jobs: lists and the sweep pass over them", async () => {
  await rig.job("listed");
  await ask("listed.approval", "1");
  for (const order of ["oldest", "newest"] as const) {
    const { jobs } = await rig.system.client.list({ order });
    assert.ok(jobs.some(({ job_id }) => job_id === "listed"));
    assert.not(jobs.some(({ job_id }) => job_id.includes(".")));
  }
});

test.run();
