/** `async doctor`, and the same look that a supervisor takes now and then. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { endKey, packEnd } from "../../src/bus/store/child-ends.ts";
import { definitionKey } from "../../src/bus/store/definition.ts";
import { packPart, partKey } from "../../src/bus/store/item-parts.ts";
import { packResult, resultKey } from "../../src/bus/store/results.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { ItemPart } from "../../src/job/item-part.ts";
import { createJob } from "../../src/job/machine.ts";
import type { JobState, LiveJob } from "../../src/job/state.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("doctor");
let system: System;

test.before(async () => {
  system = await System.start({ parkAfterMs: 200 });
});
test.after(async () => {
  await system.close();
});

interface Answer {
  code: number | null;
  checks: { ok: boolean; what: string; next?: string }[];
}

async function doctor(...options: string[]): Promise<Answer> {
  const cli = await startCli(["doctor", "--json", "--nats", system.url, ...options]);
  const code = await cli.exit();
  return { code, checks: JSON.parse(cli.output().slice(cli.output().indexOf("{"))).checks };
}

const problems = ({ checks }: Answer) => checks.filter(({ ok }) => !ok).map(({ what }) => what);

/** A live job that nothing would ever bring back: its submission is not there. */
async function strand(jobId: string): Promise<void> {
  const submission = { name: "stranded", functions: [{ name: "found-again" }] };
  const origin = { jobId, encoding: "json", createdAt: Date.now(), sequence: 1_000_000 } as const;
  const state: JobState = { ...createJob(submission, origin, Date.now()).state, version: 1, writer: "nobody" };
  assert.is((await system.supervisor.store.commit(state, 0)).type, "stored");
}

test("a healthy system has no problems", async () => {
  await system.worker((w) => w.func("found-again", () => "found"));
  await system.client.submit({ name: "fine", functions: [{ name: "found-again" }] }, { jobId: "fine" });
  await system.client.wait("fine");
  const scheduled_at = new Date(Date.now() + 3_600_000).toISOString();
  await system.client.submit({ name: "later", functions: [{ name: "found-again" }], scheduled_at }, { jobId: "later" });
  await eventually("it is parked", () => system.supervisor.liveJobs === 0);
  const answer = await doctor();
  assert.equal(problems(answer), []);
  assert.is(answer.code, 0);
  assert.ok(answer.checks.some(({ what }) => what === "live jobs: 1 scheduled"));
  assert.ok(answer.checks.some(({ what }) => what === "1 supervisor(s)"));
});

test("a service in another queue group, and handlers that nobody waits for, are problems", async () => {
  const info = {
    type: "io.nats.micro.v1.info_response",
    id: "stranger",
    name: "default-group",
    version: "1.0.0",
    metadata: {},
    endpoints: [{ name: "x", subject: "fn.found-again", queue_group: "q", metadata: {} }],
  };
  const endpoints = [{ ...info.endpoints[0], queue_group: "fn" }];
  const stuck = {
    ...info,
    id: "stuck",
    name: "has-stuck",
    metadata: { heartbeat_ms: "1500", abandoned: "2" },
    endpoints,
  };
  const answers = system.bus.nc.subscribe("$SRV.INFO", {
    callback: (_, message) => {
      for (const one of [info, stuck]) message.respond(JSON.stringify(one));
    },
  });
  const answer = await doctor();
  answers.unsubscribe();
  assert.is(answer.code, 1);
  const found = problems(answer).join("\n");
  assert.match(found, "function found-again is served outside of queue group fn");
  assert.match(found, "default-group stranger (queue group q)");
  assert.match(found, "worker has-stuck stuck: 2 handler(s) go on");
});

test("a supervisor brings stranded jobs back and replaces states that cannot be read, by itself", async () => {
  await strand("stranded-1");
  system.bus.nc.publish("$KV.jobs.corrupt-1", "no state at all");
  const supervisor = await Supervisor.start(system.bus, { sweepMs: 1_000 });
  const job = await system.client.wait("stranded-1", { timeoutMs: 30_000 });
  assert.is(job.result, "found");
  await eventually(
    "the other one has failed",
    async () => {
      const view = await system.client.get("corrupt-1").catch(() => undefined);
      return view?.error?.code === "corrupt_state";
    },
    20_000,
  );
  // A later look begins where the ones before have found nothing left to do.
  await strand("stranded-later");
  assert.is((await system.client.wait("stranded-later", { timeoutMs: 30_000 })).result, "found");
  await supervisor.close();
});

