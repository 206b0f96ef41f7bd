/** Children on a real server: jobs of their own that entries of other jobs wait for (CHILD-1, PARENTS-1 to -4, CHILDREN-1 and -2). */
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { endKey } from "../../src/bus/store/child-ends.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import type { JobView } from "../../src/index.ts";
import { childIdOf } from "../../src/job/children.ts";
import type { Submission } from "../../src/job/schema.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("children");
let system: System;
/** What workers were called with, by the id of the job. */
const calls: string[] = [];
/** Jobs of which function `flaky` fails. */
const flaky = new Set<string>();

test.before(async () => {
  system = await System.start({ parkAfterMs: 300 });
  await system.worker((w) =>
    w
      .func("echo", ({ args, data }) => args ?? data)
      .func("note", ({ args, jobId }) => {
        calls.push(`${args} ${jobId}`);
        return args;
      })
      .func("flaky", ({ args }) => {
        if (flaky.has(String(args))) throw new Error("boom");
        return `${args} done`;
      })
      .func("stuck", ({ signal }) => once(signal, "abort")),
  );
});
test.after(() => system.close());

type Entry = Submission["functions"][number];

// biome-ignore lint/suspicious/noExplicitAny: the tests look into answers of several shapes
async function ask(subject: string, body: unknown = {}): Promise<any> {
  const reply = await system.bus.mux.request(subject, JSON.stringify(body), 5_000);
  return reply.json();
}

const submit = (jobId: string, functions: Entry[], more: Partial<Submission> = {}) =>
  system.client.submit({ name: jobId, functions, ...more }, { jobId });

const ended = (jobId: string) => system.client.wait(jobId, { timeoutMs: 20_000 });

async function childrenOf(parent: string): Promise<JobView[]> {
  return (await ask("job.list", { parent })).jobs;
}

/** The first child of a job. */
function childOf(parent: string): Promise<JobView> {
  return eventually(`a child of ${parent}`, async () => (await childrenOf(parent))[0]);
}

/** Nothing is left of children besides their states. */
async function nothingLeft(parent: string): Promise<void> {
  const children = await childrenOf(parent);
  await eventually(`no end is left besides ${parent}`, async () => {
    const keys = children.map(({ job_id }) => endKey(parent, job_id));
    const parts = await Promise.all(keys.map((key) => system.supervisor.store.part(key)));
    return parts.every((part) => !part || part.data.length === 0);
  });
}

// --- what a child is

test("an entry with a job waits for the child, and has its last result; its data are worked out by the parent", async () => {
  const result = await system.client.run({
    name: "order",
    data: { total: 3 },
    functions: [
      { id: "a", job: { data: { n: { $: "data.total + 1" } }, functions: [{ name: "echo" }] } },
      { id: "b", job: { functions: [{ name: "echo" }] }, needs: [] },
      { name: "echo", args: { a: { $: "results.a" }, b: { $: "results.b" } } },
    ],
  });
  assert.equal(result, { a: { n: 4 }, b: { total: 3 } });
});

test("a child has a name, the tags of its parent, and says whose it is; lists leave it out unless it is asked for", async () => {
  const tags = { customer: "c1", kind: "outer" };
  await submit(
    "family",
    [
      { id: "first", job: { name: "own name", tags: { kind: "inner" }, functions: [{ name: "echo", args: 1 }] } },
      { job: { functions: [{ job: { functions: [{ name: "echo", args: 2 }] } }] } },
    ],
    { tags },
  );
  assert.is((await ended("family")).result, 2);
  const children = await childrenOf("family");
  const shown = children.map(({ name, tags, parent, state }) => ({ name, tags, parent, state }));
  assert.equal(shown, [
    {
      name: "own name",
      tags: { customer: "c1", kind: "inner" },
      parent: { job_id: "family", index: 0 },
      state: "completed",
    },
    { name: "family/1", tags, parent: { job_id: "family", index: 1 }, state: "completed" },
  ]);
  for (const { job_id } of children) assert.match(job_id, /^sub-[A-Za-z0-9_-]{22}$/);
  const [grandchild] = await childrenOf(children[1]?.job_id ?? "");
  assert.is(grandchild?.name, "family/1/0");
  const named = async (more: object) => (await ask("job.list", { tags: { customer: "c1" }, ...more })).jobs.length;
  assert.is(await named({}), 1);
  assert.is(await named({ children: true }), 4);
  assert.is(await named({ order: "newest" }), 1);
  assert.is(await named({ parent: "nobody" }), 0);
  assert.is((await ask("job.list", { children: "yes" })).code, "invalid_request");
  assert.is((await ask("job.list", { parent: "a b" })).code, "invalid_request");
  await nothingLeft("family");
});

