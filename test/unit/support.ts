/** What several unit suites share: plain jobs, attempts, what follows from a transition, frozen values. No I/O but package.json. */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import * as fc from "fast-check";
import * as assert from "uvu/assert";
import { parseSubmission } from "../../src/job/check.ts";
import type { Origin } from "../../src/job/create.ts";
import { InvalidInputError, type Reason } from "../../src/job/errors.ts";
import { endEvent } from "../../src/job/events.ts";
import type { Failure } from "../../src/job/failure.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { type Rest, rest } from "../../src/job/rest.ts";
import type { Submission } from "../../src/job/schema.ts";
import { type AttemptAddress, type EndedJob, isEnded, type JobState, type LiveJob } from "../../src/job/state.ts";
import type { Event, Transition } from "../../src/job/transition.ts";

export const NOW = Date.UTC(2026, 10, 23, 21, 0, 0);
export const ORIGIN: Origin = { jobId: "job-1", encoding: "json", createdAt: NOW, sequence: 7 };
export const BOOM: Failure = { code: "function_failed", name: "Error", message: "boom" };

/** A job of functions that are only names. */
export function submissionOf(...names: string[]): Submission {
  return { name: "test", functions: names.map((name) => ({ name })) };
}

export function newJob(submission: Submission, now = NOW): LiveJob {
  return live(createJob(submission, ORIGIN, now).state);
}

/** The example submissions of the original system. */
export const SEED = {
  job_simple: { name: "test", functions: [{ name: "/v1/test-1" }] },
  job_chain: {
    name: "test",
    functions: ["/v1/test-1", "/v1/test-2", "/v1/say-hello-world"].map((name) => ({
      name,
      retry_options: { retry_limit: 3 },
    })),
  },
  job_retry: {
    name: "test",
    functions: [{ name: "/v1/test-fail", args: [1, "2", 3], retry_options: { retry_limit: 3 } }],
  },
  test: {
    name: "test",
    functions: [
      { name: "/v1/test-1" },
      { name: "/v1/test-fail", args: [1, "2", 3], retry_count: 0, retry_options: { retry_limit: 3 } },
      { name: "/v1/test-2" },
    ],
  },
};

export function live(state: JobState): LiveJob {
  if (isEnded(state)) throw new Error(`the job has ended: ${JSON.stringify(state)}`);
  return state;
}

export function ended(state: JobState): EndedJob {
  if (!isEnded(state)) throw new Error(`the job is still ${state.state}`);
  return state;
}

/** The attempt that is live or comes next. */
export function attemptOf(state: JobState): AttemptAddress {
  return { index: state.current_function, attempt: state.attempt };
}

export const succeededWith = (state: JobState, result: unknown): Event => ({
  type: "succeeded",
  ...attemptOf(state),
  result,
});

export const failedWith = (state: JobState, more: { retryable?: boolean; retryAfterMs?: number } = {}): Event => ({
  type: "failed",
  ...attemptOf(state),
  error: BOOM,
  retryable: true,
  random: 0,
  ...more,
});

/** The types of all that is told once the state is committed, in order: of the end too, where the transition was the end. */
export function told({ state, events }: Transition): string[] {
  const types: string[] = events.map((event) => event.type);
  return isEnded(state) ? [...types, endEvent(state).type] : types;
}

/** How a job goes on: not at all, or as `rest` says to the holder of token `held`. Without it: of the submission. */
export type How = Rest | { type: "ended" };

export const ENDED: How = { type: "ended" };

export function how({ state }: { state: JobState }, now: number, held = 0): How {
  return isEnded(state) ? ENDED : rest(state, held, now);
}

/** That attempt is to be executed. */
export const executes = (index: number, attempt: number): How => ({ type: "attempt", index, attempt });

/** It waits outside of memory, on a timer. */
export const timer = (until: number): How => ({ type: "parked", until, functionNames: [] });

/** It waits outside of memory, in the backlog of a function; at most until then. */
export const place = (functionName: string, until?: number): How => ({
  type: "parked",
  until,
  functionNames: [functionName],
});

/** The kinds of rest of a chain: which waits outside of memory either on a timer, or in a backlog. */
export function kindOf(how: How): string {
  if (how.type !== "parked") return how.type;
  return how.functionNames.length > 0 ? "place" : "timer";
}

/** Answers each invocation with what `answer` says until the job ends; waits pass at once. Returns the executions. */
export function run(job: LiveJob, answer: (name: string) => "ok" | "fail") {
  const executions: string[] = [];
  let state: JobState = job;
  let now = NOW;
  for (let turn = 0; !isEnded(state); turn++) {
    if (turn === 10_000) throw new Error("the job does not end");
    const name = state.functions.at(state.current_function)?.name ?? "";
    executions.push(name);
    const outcome = answer(name) === "ok" ? succeededWith(state, `${name} done`) : failedWith(state);
    ({ state } = reduce(state, outcome, now));
    const next = how({ state }, now);
    if (next.type !== "memory") {
      assert.equal(next, isEnded(state) ? ENDED : executes(state.current_function, state.attempt));
      continue;
    }
    now = next.until;
    const due = reduce(state, { type: "due" }, now);
    assert.equal(how(due, now), executes(state.current_function, state.attempt));
    state = due.state;
  }
  return { state: ended(state), executions };
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const one of Object.values(value)) deepFreeze(one);
  }
  return value;
}

/** Deep equality that also tells prototypes, own `constructor` keys and NaN apart rightly. */
export function same(actual: unknown, expected: unknown): boolean {
  return isDeepStrictEqual(actual, expected);
}

/** A value as JSON gives it (no -0), without the one key that MessagePack decoders rename for safety. */
export const jsonValue = fc
  .jsonValue({ maxDepth: 3 })
  .map((value) => JSON.parse(JSON.stringify(value), (key, one) => (key === "__proto__" ? undefined : one)) as unknown);

/** The reasons for which `input` is refused. */
export function reasonsOf(input: unknown): Reason[] {
  try {
    parseSubmission(input);
  } catch (error) {
    if (error instanceof InvalidInputError) return error.reasons;
    throw error;
  }
  throw new Error("it was not refused");
}

export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
