/** Why a job waits, asked of a real system: over NATS, over HTTP and by the command. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import { readBatch } from "../../src/bus/store/stream-read.ts";
import { Client } from "../../src/client/client.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { ExplainedEntry, Explanation } from "../../src/job/explanation.ts";
import { createJob } from "../../src/job/machine.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import type { Branch } from "../../src/job/state.ts";
import { startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("explain");
let system: System;
let bridge: Bridge;
let release = () => {};

test.before(async () => {
  // Parked soon, so that what is in backlogs and on timers is met as well.
  system = await System.start({ parkAfterMs: 500, roomWaitMs: 300 });
  bridge = await startBridge({ client: system.client, port: 0 });
  const held = new Promise<string>((resolve) => {
    release = () => resolve("released");
  });
  await system.worker((w) => w.func("held", () => held), { concurrency: 2 });
  await system.worker((w) =>
    w
      .func("breaks", () => {
        throw new Error(`out of luck\n${"x".repeat(300)}`);
      })
      .func("quick", () => "quick"),
  );
});
test.after(async () => {
  release();
  await bridge.close();
  await system.close();
});

const chain = (...names: string[]): JobDocument => ({ name: "test", functions: names.map((name) => ({ name })) });

const run = (args: string[]) => toEnd(startCli(args, { NATS_URL: system.url }));

async function overHttp(path: string) {
  const response = await fetch(`${bridge.url}${path}`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** The explanation as soon as its first entry has that reason. */
function explained(jobId: string, reason: ExplainedEntry["reason"], client = system.client): Promise<Explanation> {
  return eventually(`the reason of ${jobId} is ${reason}`, async () => {
    const explanation = await client.explain(jobId);
    return explanation.entries[0]?.reason === reason ? explanation : undefined;
  });
}

test("a function that nobody serves, in memory and in the backlog; what follows needs it", async () => {
  await system.client.submit(chain("nobody.serves", "quick"), { jobId: "unserved" });
  for (const where of ["memory", "backlog"]) {
    if (where === "backlog") {
      await eventually("it is in the backlog", async () => {
        const { messages } = await readBatch(system.bus, "TIMERS", { filter: "job.wait.>", from: 1, batch: 1 });
        return messages.length > 0;
      });
    }
    const { job_id, state, entries } = await explained("unserved", "no_worker");
    assert.equal([job_id, state], ["unserved", "waiting"], where);
    assert.equal(
      entries.map(({ index, name, text }) => [index, name, text]),
      [
        [0, "nobody.serves", "no worker serves fn.nobody.serves"],
        [1, "quick", "needs entry 0"],
      ],
      where,
    );
    assert.type(entries[0]?.since, "string");
  }
});

test("a worker that is full: who serves the function, and how many wait over all supervisors; and what runs", async () => {
  const bus = await Bus.open({ url: system.url, name: "second" });
  const second = await Supervisor.start(bus, { roomWaitMs: 600_000 });
  try {
    const ids = Array.from({ length: 10 }, (_, index) => `held-${index}`);
    for (const jobId of ids) await system.client.submit(chain("held"), { jobId });
    const seen = await eventually("two run and eight wait", async () => {
      const all = await Promise.all(ids.map((id) => system.client.explain(id).catch(() => undefined)));
      const entries = all.flatMap((one) => one?.entries ?? []);
      const full = entries.filter(({ reason, detail }) => reason === "workers_full" && detail?.waiting === 8);
      return full.length === 8 && entries.filter(({ reason }) => reason === "running").length === 2
        ? entries
        : undefined;
    });
    const full = seen.find(({ reason }) => reason === "workers_full");
    assert.is(full?.text, "1 worker serves fn.held, full, at least 8 wait for it");
    assert.is(full?.detail?.slots, 2);
    assert.is(full?.detail?.in_flight, 2);
    const running = seen.find(({ reason }) => reason === "running");
    assert.is(running?.text, "fn.held runs");
    release();
    for (const jobId of ids) assert.is((await system.client.wait(jobId, { timeoutMs: 10_000 })).result, "released");
  } finally {
    await second.close({ graceMs: 0 });
    await bus.close();
  }
});

test("a backoff: until when, which attempt, and the last error in short and without a stack", async () => {
  const retry_options = { retry_limit: 5, backoff: { type: "fixed" as const, delay_ms: 60_000 } };
  await system.client.submit(
    { name: "test", data: "SECRET", functions: [{ name: "breaks", args: "SECRET", retry_options }] },
    { jobId: "broken" },
  );
  const explanation = await explained("broken", "backoff");
  const [entry] = explanation.entries;
  assert.match(entry?.text ?? "", /^backoff until \S+Z, attempt 2 of 5, last error function_failed: out of luck x+…$/);
  assert.is(entry?.until, (await system.client.get("broken")).due_at);
  assert.not.match(JSON.stringify(explanation), /SECRET|\.ts/);

  const shown = await run(["explain", "broken"]);
  assert.is(shown.code, 0, shown.output);
  assert.match(shown.output, /^job broken is waiting$/m);
  assert.match(
    shown.output,
    /^0 +breaks +backoff until \S+Z, attempt 2 of 5, last error function_failed: out of luck/m,
  );
  const json = await run(["explain", "broken", "--json"]);
  assert.equal((JSON.parse(json.output) as Explanation).entries, explanation.entries);
});

