/** The checks of the load tests find what is wrong; a run that is checked by them can be believed. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkBodies, checkStates, checkSubmissions, jobIdOf } from "../../bench/check.ts";
import { WrongResults } from "../../bench/contender.ts";
import { sumProblem } from "../../bench/contenders/async.ts";
import { packState } from "../../src/bus/store/stored-state.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import type { JobState } from "../../src/job/state.ts";

const ledger = new Map([
  ["a", 0],
  ["b", 1],
]);

const fn = (result: unknown, more: Partial<FunctionState> = {}): FunctionState => ({
  name: "bench.add",
  retry_count: 1,
  finished_at: 2,
  result,
  ...more,
});

function state(id: string, functions: FunctionState[], more: object = {}): JobState {
  return {
    ...{ job_id: id, name: "bench", data: null, functions, current_function: functions.length - 1, attempt: 1 },
    ...{ encoding: "json", created_at: 1, scheduled_at: 1, sequence: 1, token: 0, version: 2, writer: "w" },
    ...{ state: "completed", finished_at: 2 },
    ...more,
  } as JobState;
}

const right = [state("a", [fn(1)]), state("b", [fn(2)])];

async function* stored(states: JobState[]) {
  for (const [i, one] of states.entries()) {
    yield { subject: `$KV.jobs.${one.job_id}`, sequence: i + 1, data: packState(one) };
  }
}

async function* texts(subjects: string[], bodies: string[] = []) {
  for (const [i, subject] of subjects.entries()) yield { subject, sequence: i + 1, data: Buffer.from(bodies[i] ?? "") };
}

const check = (states: JobState[]) => checkStates(stored(states), ledger, (job, number) => sumProblem(job, number, 1));

async function isWrong(checking: Promise<unknown>, message: RegExp): Promise<void> {
  try {
    await checking;
  } catch (error) {
    assert.instance(error, WrongResults);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`nothing was found, not ${message}`);
}

test("the id of a job is found in each kind of subject", () => {
  for (const subject of [
    "job.submit.x",
    "$KV.jobs.x",
    "job.event.x.completed",
    "job.wait.fn.with.dots.x",
    "job.wake.x",
  ])
    assert.is(jobIdOf(subject), "x");
});

test("jobs that have ended as they should are right, whatever else is stored", async () => {
  await check([state("foreign", [fn(99)], { state: "failed" }), ...right]);
});

test("a job that has another result is wrong", async () => {
  await isWrong(
    check([state("a", [fn(2)]), state("b", [fn(2)])]),
    /job a \(number 0\): function 0 has the result 2, not 1/,
  );
  await isWrong(check([state("a", [fn("1")]), state("b", [fn(2)])]), /result "1", not 1/);
  await isWrong(check([state("a", [fn(undefined)]), state("b", [fn(2)])]), /result null/);
});

test("a job that has not completed is wrong", async () => {
  const failed = { state: "failed", error: { code: "function_failed", name: "Error", message: "x" } };
  await isWrong(check([state("a", [fn(1)], failed), state("b", [fn(2)])]), /job a is failed/);
  await isWrong(check([state("a", [fn(1)], { state: "running" }), state("b", [fn(2)])]), /job a is running/);
});

test("a job that is missing, twice, deleted or unreadable is wrong", async () => {
  await isWrong(check(right.slice(0, 1)), /1 of 2 jobs are not stored/);
  await isWrong(check([...right, ...right]), /job a is stored twice/);
  const raw = async function* (data: Uint8Array) {
    yield { subject: "$KV.jobs.a", sequence: 1, data };
  };
  await isWrong(
    checkStates(raw(Buffer.alloc(0)), ledger, () => undefined),
    /job a is deleted/,
  );
  await isWrong(
    checkStates(raw(Buffer.from([0xc1])), ledger, () => undefined),
    /job a is /,
  );
});

test("a function that was run twice, or is missing, is wrong", async () => {
  await isWrong(check([state("a", [fn(1, { retry_count: 2 })]), state("b", [fn(2)])]), /has been run 2 times/);
  await isWrong(check([state("a", [fn(1), fn(2)]), state("b", [fn(2)])]), /has 2 functions, not 1/);
});

test("each submission must be stored once, as it was sent", async () => {
  const submissions = (ids: string[], bodies: string[]) =>
    checkSubmissions(
      texts(
        ids.map((id) => `job.submit.${id}`),
        bodies,
      ),
      ledger,
      (number) => `body ${number}`,
    );
  assert.equal(await submissions(["foreign", "a", "b"], ["", "body 0", "body 1"]), [2, 3]);
  await isWrong(submissions(["a", "b"], ["body 0", "body 2"]), /submission b is not as it was sent: body 2/);
  await isWrong(submissions(["a", "a"], ["body 0", "body 0"]), /submission a is stored twice/);
  await isWrong(submissions(["b"], ["body 1"]), /1 of 2 submissions are not stored/);
});

test("each body must be stored once, and nothing else", async () => {
  const bodies = (...found: string[]) =>
    checkBodies(
      texts(
        found.map(() => "x"),
        found,
      ),
      new Set(["1", "2"]),
    );
  await bodies("2", "1");
  await isWrong(bodies("1"), /1 of 2 bodies/);
  await isWrong(bodies("1", "1"), /stored twice/);
  await isWrong(bodies("1", "3"), /never sent: 3/);
});

test.run();
