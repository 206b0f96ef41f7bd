/** Families of jobs under attack: what is told late, what waits for what, and who takes all the room. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { childIdOf } from "../../src/job/children.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("attacks on families");
let system: System;

test.before(async () => {
  system = await System.start({ parkAfterMs: 300, maxLiveJobs: 20, roomWaitMs: 300 });
  await system.worker((w) =>
    w
      .func("echo", ({ args, data }) => args ?? data)
      .func("undo-it", () => null)
      .func("fail", () => {
        throw new Error("boom");
      }),
  );
});
test.after(() => system.close());

// biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
async function ask(subject: string, body: unknown = {}): Promise<any> {
  const reply = await system.bus.mux.request(subject, JSON.stringify(body), 5_000);
  return reply.json();
}

const stateOf = async (jobId: string) => (await ask(`job.get.${jobId}`)).state;
const ended = (jobId: string, timeoutMs = 30_000) => system.client.wait(jobId, { timeoutMs });

test("to leave the undo reaches children of items, whose undo nobody serves", async () => {
  await system.client.submit(
    {
      name: "skip",
      functions: [
        { for_each: 3, job: { functions: [{ name: "echo", undo: "nobody-serves-this" }] } },
        { name: "fail", retry_options: { retry_limit: 1, backoff: { delay_ms: 1 } } },
      ],
    },
    { jobId: "skip-items" },
  );
  await eventually("it undoes", async () => (await stateOf("skip-items")) === "undoing");
  await eventually("its children undo", async () => {
    const { jobs } = await ask("job.list", { parent: "skip-items" });
    return jobs.length === 3 && jobs.every((job: { state: string }) => job.state === "undoing");
  });
  await ask("job.cancel.skip-items", { undo: "skip" });
  const { state, undo } = await ended("skip-items", 15_000);
  assert.is(state, "failed");
  assert.is(undo?.state, "skipped");
});

test("to leave the undo reaches children of items that were told to end", async () => {
  await system.client.submit(
    {
      name: "skip",
      functions: [
        { for_each: 3, job: { functions: [{ name: "echo", undo: "nobody-serves-this" }, { sleep_ms: 3_600_000 }] } },
      ],
    },
    { jobId: "skip-stopping" },
  );
  await eventually("its children sleep", async () => {
    const { jobs } = await ask("job.list", { parent: "skip-stopping" });
    return jobs.length === 3 && jobs.every((job: { waiting_for: string }) => job.waiting_for === "sleep");
  });
  await ask("job.cancel.skip-stopping", {});
  await eventually("its children undo", async () => {
    const { jobs } = await ask("job.list", { parent: "skip-stopping" });
    return jobs.every((job: { state: string }) => job.state === "undoing");
  });
  await ask("job.cancel.skip-stopping", { undo: "skip" });
  assert.is((await ended("skip-stopping", 15_000)).state, "cancelled");
});

test("items that fail do not keep the room that their other children need to undo themselves", async () => {
  const ids = Array.from({ length: 30 }, (_, n) => `failing-${n}`);
  const job = {
    functions: [
      { name: "echo", undo: "undo-it" },
      { wait_for: "go" },
      { name: "fail", when: "data == 0", retry_options: { retry_limit: 1 } },
      { sleep_ms: 3_600_000 },
    ],
  };
  for (const jobId of ids)
    await system.client.submit({ name: "failing", functions: [{ for_each: 3, job }] }, { jobId });
  const children: string[] = [];
  await eventually(
    "all children wait",
    async () => {
      children.length = 0;
      for (const parent of ids) {
        const { jobs } = await ask("job.list", { parent });
        for (const { waiting_for, job_id } of jobs) if (waiting_for === "signal") children.push(job_id);
      }
      return children.length === 90;
    },
    60_000,
  );
  await Promise.all(children.map((child) => ask(`job.signal.${child}.go`)));
  for (const jobId of ids) assert.is((await ended(jobId, 60_000)).state, "failed");
});

test("parents of items that end do not take the room that their children need to undo themselves", async () => {
  const ids = Array.from({ length: 30 }, (_, n) => `crowd-${n}`);
  for (const jobId of ids)
    await system.client.submit(
      {
        name: "crowd",
        functions: [{ for_each: 2, job: { functions: [{ name: "echo", undo: "undo-it" }, { sleep_ms: 3_600_000 }] } }],
      },
      { jobId },
    );
  await eventually(
    "all children sleep",
    async () => {
      let asleep = 0;
      for (const parent of ids) {
        const { jobs } = await ask("job.list", { parent });
        asleep += jobs.filter((job: { waiting_for: string }) => job.waiting_for === "sleep").length;
      }
      return asleep === 60;
    },
    60_000,
  );
  await Promise.all(ids.map((jobId) => ask(`job.cancel.${jobId}`)));
  for (const jobId of ids) assert.is((await ended(jobId, 60_000)).state, "cancelled");
});

test("nobody can submit a child for an item that has not begun, or that there is not", async () => {
  const job = { functions: [{ wait_for: "go" }] };
  await system.client.submit({ name: "forged", functions: [{ for_each: 2, job }] }, { jobId: "forged" });
  const children = async () => (await ask("job.list", { parent: "forged" })).jobs;
  await eventually("its children wait", async () => (await children()).length === 2);
  const parent = (await system.supervisor.store.get("forged"))?.state;
  const { created_at } = parent ?? { created_at: 0 };
  const origin = { job_id: "forged", created_at, index: 0, item: 77, list: 1, depth: 1 };
  const id = childIdOf(origin);
  const headers = headersOf({ "Async-Parent": JSON.stringify(origin) });
  const body = JSON.stringify({ name: "evil", functions: [{ name: "echo" }] });
  await system.bus.mux.publish(`job.submit.${id}`, body, headers, 3_000);
  await system.event((event) => event.type === "rejected" && event.job_id === id);
  assert.is((await children()).length, 2);
  for (const { job_id } of await children()) await ask(`job.signal.${job_id}.go`);
  assert.is((await ended("forged")).state, "completed");
});

test("results of items leave room in the bucket for other jobs, and for what ends theirs", async () => {
  const full = await System.start({ topology: { stateMaxBytes: 4_000_000 } });
  try {
    const refused: string[] = [];
    full.supervisor.lifecycle.on("trouble", ({ error }) => {
      if (String(error).includes("maximum bytes")) refused.push(String(error));
    });
    await full.worker((w) =>
      w.func("big", ({ item }) => "x".repeat(30_000) + item).func("grow", () => "y".repeat(100_000)),
    );
    const small = { name: "small", functions: [{ wait_for: "go" }, { name: "grow" }, { name: "grow" }] };
    await full.client.submit(small, { jobId: "small" });
    const isWaiting = async () => (await full.client.get("small")).waiting_for === "signal";
    await eventually("it is taken while there is room", isWaiting, 20_000);
    await full.client.submit({ name: "big", functions: [{ for_each: 400, name: "big" }] }, { jobId: "big" });
    await eventually("the bucket is full", () => full.supervisor.store.storage?.full, 20_000);
    await delay(1_500); // nothing may follow
    await full.client.signal("small", "go");
    assert.is((await full.client.wait("small", { timeoutMs: 20_000 })).state, "completed");
    await full.client.cancel("big");
    assert.is((await full.client.wait("big", { timeoutMs: 20_000 })).state, "cancelled");
    assert.equal(refused, []);
  } finally {
    await full.close();
  }
});

test("families of families of families do not starve each other", async () => {
  const leaf = { functions: [{ name: "echo" }] };
  const inner = { functions: [{ for_each: 3, job: leaf }] };
  const middle = { functions: [{ for_each: 3, job: inner }] };
  const ids = Array.from({ length: 12 }, (_, n) => `deep-${n}`);
  for (const jobId of ids)
    await system.client.submit({ name: "deep", functions: [{ for_each: 3, job: middle }] }, { jobId });
  for (const jobId of ids) assert.is((await ended(jobId, 120_000)).state, "completed");
});

test.run();
