/** What a job says of itself as a whole: tags to find it by, how long it is kept, its format; and what a retry may ask for. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FORMAT_HEADER, REPEATED_HEADER } from "../../src/api/headers.ts";
import type { ListReply } from "../../src/api/requests.ts";
import { encode } from "../../src/bus/messages/codec.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { headersOf } from "../../src/bus/wire/headers.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import { startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("tags");
const FORMAT_2 = headersOf({ [FORMAT_HEADER]: "2" });
let system: System;
let bridge: Bridge;
const NONE = new Uint8Array();
let release = () => {};
const released = new Promise<void>((resolve) => {
  release = resolve;
});

const JOBS = 320;
const ids = Array.from({ length: JOBS }, (_, index) => `job-${index}`);
const customerOf = (index: number) => `c${index % 16}`;
const regionOf = (index: number) => (index % 2 === 0 ? "eu" : "us");

const echo = (more: Partial<JobDocument> = {}): JobDocument => ({
  name: "echo",
  functions: [{ name: "echo" }],
  ...more,
});
/** Its first function has returned, so its state is stored; the second one waits. */
const held = (more: Partial<JobDocument> = {}): JobDocument =>
  echo({ functions: [{ name: "echo" }, { name: "held" }], ...more });

test.before(async () => {
  // Every live state of a job that has a submission of its own is stored without what that says.
  system = await System.start({ briefAboveBytes: 1, maxLiveJobs: 2, recordStartMs: 20 });
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker(
    (w) =>
      w
        .func("echo", ({ args }) => args)
        .func("held", () => released)
        .func("fail", () => {
          throw new Error("as it should");
        }),
    { concurrency: 50 },
  );
  await system.client.submitMany(
    ids.map((job_id, index) =>
      echo({
        job_id,
        // The same words where they are no tags.
        data: { customer: "c1", tags: { customer: "c1" } },
        ...(index % 5 > 0 && { tags: { customer: customerOf(index), region: regionOf(index) } }),
      }),
    ),
  );
  await eventually("all have ended", async () => {
    const { jobs } = await system.client.list({ state: "completed" });
    return jobs.length === JOBS;
  });
});
test.after(async () => {
  release();
  await bridge.close();
  await system.close();
});

const tagged = (fits: (index: number) => boolean) => ids.filter((_, index) => index % 5 > 0 && fits(index)).sort();
const idsOf = ({ jobs }: { jobs: { job_id: string }[] }) => jobs.map(({ job_id }) => job_id);

/** All ids of a list, read in pages, each as a supervisor answers it. */
async function pages(request: object, of = system): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | undefined;
  for (let count = 0; count === 0 || cursor !== undefined; count++) {
    assert.ok(count < 1_000, "it comes to an end");
    const body = JSON.stringify({ ...request, ...(cursor !== undefined && { cursor }) });
    const reply = await of.bus.mux.request("job.list", body, 5_000);
    const page = reply.json<ListReply & { code?: string }>();
    assert.is(page.code, undefined, reply.string());
    found.push(...idsOf(page));
    cursor = page.next;
  }
  return found;
}

const run = (args: string[], of = system) => toEnd(startCli(args, { NATS_URL: of.url }));

