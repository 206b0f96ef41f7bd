/** One worker, several functions: a slow one with many waiting holds up no quick one. */
import { setTimeout as delay } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { testBus } from "../support/nats.ts";
import { System } from "../support/system.ts";

const test = suite("shared worker");
let system: System;

test.before(async () => {
  system = await System.start();
});
test.after(() => system.close());

const SLOW_MS = 400;
const chain = (...names: string[]) => ({ name: names.join("-"), functions: names.map((name) => ({ name })) });

/** When each has ended, in ms since `from`, in the order of their ends. */
async function endsOf(jobs: Promise<{ job_id: string }>[], from: number): Promise<number[]> {
  const ends = await Promise.all(
    jobs.map(async (submitted) => {
      const job = await system.client.wait((await submitted).job_id, { timeoutMs: 60_000 });
      assert.is(job.state, "completed");
      return performance.now() - from;
    }),
  );
  return ends.sort((a, b) => a - b);
}

test("a lone quick job among many slow ones starts within one slow execution", async () => {
  const worker = await system.worker((w) => w.func("lone.slow", () => delay(SLOW_MS)).func("lone.quick", () => 1), {
    concurrency: 2,
  });
  const slow = Array.from({ length: 24 }, () => system.client.submit(chain("lone.slow")));
  const from = performance.now();
  const slowEnds = endsOf(slow, from);
  for (let n = 0; n < 3; n++) {
    await delay(SLOW_MS * (0.7 + n / 10));
    const submittedAt = performance.now();
    const [lone = 0] = await endsOf([system.client.submit(chain("lone.quick"))], submittedAt);
    assert.ok(lone < 2 * SLOW_MS, `it took ${lone} ms`);
  }
  const last = (await slowEnds).at(-1) ?? 0;
  assert.ok(last < (24 / 2) * SLOW_MS * 1.5, `and the slow ones are held up by it: ${last} ms`);
  await worker.close();
});

test("chains slow → quick complete at the rate of the slow function", async () => {
  const worker = await system.worker((w) => w.func("charge", () => delay(SLOW_MS)).func("receipt", () => 1), {
    concurrency: 2,
  });
  const from = performance.now();
  const ends = await endsOf(
    Array.from({ length: 20 }, () => system.client.submit(chain("charge", "receipt"))),
    from,
  );
  const [first = 0, half = 0, last = 0] = [ends[0], ends[10], ends.at(-1)];
  assert.ok(first < last / 3, `first ${first} of ${last} ms`);
  assert.ok(half < last * 0.8, `half ${half} of ${last} ms`);
  await worker.close();
});

test("three functions with work all the time share the slots", async () => {
  const order: string[] = [];
  const executes = (name: string) => async () => {
    order.push(name);
    await delay(20);
  };
  const worker = await system.worker(
    (w) => w.func("a", executes("a")).func("b", executes("b")).func("c", executes("c")),
    { concurrency: 2 },
  );
  // The one that comes first has ten times as many.
  const jobs = [...Array(200).fill("a"), ...Array(20).fill("b"), ...Array(20).fill("c")];
  await endsOf(
    jobs.map((name) => system.client.submit(chain(name))),
    performance.now(),
  );
  for (const name of ["b", "c"]) {
    const last = order.lastIndexOf(name);
    assert.ok(last < 150, `the last ${name} was execution ${last} of ${order.length}`);
  }
  await worker.close();
});

test("a function that nobody asks for costs the others little", async () => {
  const worker = await system.worker((w) => w.func("only", () => delay(5)).func("never", () => 1), { concurrency: 2 });
  const run = async (name: string) =>
    (
      await endsOf(
        Array.from({ length: 200 }, () => system.client.submit(chain(name))),
        performance.now(),
      )
    ).at(-1) ?? 0;
  await run("only");
  const shared = await run("only");
  await worker.close();
  const alone = await system.worker((w) => w.func("only.alone", () => delay(5)), { concurrency: 2 });
  await run("only.alone");
  const own = await run("only.alone");
  await alone.close();
  assert.ok(shared < 2 * own, `${shared} ms where a worker of one function takes ${own}`);
});

test("within a function, who has waited longest is next, also after refusals", async () => {
  const order: number[] = [];
  const worker = await system.worker(
    (w) =>
      w
        .func("in-order", async ({ data }) => {
          order.push(data);
          await delay(30);
        })
        .func("beside", () => delay(30)),
    { concurrency: 2 },
  );
  const jobs: Promise<{ job_id: string }>[] = [];
  for (let n = 0; n < 40; n++) {
    const receipt = system.client.submit({ ...chain("in-order"), data: n });
    jobs.push(receipt, system.client.submit(chain("beside")));
    await receipt;
  }
  await endsOf(jobs, performance.now());
  // What was refused together comes back together: who is displaced is so by as many as are in flight at a time.
  const displaced = Math.max(...order.map((data, index) => Math.abs(data - index)));
  assert.ok(displaced <= 3, order.join(" "));
  await worker.close();
});

test("with several supervisors and workers the quick function starves nowhere", async () => {
  const others = [await testBus(system.url), await testBus(system.url)];
  const supervisors = await Promise.all(others.map((bus) => Supervisor.start(bus, {})));
  const workers = await Promise.all(
    [1, 2].map(() =>
      system.worker((w) => w.func("many.slow", () => delay(SLOW_MS)).func("many.quick", () => 1), { concurrency: 2 }),
    ),
  );
  const from = performance.now();
  const ends = await endsOf(
    Array.from({ length: 32 }, () => system.client.submit(chain("many.slow", "many.quick"))),
    from,
  );
  const [first = 0, half = 0, last = 0] = [ends[0], ends[16], ends.at(-1)];
  assert.ok(first < last / 3, `first ${first} of ${last} ms`);
  assert.ok(half < last * 0.8, `half ${half} of ${last} ms`);
  for (const worker of workers) await worker.close();
  for (const supervisor of supervisors) await supervisor.close();
  for (const bus of others) await bus.close();
});

test("functions that a supervisor serves in its own process take turns as well", async () => {
  const worker = await system.worker((w) => w.func("own.slow", () => delay(SLOW_MS)).func("own.quick", () => 1), {
    concurrency: 2,
    bus: system.bus,
  });
  const from = performance.now();
  const ends = await endsOf(
    Array.from({ length: 16 }, () => system.client.submit(chain("own.slow", "own.quick"))),
    from,
  );
  const [first = 0, last = 0] = [ends[0], ends.at(-1)];
  assert.ok(first < last / 3, `first ${first} of ${last} ms`);
  await worker.close();
});

test.run();
