/** Results that are too large for the state of their job: through a pipeline, shown and had one by one, after crashes, until they go. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { sweep } from "../../src/actors/sweep.ts";
import { Bus } from "../../src/bus/connection.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { packResult, readResult, resultKey } from "../../src/bus/store/results.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import { startBridge } from "../../src/http/bridge.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { JobDocument } from "../../src/job/schema.ts";
import { startCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("large results");
const KB = 1_024;
let system: System;
/** How often `text` was executed, by its args. */
const executed = new Map<string, number>();
/** What a function that fails once has been told. */
let failures = 0;
let release: (() => void) | undefined;

/** A text of so many kB that begins with a word. */
const textOf = (word: string, kb: number) => word.padEnd(kb * KB, ".");

test.before(async () => {
  system = await System.start({ parkAfterMs: 700, briefAboveBytes: 2_048 });
  await system.worker(
    (worker) =>
      worker
        .func<[string, number]>("text", ({ args: [word, kb] }) => {
          executed.set(word, (executed.get(word) ?? 0) + 1);
          return textOf(word, kb);
        })
        .func("lengths", ({ results }) => results.map((one) => String(one ?? "").length))
        .func("sees", ({ args }) => args)
        .func("fails-once", () => {
          failures += 1;
          if (failures === 1) throw new Error("no luck");
          return "done";
        })
        .func("held", async () => {
          await new Promise<void>((resolve) => {
            release = resolve;
          });
          return "released";
        }),
    { concurrency: 20 },
  );
});
test.after(() => system.close());

const text = (id: string, kb: number, needs?: string[]) => ({
  ...{ id, name: "text", args: [id, kb] },
  ...(needs && { needs }),
});

const partOf = async (jobId: string, index: number) => {
  const found = await readLast(system.bus, KV_JOBS, `${KV_PREFIX}.${resultKey(jobId, index)}`);
  return found && found.data.length > 0 ? found : undefined;
};

async function sweepNow() {
  const { bus, supervisor } = system;
  const eventLog = new EventLog(bus, { storesCompleted: false });
  return sweep(
    { bus, store: supervisor.store, tokens: new Tokens(bus), eventLog, writer: "test/sweep" },
    { fix: true },
  );
}

test("the results of a job may be many MB together: each entry is handed what it needs", async () => {
  const chapters = Array.from({ length: 10 }, (_, n) => text(`c${n}`, 500, n === 0 ? [] : [`s${n - 1}`]));
  const functions = chapters.flatMap((chapter, n) => [chapter, { id: `s${n}`, name: "lengths", needs: [chapter.id] }]);
  const last = {
    ...{ id: "last", name: "sees", needs: ["s9"] },
    args: { first: { $: "size(results.c0)" }, all: { $: "results.s9" } },
  };
  const { job_id } = await system.client.submit({ name: "book", functions: [...functions, last] });
  const job = await system.client.wait(job_id, { timeoutMs: 30_000 });
  assert.equal(job.result, { first: 500 * KB, all: [500 * KB] });
  assert.equal(
    job.functions.map(({ result_omitted }) => result_omitted === true),
    [...functions.map(({ name }) => name === "text"), false],
  );
  const state = (await system.supervisor.store.get(job_id))?.state;
  assert.ok(JSON.stringify(state).length < 20_000);
  assert.is((await system.client.result<string>(job_id, "c4")).length, 500 * KB);
  assert.match(await system.client.result<string>(job_id, 0), /^c0\./);
});

test("conditions read what is large, also one that is expected of its own result", async () => {
  const functions = [
    { ...text("a", 100), expect: "result.startsWith('a')" },
    { id: "b", name: "sees", args: 1, needs: [] },
    { id: "c", name: "sees", args: "yes", when: "results.a.startsWith('a')" },
    { id: "d", name: "sees", args: "no", when: "results.a.startsWith('x')" },
    { id: "e", name: "sees", args: { $: "size(results.a)" } },
  ];
  const { job_id } = await system.client.submit({ name: "conditions", functions });
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.equal([job.functions[2]?.result, job.functions[3]?.skipped, job.result], ["yes", true, 100 * KB]);
});

