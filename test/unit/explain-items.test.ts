/** What an explanation says of the items of an entry, and of a job that undoes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { explain, functionsToAsk, itemsToAsk } from "../../src/job/explain.ts";
import type { ExplainedEntry, Facts, OpenItems } from "../../src/job/explanation.ts";
import { newEntry } from "../../src/job/function-state.ts";
import type { ItemsState } from "../../src/job/items-state.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import type { Branch, JobState } from "../../src/job/state.ts";
import { iso } from "../../src/job/time.ts";
import { NOW, newJob } from "./support.ts";

const test = suite("explain items");
const IDLE: Facts = { workers: 2, slots: 8, waiting: 0, in_flight: 1 };
const NOBODY: Facts = { workers: 0, slots: 0, waiting: 3, in_flight: 0, unserved: true };
const FULL: Facts = { workers: 3, slots: 6, waiting: 120, in_flight: 6 };
const ITEMS: ItemsState = { run: 1, list: 1, count: 1_000, next: 2, open: [1], done: 128, failed: 2 };

function jobOf(spec: FunctionSpec, items: Partial<ItemsState>, branch: Partial<Branch>, more: object = {}): JobState {
  const job = newJob({ name: "test", functions: [spec] });
  const functions = job.functions.with(0, { ...newEntry(spec), items: { ...ITEMS, ...items } });
  const live: Branch[] = [{ index: 0, attempt: 1, wait: "items", since: NOW, ...branch }];
  return { ...job, version: 1, state: "running", functions, live, ...more } as JobState;
}

function entryOf(job: JobState, facts?: Facts, open?: OpenItems): ExplainedEntry {
  const { entries } = explain(
    job,
    () => facts,
    NOW,
    undefined,
    true,
    undefined,
    undefined,
    () => open,
  );
  const [entry] = entries;
  assert.ok(entry);
  return entry;
}

const PICK: FunctionSpec = { name: "pick", for_each: 1_000 };

test("items at work: how many are done and have failed, those in open parts included", () => {
  const entry = entryOf(jobOf(PICK, {}, {}), IDLE, { done: 30, failed: 1, backoff: 0, until: 0 });
  assert.is(entry.reason, "items");
  assert.is(entry.text, "158 of 1000 items are done, 3 have failed");
  assert.equal(entry.detail, {
    items: { count: 1_000, done: 158, failed: 3 },
    function: "pick",
    workers: 2,
    slots: 8,
    waiting: 0,
    in_flight: 1,
  });
});

test("who could execute them is asked, and told where they have no room or nobody does", () => {
  const job = jobOf(PICK, { failed: 0 }, {});
  assert.equal(functionsToAsk(job, NOW), ["pick"]);
  assert.equal(itemsToAsk(job, NOW), [0]);
  assert.is(entryOf(job, NOBODY).text, "128 of 1000 items are done; no worker serves fn.pick");
  assert.is(
    entryOf(job, FULL).text,
    "128 of 1000 items are done; 3 workers serve fn.pick, all full, at least 120 wait for it",
  );
  assert.is(entryOf(job).text, "128 of 1000 items are done");
});

test("items that are tried again are counted, with the first time; one that all wait for is the reason", () => {
  const until = NOW + 60_000;
  const again = entryOf(jobOf(PICK, { failed: 0 }, {}), IDLE, { done: 0, failed: 0, backoff: 4, until });
  assert.is(again.text, `128 of 1000 items are done; 4 are tried again, the first at ${iso(until)}`);
  const resting = entryOf(jobOf(PICK, { failed: 0 }, { wait: "backoff", due_at: until }));
  assert.equal([resting.reason, resting.until], ["backoff", iso(until)]);
  assert.match(resting.text, "those that are under way are tried again");
  const unserved = entryOf(jobOf(PICK, { failed: 0 }, { wait: "worker" }), NOBODY);
  assert.equal([unserved.reason, unserved.text], ["no_worker", "128 of 1000 items are done; no worker serves fn.pick"]);
});

test("as long as they are listed their number is a least one; child jobs are named by their parent", () => {
  const { count: _count, ...listing } = ITEMS;
  const listed = entryOf(
    {
      ...jobOf(PICK, {}, {}),
      functions: jobOf(PICK, {}, {}).functions.with(0, {
        ...newEntry(PICK),
        items: { ...listing, listed: 300 },
      }),
    } as JobState,
    IDLE,
  );
  assert.match(listed.text, /^128 of 300 or more items are done/);
  assert.equal(listed.detail?.items, { count: null, listed: 300, done: 128, failed: 2 });
  const spec: FunctionSpec = { for_each: 1_000, job: { functions: [{ name: "a" }] } };
  const child = entryOf(jobOf(spec, { failed: 0 }, { wait: "child" }));
  assert.equal([child.reason, child.kind], ["child", "job"]);
  assert.match(child.text, /^128 of 1000 items are done; waits for child jobs \(parent /);
});

test("of a job that undoes: items are undone, or were told to stop", () => {
  const spec: FunctionSpec = { ...PICK, undo: "put-back" };
  const undoing = { ...newEntry({ name: "put-back" }) };
  const state = { state: "undoing", outcome: { state: "cancelled", at: NOW } };
  const job = jobOf(spec, {}, { undo: true }, state);
  const fn = { ...(job.functions.at(0) as ReturnType<typeof newEntry>), undoing };
  const undone = entryOf({ ...job, functions: job.functions.with(0, fn) } as JobState, NOBODY);
  assert.equal([undone.reason, undone.undo, undone.name], ["items", true, "put-back"]);
  assert.is(undone.text, "its items are being undone; no worker serves fn.put-back (its undo)");
  const stopping = entryOf(jobOf(spec, { failed: 0 }, { wait: "stopping", due_at: NOW + 10_000 }, state));
  assert.is(stopping.reason, "stopping");
  assert.match(stopping.text, "told to stop");
});

test.run();
