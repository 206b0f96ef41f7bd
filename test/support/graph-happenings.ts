/** What may happen to the job of a graph: outcomes in any order, doubles, stale ones, resumes, signals, retries by hand. */
import type { Failure } from "../../src/job/failure.ts";
import { kindOf } from "../../src/job/function-state.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import { usedNumber } from "../../src/job/signals.ts";
import {
  type AttemptAddress,
  type Branch,
  functionAt,
  type Graph,
  isEnded,
  type JobState,
} from "../../src/job/state.ts";
import type { Event } from "../../src/job/transition.ts";
import { type Choose, documentData, SIGNALS } from "./graph-documents.ts";

const RESULTS: readonly unknown[] = [1, null, { ok: true }, { ok: false }, "text", [1, 2]];

/** As `graphDocument`: the first possibility is the simplest. */
export function happening(state: Graph, choose: Choose, now: number): Event {
  if (isEnded(state)) {
    return choose(3) > 0 ? { type: "retried", ...retryPatch(state, choose, now) } : anyEvent(state, choose);
  }
  const attempts = state.live.filter((branch) => isAttempt(state, branch));
  const sort = choose(12);
  if (sort < 7 && attempts.length > 0) return outcome(attempts[choose(attempts.length)] as Branch, choose);
  const waiting = state.live.filter(({ wait }) => wait === "signal");
  if (sort < 9 && waiting.length > 0)
    return signalFor(state, (waiting[choose(waiting.length)] as Branch).index, choose);
  return anyEvent(state, choose);
}

/** Whether it has an attempt that may be executed. */
export function isAttempt(state: JobState, { index }: AttemptAddress): boolean {
  const fn = functionAt(state, index);
  return kindOf(fn) === "function" || fn.handling === true;
}

/** What may come of a live attempt. */
function outcome({ index, attempt }: AttemptAddress, choose: Choose): Event {
  const address = { index, attempt };
  switch (choose(9)) {
    case 4:
      return { type: "failed", ...address, error: failure(choose), retryable: true, random: 0, retryAfterMs: 15_000 };
    case 5:
      return { type: "failed", ...address, error: failure(choose), retryable: false, random: 0 };
    case 6:
      return { type: "lost", ...address, ...(choose(2) === 1 && { progress: { percent: choose(100) } }) };
    case 7:
      return { type: "no_room", ...address };
    case 8:
      return { type: "started", ...address };
    case 3:
      return {
        ...{ type: "failed", ...address, error: failure(choose), retryable: true, random: 0.5 },
        ...(choose(3) === 2 && { interrupted: true as const, progress: choose(100) }),
      };
    default:
      return { type: "succeeded", ...address, result: RESULTS[choose(RESULTS.length)] };
  }
}

function failure(choose: Choose): Failure {
  return { code: "function_failed", name: "Error", message: ["boom", "bang"][choose(2)] as string };
}

function signalFor(state: Graph, index: number, choose: Choose): Event {
  const name = functionAt(state, index).wait_for ?? "go";
  const number = usedNumber(state, name) + 1 + choose(2) - (choose(6) === 5 ? 1 : 0);
  const payload = RESULTS[choose(RESULTS.length)];
  if (choose(8) < 7) return { type: "signalled", index, number, payload };
  const unfit: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message: "too large" };
  return { type: "signalled", index, number, payload: null, unfit };
}

/** Whatever may come at any time, whether or not it means something then. */
function anyEvent(state: Graph, choose: Choose): Event {
  const index = choose(state.functions.length + 1);
  switch (choose(13)) {
    case 1:
    case 2:
      return { type: "due" };
    case 3:
      return { type: "expired" };
    case 4:
      return choose(3) > 0 ? { type: "cancelled" } : { type: "due" };
    case 5:
      return { type: "signalled", index, number: choose(4), payload: SIGNALS[choose(SIGNALS.length)] };
    case 6:
      return choose(4) === 3 ? { type: "unstorable", why: "it is too large" } : { type: "resumed" };
    case 7:
      return choose(4) === 3 ? { type: "refused", why: "no such time" } : { type: "resumed" };
    case 8:
      return { type: "retried" };
    case 9:
    case 10:
    case 11:
    case 12: {
      // Most are stale, or of the future, or of what executes nothing.
      const attempt = (state.functions.at(index)?.retry_count ?? 0) + choose(3);
      return outcome({ index, attempt }, choose);
    }
    default:
      return { type: "resumed" };
  }
}

/** From anywhere, with any edits; some are no good. */
export function retryPatch(state: Graph, choose: Choose, now: number): RetryPatch {
  const patch: RetryPatch = {};
  const ids = [...state.functions].map(({ id }, index) => id ?? index);
  const anyId = () => ids[choose(ids.length)] as string | number;
  if (choose(2) === 1) patch.from = anyId();
  if (choose(3) === 2) patch.failed = true;
  if (choose(4) === 3) patch.data = { ...documentData(now), no: true, missing: true };
  if (choose(5) === 4) patch.args = { edited: 1 };
  if (choose(5) === 4) patch.args_by_id = { [String(anyId())]: { edited: choose(3) } };
  if (choose(3) === 2) patch.by = "someone";
  return patch;
}

/** A good or bad answer to a live attempt that brings the entry nearer to its end, whatever it is. */
export function answer({ index, attempt }: AttemptAddress, choose: Choose): Event {
  const address = { index, attempt };
  switch (choose(6)) {
    case 4:
      return { type: "failed", ...address, error: failure(choose), retryable: true, random: 0 };
    case 5:
      return { type: "lost", ...address };
    default:
      return { type: "succeeded", ...address, result: RESULTS[choose(RESULTS.length)] };
  }
}