test("a job that ends with a large result gives it, with its event or by a question", async () => {
  const run = (kb: number) => system.client.run<string>({ name: "end", functions: [text("a", 1), text("b", kb)] });
  assert.is((await run(100)).length, 100 * KB);
  assert.is((await run(1_000)).length, 1_000 * KB, "the state with it fits, the view that shows it twice does not");
  const large = { name: "both", functions: [text("a", 700, []), text("b", 700, [])] };
  const { job_id } = await system.client.submit(large);
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.is(job.state, "completed", "two results that do not fit into the same state");
  assert.is(String(job.result).length, 700 * KB);
  assert.is((await system.client.run<string>(large)).length, 700 * KB);
});

test("many results that are small by themselves are put besides when the state does not fit any more", async () => {
  const functions = Array.from({ length: 60 }, (_, n) => text(`n${n}`, 30, []));
  const { job_id } = await system.client.submit({
    name: "many",
    functions: [...functions, { name: "sees", needs: ["n7"], args: 7 }],
  });
  const job = await system.client.wait(job_id, { timeoutMs: 30_000 });
  assert.equal([job.state, job.result], ["completed", 7]);
  for (const n of [0, 31, 59]) assert.is((await system.client.result<string>(job_id, `n${n}`)).length, 30 * KB);
});

test("a fan-in that is too large fails with what to do, and the results before it can be had", async () => {
  const functions = [text("a", 600, []), text("b", 600, []), { id: "all", name: "lengths" }];
  const { job_id } = await system.client.submit({ name: "too much", functions });
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.is(job.state, "failed");
  assert.is(job.error?.code, "payload_too_large");
  for (const word of ["needs", "args", "slice"]) assert.match(job.error?.message ?? "", word);
  assert.is((await system.client.result<string>(job_id, "b")).length, 600 * KB);
  await rejects(system.client.result(job_id), "job_ended");
});

test("a job that has failed goes on by hand with what was large; `from` leaves nothing wrong behind", async () => {
  failures = 0;
  const functions = [
    text("a", 200),
    { id: "f", name: "fails-once", needs: ["a"] },
    { id: "n", name: "lengths", needs: ["a"] },
  ];
  const { job_id } = await system.client.submit({ name: "again", functions });
  assert.is((await system.client.wait(job_id, { timeoutMs: 20_000 })).state, "failed");
  await eventually("its result expires with it", async () => (await partOf(job_id, 0))?.expires === true);
  await system.client.retry(job_id);
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.equal([job.state, job.result, executed.get("a")], ["completed", [200 * KB], executed.get("a")]);
  await eventually("it expires again", async () => (await partOf(job_id, 0))?.expires === true);
});

test("a job that is run again from an entry has the new result of it, whether that is large or not", async () => {
  const held = { id: "h", name: "held", needs: ["a"] };
  const { job_id } = await system.client.submit({ name: "from", functions: [text("a", 90), held] });
  await eventually("it is held", () => release !== undefined, 20_000);
  await system.client.cancel(job_id);
  const before = await system.client.result<string>(job_id, "a");
  assert.is(before.length, 90 * KB);
  await system.client.retry(job_id, { from: "a", args_by_id: { a: ["new", 80] } });
  release = undefined;
  await eventually("it is held again", () => release !== undefined, 20_000);
  assert.is(await system.client.result(job_id, "a"), textOf("new", 80));
  await system.client.cancel(job_id);
  await system.client.retry(job_id, { from: 0, args_by_id: { a: ["small", 1] } });
  release = undefined;
  await eventually("it is held once more", () => release !== undefined, 20_000);
  assert.is(await system.client.result(job_id, "a"), textOf("small", 1));
  assert.ok(await partOf(job_id, 0), "what nobody names is left there");
  (release as unknown as () => void)();
  await system.client.wait(job_id, { timeoutMs: 20_000 });
  await eventually(
    "the sweep removes it",
    async () => {
      await sweepNow();
      return (await partOf(job_id, 0)) === undefined;
    },
    20_000,
  );
});

test("what a crash left between the result and the state is replaced by what counts", async () => {
  const { store } = system.supervisor;
  const createdAt = Date.now();
  const left = { created_at: createdAt, runs: 0, attempt: 1 };
  await store.putPart(resultKey("crashed", 0), packResult(left, textOf("lost", 50)), 0);
  const job = await system.client.submit(
    { name: "crash", functions: [text("a", 50), { name: "sees", args: { $: "results.a.startsWith('a.')" } }] },
    { jobId: "crashed" },
  );
  assert.is((await system.client.wait(job.job_id, { timeoutMs: 20_000 })).result, true);
  assert.is(readResult((await partOf("crashed", 0))?.data ?? Buffer.of())?.value, textOf("a", 50));
});

