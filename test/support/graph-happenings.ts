/**
 * What may happen to the job of a graph: outcomes in any order, doubles, stale ones, resumes, signals, ends of children, reports of items,
 * cancels, retries by hand.
 */
import type { Failure } from "../../src/job/failure.ts";
import { kindOf } from "../../src/job/function-state.ts";
import type { ItemsState } from "../../src/job/items-state.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import { usedNumber } from "../../src/job/signals.ts";
import {
  type AttemptAddress,
  type Branch,
  callAt,
  functionAt,
  type Graph,
  isEnded,
  type JobState,
} from "../../src/job/state.ts";
import type { ChildOutcome, Event, ItemsReport } from "../../src/job/transition.ts";
import { type Choose, documentData, SIGNALS } from "./graph-documents.ts";

const RESULTS: readonly unknown[] = [1, null, { ok: true }, { ok: false }, "text", [1, 2]];

/** As `graphDocument`: the first possibility is the simplest. */
export function happening(state: Graph, choose: Choose, now: number): Event {
  if (isEnded(state)) {
    if (state.state === "completed" && choose(4) === 3) return { type: "undo_wanted" };
    return choose(3) > 0 ? { type: "retried", ...retryPatch(state, choose, now) } : anyEvent(state, choose);
  }
  const attempts = state.live.filter((branch) => isAttempt(state, branch));
  const sort = choose(12);
  if (sort < 5 && attempts.length > 0) return outcome(attempts[choose(attempts.length)] as Branch, choose);
  const parts = state.live.filter((branch) => isOfChild(state, branch) || isOfItems(state, branch));
  if (sort < 8 && parts.length > 0) return partEvent(state, parts[choose(parts.length)] as Branch, choose, now);
  const waiting = state.live.filter(({ wait }) => wait === "signal");
  if (sort < 10 && waiting.length > 0)
    return signalFor(state, (waiting[choose(waiting.length)] as Branch).index, choose);
  return anyEvent(state, choose);
}

/** Whether it has an attempt that may be executed: of the entry, of its undo, or of what is called once the job has failed. */
export function isAttempt(state: JobState, { index, undo }: AttemptAddress): boolean {
  if (index === state.functions.length) return state.failing !== undefined;
  const fn = functionAt(state, index);
  if (undo) return fn.undo !== undefined && fn.items === undefined;
  return fn.handling === true || (kindOf(fn) === "function" && fn.items === undefined);
}

/** Whether it waits for a child. */
export function isOfChild(state: JobState, { index, undo }: AttemptAddress): boolean {
  const fn = state.functions.at(index);
  if (!fn || fn.items !== undefined || kindOf(fn) !== "job") return false;
  return undo ? fn.undo === undefined : !fn.handling;
}

/** Whether items are at it. */
export function isOfItems(state: JobState, { index, undo }: AttemptAddress): boolean {
  const fn = state.functions.at(index);
  return fn?.items !== undefined && (undo === true || !fn.handling);
}

const addressOf = ({ index, attempt, undo }: AttemptAddress) => ({ index, attempt, ...(undo && { undo }) });

/** What a child, or the items of an entry, may tell. */
export function partEvent(state: Graph, branch: Branch, choose: Choose, now: number): Event {
  if (isOfChild(state, branch))
    return { type: "child_ended", ...addressOf(branch), outcome: childOutcome(branch, choose) };
  return { type: "items", ...addressOf(branch), report: itemsReport(state, branch, choose, now) };
}

function childOutcome({ undo }: Branch, choose: Choose): ChildOutcome {
  const sort = choose(5);
  if (sort === 4) return { state: "cancelled", error: failure(choose) };
  if (sort === 3) return { state: "failed", error: failure(choose) };
  const outcome = { state: "completed", result: RESULTS[choose(RESULTS.length)] } as const;
  if (!undo || sort === 0) return outcome;
  const state = (["done", "failed", "skipped"] as const)[choose(3)] as "done" | "failed" | "skipped";
  return {
    ...outcome,
    undo: { state, undone: 1, failed: state === "failed" ? 1 : 0, not_undone: state === "skipped" ? 1 : 0 },
  };
}

