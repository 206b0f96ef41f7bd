/** What is told of a job's end, and which entry it names. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { EVENT_TYPES, endEvent } from "../../src/job/events.ts";
import { createFailedJob, reduce } from "../../src/job/machine.ts";
import type { EndedJob, JobState } from "../../src/job/state.ts";
import { BOOM, ended, failedWith, NOW, newJob, ORIGIN, submissionOf } from "./support.ts";

const about = { job_id: "job-1", job_name: "test", at: "2026-11-23T21:00:00.000Z" };

test("the failure of a chain is told byte for byte as before there were graphs", () => {
  const state = ended(reduce(newJob(submissionOf("a", "b")), failedWith(newJob(submissionOf("a", "b"))), NOW).state);
  const expected = { ...about, type: "failed", run: 1, error: BOOM, function: "a", index: 0 };
  assert.is(JSON.stringify(endEvent(state)), JSON.stringify(expected));
  const invalid = createFailedJob(BOOM, "test", ORIGIN, NOW).state;
  assert.is(JSON.stringify(endEvent(invalid)), JSON.stringify({ ...expected, function: "" }));
});

/** A graph that has failed with the error of one of its entries, which is not the first that has not ended. */
function failedGraph(error = BOOM): EndedJob {
  const entries = [
    { name: "a", needs: [] },
    { id: "approve", wait_for: "approval", needs: [] },
    { id: "charge", name: "charge", needs: [] },
  ];
  const job: JobState = newJob({ name: "test", functions: entries });
  const failing = { ...BOOM, code: "attempt_timeout" } as const;
  let functions = job.functions.with(1, { ...(job.functions.at(1) ?? never()), error: failing });
  functions = functions.with(2, { ...(job.functions.at(2) ?? never()), error: BOOM });
  return { ...job, state: "failed", finished_at: NOW, error, functions };
}

function never(): never {
  throw new Error("the job has no such entry");
}

test("the failure of a graph names the entry that has failed, its id, and null where it has no function", () => {
  assert.equal(endEvent(failedGraph()), {
    ...about,
    type: "failed",
    run: 1,
    error: BOOM,
    function: "charge",
    index: 2,
    id: "charge",
  });
  const timeout = { ...BOOM, code: "attempt_timeout" } as const;
  const waiting = endEvent(failedGraph(timeout));
  assert.equal(waiting, { ...about, type: "failed", run: 1, error: timeout, function: null, index: 1, id: "approve" });
});

test("a graph whose time was over names the first entry that has not ended", () => {
  const error = { code: "job_timeout", name: "JobTimeout", message: "late" } as const;
  assert.equal(endEvent(failedGraph(error)), { ...about, type: "failed", run: 1, error, function: "a", index: 0 });
});

test("the events of graphs are events", () => {
  for (const type of ["skipped", "signalled", "edited", "late"])
    assert.ok((EVENT_TYPES as string[]).includes(type), type);
});

test.run();
