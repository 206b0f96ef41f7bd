/** What has happened to a job: the events that are kept, and those that are told now. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { EventsReply, ListedEvent } from "../../src/api/requests.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import { startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("events");
let system: System;
let bridge: Bridge;

test.before(async () => {
  system = await System.start();
  bridge = await startBridge({ client: system.client, port: 0 });
  await system.worker((w) =>
    w
      .func("third-time", ({ attempt }) => {
        if (attempt < 3) throw new Error(`no luck in attempt ${attempt}`);
        return "lucky";
      })
      .func("quick", () => "quick"),
  );
});
test.after(async () => {
  await bridge.close();
  await system.close();
});

const FLAKY: JobDocument = {
  name: "flaky",
  functions: [{ name: "third-time", retry_options: { retry_limit: 3, backoff: { type: "fixed", delay_ms: 300 } } }],
};

const run = (args: string[]) => toEnd(startCli(args, { NATS_URL: system.url }));

async function overHttp(path: string) {
  const response = await fetch(`${bridge.url}${path}`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const messages = (events: ListedEvent[]) => events.flatMap((event) => ("error" in event ? event.error.message : []));

test("the errors of earlier attempts can be read after a success", async () => {
  await system.client.submit(FLAKY, { jobId: "flaky" });
  const job = await system.client.wait("flaky");
  assert.is(job.result, "lucky");
  assert.is(job.functions[0]?.error, undefined, "the record keeps none");
  const { events, next } = await system.client.events("flaky");
  assert.is(next, undefined);
  assert.equal(messages(events), ["no luck in attempt 1", "no luck in attempt 2"]);
  assert.ok(events.every(({ job_id }) => job_id === "flaky"));
  assert.not.match(JSON.stringify(events), process.cwd(), "a stack says where something is installed");

  const shown = await run(["events", "flaky"]);
  assert.is(shown.code, 0, shown.output);
  assert.match(shown.output, /retrying +third-time \(attempt 1\): no luck in attempt 1; again at /);
  assert.match(shown.output, /retrying +third-time \(attempt 2\): no luck in attempt 2; again at /);
  const json = await run(["events", "flaky", "--json"]);
  assert.equal((JSON.parse(json.output) as EventsReply).events, events);
  const got = await run(["get", "flaky"]);
  assert.match(got.output, "async events flaky");
});

test("over HTTP in pages, and errors as everywhere", async () => {
  const first = await overHttp("/v1/job/flaky/events?limit=1");
  assert.is(first.status, 200);
  assert.is(first.body.Count, 1);
  const second = await overHttp(`/v1/job/flaky/events?limit=1&cursor=${first.body.Next}`);
  assert.equal(messages([...(first.body.Events as ListedEvent[]), ...(second.body.Events as ListedEvent[])]), [
    "no luck in attempt 1",
    "no luck in attempt 2",
  ]);
  assert.is(second.body.Next, undefined);
  assert.is((await overHttp("/v1/job/not-there/events")).status, 404);
  assert.is((await overHttp("/v1/job/bad.id/events")).status, 400);
  assert.is((await overHttp("/v1/job/flaky/events?limit=0")).status, 400);
  assert.is((await overHttp("/v1/job/flaky/events?cursor=x")).status, 400);
  assert.is((await overHttp("/v1/job/flaky/events?other=x")).status, 400);
  const missing = await run(["events", "not-there"]);
  assert.is(missing.code, 1);
  assert.match(missing.output, "[job_not_found]");
});

test("of a job that completed without trouble nothing is kept, which is said", async () => {
  await system.client.submit({ name: "quick", functions: [{ name: "quick" }] }, { jobId: "quick" });
  await system.client.wait("quick");
  const { code, output } = await run(["events", "quick"]);
  assert.is(code, 0);
  assert.match(output, "no events are kept of job quick, it is completed");
});

test("--follow shows what has been and what comes, each once, until the end", async () => {
  const retry_options = { retry_limit: 3, backoff: { type: "fixed", delay_ms: 4_000 } } as const;
  const functions = [{ name: "third-time", retry_options }];
  await system.client.submit({ name: "followed", functions }, { jobId: "followed" });
  await eventually("it has failed once", async () => (await system.client.events("followed")).events.length > 0);
  const followed = await startCli(["events", "followed", "--follow", "--json"], { NATS_URL: system.url });
  try {
    await followed.line("no luck in attempt 1");
    assert.is(await followed.exit(), 0);
    const lines = followed.output().split("\n");
    const events = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as ListedEvent);
    assert.equal(messages(events), ["no luck in attempt 1", "no luck in attempt 2"]);
    assert.is(events.at(-1)?.type, "completed", "it is told, though it is not kept");
    assert.match(lines.at(-1) ?? "", "job followed is completed");
  } finally {
    await followed.kill();
  }
});

test("large events make small pages, and one that fits into no answer is cut", async () => {
  await system.client.submit({ name: "large", functions: [{ name: "quick" }] }, { jobId: "large" });
  await system.client.wait("large");
  const publish = (type: string, length: number) => {
    const error = { code: "function_failed", name: "Error", message: "x".repeat(length) };
    const body = {
      type,
      job_id: "large",
      job_name: "large",
      at: new Date().toISOString(),
      error,
      function: "f",
      index: 0,
    };
    system.bus.nc.publish(`job.event.large.${type}`, JSON.stringify(body));
  };
  for (let count = 0; count < 6; count++) publish("retrying", 200_000);
  publish("failed", 1_048_300);
  system.bus.nc.publish("job.event.large.retrying", "no event at all");
  await delay(200);
  const page = await system.bus.mux.request("job.events.large", "", 2_000);
  assert.ok(page.data.length < 600_000);
  const first = page.json<EventsReply>();
  assert.is(first.events.length, 2);
  assert.type(first.next, "string");
  const { events } = await system.client.events("large");
  assert.is(events.length, 7);
  const last = events.at(-1);
  assert.is(last?.truncated, true);
  assert.ok(JSON.stringify(last).length < 1_000);
});

test.run();
