/** Trouble is told: to who waits, to who looks, and in the log of who meets it; once per spell. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startCli } from "../support/process.ts";
import { System } from "../support/system.ts";

const test = suite("silence");
let system: System;

test.before(async () => {
  system = await System.start();
});
test.after(async () => {
  await system.close();
});

async function run(args: string[]) {
  const child = await startCli(args, { NATS_URL: system.url });
  child.child.stdin?.end("");
  try {
    return { code: await child.exit(), output: child.output() };
  } finally {
    await child.kill();
  }
}

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

test.run();
