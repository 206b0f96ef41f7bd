/** What is kept of the ends of jobs: the state is the record, stream EVENTS holds what is rare (EVENTS-1, EVENTS-2). */
import { jetstreamManager } from "@nats-io/jetstream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bus } from "../../src/bus/connection.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { ensureTopology } from "../../src/bus/topology.ts";
import { endEvent, type JobEvent } from "../../src/job/events.ts";
import { createFailedJob } from "../../src/job/machine.ts";
import { eventsOf, keptOf } from "../support/events.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("ends");
let system: System;

test.before(async () => {
  system = await System.start();
  await system.worker((w) =>
    w
      .func("echo", ({ args }) => args)
      .func("fails", () => {
        throw new Error("it fails");
      }),
  );
});
test.after(() => system.close());

const kept = (jobId: string) => keptOf(system.bus, jobId);

const event = (jobId: string, ageMs: number): JobEvent => {
  const error = { code: "corrupt_state", name: "CorruptState", message: "x" } as const;
  const origin = { jobId, encoding: "json", createdAt: Date.now() - ageMs, sequence: 1 } as const;
  return endEvent(createFailedJob(error, "", origin, Date.now() - ageMs).state);
};

test("a completion is told to who listens, and not kept: one stored message less for each job", async () => {
  const heard: string[] = [];
  system.bus.nc.subscribe("job.event.*.completed", { callback: (_, { subject }) => void heard.push(subject) });
  await system.bus.flush();
  const { job_id } = await system.client.submit({ name: "quick", functions: [{ name: "echo", args: 1 }] });
  assert.is((await system.client.wait(job_id)).result, 1);
  await eventually("it is heard", () => heard.includes(`job.event.${job_id}.completed`));
  assert.equal(await kept(job_id), []);
});

test("a failure is kept, once, however often it is repeated", async () => {
  const { job_id } = await system.client.submit({ name: "bad", functions: [{ name: "fails" }] });
  assert.is((await system.client.wait(job_id)).state, "failed");
  assert.equal(await eventsOf(system.bus, job_id), ["failed"]);
  const log = new EventLog(system.bus, { storesCompleted: false });
  const soon = event("soon", 1_000);
  for (let i = 0; i < 3; i++) await log.record(soon);
  assert.equal(await kept("soon"), ["failed"]);
});

test("one that is repeated late is looked for, and not kept again where it may have been there and gone", async () => {
  const log = new EventLog(system.bus, { storesCompleted: false });
  const late = event("late", 3_600_000);
  for (let i = 0; i < 3; i++) await log.record(late);
  assert.equal(await kept("late"), ["failed"], "nothing has been removed from the stream yet");
  await system.bus.mux.request("$JS.API.STREAM.PURGE.EVENTS", "", 2_000);
  await log.record(late);
  assert.equal(await kept("late"), []);
  // Another run of the id, which ends now, is another end.
  await log.record(event("late", 0));
  assert.equal(await kept("late"), ["failed"]);
});

test("who consumes ends durably has completions kept as well, from then on and by all supervisors", async () => {
  const bus = await Bus.open({ url: system.url, name: "other" });
  const topology = await ensureTopology(bus, { storeCompleted: true });
  assert.ok(topology.storesCompleted);
  assert.ok((await ensureTopology(bus)).storesCompleted, "it stays so");
  const log = new EventLog(bus, topology);
  const completed = {
    job_id: "kept",
    job_name: "x",
    at: new Date().toISOString(),
    type: "completed",
    run: 1,
    result: 1,
  };
  await log.record(completed as JobEvent);
  await log.record(completed as JobEvent);
  assert.equal(await kept("kept"), ["completed"]);
  assert.not((await ensureTopology(bus, { storeCompleted: false })).storesCompleted);
  await bus.close();
});

test("a stream to which a newer version has added its types of events is as it should be", async () => {
  const bus = await Bus.open({ url: system.url, name: "older" });
  const manager = await jetstreamManager(bus.nc);
  const { subjects } = (await manager.streams.info("EVENTS")).config;
  await manager.streams.update("EVENTS", { subjects: [...subjects, "job.event.*.dreamt"] });
  assert.not((await ensureTopology(bus)).storesCompleted);
  assert.ok((await manager.streams.info("EVENTS")).config.subjects.includes("job.event.*.dreamt"));
  await bus.close();
});

test.run();