function itemsReport(state: Graph, { index, wait, undo }: Branch, choose: Choose, now: number): ItemsReport {
  const fn = functionAt(state, index);
  const before = fn.items as ItemsState;
  const items: ItemsState = {
    ...before,
    next: Math.max(before.next, 1),
    open: [0],
    done: choose(4),
    failed: choose(2),
  };
  const sort = choose(6);
  if (undo) {
    if (sort === 0) return { items: before, undone: { failed: 0 } };
    if (sort === 1) return { items: before, undone: { failed: 1 + choose(2), error: failure(choose) } };
  } else if (wait === "stopping") {
    return sort < 3 ? { items, stopped: true } : { items };
  } else {
    if (sort === 0) return { items: { ...items, open: [] }, end: { result: [1, 2, null] } };
    if (sort === 1) return { items: { ...items, open: [] }, end: { result: null } };
    if (sort === 2) return { items, end: { error: failure(choose) }, failures: [{ item: 1, error: failure(choose) }] };
  }
  if (wait === "stopping") return { items };
  if (sort === 3 && callAt(state, { index, undo }).name !== "") return { items, wait: { type: "worker" } };
  if (sort === 4) return { items, wait: { type: "backoff", due_at: now + 3_000 } };
  return { items, wait: { type: kindOf(fn) === "job" && choose(2) === 1 ? "child" : "items" } };
}

/** What may come of a live attempt. */
function outcome({ index, attempt, undo }: AttemptAddress, choose: Choose): Event {
  const address = addressOf({ index, attempt, undo });
  switch (choose(11)) {
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
    case 9:
      return { type: "unsent", ...address };
    case 10:
      return { type: "failed", ...address, error: UNANSWERED, retryable: choose(2) === 1, random: 0 };
    case 3:
      return {
        ...{ type: "failed", ...address, error: failure(choose), retryable: true, random: 0.5 },
        ...(choose(3) === 2 && { interrupted: true as const, progress: choose(100) }),
      };
    default:
      return { type: "succeeded", ...address, result: RESULTS[choose(RESULTS.length)] };
  }
}

const UNANSWERED: Failure = { code: "attempt_timeout", name: "AttemptTimeout", message: "too long" };

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
      return choose(3) > 0 ? { type: "cancelled", ...(choose(4) === 3 && { undo: "skip" as const }) } : { type: "due" };
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
      return outcome({ index, attempt, undo: choose(4) === 3 ? true : undefined }, choose);
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
  if (choose(2) === 1) patch.force = true;
  if (choose(4) === 3) patch.data = { ...documentData(now), no: true, missing: true };
  if (choose(5) === 4) patch.args = { edited: 1 };
  if (choose(5) === 4) patch.args_by_id = { [String(anyId())]: { edited: choose(3) } };
  if (choose(3) === 2) patch.by = "someone";
  return patch;
}

/** A good or bad answer to a live attempt that brings the entry nearer to its end, whatever it is. */
export function answer({ index, attempt, undo }: AttemptAddress, choose: Choose): Event {
  const address = addressOf({ index, attempt, undo });
  switch (choose(6)) {
    case 4:
      return { type: "failed", ...address, error: failure(choose), retryable: true, random: 0 };
    case 5:
      return { type: "lost", ...address };
    default:
      return { type: "succeeded", ...address, result: RESULTS[choose(RESULTS.length)] };
  }
}

/** The end of what a child, or the items of an entry, are at. */
export function partEnd(state: Graph, branch: Branch, choose: Choose): Event {
  if (isOfChild(state, branch)) return partEvent(state, branch, choose, 0);
  const { items } = functionAt(state, branch.index);
  const before = { ...(items as ItemsState), next: 1 };
  const report = (): ItemsReport => {
    if (branch.undo) return { items: before, undone: { failed: choose(2) } };
    return branch.wait === "stopping" ? { items: before, stopped: true } : { items: before, end: { result: [] } };
  };
  return { type: "items", ...addressOf(branch), report: report() };
}
