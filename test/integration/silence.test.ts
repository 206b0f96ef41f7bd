/** Trouble is told: to who waits, to who looks, and in the log of who meets it; once per spell. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";

const test = suite("silence");
let system: System;

test.before(async () => {
  system = await System.start();
});
test.after(async () => {
  await system.close();
});

const run = (args: string[]) => toEnd(startCli(args, { NATS_URL: system.url }));

test("a worker whose functions do not fit into a message is seen whole by who looks, and judged by its heartbeats", async () => {
  const count = 7_000;
  const name = (index: number) => `of-many/${String(index).padStart(5, "0")}/${"x".repeat(40)}`;
  const many = await system.worker(
    (w) => {
      for (let index = 0; index < count; index++) w.func(name(index), () => index);
      return w;
    },
    { name: "has-many" },
  );
  const [view] = (await system.client.workers()).filter(({ ID }) => ID === many.id);
  assert.is(view?.Capabilities.length, count, "not all of its functions are listed");
  assert.is(view?.Omitted, undefined);
  assert.is(new Set(view?.Capabilities).size, count);
  // What other programs are answered fits, and says what is missing.
  const plain = await system.bus.mux.request(`$SRV.INFO.has-many.${many.id}`, "", 2_000);
  assert.ok(plain.data.length <= 256 * 1024);
  const { metadata, endpoints } = plain.json<{ metadata: Record<string, string>; endpoints: unknown[] }>();
  assert.is(metadata.endpoints_total, String(count));
  assert.ok(endpoints.length > 100 && endpoints.length < count);
  const stats = await system.bus.mux.request(`$SRV.STATS.has-many.${many.id}`, "", 2_000);
  assert.ok(stats.json<{ endpoints: unknown[] }>().endpoints.length > 100);

  const last = name(count - 1);
  await system.client.submit({ name: "last", functions: [{ name: last }] }, { jobId: "last-of-many" });
  assert.is((await system.client.wait("last-of-many", { timeoutMs: 10_000 })).result, count - 1);
  const { functions, omitted } = await system.client.functions();
  assert.is(functions.length + (omitted ?? 0), count);
  const shown = await run(["workers"]);
  assert.is(shown.code, 0);
  assert.match(shown.output, /has-many.*7000 functions: of-many/);
  await many.close();
});

test("who waits for a job is told what it waits for, once; doctor finds a single job that nobody serves", async () => {
  const functions = [{ name: "nobody.serves" }];
  const waiting = await startCli(["submit", "-", "--wait"], { NATS_URL: system.url });
  try {
    waiting.child.stdin?.end(JSON.stringify({ name: "alone", functions }));
    await waiting.line("waiting: no worker serves fn.nobody.serves");
    const doctor = await run(["doctor"]);
    assert.is(doctor.code, 1, doctor.output);
    assert.match(
      doctor.output,
      /PROBLEM +1 job\(s\) wait for function nobody\.serves, which no worker serves; the first for \d+ s\n.*start a worker/,
    );
    const served = (await system.client.functions()).functions.find(({ name }) => name === "nobody.serves");
    assert.is(served?.unserved, true);
    assert.ok((served?.oldest_ms ?? 0) > 2_000, "it has waited since it was submitted");
    await delay(6_000); // it looks twice more, and has nothing new to say
    await system.worker((w) => w.func("nobody.serves", () => delay(3_500, "served")));
    assert.is(await waiting.exit(), 0);
    assert.match(waiting.output(), /result +served/);
    assert.is(waiting.output().split("no worker serves").length - 1, 1, waiting.output());
    assert.match(waiting.output(), "running: fn.nobody.serves runs");
    const afterwards = await run(["doctor"]);
    assert.is(afterwards.code, 0, afterwards.output);
  } finally {
    await waiting.kill();
  }
});

test("who waits for a job that waits for a backoff is told why, and when it is tried again", async () => {
  await system.worker((w) =>
    w.func("fails-once", ({ attempt }) => {
      if (attempt === 1) throw new Error("out of luck");
      return "lucky";
    }),
  );
  const retry_options = { retry_limit: 2, backoff: { type: "fixed", delay_ms: 5_000 } };
  const waiting = await startCli(["submit", "-", "--wait"], { NATS_URL: system.url });
  try {
    waiting.child.stdin?.end(JSON.stringify({ name: "twice", functions: [{ name: "fails-once", retry_options }] }));
    const line = await waiting.line("waiting: backoff until 20");
    assert.match(line, "attempt 2 of 2, last error function_failed: out of luck");
    assert.is(await waiting.exit(), 0);
  } finally {
    await waiting.kill();
  }
});

test.run();
