/** Whether `explain` has a reason for a live state, and one that agrees with what is stored (SIM-11). */
import { explain } from "../../src/job/explain.ts";
import type { ExplainReason } from "../../src/job/explanation.ts";
import { isGraph, type LiveJob } from "../../src/job/state.ts";

/** What is wrong with the reasons of a stored state; undefined if nothing is. */
export function reasonProblem(job: LiveJob, now: number): string | undefined {
  const waiting = explain(job, () => undefined, now).entries.filter(({ reason }) => reason !== "needs");
  const reasons = waiting.map(({ index, reason }) => `${index} ${reason}`).join(", ");
  if (waiting.length === 0) return "nothing says why it waits";
  if (isGraph(job)) return undefined;
  const expected = `${job.current_function} ${reasonOfChain(job, now)}`;
  return reasons === expected ? undefined : `the reasons are ${reasons} where ${expected} is due`;
}

function reasonOfChain(job: LiveJob, now: number): ExplainReason {
  if (job.state === "scheduled" && now < job.scheduled_at) return "scheduled";
  if (job.state === "waiting" && job.waiting_for === "backoff" && now < job.due_at) return "backoff";
  const isStarted = job.functions.at(job.current_function)?.retry_count === job.attempt;
  return job.state === "running" && isStarted ? "running" : "worker";
}