async function get(path: string) {
  const response = await fetch(`${bridge.url}${path}`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const codeOf = (asking: Promise<unknown>) =>
  asking.then(
    () => "no error",
    (error) => (isAsyncError(error) ? error.code : error),
  );

test("jobs are found by a tag over hundreds of others, each once, in pages of every size and both orders", async () => {
  const wanted = tagged((index) => customerOf(index) === "c1");
  assert.is(wanted.length, 16);
  for (const limit of [1, 3, 7, 1_000]) {
    for (const order of ["oldest", "newest"]) {
      const found = await pages({ tags: { customer: "c1" }, limit, order });
      assert.equal(found.toSorted(), wanted, `${order}, pages of ${limit}`);
    }
  }
  const oldest = await pages({ tags: { customer: "c1" }, limit: 5 });
  assert.equal(await pages({ tags: { customer: "c1" }, limit: 5, order: "newest" }), oldest.toReversed());
});

test("of several tags a job must have all, and a state if one is asked for", async () => {
  const wanted = tagged((index) => customerOf(index) === "c2" && regionOf(index) === "eu");
  assert.ok(wanted.length > 0);
  assert.equal((await pages({ tags: { customer: "c2", region: "eu" } })).toSorted(), wanted);
  assert.equal((await pages({ tag: "customer:c2", tags: { region: "eu" }, state: "completed" })).toSorted(), wanted);
  assert.equal((await pages({ tag: ["customer:c2", "region:eu"] })).toSorted(), wanted);
  assert.equal(await pages({ tags: { customer: "c2", region: "us" } }), []);
  assert.equal(await pages({ tags: { customer: "c2" }, state: "failed" }), []);
  assert.equal(await pages({ tags: { customer: "c" } }), [], "a part of a value is another value");
});

test("a job shows its tags", async () => {
  assert.equal((await system.client.get("job-1")).tags, { customer: "c1", region: "us" });
  assert.is((await system.client.get("job-0")).tags, undefined);
  const { output } = await run(["get", "job-1"]);
  assert.match(output, /tags +customer:c1 region:us/);
});

test("the client finds them in one go, or goes on with its cursor", async () => {
  const wanted = tagged((index) => customerOf(index) === "c3");
  const first = await system.client.list({ tags: { customer: "c3" }, limit: 4 });
  assert.is(first.jobs.length, 4);
  assert.ok(first.next);
  const rest = await system.client.list({ tags: { customer: "c3" }, cursor: first.next ?? "" });
  assert.equal([...idsOf(first), ...idsOf(rest)].sort(), wanted);
  assert.is(rest.next, undefined);
});

test("the same over HTTP, where the parameter may be given several times", async () => {
  const { status, body } = await get("/v1/job?tag=customer:c4&tag=region:eu&state=completed");
  assert.is(status, 200, JSON.stringify(body));
  const found = (body.Jobs as JobView[]).map(({ job_id }) => job_id).sort();
  assert.equal(
    found,
    tagged((index) => customerOf(index) === "c4"),
  );
  assert.is((await get("/v1/job?tag=customer:nobody")).body.Count, 0);
  for (const bad of ["tag=customer", "tag=:c1", "tag=a:1&tag=a:2", `tag=a:${"x".repeat(129)}`]) {
    const refused = await get(`/v1/job?${bad}`);
    assert.is(refused.status, 400, bad);
    const { reasons } = refused.body.error as { reasons: { path: string }[] };
    assert.is(reasons[0]?.path, "?tag");
  }
});

test("the same from a shell", async () => {
  const { code, output } = await run(["list", "--tag", "customer:c6", "--tag", "region:eu", "--json"]);
  assert.is(code, 0, output);
  assert.equal(
    idsOf(JSON.parse(output)).sort(),
    tagged((index) => customerOf(index) === "c6"),
  );
  const bad = await run(["list", "--tag", "customer"]);
  assert.is(bad.code, 2);
  assert.match(bad.output, "a tag is asked for as name:value");
});

test("what is no tag is refused by a supervisor too", async () => {
  const bodies = [
    { tag: 5 },
    { tag: "customer" },
    { tags: ["a"] },
    { tags: { a: 5 } },
    { tag: "a:1", tags: { a: "2" } },
    { tags: Object.fromEntries(ids.slice(0, 9).map((id) => [id, "x"])) },
  ];
  for (const body of bodies) {
    const reply = await system.bus.mux.request("job.list", JSON.stringify(body), 5_000);
    assert.is(reply.json<{ code?: string }>().code, "invalid_request", JSON.stringify(body));
  }
});

test("jobs are found that are stored in brief, or are submissions only, whoever has written them", async () => {
  const tags = { batch: "größe 7", "a.b": "c:d" };
  await system.client.submitMany([
    held({ job_id: "brief-1", tags }),
    held({ job_id: "brief-2", tags, data: "x".repeat(2_000) }),
  ]);
  await eventually("they run", async () => {
    const states = await Promise.all(["brief-1", "brief-2"].map((id) => system.client.get(id)));
    return states.every(({ state }) => state === "running");
  });
  for (const id of ["brief-1", "brief-2"]) {
    const { sequence, data } = (await readLast(system.bus, "KV_jobs", `$KV.jobs.${id}`)) ?? { sequence: 0, data: NONE };
    assert.ok(storedJob(id, sequence, data).brief, `${id} is stored in brief`);
  }
  // Memory is full, so nobody takes these.
  const publish = (id: string, body: string | Uint8Array) => system.bus.mux.publish(`job.submit.${id}`, body, FORMAT_2);
  await system.client.submit(echo({ tags }), { jobId: "waits-json" });
  await system.client.submit(echo({ tags }), { jobId: "waits-msgpack", encoding: "msgpack" });
  await publish("waits-escaped", JSON.stringify(echo({ tags })).replace("ö", "\\u00f6").replace("ß", "\\u00DF"));
  await publish("waits-long", longTexts(echo({ tags })));
  await system.client.submit(echo({ tags: { ...tags, batch: "größe 8" } }), { jobId: "waits-other" });
  await system.client.submit(echo({ data: tags }), { jobId: "waits-without" });
  const wanted = ["brief-1", "brief-2", "waits-escaped", "waits-json", "waits-long", "waits-msgpack"];
  for (const limit of [1, 2, 1_000]) {
    for (const order of ["oldest", "newest"]) {
      assert.equal((await pages({ tags, limit, order })).toSorted(), wanted, `${order}, pages of ${limit}`);
    }
  }
  assert.equal((await pages({ tags, state: "running" })).toSorted(), ["brief-1", "brief-2"]);
  assert.equal((await pages({ tags, state: "pending" })).toSorted(), wanted.slice(2));
  release();
  await system.client.wait("waits-without", { timeoutMs: 10_000 });
});

/** MessagePack in which each text says its length in four bytes, as some encoders write it. */
function longTexts(value: unknown): Uint8Array {
  if (typeof value === "string") {
    const text = Buffer.from(value);
    const head = Buffer.alloc(5);
    head[0] = 0xdb;
    head.writeUInt32BE(text.length, 1);
    return Buffer.concat([head, text]);
  }
  if (Array.isArray(value)) return Buffer.concat([Buffer.of(0x90 + value.length), ...value.map(longTexts)]);
  if (typeof value !== "object" || value === null) return encode(value, "msgpack");
  const entries = Object.entries(value);
  return Buffer.concat([Buffer.of(0x80 + entries.length), ...entries.flat().map(longTexts)]);
}

// --- how long it is kept

async function ttlOf(jobId: string, of = system): Promise<string | undefined> {
  const reply = await of.bus.mux.request(`$JS.API.DIRECT.GET.KV_jobs.$KV.jobs.${jobId}`, "", 2_000);
  return reply.headers?.get("Nats-TTL") || undefined;
}

const WEEK = "604800s";

test("an ended job is kept for keep_ms at most, for half a minute at least; one without it as long as ever", async () => {
  const kept = async (jobId: string, more: Partial<JobDocument>) => {
    await system.client.submit(echo(more), { jobId });
    await system.client.wait(jobId, { timeoutMs: 10_000 });
    return ttlOf(jobId);
  };
  assert.is(await kept("kept-hour", { keep_ms: 3_600_000 }), "3600s");
  assert.is(await kept("kept-soon", { keep_ms: 1 }), "30s");
  assert.is(await kept("kept-long", { keep_ms: 10 * 7 * 24 * 3_600_000 }), WEEK);
  assert.is(await kept("kept-always", {}), WEEK);
  assert.is(await kept("kept-tagged", { tags: { a: "b" } }), WEEK);
  const failing = [{ name: "echo" }, { name: "fail" }];
  assert.is(await kept("kept-failed", { keep_ms: 60_000, functions: failing }), "60s");
  assert.is((await system.client.get("kept-failed")).state, "failed");
  // Its first commit is its end: it is made up by the client, and has one function.
  const { job_id } = await system.client.submit(echo({ keep_ms: 90_000 }));
  await system.client.wait(job_id, { timeoutMs: 10_000 });
  assert.is(await ttlOf(job_id), "90s");
  assert.is((await system.client.get(job_id)).keep_ms, 90_000);
});

test("so is one whose end is written by who cancels it, live or not taken yet; a live one does not expire", async () => {
  const own = await System.start({ maxLiveJobs: 1, recordStartMs: 20 });
  try {
    await own.worker((w) =>
      w.func("echo", () => 1).func("held", ({ signal }) => new Promise((end) => signal.addEventListener("abort", end))),
    );
    await own.client.submit(held({ keep_ms: 45_000 }), { jobId: "live" });
    await eventually("it runs", async () => (await own.client.get("live")).state === "running");
    await own.client.submit(echo({ keep_ms: 50_000, tags: { a: "b" } }), { jobId: "untaken" });
    assert.is(await ttlOf("live", own), undefined);
    await own.client.cancel("untaken");
    assert.is(await ttlOf("untaken", own), "50s");
    await own.client.cancel("live");
    assert.is(await ttlOf("live", own), "45s");
    await own.client.retry("live");
    assert.is(await ttlOf("live", own), undefined, "it lives again");
    await own.client.cancel("live");
  } finally {
    await own.close();
  }
});

test("it is not kept longer than others where these are kept for less, and for three leases where they last long", async () => {
  const short = await System.start({ retentionMs: 10_000, topology: { ackWaitMs: 20_000 } });
  try {
    await short.worker((w) => w.func("echo", () => 1));
    await short.client.submit(echo({ keep_ms: 40_000 }), { jobId: "short" });
    await short.client.wait("short", { timeoutMs: 10_000 });
    assert.is(await ttlOf("short", short), "10s");
    short.supervisor.store.keepEndedFor(3_600_000);
    await short.client.submit(echo({ keep_ms: 40_000 }), { jobId: "leases" });
    await short.client.wait("leases", { timeoutMs: 10_000 });
    assert.is(await ttlOf("leases", short), "60s");
  } finally {
    await short.close();
  }
});

// --- the format on the wire

test("a submission says which format it needs, and only where that is not the first", async () => {
  const seen = new Map<string, [format: string | undefined, repeated: boolean]>();
  const header = (name: string, headers?: { has(name: string): boolean; get(name: string): string }) =>
    headers?.has(name) ? headers.get(name) : undefined;
  const subscription = system.bus.nc.subscribe("job.submit.>", {
    callback: (_, { subject, headers }) => {
      const id = subject.slice("job.submit.".length);
      seen.set(id, [header(FORMAT_HEADER, headers), header(REPEATED_HEADER, headers) !== undefined]);
    },
  });
  await system.bus.nc.flush();
  await system.client.submit(echo(), { jobId: "first" });
  await system.client.submit(echo({ tags: { a: "b" } }), { jobId: "with-tags" });
  await system.client.submit(echo({ keep_ms: 1_000 }), { jobId: "with-keep" });
  await system.client.submit(echo({ keep_ms: 1_000 }), { jobId: "auto-again" });
  await system.client.submit(echo(), { jobId: "auto-plain" });
  await system.client.submitMany([echo({ job_id: "many-first" }), echo({ job_id: "many-tags", tags: { a: "b" } })]);
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(echo({ job_id: "by-http", tags: { a: "b" } }));
  assert.is((await fetch(`${bridge.url}/v1/job`, { method: "POST", headers, body })).status, 200);
  await eventually("all are seen", () => seen.size === 8);
  subscription.unsubscribe();
  assert.equal(Object.fromEntries(seen), {
    first: [undefined, false],
    "with-tags": ["2", false],
    "with-keep": ["2", false],
    "auto-again": ["2", true],
    "auto-plain": [undefined, true],
    "many-first": [undefined, false],
    "many-tags": ["2", false],
    "by-http": ["2", false],
  });
});

// --- retries by hand

test("client, HTTP and command ask for a retry with all that there is", async () => {
  const own = await System.start("without supervisor");
  const asked: Record<string, unknown>[] = [];
  const answer = own.bus.nc.subscribe("job.retry.*", {
    callback: (_, message) => {
      asked.push(message.json());
      message.respond(JSON.stringify({ job_id: "j", name: "j", state: "pending", functions: [], current_function: 0 }));
    },
  });
  const http = await startBridge({ client: own.client, port: 0 });
  try {
    await own.bus.nc.flush();
    const patch = { args_by_id: { a: [1], b: null }, from: "a", force: true, by: "ann" };
    await own.client.retry("j", patch);
    await own.client.retry("j", { failed: true, data: { n: 1 } });
    const post = (body: string) =>
      fetch(`${http.url}/v1/job/j/retry`, { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.is((await post(JSON.stringify({ ...patch, from: 0 }))).status, 200);
    assert.equal(asked.splice(0), [patch, { failed: true, data: { n: 1 } }, { ...patch, from: 0 }]);

    const cli = async (...args: string[]) => {
      const { code, output } = await run(["retry", "j", ...args], own);
      assert.is(code, 0, output);
      const { by, ...rest } = asked.splice(0)[0] as Record<string, unknown>;
      assert.match(String(by), /^[^@]+@[^@]+$/);
      return rest;
    };
    assert.equal(await cli(), {});
    assert.equal(await cli("--from", "charge", "--args-of", 'charge={"a":"="}', "--args-of", "pay=2", "--force"), {
      from: "charge",
      args_by_id: { charge: { a: "=" }, pay: 2 },
      force: true,
    });
    assert.equal(await cli("--from", "2", "--data", "[1]", "--args", "null"), { from: 2, data: [1], args: null });
    assert.equal(await cli("--failed"), { failed: true });
    for (const bad of ["charge", "charge={", "=1"]) {
      const refused = await run(["retry", "j", "--args-of", bad], own);
      assert.is(refused.code, 2, refused.output);
      assert.match(refused.output, "--args-of");
    }
    assert.is((await run(["retry", "j", "--args-of", "a=1", "--args-of", "a=2"], own)).code, 2);
    assert.equal(asked, [], "nothing of that is sent");
  } finally {
    answer.unsubscribe();
    await http.close();
    await own.close();
  }
});

test("what a retry cannot ask for is refused before the job is looked at", async () => {
  const bad = [
    { unknown: 1 },
    { args_by_id: [1] },
    { args_by_id: null },
    { from: "" },
    { from: -1 },
    { from: 1.5 },
    { from: true },
    { failed: "yes" },
    { force: 1 },
    { from: "a", failed: true },
    { by: "" },
    { by: "x".repeat(129) },
    { by: 7 },
  ];
  for (const patch of bad) {
    assert.is(await codeOf(system.client.retry("not-there", patch as never)), "invalid_request", JSON.stringify(patch));
  }
  const good = { from: 3, failed: false, force: false, by: "x".repeat(128), args_by_id: {} };
  assert.is(await codeOf(system.client.retry("not-there", good)), "job_not_found");
});

// --- events

test("the events of graphs are kept and printed", async () => {
  const about = { job_id: "graph", job_name: "graph", at: new Date().toISOString() };
  const told = [
    { type: "skipped", index: 1, id: "approve" },
    { type: "signalled", name: "approval", number: 2, index: 2 },
    { type: "edited", by: "ann@desk", data: true, args: ["charge", 4] },
    { type: "late", warn_after_ms: 5_000 },
    {
      type: "retrying",
      function: null,
      id: "nap",
      index: 3,
      attempt: 1,
      error: { code: "x", name: "X", message: "no" },
      due_at: about.at,
    },
  ];
  for (const event of told) {
    await system.bus.mux.publish(`job.event.graph.${event.type}`, JSON.stringify({ ...about, ...event }));
  }
  const { events } = await system.client.events("graph");
  assert.equal(events, told.map((event) => ({ ...about, ...event })) as never);
  const { code, output } = await run(["events", "graph"]);
  assert.is(code, 0, output);
  assert.match(output, /skipped +\[approve\]: its condition is not met/);
  assert.match(output, /signalled +entry 2: signal approval, number 2/);
  assert.match(output, /edited +data and args of \["charge",4\] changed by hand, by ann@desk/);
  assert.match(output, /late +it has not ended within 5000 ms/);
  assert.match(output, /retrying +\[nap\] \(attempt 1\): no; again at/);
});

test.run();
