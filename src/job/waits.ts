/**
 * What each entry of a live job waits for, as far as its state says that. Whether somebody serves a function, and how many
 * jobs wait for it, is not in the state: such an entry waits for a `worker` here, and `explain.ts` says more.
 */
import { callOf, type FunctionState } from "./function-state.ts";
import { type Plan, planOf } from "./plan.ts";
import { dueSince } from "./rest.ts";
import type { FunctionSettings } from "./settings.ts";
import { type Branch, type Graph, isGraph, type LiveJob, trialOf } from "./state.ts";

/** Times are ms since 1970; `since` is undefined where the state does not say it. */
export type Wait =
  /** The start of the job is ahead. */
  | { type: "scheduled"; since: number; until: number }
  /** No supervisor has taken the job. */
  | { type: "not_taken"; since: number }
  /** A worker has it. */
  | { type: "running"; since: number | undefined }
  /** An attempt is due, in line, or in flight for so short that its start is not recorded. */
  | { type: "worker"; since: number | undefined }
  /** It is to begin now, and needs no worker. */
  | { type: "starting" }
  | { type: "backoff"; since: number | undefined; until: number }
  | { type: "sleep"; since: number; until: number | undefined }
  | { type: "signal"; since: number; until: number | undefined }
  /** Its items are at it. */
  | { type: "items"; since: number }
  /** A child job, or those of its items. */
  | { type: "child"; since: number }
  /** It was told to stop, as the job undoes, and has not answered yet. */
  | { type: "stopping"; since: number; until: number | undefined }
  /** Others have to end before it. */
  | { type: "needs" };

/** An entry that has not ended; or of a job that undoes, one that is told to stop, or undone. */
export interface OpenEntry {
  /** One more than the last: what is called once the job has failed. */
  index: number;
  /** Of an undo, that of the undo. */
  fn: FunctionState;
  wait: Wait;
  undo?: true;
  /** What is set at its function, if that is known: `fn` has it, where the job does not say it. */
  set?: FunctionSettings;
}

/** The entries of the job that have not ended, by index. Linear in their number and in what they need. */
export function openEntries(job: LiveJob, now: number, plan: Plan | undefined, isTaken: boolean): OpenEntry[] {
  if (isGraph(job) && job.state === "undoing") return undoneEntries(job, now);
  const waitOf = isGraph(job)
    ? waitInGraph(job, now, plan ?? planOf(job.functions))
    : (fn: FunctionState, index: number) => (index === job.current_function ? waitInChain(job, fn, now) : NEEDS);
  const notBegun = whyNotBegun(job, now, isTaken);
  const open: OpenEntry[] = [];
  let index = 0;
  for (const fn of job.functions) {
    // A function of a chain that has returned after the deadline is run again by a retry.
    if (fn.finished_at === undefined || (!isGraph(job) && index === job.current_function)) {
      const wait = waitOf(fn, index, open.length === 0);
      open.push({ index, fn, wait: wait.type === "needs" ? wait : (notBegun ?? wait) });
    }
    index += 1;
  }
  return open;
}

/** Of a job that undoes, what is live: nothing else of it goes on. */
function undoneEntries(job: LiveJob & Graph, now: number): OpenEntry[] {
  return job.live.map((branch) => {
    const { index, undo } = branch;
    const fn = trialOf(job, branch);
    return { index, fn, wait: waitOfBranch(branch, fn, now), ...(undo && { undo }) };
  });
}

/** The function that an entry waits for, or that is run for it: where it has failed, that of its `on_error`. */
export function calledBy(fn: FunctionState): string {
  return callOf(fn).name;
}

const NEEDS: Wait = { type: "needs" };

/** What keeps the whole job from being begun; undefined where nothing does. */
function whyNotBegun(job: LiveJob, now: number, isTaken: boolean): Wait | undefined {
  const { state, created_at, scheduled_at } = job;
  if (state === "scheduled" && scheduled_at > now) return { type: "scheduled", since: created_at, until: scheduled_at };
  return isTaken ? undefined : { type: "not_taken", since: Math.max(created_at, scheduled_at) };
}

/** Of the current function of a chain. */
function waitInChain(job: LiveJob, fn: FunctionState, now: number): Wait {
  if (job.state === "waiting" && job.waiting_for === "backoff" && job.due_at > now) {
    return { type: "backoff", since: undefined, until: job.due_at };
  }
  if (job.state === "running" && fn.retry_count === job.attempt) return running(fn, undefined);
  return { type: "worker", since: dueSince(job, job.current_function) };
}

function waitInGraph({ functions, live }: LiveJob & { live: readonly Branch[] }, now: number, plan: Plan) {
  const branches = new Map(live.map((branch) => [branch.index, branch]));
  const hasEnded = (index: number) => functions.at(index)?.finished_at !== undefined;
  return (fn: FunctionState, index: number, isLowest: boolean): Wait => {
    const branch = branches.get(index);
    if (branch) return waitOfBranch(branch, fn, now);
    if (!(plan.needsOf(index)?.every(hasEnded) ?? isLowest)) return NEEDS;
    // Ready, and nothing of it is stored: it is about to begin, or its job has just been submitted.
    return fn.name === "" ? { type: "starting" } : { type: "worker", since: undefined };
  };
}

function waitOfBranch({ wait, since, due_at, attempt }: Branch, fn: FunctionState, now: number): Wait {
  switch (wait) {
    case "none":
      if (calledBy(fn) === "") return { type: "starting" };
      return fn.retry_count === attempt ? running(fn, since) : { type: "worker", since };
    case "worker":
      return { type: "worker", since };
    case "backoff":
      return due_at !== undefined && due_at > now
        ? { type: "backoff", since, until: due_at }
        : { type: "worker", since: due_at ?? since };
    case "items":
    case "child":
      return { type: wait, since };
    case "stopping":
    case "sleep":
    case "signal":
      return { type: wait, since, until: due_at };
  }
}

/** Its start is kept of the first attempt only. */
function running(fn: FunctionState, since: number | undefined): Wait {
  return { type: "running", since: fn.retry_count === 1 ? fn.started_at : since };
}