test("another supervisor goes on with what was stored, after one that has died", async () => {
  const bus = await Bus.open({ url: system.url, name: "second" });
  const functions = [
    text("a", 300),
    { id: "h", name: "held", needs: ["a"] },
    { id: "n", name: "lengths", needs: ["a"] },
  ];
  release = undefined;
  const { job_id } = await system.client.submit({ name: "over", functions });
  await eventually("it is held", () => release !== undefined, 20_000);
  await system.bus.nc.flush();
  const second = await Supervisor.start(bus, { parkAfterMs: 700 });
  try {
    await system.supervisor.close({ graceMs: 0 });
    release = undefined;
    await eventually("it is held elsewhere", () => release !== undefined, 30_000);
    (release as unknown as () => void)();
    const job = await system.client.wait(job_id, { timeoutMs: 30_000 });
    assert.equal([job.state, job.result], ["completed", [300 * KB]]);
  } finally {
    await system.startSupervisor({ parkAfterMs: 700, briefAboveBytes: 2_048 });
    await second.close({ graceMs: 0 });
    await bus.close();
  }
});

test("a supervisor that dies between a result and its state leaves nothing wrong: the next one has its own (RESULTS-2)", async () => {
  const own = await System.start({ topology: { ackWaitMs: 2_000 } });
  const dying = await Bus.open({ url: own.url, name: "dying" });
  let first: Supervisor | undefined;
  try {
    await own.supervisor.close({ graceMs: 0 });
    let count = 0;
    await own.worker((worker) =>
      worker
        .func("count", () => {
          count += 1;
          return textOf(`n${count}`, 100);
        })
        .func("sees", ({ args }) => args),
    );
    first = await Supervisor.start(dying, { topology: { ackWaitMs: 2_000 } });
    let stored: Uint8Array | undefined;
    const { store } = first;
    const put = store.put.bind(store);
    store.put = (state, revision, done, brief) => {
      if (![...state.functions].some(({ apart }) => apart !== undefined)) return put(state, revision, done, brief);
      void dying.close();
      return 0;
    };
    const functions = [
      { id: "a", name: "count" },
      { id: "s", name: "sees", args: { $: "results.a.startsWith('n2.')" } },
    ];
    const { job_id } = await own.client.submit({
      name: "dies",
      functions: [...functions, { name: "sees", args: { $: "results.s" }, needs: ["s"] }],
    });
    await eventually(
      "its result is stored",
      async () => {
        const found = await readLast(own.bus, KV_JOBS, `${KV_PREFIX}.${resultKey(job_id, 0)}`);
        stored = found?.data;
        return stored !== undefined && dying.closed;
      },
      20_000,
    );
    assert.is(readResult(stored ?? Buffer.of())?.value, textOf("n1", 100));
    await own.startSupervisor({ topology: { ackWaitMs: 2_000 } });
    const job = await own.client.wait(job_id, { timeoutMs: 30_000 });
    assert.equal([job.state, job.result, count], ["completed", true, 2]);
    assert.is(await own.client.result(job_id, "a"), textOf("n2", 100));
  } finally {
    await first?.close({ graceMs: 0 });
    await dying.close();
    await own.close();
  }
});

test("the result of many items is had whole, and by what follows", async () => {
  const each = { id: "each", name: "text", for_each: 300, args: ["item", 1], expect: "size(result) == 300" };
  const sizes = { name: "sees", needs: [] as string[], args: 0 };
  const { job_id } = await system.client.submit({
    name: "items",
    functions: [each, { ...sizes, needs: ["each"], args: { $: "size(results.each)" } }],
  });
  const job = await system.client.wait(job_id, { timeoutMs: 60_000 });
  assert.equal([job.state, job.result, job.functions[0]?.result_omitted], ["completed", 300, true]);
  const all = await system.client.result<string[]>(job_id, "each");
  assert.equal([all.length, all[299]], [300, textOf("item", 1)]);
});