test("a plan that a worker made is run as a child; its expressions are its own, and what it says is not evaluated by the parent", async () => {
  const plan = {
    data: { n: 20 },
    functions: [
      { id: "one", name: "echo", args: { $: "data.n + 1" } },
      { name: "echo", args: { $: "results.one * 2" } },
    ],
  };
  const functions = [{ id: "plan", name: "echo", args: { $: "data" } }, { job: { $: "results.plan" } }];
  assert.is(await system.client.run({ name: "planned", data: plan, functions }), 42);
});

test("a plan that is no job fails its entry with all that is wrong, and it is not submitted", async () => {
  const bad: [plan: unknown, message: RegExp][] = [
    [{ functions: [{ nme: "echo" }, { name: "echo", timeout_ms: -1 }] }, /\/functions\/0.*\/functions\/1\/timeout_ms/],
    ["text", /no object/],
    [{ job_id: "mine", functions: [{ name: "echo" }] }, /\/job_id is not for children/],
    [{ scheduled_at: "2030-01-01T00:00:00Z", functions: [{ name: "echo" }] }, /\/scheduled_at is not for children/],
  ];
  for (const [index, [data, message]] of bad.entries()) {
    await submit(`bad-plan-${index}`, [{ id: "plan", name: "echo" }, { job: { $: "results.plan" } }], { data });
    const { state, error } = await ended(`bad-plan-${index}`);
    assert.is(state, "failed");
    assert.is(error?.code, "invalid_child");
    assert.match(error?.message ?? "", message);
    assert.equal(await childrenOf(`bad-plan-${index}`), []);
  }
  await submit("bad-data", [{ job: { data: { $: "data.nothing.there" }, functions: [{ name: "echo" }] } }], {
    data: {},
  });
  assert.is((await ended("bad-data")).error?.code, "expression_error");
});

test("jobs are in jobs eight deep at most", async () => {
  const plan = { functions: [{ job: { $: "data.plan" } }] };
  await submit("deep", [{ job: { $: "data.plan" } }], { data: { plan } });
  const { state, error } = await ended("deep");
  assert.is(state, "failed");
  assert.match(error?.message ?? "", /is in 8 others already/);
  let depth = 0;
  for (let [child] = await childrenOf("deep"); child; [child] = await childrenOf(child.job_id)) depth += 1;
  assert.is(depth, 8);
});

// --- how it ends

test("a failed child fails its entry; on_error and expect hold for it as for a function", async () => {
  flaky.add("f1");
  const child: Entry = { job: { functions: [{ name: "flaky", args: "f1" }] } };
  await submit("fails", [child]);
  const failed = await ended("fails");
  assert.is(failed.state, "failed");
  assert.is(failed.error?.code, "child_failed");
  assert.match(failed.error?.message ?? "", /child job sub-\S+ has failed with function_failed: boom/);
  await submit("goes-on", [
    { ...child, on_error: "continue" },
    { name: "echo", args: "after" },
  ]);
  const { result, warnings } = await ended("goes-on");
  assert.equal({ result, warnings }, { result: "after", warnings: 1 });
  await submit("replaced", [{ ...child, on_error: { name: "echo", args: { $: "error.code" } } }]);
  assert.is((await ended("replaced")).result, "child_failed");
  await submit("expects", [{ job: { functions: [{ name: "echo", args: 1 }] }, expect: "result > 1" }]);
  assert.is((await ended("expects")).error?.code, "expectation_failed");
});

test("a cancelled child fails its entry", async () => {
  await submit("child-cancelled", [{ job: { functions: [{ wait_for: "never" }] } }]);
  const { job_id } = await childOf("child-cancelled");
  await system.client.cancel(job_id);
  const { error } = await ended("child-cancelled");
  assert.match(error?.message ?? "", /was cancelled/);
  await nothingLeft("child-cancelled");
});

