/**
 * How a job waits for what comes next. Nothing says so but its state: it follows from the phase, the token and the times, so
 * whoever has the state knows what to do, also after a crash.
 *
 * A job is *held* while a supervisor has its token, an un-acked message, and rests in the supervisor's memory. When the wait
 * is long, the state is given its next token (`token` is counted up) and rests outside of memory: that token is made,
 * a timer or a place in the backlog of a function, and the held message is acknowledged.
 *
 * Example: attempt 1 has failed and the next one is due in 5 s. A supervisor that holds token 0 of a state with token 0
 * keeps the job in memory for 5 s. If it is due in an hour, `toBeParked` says so, the state is committed with token 1, and
 * to the holder of token 0 it now rests as timer 1. Who gets the wake of that timer holds token 1: an attempt is due.
 */
import { branchIn } from "./branches.ts";
import {
  type AttemptAddress,
  type Branch,
  callAt,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type LiveJob,
  trialOf,
  unreachable,
} from "./state.ts";

export type Rest =
  /** That attempt is to be executed, now. */
  | { type: "attempt"; index: number; attempt: number }
  /** In memory, until then (ms since 1970). */
  | { type: "memory"; until: number }
  /** Those attempts are to be executed, now. Something else is due at `until`; undefined if nothing is. */
  | { type: "attempts"; attempts: readonly AttemptAddress[]; until: number | undefined }
  | Parked;

/**
 * Outside of memory, on the token that the state names: a timer, and a place in the backlog of each of these functions, until
 * one of its workers has room. What comes first takes the job along.
 */
export interface Parked {
  type: "parked";
  /** When the timer fires, ms since 1970; undefined if there is none, as it waits in a backlog only. */
  until: number | undefined;
  functionNames: readonly string[];
}

/** An entry of a graph that found no worker is tried again after this time, while the job is kept in memory by others. */
export const ROOM_RETRY_MS = 5_000;
/** A graph that waits for nothing that has a time looks around itself so often. */
const LOOK_MS = 24 * 3_600_000;

/**
 * @param held number of the token that its holder has
 * @param now ms since 1970
 */
export function rest(job: LiveJob, held: number, now: number): Rest {
  if (held < job.token) return restParked(job);
  if (isGraph(job)) return restOfGraph(job, now);
  const due = dueAt(job);
  if (due <= now) return { type: "attempt", index: job.current_function, attempt: job.attempt };
  return { type: "memory", until: untilDeadline(job, due) };
}

/** How a job rests outside of memory: on its token, which is not its submission, and which nobody holds. */
export function restParked(job: LiveJob): Parked {
  if (isGraph(job)) return { type: "parked", until: wakeAt(job), functionNames: awaitedFunctions(job) };
  if (job.state === "waiting" && job.waiting_for === "worker") {
    return { type: "parked", until: job.deadline_at, functionNames: [functionAt(job, job.current_function).name] };
  }
  return { type: "parked", until: wakeAt(job), functionNames: [] };
}

function restOfGraph(job: Graph & LiveJob, now: number): Rest {
  if (job.state === "scheduled" && job.scheduled_at > now) {
    return { type: "attempts", attempts: [], until: untilDeadline(job, job.scheduled_at) };
  }
  let others = 0;
  let isAtWork = false;
  let until = nextTimeOf(job);
  let lingersUntil = Number.POSITIVE_INFINITY;
  const { live } = job;
  for (let at = 0; at < live.length; at++) {
    const branch = live[at] as Branch;
    if (branch.wait === "none") continue;
    others += 1;
    if (branch.wait === "worker") until = Math.min(until, branch.due_at ?? 0);
    else if (isOfChild(job, branch)) lingersUntil = Math.min(lingersUntil, branch.since + CHILD_LINGER_MS);
    else isAtWork ||= isBusy(job, branch);
  }
  const attempts = others === 0 ? live : live.filter(({ wait }) => wait === "none");
  if (attempts.length === 0 && !isAtWork && lingersUntil > now) until = Math.min(until, lingersUntil);
  return { type: "attempts", attempts, until: until === Number.POSITIVE_INFINITY ? undefined : until };
}

function wakeTimeOfGraph(job: Graph): number {
  // It may have been parked before it was found that a signal had come, or be retried by hand: that is due by any clock.
  if (job.live.some((branch) => isBusy(job, branch))) return 0;
  return Math.min(nextTimeOf(job), (job.parked_at ?? job.created_at) + LOOK_MS);
}

/** The functions of which the entries wait for a worker. */
function awaitedFunctions(job: Graph): string[] {
  const names = new Set<string>();
  for (const branch of job.live) {
    if (branch.wait !== "worker") continue;
    const { name } = callAt(job, branch);
    if (name !== "") names.add(name);
    // Of items, the function that lists them may be the one without a worker.
    const { items, for_each } = trialOf(job, { index: branch.index });
    if (items && !branch.undo && items.count === undefined && typeof for_each === "object") names.add(for_each.name);
  }
  return [...names];
}

/** Whether something is done about the branch right now: then the job stays in memory. */
function isBusy(job: Graph, { index, wait, due_at }: Branch): boolean {
  if (wait === "none" || wait === "items") return true;
  if (wait !== "stopping") return false;
  const { items } = functionAt(job, index);
  return due_at !== undefined || (items !== undefined && !items.rested);
}

