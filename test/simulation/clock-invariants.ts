/**
 * SIM-8: a job without a start waits for no clock before it begins, no clock ends it before its time, and nothing is parked twice for
 * the same time, however the clocks differ.
 */
import { isEnded, isGraph, type JobState } from "../../src/job/state.ts";
import { type Seen, Violation } from "./seen.ts";

/** @param passedMs since it was submitted, of virtual time */
export function requireNoClock(seen: Seen, before: JobState | undefined, state: JobState, passedMs: number): void {
  const { job_id: jobId, timeout_ms: timeoutMs = 0, token } = state;
  if (state.scheduled_at === state.created_at) {
    if (state.state === "scheduled") throw new Violation("SIM-8", `${jobId} waits for a start that it was not given`);
    const isAlone = seen.takeovers === 0 && seen.retries === 0 && (!before || before.writer === state.writer);
    // Those who take it over have a clock of their own. One that waits beyond its deadline has nothing to lose.
    const isWaiting =
      before && isGraph(before)
        ? before.live.every(({ wait }) => wait !== "none")
        : before?.state === "waiting" && before.waiting_for === "backoff";
    // One that undoes has come to its end before.
    const { code } = (state.state === "failed" ? state.error : state.outcome?.error) ?? {};
    const isOver = before?.state !== "undoing" && code === "job_timeout";
    if (isOver && isAlone && !isWaiting && passedMs < timeoutMs - 1) {
      throw new Violation("SIM-8", `${jobId} has ended after ${passedMs} ms, and has ${timeoutMs}`);
    }
  }
  if (before && isEnded(before)) seen.parkedFor = undefined;
  if (isEnded(state) || !before || isEnded(before) || token === before.token) return;
  const until = timeOf(state);
  const isBroughtBack = state.writer.endsWith("/sweep"); // its token had got lost
  if (until !== undefined && until === seen.parkedFor && !isBroughtBack)
    throw new Violation("SIM-8", `${jobId} is parked again: ${until}`);
  seen.parkedFor = until;
}

/** The time for which a live job is parked, in words; undefined if something else may wake it. */
function timeOf(state: JobState): string | undefined {
  if (state.state === "scheduled") return `scheduled ${state.scheduled_at}`;
  if (isGraph(state)) {
    const isTimed = state.live.every(({ wait }) => wait === "backoff" || wait === "sleep");
    return isTimed ? JSON.stringify([state.live, state.late_at]) : undefined;
  }
  return state.state === "waiting" && state.waiting_for === "backoff" ? `waiting ${state.due_at}` : undefined;
}
