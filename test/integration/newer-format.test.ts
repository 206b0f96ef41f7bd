/**
 * Jobs that a newer version has stored, beside a supervisor that cannot read them: they are left alone (ARRIVALS-8), and go on
 * where somebody can.
 */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Trouble } from "../../src/actors/lifecycle.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { createJob } from "../../src/job/machine.ts";
import { FORMAT } from "../../src/job/record.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("newer-format");
let system: System;
const troubles: Trouble[] = [];

/** What a newer version may store: an array that begins with its format and the id of the job, and anything after that. */
const newer = (jobId: string) => encode([FORMAT + 1, jobId, { all: "is different" }, [], "here"], "msgpack");

test.before(async () => {
  system = await System.start();
  system.supervisor.lifecycle.on("trouble", (trouble) => troubles.push(trouble));
  await system.worker((w) => w.func("echo", ({ args }) => args));
});
test.after(() => system.close());

/** Puts a value into the bucket, as some other program would. */
async function store(jobId: string, value: Uint8Array): Promise<void> {
  await system.bus.mux.publish(`$KV.jobs.${jobId}`, value);
}

async function stored(jobId: string): Promise<Uint8Array | undefined> {
  return (await readLast(system.bus, "KV_jobs", `$KV.jobs.${jobId}`))?.data;
}

const codeOf = (asking: Promise<unknown>) =>
  asking.then(
    () => "no error",
    (error) => (isAsyncError(error) ? error.code : error),
  );

test("its wake is given back until somebody can read it; that is said once, and nothing is changed", async () => {
  await store("parked", newer("parked"));
  await system.bus.mux.publish("job.wake.parked", "3");
  await eventually("it is met", () => troubles.length > 0);
  const consumer = async () =>
    (await system.bus.mux.request("$JS.API.CONSUMER.INFO.TIMERS.supervisor", "", 2_000)).json<{
      delivered: { consumer_seq: number };
      num_ack_pending: number;
    }>();
  const { delivered } = await consumer();
  await eventually(
    "it comes again",
    async () => (await consumer()).delivered.consumer_seq > delivered.consumer_seq,
    15_000,
  );
  assert.is(troubles.length, 1, JSON.stringify(troubles));
  assert.match(troubles[0]?.what ?? "", `a newer version has stored the job (format ${FORMAT + 1}, ours is ${FORMAT})`);
  assert.is(troubles[0]?.jobId, "parked");
  assert.equal(Buffer.from((await stored("parked")) ?? []), Buffer.from(newer("parked")));
  assert.is((await consumer()).num_ack_pending, 1, "the wake is still there");

  // A supervisor that can read it has gone on with it, or it was this one that was upgraded.
  const origin = { jobId: "parked", encoding: "json", createdAt: Date.now(), sequence: 1_000_000 } as const;
  const { state } = createJob({ name: "parked", functions: [{ name: "echo", args: "at last" }] }, origin, Date.now());
  await store("parked", packState({ ...state, token: 3, version: 7, writer: "newer" }));
  assert.is((await system.client.wait("parked", { timeoutMs: 20_000 })).result, "at last");
});

test("a submission of its id is neither lost nor another job", async () => {
  await store("taken", newer("taken"));
  await system.client.submit({ name: "other", functions: [{ name: "echo", args: "other" }] }, { jobId: "taken" });
  await system.client.submit({ name: "next", functions: [{ name: "echo", args: "done" }] }, { jobId: "next" });
  assert.is((await system.client.wait("next", { timeoutMs: 10_000 })).result, "done");
  assert.equal(Buffer.from((await stored("taken")) ?? []), Buffer.from(newer("taken")));
  assert.ok(await readLast(system.bus, "JOBS", "job.submit.taken"), "the submission waits");
});

test("a submission that a newer version has made is left to others, and not failed", async () => {
  const headers = headersOf({ "Async-Format": String(FORMAT + 1) });
  await system.bus.mux.publish(
    "job.submit.future",
    JSON.stringify({ name: "future", functions: [{ dreams: 1 }] }),
    headers,
  );
  const known = headersOf({ "Async-Format": String(FORMAT) });
  const body = JSON.stringify({ name: "known", functions: [{ name: "echo", args: "known" }] });
  await system.bus.mux.publish("job.submit.known", body, known);
  assert.is((await system.client.wait("known", { timeoutMs: 10_000 })).result, "known");
  await delay(300);
  assert.is(await stored("future"), undefined);
  assert.ok(await readLast(system.bus, "JOBS", "job.submit.future"), "the submission waits");
  assert.is((await system.client.get("future")).state, "pending");
  // A record of what cannot be read would be none.
  assert.is(await codeOf(system.client.cancel("future")), "newer_format");
  assert.is(await stored("future"), undefined);
});

test("who asks for it is told that this supervisor is too old; lists leave it out", async () => {
  assert.is(await codeOf(system.client.get("taken")), "newer_format");
  assert.is(await codeOf(system.client.cancel("taken")), "newer_format");
  assert.is(await codeOf(system.client.retry("taken")), "newer_format");
  assert.is(await codeOf(system.client.explain("taken")), "newer_format");
  const { jobs } = await system.client.list();
  assert.ok(jobs.some(({ job_id }) => job_id === "next"));
  assert.not(jobs.some(({ job_id, state }) => job_id === "taken" && state !== "pending"));
  assert.equal(Buffer.from((await stored("taken")) ?? []), Buffer.from(newer("taken")));
});

test("doctor says so, and that somebody must be upgraded", async () => {
  const cli = await startCli(["doctor", "--fix", "--json", "--nats", system.url]);
  assert.is(await cli.exit(), 1);
  const { checks } = JSON.parse(cli.output().slice(cli.output().indexOf("{"))) as {
    checks: { ok: boolean; what: string }[];
  };
  const problems = checks.filter(({ ok }) => !ok).map(({ what }) => what);
  assert.is(problems.length, 1, JSON.stringify(problems));
  assert.match(problems[0] ?? "", "1 live job(s) in a format that is newer than this version");
  assert.equal(Buffer.from((await stored("taken")) ?? []), Buffer.from(newer("taken")));
});

test.run();