/** Whether it waits for a child alone. */
function isOfChild(job: Graph, branch: Branch): boolean {
  return branch.wait === "child" || (branch.wait === "stopping" && !isBusy(job, branch));
}

/** The first time at which something is due about a graph, ms since 1970; infinite if there is none. */
function nextTimeOf(job: Graph): number {
  if (job.state === "scheduled") return untilDeadline(job, job.scheduled_at);
  const { live } = job;
  let next = Math.min(lateAt(job) ?? Number.POSITIVE_INFINITY, job.deadline_at ?? Number.POSITIVE_INFINITY);
  if (job.state === "undoing") return Math.min(next, ...live.map((branch) => dueWhileUndoing(job, branch)));
  for (let at = 0; at < live.length; at++) {
    const branch = live[at] as Branch;
    if (branch.due_at !== undefined) next = Math.min(next, dueAtOf(branch));
  }
  return next;
}

function dueAtOf({ wait, due_at }: Branch): number {
  return wait === "none" || wait === "worker" ? Number.POSITIVE_INFINITY : (due_at ?? Number.POSITIVE_INFINITY);
}

/** How long `on_failure` has, with all its retries, if its document does not say. */
export const ON_FAILURE_MS = 3_600_000;

/** When something is due about a branch of a job that undoes, ms since 1970; infinite if nothing is. */
function dueWhileUndoing(job: Graph, branch: Branch): number {
  return Math.min(
    branch.index === job.functions.length ? onFailureUntil(job) : Number.POSITIVE_INFINITY,
    dueAtOf(branch),
  );
}

/** Whether something is to be done about it at `at`. What waits for a worker is tried again now and then, as long as it is in memory. */
export function isDueWhileUndoing(job: Graph, branch: Branch, at: number): boolean {
  if (branch.wait === "worker" && (branch.due_at ?? 0) <= at) return true;
  return dueWhileUndoing(job, branch) <= at;
}

/** Until when what is called once the job has failed may take, with its retries and what it waits for. */
export function onFailureUntil(job: Graph): number {
  const { tried_at, timeout_ms = ON_FAILURE_MS } = job.failing ?? {};
  const since = branchIn(job.live, job.functions.length)?.since ?? 0;
  return (tried_at ?? since) + timeout_ms;
}

/** When it is to be told that the job is late, ms since 1970; undefined if it is not, or has been. */
export function lateAt({ warn_after_ms, late_at, scheduled_at, retried_at }: JobState): number | undefined {
  if (warn_after_ms === undefined || late_at !== undefined) return undefined;
  return Math.max(scheduled_at, retried_at ?? 0) + warn_after_ms;
}

/** When a job that nobody holds is to be woken at the latest: when it is due, or at its deadline. A time that has passed is "at once". */
export function wakeAt(job: LiveJob): number {
  if (isGraph(job)) return wakeTimeOfGraph(job);
  return untilDeadline(job, dueAt(job));
}

/** The job on its next token, if it would rest in memory for longer than `parkAfterMs`; else the same object. */
export function toBeParked(job: JobState, held: number, now: number, parkAfterMs: number): JobState {
  if (isEnded(job)) return job;
  if (isGraph(job)) return graphToBeParked(job, held, now, parkAfterMs);
  const how = rest(job, held, now);
  return how.type === "memory" && how.until - now > parkAfterMs ? onNextToken(job) : job;
}

/** How long what waits for a child alone stays in memory: most children are quick, and to leave and come back costs ten messages. */
const CHILD_LINGER_MS = 1_000;

/** A graph of which nothing is due for a while, as all its entries wait for something else. */
function graphToBeParked(job: Graph & LiveJob, held: number, now: number, parkAfterMs: number): LiveJob {
  if (held < job.token || job.live.some((branch) => isBusy(job, branch))) return job;
  if (nextTimeOf(job) - now <= parkAfterMs) return job;
  if (job.live.some((branch) => isOfChild(job, branch) && now < branch.since + CHILD_LINGER_MS)) return job;
  return { ...onNextToken(job), parked_at: now };
}

/** The same job with its next token, under which it rests outside of memory. */
export function onNextToken(job: LiveJob): LiveJob {
  return { ...job, token: job.token + 1 };
}

/**
 * Since when a job could have been executed by a worker, ms since 1970; undefined where the state does not say that: of a later
 * attempt of a function of a chain it says when the first was due.
 *
 * @param index of the function
 */
export function dueSince(job: LiveJob, index: number): number | undefined {
  if (isGraph(job)) return branchIn(job.live, index)?.since;
  if (job.attempt !== 1) return job.state === "waiting" && job.waiting_for === "backoff" ? job.due_at : undefined;
  const before = job.current_function > 0 ? functionAt(job, job.current_function - 1).finished_at : undefined;
  return Math.max(job.scheduled_at, job.retried_at ?? 0, before ?? 0);
}

/** When nothing is to be done before it: the start time, the end of the wait, or 0 for "now". */
function dueAt(job: LiveJob): number {
  switch (job.state) {
    case "scheduled":
      return job.scheduled_at;
    case "waiting":
      return job.waiting_for === "backoff" ? job.due_at : 0;
    case "pending":
    case "running":
    case "undoing":
      return 0;
    default:
      return unreachable(job);
  }
}

/** At the deadline there is nothing left to try. */
function untilDeadline(job: JobState, at: number): number {
  return Math.min(at, job.deadline_at ?? at);
}