test("a lost timer, a lost submission and a corrupt state are told, and mended with --fix", async () => {
  const purge = await system.bus.mux.request("$JS.API.STREAM.PURGE.TIMERS", "", 2_000);
  assert.ok(purge.json<{ success: boolean }>().success);
  await strand("stranded-2");
  system.bus.nc.publish("$KV.jobs.corrupt-2", Buffer.from([0x81, 0xa1, 0x61, 0x01]));
  assert.is(
    await eventually("it is there", () => system.client.get("corrupt-2").catch((e) => e.code)),
    "corrupt_state",
  );
  // A job must have been left alone for a while before it is called stranded.
  const told = await eventually(
    "all three are told",
    async () => {
      const answer = await doctor();
      return problems(answer).length === 3 ? answer : undefined;
    },
    40_000,
  );
  assert.is(told.code, 1);
  assert.match(problems(told).join("\n"), "job later: it is scheduled, but its token (number 1) is gone");
  assert.match(problems(told).join("\n"), "job stranded-2: it is pending, but its token (number 0) is gone");
  assert.match(problems(told).join("\n"), "job corrupt-2: what is stored of it cannot be read");
  const fixed = await doctor("--fix");
  assert.is(fixed.code, 0);
  assert.is(fixed.checks.filter(({ what }) => what.endsWith("; mended")).length, 3);
  assert.is((await system.client.wait("stranded-2", { timeoutMs: 10_000 })).result, "found");
  assert.is((await system.client.get("corrupt-2")).error?.code, "corrupt_state");
  assert.ok(await readLast(system.bus, "EVENTS", "job.event.corrupt-2.failed"), "its end is recorded");
  assert.ok(await readLast(system.bus, "TIMERS", "job.timer.later"), "the timer is there again");
  assert.equal(problems(await doctor()), []);
});

test("what is left over of jobs that are gone or have ended is told, and removed with --fix", async () => {
  const { store } = system.supervisor;
  await system.client.submit({ job_id: "ended", name: "ended", functions: [{ id: "a", name: "found-again" }] });
  await system.client.wait("ended");
  const child = `sub-${"x".repeat(22)}`;
  const gone = { job_id: "gone", created_at: 1_000 };
  const end = { run: 1, outcome: { state: "completed", result: null } } as const;
  const owner = { created_at: 1_000, runs: 0, list: 1 };
  const part = new ItemPart(0, 1);
  part.setDone(0, undefined, 1);
  const planted: [key: string, body: Uint8Array][] = [
    [endKey("gone", child), packEnd(gone, end)],
    [endKey("ended", child), packEnd({ ...gone, job_id: "ended" }, end)],
    [resultKey("gone", 0), packResult({ created_at: 1_000, runs: 0, attempt: 1 }, "large")],
    [definitionKey("ended"), Buffer.from("no definition")],
    [partKey("gone", 0, 0), packPart(owner, part)],
  ];
  for (const [key, body] of planted) await store.putPart(key, body, 0);
  const told = await eventually(
    "they are told, when they have been left alone for a while",
    async () => {
      const answer = await doctor();
      return problems(answer).some((what) => what.startsWith("4 thing(s)")) ? answer : undefined;
    },
    40_000,
  );
  assert.is(told.code, 1);
  const [problem = ""] = problems(told);
  assert.match(problem, `the end of child job ${child}, for which nobody waits in job gone`);
  assert.match(problem, `the end of child job ${child}, for which nobody waits in job ended`);
  assert.match(problem, "the result of entry 0 of job gone, which is gone");
  assert.match(problem, "the definition of job ended, which has ended");
  assert.ok(told.checks.some(({ what }) => what.startsWith("what is stored of the items of 1 job(s) that are gone")));
  for (const [key] of planted) assert.ok(await store.part(key), `${key} is there still`);
  const fixed = await doctor("--fix");
  assert.is(fixed.code, 0, JSON.stringify(fixed.checks));
  for (const [key] of planted) {
    await eventually(`${key} is gone`, async () => ((await store.part(key))?.data.length ?? 0) === 0);
  }
  assert.equal(problems(await doctor()), []);
});

test("a parent that waits for a child which does not exist is told, and gets it with --fix", async () => {
  const functions = [{ id: "child", job: { functions: [{ name: "found-again" }] } }];
  const origin = { jobId: "orphaned", encoding: "json", createdAt: Date.now(), sequence: 1_000_000 } as const;
  const { state } = createJob({ name: "orphaned", functions }, origin, Date.now());
  const live = [{ index: 0, attempt: 1, wait: "child" as const, since: Date.now() - 120_000 }];
  const stored = { ...state, state: "running", live, token: 1, version: 1, writer: "nobody" } as LiveJob;
  assert.is((await system.supervisor.store.commit(stored, 0)).type, "stored");
  await new Tokens(system.bus).timers.schedule(stored, Date.now() + 3_600_000, 1);
  const told = await eventually("it is told", async () => {
    const answer = await doctor();
    return problems(answer).length > 0 ? answer : undefined;
  });
  assert.match(problems(told).join("\n"), /^job orphaned: it waits for child job sub-\S+, which does not exist$/);
  assert.is((await doctor("--fix")).code, 0);
  assert.is((await system.client.wait("orphaned", { timeoutMs: 20_000 })).result, "found");
});

test("a missing consumer, a missing stream and missing supervisors are told", async () => {
  await system.supervisor.close();
  const { bus } = system;
  await bus.mux.request("$JS.API.CONSUMER.DELETE.TIMERS.supervisor", "", 2_000);
  await bus.mux.request("$JS.API.STREAM.DELETE.EVENTS", "", 2_000);
  const answer = await doctor();
  assert.is(answer.code, 1);
  const told = problems(answer).join("\n");
  assert.match(told, "stream TIMERS: its consumer supervisor is missing");
  assert.match(told, "stream EVENTS: it is missing");
  assert.match(told, "no supervisor; 1 live job(s)");
});

test.run();