test("a job whose start is ahead, over HTTP as by the client", async () => {
  const scheduled_at = new Date(Date.now() + 3_600_000).toISOString();
  await system.client.submit({ ...chain("quick"), scheduled_at }, { jobId: "later" });
  const { status, body } = await overHttp("/v1/job/later/explain");
  assert.is(status, 200);
  const explanation = body.Explanation as Explanation;
  assert.is(explanation.state, "scheduled");
  assert.is(explanation.entries[0]?.text, `the job starts at ${scheduled_at}`);
  const { at: _, ...mine } = await system.client.explain("later");
  const { at: __, ...theirs } = explanation;
  assert.equal(theirs, mine);
});

test("a submission that no supervisor has taken, as they are full", async () => {
  const full = await System.start({ maxLiveJobs: 1 });
  try {
    await full.client.submit(chain("nobody"), { jobId: "first" });
    await eventually("the first is live", () => full.supervisor.liveJobs === 1);
    await full.client.submit(chain("nobody", "next"), { jobId: "second" });
    const { state, entries } = await full.client.explain("second");
    assert.is(state, "pending");
    assert.equal(
      entries.map(({ reason }) => reason),
      ["not_taken", "needs"],
    );
    assert.match(entries[0]?.text ?? "", "no supervisor has taken the job");
  } finally {
    await full.close();
  }
});

test("a job that waits for a signal without an end for an hour is told of by doctor, and is no problem", async () => {
  const own = await System.start();
  try {
    await own.supervisor.close({ graceMs: 0 }); // so that nobody goes on with what is put there
    const now = Date.now();
    const store = async (jobId: string, branch: Partial<Branch>) => {
      const origin = { jobId, encoding: "json", createdAt: now, sequence: 1_000_000 } as const;
      const { state } = createJob({ name: "test", functions: [{ wait_for: "approval" }] }, origin, now);
      const live: Branch[] = [{ index: 0, attempt: 1, wait: "signal", since: now - 2 * 3_600_000, ...branch }];
      await own.bus.mux.publish(`$KV.jobs.${jobId}`, packState({ ...state, live, version: 1, writer: "nobody" }));
    };
    await store("long", {});
    await store("recent", { since: now - 60_000 });
    await store("with-an-end", { due_at: now + 3_600_000 });
    const { output } = await toEnd(startCli(["doctor"], { NATS_URL: own.url }));
    assert.match(output, /^ok +1 job\(s\) have waited for a signal for an hour.*\(see async explain <id>\): long$/m);
  } finally {
    await own.close();
  }
});

test("an ended job says what ended it", async () => {
  await system.client.submit(chain("quick"), { jobId: "done" });
  const { finished_at } = await system.client.wait("done");
  const done = await system.client.explain("done");
  assert.equal([done.state, done.entries, done.ended?.at], ["completed", [], finished_at]);
  await system.client.submit(chain("quick", "breaks"), { jobId: "failed" });
  await system.client.wait("failed");
  const failed = await system.client.explain("failed");
  assert.equal([failed.entries, failed.ended?.index, failed.ended?.error?.code], [[], 1, "function_failed"]);
  const shown = await run(["explain", "failed"]);
  assert.match(shown.output, /^job failed has failed at \S+Z with entry 1: function_failed: out of luck/m);
});

test("a job that is not there, and an id that is none, are errors as everywhere", async () => {
  assert.is((await overHttp("/v1/job/not-there/explain")).status, 404);
  assert.is((await overHttp("/v1/job/bad.id/explain")).status, 400);
  const code = await system.client.explain("not-there").catch((error) => isAsyncError(error) && error.code);
  assert.is(code, "job_not_found");
  const missing = await run(["explain", "not-there"]);
  assert.is(missing.code, 1);
  assert.match(missing.output, "[job_not_found]");
});

test("a thousand entries fit into an answer, and many may ask at a time", async () => {
  const names = Array.from({ length: 1_000 }, () => "nobody.else.serves");
  await system.client.submit(chain(...names), { jobId: "long" });
  const { entries, omitted } = await explained("long", "no_worker");
  assert.equal([entries.length, omitted], [100, 900]);
  const client = new Client(system.bus);
  const all = await Promise.all(Array.from({ length: 30 }, () => client.explain("long")));
  assert.ok(all.every((one) => one.entries[0]?.reason === "no_worker"));
});

test.run();
