/** The document that the model of jobs begins with: everything in one. It completes; and when it fails late, it undoes what it has done. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FunctionSpec, JobDocument } from "../../src/job/schema.ts";
import type { JobView } from "../../src/job/view.ts";
import type { Context } from "../../src/worker/context.ts";
import { MODEL } from "../support/model-documents.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("the document of the model");
let system: System;
/** What was called, by job, in order. */
const called = new Map<string, string[]>();
/** What the undo and the end were handed. */
const handed = new Map<string, Context>();
/** Jobs whose invoice cannot be made. */
const withoutInvoice = new Set<unknown>();

const ITEMS = Array.from({ length: 20 }, (_, at) => ({ sku: at === 7 ? "broken" : `sku-${at}` }));

/** As it stands there, but for the sleep of an hour, and with twenty items. */
const document = (customer: string): JobDocument => ({
  ...(MODEL as JobDocument),
  data: { ...MODEL.data, items: ITEMS, customer },
  tags: { customer },
  functions: MODEL.functions.map((entry) => ("sleep_ms" in entry ? { sleep_ms: 300 } : entry) as FunctionSpec),
});

test.before(async () => {
  system = await System.start();
  const log =
    (name: string, work: (context: Context) => unknown = () => `${name} is done`) =>
    (context: Context) => {
      const { jobId } = context;
      called.set(jobId, [...(called.get(jobId) ?? []), name]);
      handed.set(`${jobId} ${name}`, context);
      return work(context);
    };
  await system.worker(
    (worker) =>
      worker
        .func("reserve-stock", log("reserve"))
        .func("release-stock", log("release"))
        .func(
          "charge",
          log("charge", ({ args }) => `charged ${(args as { amount: number }).amount}`),
        )
        .func("refund", log("refund"))
        .func("pick", ({ args }) => {
          if (args.sku === "broken") throw new Error("it is broken");
          return args.sku.toUpperCase();
        })
        .func("make-invoice", ({ data }) => {
          if (withoutInvoice.has((data as { customer: string }).customer)) throw new Error("no paper");
          return `invoice of ${(data as { customer: string }).customer}`;
        })
        .func(
          "thank",
          log("thank", ({ result }) => [result("invoice"), (result("pick") as unknown[]).length]),
        )
        .func("alert", log("alert")),
    { concurrency: 30 },
  );
});
test.after(() => system.close());

/** As it has ended, after it was approved. */
async function runApproved(job: JobDocument): Promise<JobView> {
  const { job_id } = await system.client.submit(job);
  await eventually("it waits for approval", async () => (await system.client.get(job_id)).waiting_for === "signal");
  await system.client.signal(job_id, "approval", { approved: true });
  return system.client.wait(job_id, { timeoutMs: 20_000 });
}

test("it completes: approved, with an item that failed, after its sleep, with the result of its child", async () => {
  const job = await runApproved(document("c1"));
  assert.is(job.state, "completed", JSON.stringify(job.error));
  assert.equal(job.result, ["invoice of c1", 20]);
  assert.equal(called.get(job.job_id), ["reserve", "charge", "thank"]);
  const [reserve, approve, charge, pick, sleep, invoice] = job.functions;
  assert.is(reserve?.result, "reserve is done");
  assert.equal(approve?.result, { approved: true });
  assert.is(charge?.result, "charged 1200");
  const picked = ITEMS.map(({ sku }) => (sku === "broken" ? null : sku.toUpperCase()));
  assert.equal(pick?.result, picked);
  assert.equal(pick?.items, { count: 20, done: 19, failed: 1 });
  assert.ok(Date.parse(sleep?.finished_at ?? "") - Date.parse(pick?.finished_at ?? "") >= 299);
  const child = await system.client.get(invoice?.child ?? "");
  assert.equal([child.state, child.result, child.tags], ["completed", "invoice of c1", { customer: "c1" }]);
  assert.equal(child.parent, { job_id: job.job_id, index: 5 });
  const { items } = await system.client.items(job.job_id, "pick", { state: "failed" });
  assert.equal(
    items.map(({ item, error }) => [item, error?.message]),
    [[7, "it is broken"]],
  );
  assert.is(job.undo, undefined);
  const { jobs } = await system.client.list({ tags: { customer: "c1" } });
  assert.equal(
    jobs.map(({ job_id }) => job_id),
    [job.job_id],
  );
});

test("where its invoice cannot be made, charge and reservation are undone in reverse order, then it alerts", async () => {
  withoutInvoice.add("c2");
  const job = await runApproved(document("c2"));
  assert.is(job.state, "failed");
  assert.is(job.error?.code, "child_failed");
  assert.equal(called.get(job.job_id), ["reserve", "charge", "refund", "release", "alert"]);
  assert.equal(job.undo, { state: "done", undone: 2, failed: 0, not_undone: 0 });
  assert.equal(
    job.functions.map(({ undo_run }) => undo_run?.state),
    ["done", undefined, "done", undefined, undefined, undefined, undefined],
  );
  const refund = handed.get(`${job.job_id} refund`);
  assert.equal(
    [refund?.isUndo, refund?.undone, refund?.uncertain, refund?.args],
    [true, "charged 1200", false, { amount: 1200 }],
  );
  assert.equal([refund?.undoOf, refund?.idempotencyKey], [`${job.job_id}/2`, `${job.job_id}/2/undo`]);
  const alert = handed.get(`${job.job_id} alert`);
  assert.equal(alert?.failed, ["invoice"]);
  assert.is(alert?.error?.code, "child_failed");
  assert.is(job.on_failure_run?.state, "done");
  const told = system.told(job.job_id);
  assert.equal(
    told.filter((type) => type.startsWith("undo") || type === "failed"),
    ["undoing", "undone", "undone", "failed"],
  );
});

test("mended and retried by hand, it does again what was undone, and completes with other keys", async () => {
  withoutInvoice.add("c3");
  const failed = await runApproved(document("c3"));
  assert.is(failed.state, "failed");
  withoutInvoice.delete("c3");
  await system.client.retry(failed.job_id);
  // The approval follows the reservation, so it is asked for again.
  await eventually("it waits again", async () => (await system.client.get(failed.job_id)).waiting_for === "signal");
  await system.client.signal(failed.job_id, "approval", { approved: true });
  const job = await system.client.wait(failed.job_id, { timeoutMs: 20_000 });
  assert.is(job.state, "completed", JSON.stringify(job.error));
  assert.equal(job.result, ["invoice of c3", 20]);
  assert.is(handed.get(`${job.job_id} charge`)?.idempotencyKey, `${job.job_id}/2/r1`);
});

test.run();