test("cancelling a job reaches children of children, and it ends after them", async () => {
  const inner: Entry = { job: { functions: [{ name: "stuck" }] } };
  await submit("ancestor", [{ job: { functions: [inner, { ...inner, needs: [] }] } }]);
  const child = await childOf("ancestor");
  const grandchildren = await eventually("two grandchildren run", async () => {
    const all = await childrenOf(child.job_id);
    return all.length === 2 && all.every(({ state }) => state === "running") ? all : undefined;
  });
  const view = await system.client.cancel("ancestor");
  assert.is(view.state, "undoing");
  assert.is((await ended("ancestor")).state, "cancelled");
  const ends = [child, ...grandchildren].map(async ({ job_id }) => system.client.get(job_id));
  const parentEnd = Date.parse((await system.client.get("ancestor")).finished_at ?? "");
  for (const one of await Promise.all(ends)) {
    assert.is(one.state, "cancelled");
    assert.ok(Date.parse(one.finished_at ?? "") <= parentEnd);
  }
  await nothingLeft("ancestor");
});

test("a job that times out ends its children", async () => {
  await submit("times-out", [{ job: { functions: [{ wait_for: "never" }] } }], { timeout_ms: 400 });
  assert.is((await ended("times-out")).error?.code, "job_timeout");
  assert.is((await childOf("times-out")).state, "cancelled");
});

// --- retries by hand

test("a retry of the parent retries the child, which goes on where it was", async () => {
  flaky.add("f2");
  const child = {
    functions: [
      { name: "note", args: "once" },
      { name: "flaky", args: "f2" },
    ],
  };
  await submit("retried", [{ job: child }]);
  assert.is((await ended("retried")).state, "failed");
  const before = await childOf("retried");
  flaky.delete("f2");
  await system.client.retry("retried");
  assert.is((await ended("retried")).result, "f2 done");
  const after = await childrenOf("retried");
  assert.equal(
    after.map(({ job_id, state }) => ({ job_id, state })),
    [{ job_id: before.job_id, state: "completed" }],
  );
  assert.is(calls.filter((call) => call === `once ${before.job_id}`).length, 1);
  await nothingLeft("retried");
});

test("a retry of the parent that fails again can be retried again", async () => {
  flaky.add("f3");
  await submit("stubborn", [{ job: { functions: [{ name: "flaky", args: "f3" }] } }]);
  for (let run = 1; run <= 3; run++) {
    assert.is((await ended("stubborn")).state, "failed");
    if (run === 3) flaky.delete("f3");
    await system.client.retry("stubborn");
  }
  assert.is((await ended("stubborn")).state, "completed");
});

test("a child that is retried alone leaves an ended parent alone; a retry of the parent takes what has come of it", async () => {
  flaky.add("f4");
  await submit("alone", [
    {
      job: {
        functions: [
          { name: "note", args: "f4" },
          { name: "flaky", args: "f4" },
        ],
      },
    },
  ]);
  await ended("alone");
  const { job_id } = await childOf("alone");
  await system.client.retry(job_id);
  assert.is((await ended(job_id)).state, "failed", "in vain");
  assert.is((await system.client.get("alone")).state, "failed");
  await nothingLeft("alone");
  flaky.delete("f4");
  await system.client.retry("alone");
  assert.is((await ended("alone")).result, "f4 done", "it is tried once more, although it has had as many runs");
  flaky.add("f5");
  await submit("taken", [{ job: { functions: [{ name: "flaky", args: "f5" }] } }]);
  await ended("taken");
  const child = await childOf("taken");
  flaky.delete("f5");
  await system.client.retry(child.job_id);
  assert.is((await ended(child.job_id)).state, "completed");
  assert.is((await system.client.get("taken")).state, "failed");
  await system.client.retry("taken");
  assert.is((await ended("taken")).result, "f5 done");
});

test("an entry that is run again from has another child", async () => {
  await submit("from", [{ id: "a", job: { functions: [{ name: "note", args: "from" }] } }]);
  await ended("from");
  await ask("job.retry.from", { from: "a" });
  await eventually("it has a second child", async () => (await childrenOf("from")).length === 2);
  assert.is((await ended("from")).state, "completed");
});

// --- waiting

