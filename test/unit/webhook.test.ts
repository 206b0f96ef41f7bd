/** Three days of examples/webhook.ts in virtual time: the machine is driven as a supervisor drives it, and the clock is set to what it waits for. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { webhookJob } from "../../examples/webhook-job.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { inputOf } from "../../src/job/input.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import { planOf } from "../../src/job/plan.ts";
import { rest, toBeParked } from "../../src/job/rest.ts";
import { type Graph, isEnded, isGraph, type JobState } from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { BOOM, NOW, ORIGIN } from "./support.ts";

const PARK_AFTER_MS = 10_000;
const HOUR_MS = 3_600_000;
const ATTEMPT_MS = 20;

interface History {
  state: JobState;
  /** The begin of each delivery that was tried, ms from the begin of the job. */
  tries: number[];
  /** How often the job left memory. */
  parked: number;
  /** What was handed to the function that runs in place. */
  disabledWith: unknown;
}

function timeOf(until: number | undefined): number {
  if (until === undefined) throw new Error("it waits for no time");
  return until;
}

/** @param worksFrom the try that is the first to succeed */
function live(worksFrom = Number.POSITIVE_INFINITY): History {
  let now = NOW;
  let held = 0;
  const history: History = {
    state: createJob(parseSubmission(webhookJob("http://receiver")), ORIGIN, now).state,
    tries: [],
    parked: 0,
    disabledWith: undefined,
  };
  const take = (event: Event) => {
    history.state = toBeParked(reduce(history.state, event, now).state, held, now, PARK_AFTER_MS);
  };
  while (!isEnded(history.state)) {
    const how = rest(history.state, held, now);
    if (how.type === "parked") {
      history.parked += 1;
      now = timeOf(how.until);
      held = history.state.token;
      take({ type: "resumed" });
    } else if (how.type === "attempts" && how.attempts[0]) {
      const [{ index, attempt }] = how.attempts;
      const { error, args } = inputOf(history.state as Graph, { index }, planOf(history.state.functions));
      if (error) history.disabledWith = args;
      else history.tries.push(now - NOW);
      now += ATTEMPT_MS;
      if (error || history.tries.length >= worksFrom) take({ type: "succeeded", index, attempt, result: "done" });
      else take({ type: "failed", index, attempt, error: BOOM, retryable: true, random: 0 });
    } else {
      now = timeOf(how.type === "attempts" ? how.until : undefined);
      take({ type: "due" });
    }
  }
  return history;
}

test("a receiver that is down for three days is tried 83 times, at last each hour, and then the webhook is disabled", () => {
  const { state, tries, parked, disabledWith } = live();
  assert.is(tries.length, 83);
  const last = tries.at(-1) ?? 0;
  assert.ok(last <= 72 * HOUR_MS && last > 71 * HOUR_MS, `the last try is after ${last / HOUR_MS} h`);
  assert.equal(
    [1, 2, 3, 20].map((n) => (tries[n] ?? 0) - (tries[n - 1] ?? 0) - ATTEMPT_MS),
    [1_000, 2_000, 4_000, HOUR_MS],
  );
  assert.is(parked, 78, "waits of more than ten seconds are spent outside of memory");
  assert.equal(disabledWith, { url: "http://receiver", why: "boom" });
  assert.is(state.state, "completed");
});

test("a receiver that works again after two days gets its webhook then", () => {
  const { state, tries, disabledWith } = live(60);
  assert.is(tries.length, 60);
  assert.is(disabledWith, undefined);
  assert.is(state.state, "completed");
  assert.ok(isGraph(state) && state.functions.at(0)?.result === "done");
});

test.run();