test("a result that somebody has removed fails what needs it, and says so to who asks", async () => {
  release = undefined;
  const functions = [text("a", 60), { id: "h", name: "held", needs: [] }, { id: "n", name: "lengths" }];
  const { job_id } = await system.client.submit({ name: "gone", functions });
  await eventually(
    "a is done",
    async () => (await system.client.get(job_id)).functions[0]?.result_omitted === true,
    20_000,
  );
  const part = await partOf(job_id, 0);
  system.supervisor.store.removePart(resultKey(job_id, 0), part?.sequence ?? 0);
  await eventually("it is gone", async () => (await partOf(job_id, 0)) === undefined);
  await rejects(system.client.result(job_id, "a"), "corrupt_state");
  await eventually("h is held", () => release !== undefined, 20_000);
  (release as unknown as () => void)();
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.equal([job.state, job.error?.code, job.error?.name], ["failed", "corrupt_state", "LostResult"]);
});

test("results go when their job has gone, also those that a crash has left behind", async () => {
  const { store } = system.supervisor;
  const { job_id } = await system.client.submit({
    ...{ name: "short", keep_ms: 1_000 },
    functions: [text("a", 60), { name: "sees", args: 1, needs: [] }, { name: "sees", args: 2 }],
  } as JobDocument);
  await system.client.wait(job_id, { timeoutMs: 20_000 });
  await eventually("it expires", async () => (await partOf(job_id, 0))?.expires === true);
  const owner = { created_at: Date.now() - 3_600_000, runs: 0, attempt: 1 };
  await store.putPart(resultKey("never-there", 3), packResult(owner, "orphan"), 0);
  await store.putPart(resultKey(job_id, 2), packResult(owner, "not named"), 0);
  await eventually(
    "the sweep removes them",
    async () => {
      await sweepNow();
      return !(await partOf("never-there", 3)) && !(await partOf(job_id, 2));
    },
    30_000,
  );
  assert.ok(await partOf(job_id, 0), "what is named stays");
});

test("one by one over HTTP and the command line, and what there is none of is told", async () => {
  const bridge = await startBridge({ client: system.client, port: 0 });
  const ask = async (path: string) => {
    const response = await fetch(`${bridge.url}${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  try {
    const { job_id } = await system.client.submit({ name: "ways", functions: [text("a", 700), text("b", 600, ["a"])] });
    await system.client.wait(job_id, { timeoutMs: 20_000 });
    const { body } = await ask(`/v1/job/${job_id}`);
    const job = body.Job as { result_omitted?: true; functions: { result_omitted?: true }[] };
    assert.equal(
      job.functions.map(({ result_omitted }) => result_omitted),
      [true, true],
    );
    for (const path of ["a", "0"])
      assert.equal((await ask(`/v1/job/${job_id}/result/${path}`)).body.Result, textOf("a", 700));
    assert.equal((await ask(`/v1/job/${job_id}/result`)).body.Result, textOf("b", 600));
    const missing = await ask(`/v1/job/${job_id}/result/nobody`);
    assert.equal([missing.status, (missing.body.error as { code: string }).code], [404, "no_entry"]);
    assert.is((await ask("/v1/job/not-there/result")).status, 404);

    const cli = (...args: string[]) => toEnd(startCli([...args, "--nats", system.url]));
    const shown = await cli("result", job_id, "b");
    assert.is(shown.code, 0);
    assert.is(JSON.parse(shown.output), textOf("b", 600));
    assert.match((await cli("get", job_id)).output, "async result");
    assert.is((await cli("result", job_id, "nobody")).code, 1);
  } finally {
    await bridge.close();
  }
});

test("a chain of 0.3 keeps its results in its state, and one that does not fit fails as ever", async () => {
  const { job_id } = await system.client.submit({
    name: "chain",
    functions: [
      { name: "text", args: ["a", 700] },
      { name: "text", args: ["b", 700] },
    ],
  });
  const job = await system.client.wait(job_id, { timeoutMs: 20_000 });
  assert.equal([job.state, job.error?.code], ["failed", "payload_too_large"]);
  assert.is((await partOf(job_id, 0)) ?? (await partOf(job_id, 1)), undefined);
});

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(isAsyncError(error) && error.code === code, String(error));
}

test.run();
