/** Answers are true: about ids that exist, jobs that nobody has taken yet, lists, what waits. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually, within } from "../support/waiting.ts";

const test = suite("answers");
let system: System;
let bridge: Bridge;

test.before(async () => {
  system = await System.start({ parkAfterMs: 500 });
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker((w) => w.func("echo", ({ args }) => args).func("other", () => "other"), { concurrency: 20 });
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

const echo = (args: unknown) => ({ name: "first", functions: [{ name: "echo", args }] });
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error) => (isAsyncError(error) ? error.code : String(error)),
  );

async function post(body: object) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${bridge.url}/v1/job`, { method: "POST", headers, body: JSON.stringify(body) });
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into bodies of many shapes
  return (await response.json()) as any;
}

// --- an id that exists

test("a submission under an id that exists is answered with the job that has it, and what differs", async () => {
  const first = await system.client.submit(echo({ a: 1, b: [2] }), { jobId: "taken" });
  assert.not.ok("existing" in first, "it is new");
  await system.client.wait("taken", { timeoutMs: 5_000 });
  const same = await system.client.submit(
    { name: "first", data: "new data", functions: [{ args: { b: [2], a: 1 }, name: "echo" }] },
    { jobId: "taken" },
  );
  assert.is(same.existing, true);
  assert.is(same.differs, undefined);
  assert.is(same.state, "completed");
  assert.is(same.data, null, "as it is, not as it was submitted now");
  const other = await post({ job_id: "taken", name: "second", functions: [{ name: "other" }] });
  assert.is(other.existing, true);
  assert.equal(other.differs, ["name", "functions"]);
  assert.is(other.name, "first");
  assert.not.ok("existing" in (await system.client.get("taken")), "it is a field of the answer, not of the job");
});

test("the command says that the job existed", async () => {
  await system.client.submit(echo(1), { jobId: "by-command" });
  const cli = await startCli(["submit", "-", "--id", "by-command", "--nats", system.url]);
  cli.child.stdin?.end(JSON.stringify({ name: "changed", functions: [{ name: "echo", args: 1 }] }));
  assert.is(await cli.exit(), 0);
  assert.match(cli.output(), "exists already");
  assert.match(cli.output(), "differs in its name from");
});

test("run returns the result of the job that has the id, but not of another one", async () => {
  const definition = { name: "first", functions: [{ name: "echo", args: "mine" }] };
  assert.is(await system.client.run(definition, { jobId: "ran", timeoutMs: 5_000 }), "mine");
  assert.is(await system.client.run(definition, { jobId: "ran", timeoutMs: 5_000 }), "mine");
  const other = { name: "first", functions: [{ name: "other" }] };
  assert.is(await code(system.client.run(other, { jobId: "ran", timeoutMs: 5_000 })), "job_exists");
});

test("of two that submit an id at once one is told that it exists", async () => {
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(
      ["one", "two"].map((name) => system.client.submit({ ...echo(1), name }, { jobId: `race-${round}` })),
    );
    const found = (await system.client.get(`race-${round}`)).name;
    assert.is(answers.filter((one) => one.existing).length, 1);
    assert.equal(answers.find((one) => one.existing)?.differs, ["name"]);
    assert.ok(answers.every((one) => one.name === found));
  }
});

test("also while no supervisor has room for either, and where nobody can be asked that is said", async () => {
  const full = await System.start({ maxLiveJobs: 1 });
  try {
    await full.client.submit({ name: "fills", functions: [{ name: "nobody" }] }, { jobId: "fills" });
    assert.not.ok("existing" in (await full.client.submit(echo(1), { jobId: "waits" })));
    const again = await full.client.submit({ ...echo(1), name: "late" }, { jobId: "waits" });
    assert.equal(again.differs, ["name"]);
    await full.supervisor.close({ graceMs: 0 });
    const alone = await within(5_000, "an answer", full.client.submit(echo(1), { jobId: "alone" }));
    assert.is(alone.unconfirmed, true);
  } finally {
    await full.close();
  }
});

// --- a job that nobody has taken yet, and ids that cannot be

const raw = (subject: string, body: unknown) => system.bus.mux.publish(subject, JSON.stringify(body));

test("a job whose id is in the body only is found, waited for and cancelled before a supervisor has room for it", async () => {
  const full = await System.start({ maxLiveJobs: 1 });
  try {
    const submit = (body: object) => full.bus.mux.publish("job.submit", JSON.stringify(body));
    await full.client.submit({ name: "fills", functions: [{ name: "nobody" }] }, { jobId: "fills" });
    await eventually("it is full", () => full.supervisor.liveJobs === 1);
    for (let i = 0; i < 50; i++) await submit({ ...echo(i), job_id: `other-${i}` });
    await submit({ ...echo("wanted"), job_id: "in-body" });
    const found = await full.client.get("in-body");
    assert.equal([found.state, found.functions[0]?.args], ["pending", "wanted"]);
    const waiting = full.client.wait("in-body", { timeoutMs: 10_000 });
    assert.is((await full.client.cancel("in-body")).state, "cancelled");
    assert.is((await waiting).state, "cancelled");
    const missing = await full.client.get("in-no-body").catch((error) => error);
    assert.is(missing.code, "job_not_found");
    assert.match(missing.message, "has not been taken yet");
  } finally {
    await full.close();
  }
});

test("a bad id is recorded under the sequence, and asking for one is a bad request", async () => {
  const inBody = await raw("job.submit", { ...echo(1), job_id: "not an id" });
  const failed = await eventually("it has failed", async () => {
    const job = await system.client.get(`seq-${inBody}`);
    return job.state === "failed" ? job : undefined;
  });
  assert.match(failed.error?.message ?? "", "job_id");
  const inSubject = await raw("job.submit.not.an-id", echo(1));
  await eventually("it is rejected", () => system.events.some(({ job_id }) => job_id === `seq-${inSubject}`));
  await eventually("that is recorded", async () => {
    return (await code(system.client.get(`seq-${inSubject}`))) === "invalid_job_id";
  });
  for (const request of ["job.get.not.an-id", "job.cancel.not.an-id", "job.retry.not.an-id"]) {
    const reply = await system.bus.mux.request(request, "", 2_000);
    assert.is(reply.headers?.get("Nats-Service-Error-Code"), "400", request);
  }
});

// --- a retry that is repeated

test("a second retry that asks for something else is refused, one that asks for the same is a repetition", async () => {
  for (const encoding of ["json", "msgpack"] as const) {
    const jobId = `retried-${encoding}`;
    await system.client.submit(
      { name: "retried", functions: [{ name: "echo" }, { name: "unserved" }] },
      { jobId, encoding },
    );
    await eventually("its first function is done", async () => (await system.client.get(jobId)).current_function === 1);
    await system.client.cancel(jobId);
    const patch = { data: { b: 1, a: [1] }, args: "new" };
    await system.client.retry(jobId, patch);
    const again = await system.client.retry(jobId, { data: { a: [1], b: 1 }, args: "new" });
    assert.equal(again.data, patch.data);
    for (const other of [{ data: "other", args: "new" }, { ...patch, args: "other" }, { args: null }]) {
      assert.is(await code(system.client.retry(jobId, other)), "job_not_ended", JSON.stringify(other));
    }
    const found = await system.client.get(jobId);
    assert.equal([found.data, found.functions[1]?.args], [patch.data, "new"]);
    await system.client.cancel(jobId);
  }
});

test.run();