test("a parent leaves memory while its child waits, and is woken by its end", async () => {
  await submit("parks", [{ job: { functions: [{ wait_for: "go" }] } }]);
  const { job_id } = await childOf("parks");
  await eventually("the parent rests on its timer", async () => {
    const { token } = (await system.supervisor.store.get("parks"))?.state ?? {};
    return token === 1;
  });
  const { entries } = await system.client.explain("parks");
  assert.is(entries[0]?.text, `child job ${job_id} is waiting`);
  assert.equal(entries[0]?.detail, { child: job_id, child_state: "waiting" });
  await system.client.signal(job_id, "go", 7);
  assert.is((await ended("parks")).result, 7);
  await nothingLeft("parks");
});

// --- undo

test("a completed child undoes itself when its parent fails, and is completed again", async () => {
  const child = {
    functions: [{ name: "note", args: "book", undo: { name: "note", args: "unbook" } }, { name: "echo" }],
  };
  flaky.add("f6");
  await submit("trip", [
    { id: "hotel", job: child },
    { name: "flaky", args: "f6" },
  ]);
  const { state, undo } = await ended("trip");
  assert.equal({ state, undo: undo?.state, undone: undo?.undone }, { state: "failed", undo: "done", undone: 1 });
  const hotel = await childOf("trip");
  assert.equal({ state: hotel.state, undo: hotel.undo?.state }, { state: "completed", undo: "done" });
  assert.equal(
    calls.filter((call) => call.endsWith(hotel.job_id)),
    [`book ${hotel.job_id}`, `unbook ${hotel.job_id}`],
  );
  await nothingLeft("trip");
  flaky.delete("f6");
  await system.client.retry("trip");
  assert.is((await ended("trip")).state, "completed");
  assert.is((await childrenOf("trip")).length, 2, "what was undone is done by another child");
});

test("a child without anything to undo is undone at once", async () => {
  flaky.add("f7");
  const plan = { functions: [{ name: "echo", args: 1 }] };
  await submit("nothing", [{ job: { $: "data" } }, { name: "flaky", args: "f7" }], { data: plan });
  const { state, undo } = await ended("nothing");
  assert.equal({ state, undo: undo?.state }, { state: "failed", undo: "done" });
});

test("a job that undoes cannot be cancelled, but for its undo, and its child's, to be skipped", async () => {
  const child = { functions: [{ name: "note", args: "in", undo: "stuck" }] };
  flaky.add("f8");
  await submit("skips", [{ job: child }, { name: "flaky", args: "f8" }]);
  const { job_id } = await childOf("skips");
  await eventually("the child undoes", async () => (await system.client.get(job_id)).state === "undoing");
  assert.is((await ask("job.cancel.skips")).code, "job_undoing");
  assert.is((await ask("job.cancel.skips", { undo: "later" })).code, "invalid_request");
  assert.is((await ask("job.cancel.skips", { undo: "skip" })).state, "undoing", "it ends after its child");
  const { state, undo } = await ended("skips");
  assert.equal({ state, undo: undo?.state }, { state: "failed", undo: "skipped" });
  assert.is((await system.client.get(job_id)).undo?.state, "skipped");
});

// --- who may submit one

test("nobody can submit a child that its parent does not wait for, nor another job under such an id", async () => {
  const body = JSON.stringify({ name: "forged", functions: [{ name: "note", args: "forged" }] });
  await submit("real", [{ wait_for: "never" }]);
  const real = await eventually("it is stored", async () => (await system.supervisor.store.get("real"))?.state);
  const origin = { job_id: "real", created_at: real.created_at, index: 0, depth: 1 };
  const id = childIdOf(origin);
  const headers: (string | undefined)[] = [
    undefined,
    "nonsense",
    JSON.stringify({ ...origin, index: 1 }),
    JSON.stringify(origin),
    JSON.stringify({ ...origin, depth: 9 }),
  ];
  for (const header of headers) {
    const sent = headersOf({ "Async-Format": "2", ...(header !== undefined && { "Async-Parent": header }) });
    const sequence = await system.bus.mux.publish(`job.submit.${id}`, body, sent);
    const subject = header === headers[3] ? id : `seq-${sequence}`;
    await system.event((event) => event.type === "rejected" && event.job_id === subject);
  }
  assert.is((await ask(`job.get.${id}`)).code, "job_not_found");
  const chosen = await system.client
    .submit({ name: "x", functions: [{ name: "echo" }] }, { jobId: id })
    .catch((error) => error);
  assert.is(chosen.code, "invalid_submission");
  assert.equal(
    calls.filter((call) => call.startsWith("forged")),
    [],
  );
  await system.client.cancel("real");
});

test.run();
