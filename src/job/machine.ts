/**
 * The state machine of a job: every decision, no I/O, no clock, no randomness of its own.
 *
 * Invariants (ARCHITECTURE.md tells how the shell keeps its side of them):
 * MACHINE-1  An ended job never changes again, unless it is retried by hand: then it lives on a new token.
 * MACHINE-2  Only the live attempt has an effect: an outcome that names another function or attempt is ignored.
 * MACHINE-3  A function is invoked only in the state that records the end of its predecessor.
 * MACHINE-4  `failures` never exceeds `retry_limit`, `lost` never exceeds LOST_LIMIT: every job ends if attempts do.
 * MACHINE-5  What a transition causes follows from the state that must be committed before: how the job goes on is
 *     `rest(state)`, its end is `endEvent(state)`, and `events` tell of what the state does not say.
 * MACHINE-6  A live job that is left alone has something that makes it go on: `rest` has an answer for every state.
 * MACHINE-7  Taking a job over changes its state, if only its writer: the commit is the fence against the owner before.
 * MACHINE-8  What passes quickly is not told: `accepted` only if the start is ahead, `started` and `succeeded` only of
 *     attempts whose start was worth recording. What comes next, at last the end of the job, tells it too.
 */
import { newInvalidJob, newJob, type Origin, withDeadline, withoutDeadline } from "./create.ts";
import { type AttemptRef, eventOf, type JobEventBody } from "./events.ts";
import type { Failure } from "./failure.ts";
import { type FunctionState, returned } from "./function-state.ts";
import type { Functions } from "./functions.ts";
import { isLiveOutcome, openGraph, reduceGraph, unheard, unopened } from "./graph.ts";
import { editsOf, retryGraph, retryProblem } from "./graph-retry.ts";
import { breakOffUndo, endGraph, reduceUndoing, refuseUndo, skipUndo, undoCompleted } from "./graph-undo.ts";
import { afterFailure, afterLoss, begun, forgiven, needsNewerFormat, type Outcome } from "./outcome.ts";
import { type Plan, planOf } from "./plan.ts";
import { inPhase } from "./record.ts";
import { onNextToken } from "./rest.ts";
import type { RetryPatch } from "./retry-patch.ts";
import type { Submission } from "./schema.ts";
import {
  type AttemptAddress,
  type EndedJob,
  type EndPhase,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type LiveJob,
  type LivePhase,
  unreachable,
} from "./state.ts";
import { iso } from "./time.ts";
import type { Event, EventOfEntries, Transition } from "./transition.ts";

/**
 * The first transition of a submitted job.
 *
 * @param asGraph whether it is one, if that is known
 * @param mayHaveBegun somebody may have begun it, and stored nothing
 */
export function createJob(
  submission: Submission,
  origin: Origin,
  now: number,
  asGraph?: boolean,
  mayHaveBegun = false,
): Transition {
  const job = withDeadline(newJob(submission, origin, now, asGraph), now);
  if (job.state === "pending") {
    if (isGraph(job) && mayHaveBegun) return createdAgain(job, now);
    return isGraph(job) && !pastDeadline(job, now) ? openGraph(job, now) : unlessExpired(job, now);
  }
  return { state: job, events: [eventOf(job, now, { type: "accepted", scheduled_at: iso(job.scheduled_at) })] };
}

/** A graph that somebody else may have begun: what is as its submission says may have been done. */
function createdAgain(job: Graph & LiveJob, now: number): Transition {
  const opened = openGraph(job, now);
  const { state, events } = opened;
  if (isEnded(state) || !isGraph(state) || !isAsSubmitted(state))
    return pastDeadline(job, now) ? expired(job, now) : opened;
  const found = unheard(state);
  return pastDeadline(job, now) ? expired(found, now) : { state: found, events };
}

/** A submission that is no valid job, recorded as a failed one so that it is not lost in silence. */
export function createFailedJob(error: Failure, name: string, origin: Origin, now: number): Transition<EndedJob> {
  return fail(newInvalidJob(name, origin), error, now);
}

/**
 * A job of which nothing is stored but its submission, as it is to be shown. It has not ended, even if its first transition
 * is its end: someone may have begun it before its deadline, and complete it. Nor does it sleep, wait for a signal or skip
 * anything yet: these begin when it is taken.
 */
export function untaken({ state }: Transition): LiveJob {
  if (!isEnded(state) && (state.state === "scheduled" || isAsSubmitted(state))) return withoutDeadline(state);
  const pending = inPhase(state, { state: "pending" });
  return withoutDeadline(isGraph(pending) ? unopened(pending) : pending);
}

/** Whether the first state of a job says nothing that its submission does not: then it need not be stored before it is begun. */
export function isAsSubmitted(job: LiveJob): boolean {
  return !isGraph(job) || (job.state === "pending" && job.live.every(({ wait }) => wait === "none"));
}

/**
 * The next state and what it causes. The same `state` object comes back if nothing is to be committed.
 * `now` is in ms since 1970.
 */
export function reduce(state: JobState, event: Event, now: number, plan?: Plan): Transition {
  if (isEnded(state)) return reduceEnded(state, event, now, plan);
  if ("attempt" in event && !isLive(state, event)) return unchanged(state);
  switch (event.type) {
    case "expired":
      return pastDeadline(state, now) ? expired(state, now) : unchanged(state);
    case "refused":
      return refused(state, event.why, now, plan);
    case "unstorable":
      return unstorable(state, event, now, plan);
    case "cancelled":
      return cancelled(state, event.undo, now, plan);
    case "undo_wanted":
      return unchanged(state); // it has not completed
    default:
      if (!isGraph(state)) return reduceChain(state, event, now);
      if (state.state === "undoing") return reduceUndoing(state, event, now, plan ?? planOf(state.functions));
      return reduceOpen(state, event, now, plan);
  }
}

function cancelled(state: LiveJob, undo: "skip" | undefined, now: number, plan?: Plan): Transition {
  if (!isGraph(state)) return end(state, { state: "cancelled", finished_at: now });
  const known = plan ?? planOf(state.functions);
  if (state.state === "undoing") return undo ? skipUndo(state, now, known) : unchanged(state);
  return endGraph(state, { state: "cancelled", ...(undo && { skip: true }) }, known, now, undefined);
}

/** A graph past its deadline goes on with nothing but its end: what led here is a part of that. */
function reduceOpen(
  state: Graph & LiveJob,
  event: EventOfEntries,
  now: number,
  plan = planOf(state.functions),
): Transition {
  if (event.type === "resumed" || event.type === "due") {
    if (pastDeadline(state, now)) return expired(event.type === "resumed" ? unheard(state) : state, now);
    const next = reduceGraph(state, event, now, plan);
    if (isEnded(next.state) || event.type === "due") return next;
    // As in a chain: what has time left by our clock, and can use it, is not ended by that of the server.
    const canUseIt = next.state.live?.some(({ wait }) => wait === "none") ?? false;
    return !canUseIt && pastDeadline(next.state, event.firedAt ?? now) ? expired(next.state, now) : next;
  }
  const next = reduceGraph(state, event, now, plan);
  if (isEnded(next.state) || next.state === state || !pastDeadline(next.state, now)) return next;
  const end = expired(next.state, now, plan);
  return { state: end.state, events: [...next.events, ...end.events] };
}

function reduceChain(state: LiveJob, event: EventOfEntries, now: number): Transition {
  switch (event.type) {
    case "resumed":
      return resume(state, event.firedAt ?? now, now);
    case "due":
      return unlessExpired(state, now);
    case "started":
      return started(state, now);
    case "succeeded":
      return succeeded(state, event.result, now);
    case "failed":
      return failed(state, afterFailure(currentFunction(state), event, now), now);
    case "lost":
      return failed(state, afterLoss(currentFunction(state), event.attempt, event.progress, now), now);
    case "no_room":
      return noRoom(state, now);
    case "signalled":
    case "retried":
    case "unsent":
    case "child_ended":
    case "items":
      return unchanged(state); // it is not for a live chain
    default:
      return unreachable(event);
  }
}

function reduceEnded(state: EndedJob, event: Event, now: number, plan?: Plan): Transition {
  if (event.type === "undo_wanted") {
    if (state.state !== "completed" || !isGraph(state)) return unchanged(state);
    const live = onNextToken(inPhase(state, { state: "pending" }));
    return undoCompleted(state, live, plan ?? planOf(state.functions), now);
  }
  if (event.type !== "retried" || retryProblem(state, event)) return unchanged(state);
  return isGraph(state) ? retryGraph(state, event, now, plan) : retried(state, event, now);
}

function retried(state: EndedJob, patch: RetryPatch, now: number): Transition {
  const fn = forgiven(currentFunction(state));
  const live: LiveJob = {
    ...onNextToken(inPhase(state, { state: "pending" })),
    attempt: nextAttempt(state),
    retried_at: now,
    retries: (state.retries ?? 0) + 1,
    ...(state.timeout_ms !== undefined && { deadline_at: now + state.timeout_ms }),
    ...(patch.data !== undefined && { data: patch.data }),
  };
  const next = withFunction(live, { ...fn, ...(patch.args !== undefined && { args: patch.args }) });
  const { function: name, index } = attemptRef(next);
  // Without a name it is a request that older versions know as well, and what is told of that stays as it was.
  const edited = patch.by === undefined ? undefined : editsOf(patch, patch.args === undefined ? [] : [index]);
  const bodies: JobEventBody[] = [{ type: "retried", function: name, index }, ...(edited ? [edited] : [])];
  return { state: next, events: bodies.map((body) => eventOf(next, now, body)) };
}

function unchanged<S extends JobState>(state: S): Transition<S> {
  return { state, events: [] };
}

function isLive(state: LiveJob, event: AttemptAddress & Pick<Event, "type">): boolean {
  if (isGraph(state)) return isLiveOutcome(state, event);
  return event.index === state.current_function && event.attempt === state.attempt;
}

/**
 * MACHINE-7: always a new state, so that it is committed.
 *
 * A timer goes by the clock of the server. If ours is behind, what it was set for is still ahead of us when it fires: then it
 * is due all the same. To set it once more would not help, as it would fire at once, again and again. What has time left
 * by our clock, and can use it, is not ended by the other one.
 */
function resume(state: LiveJob, firedAt: number, now: number): Transition {
  const next: LiveJob = { ...state, attempt: nextAttempt(state) };
  if (next.state === "scheduled" && firedAt > now && next.scheduled_at <= firedAt) {
    return unlessExpired(inPhase(next, { state: "pending" }), now);
  }
  if (next.state === "waiting" && next.waiting_for === "backoff" && firedAt > now) {
    if (next.due_at <= firedAt) return unlessExpired(inPhase(next, { state: "running" }), now);
    // The wait reaches beyond the deadline: nothing would be tried before it.
    if (pastDeadline(next, firedAt)) return expired(next, now);
  }
  return unlessExpired(next, now);
}

/** An attempt whose start is recorded may have run to its end unseen: the next one must not share its number. */
function nextAttempt(state: JobState): number {
  return currentFunction(state).retry_count === state.attempt ? state.attempt + 1 : state.attempt;
}

function unlessExpired(state: LiveJob, now: number): Transition {
  return pastDeadline(state, now) ? expired(state, now) : unchanged(state);
}

function started(state: LiveJob, now: number): Transition {
  const fn = currentFunction(state);
  if (fn.retry_count === state.attempt) return unchanged(state);
  const next = withFunction(inPhase(state, { state: "running" }), begun(fn, state.attempt, now));
  next.started_at ??= now;
  return { state: next, events: [eventOf(next, now, { type: "started", ...attemptRef(next) })] };
}

function succeeded(state: LiveJob, result: unknown, now: number): Transition {
  const { current_function: index, attempt } = state;
  const functions = state.functions.with(index, returned(currentFunction(state), attempt, result, now));
  const next = afterSuccess(state, functions, now);
  // MACHINE-8
  if (currentFunction(state).retry_count === attempt) {
    next.events.unshift(eventOf(state, now, { type: "succeeded", ...attemptRef(state) }));
  }
  return next;
}

function afterSuccess(state: LiveJob, functions: Functions, now: number): Transition {
  if (state.current_function === functions.length - 1) {
    const ended: EndedJob = inPhase(state, { state: "completed", finished_at: now });
    ended.functions = functions;
    return unchanged(ended);
  }
  const next = inPhase(state, { state: "running" });
  next.functions = functions;
  if (pastDeadline(state, now)) return expired(next, now);
  next.current_function += 1;
  next.attempt = 1;
  return unchanged(next);
}

function failed(state: LiveJob, outcome: Outcome, now: number): Transition {
  const counted = withFunction(state, outcome.fn);
  if (needsNewerFormat(outcome.fn)) counted.format = 2;
  if (outcome.retryAt === undefined) {
    return pastDeadline(counted, now) ? expired(counted, now) : fail(counted, outcome.error, now);
  }
  return retry(counted, outcome.error, outcome.retryAt, now);
}

/** The next attempt, at `due`. At once if that is now. */
function retry(state: LiveJob, error: Failure, due: number, now: number): Transition {
  if (pastDeadline(state, now)) return expired(state, now);
  const events = [eventOf(state, now, { type: "retrying", ...attemptRef(state), error, due_at: iso(due) })];
  const phase: LivePhase = due > now ? { state: "waiting", waiting_for: "backoff", due_at: due } : { state: "running" };
  return { state: { ...inPhase(state, phase), attempt: state.attempt + 1 }, events };
}

/** The job waits outside of memory, so it gets its next token. */
function noRoom(state: LiveJob, now: number): Transition {
  const next = onNextToken(inPhase(state, { state: "waiting", waiting_for: "worker" }));
  const { function: name, index } = attemptRef(next);
  const events = [eventOf(next, now, { type: "waiting", waiting_for: "worker", function: name, index })];
  return { state: next, events };
}

function pastDeadline(state: LiveJob, now: number): boolean {
  return state.deadline_at !== undefined && now >= state.deadline_at;
}

function expired(state: LiveJob, now: number, plan?: Plan): Transition {
  const message = `the job was not done ${state.timeout_ms} ms after it was due to start`;
  const error: Failure = { code: "job_timeout", name: "JobTimeout", message };
  if (!isGraph(state)) return fail(state, error, now);
  return endGraph(state, { state: "failed", error }, plan ?? planOf(state.functions), now, undefined);
}

function refused(state: LiveJob, why: string, now: number, plan?: Plan): Transition {
  const message = `the server takes no timer for the job: ${why}`;
  const error: Failure = { code: "schedule_refused", name: "ScheduleRefused", message };
  if (isGraph(state) && state.state === "undoing") {
    return refuseUndo(state, error, plan ?? planOf(state.functions), now);
  }
  return brokenOff(state, error, now, plan);
}

function unstorable(
  state: LiveJob,
  { why, again }: Extract<Event, { type: "unstorable" }>,
  now: number,
  plan?: Plan,
): Transition {
  const message = `the state of the job does not fit into a message: ${why}`;
  const error: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message };
  return again ? fail(state, error, now) : brokenOff(state, error, now, plan);
}

/** It cannot go on but with its undo, and not with that if it is at it. */
function brokenOff(state: LiveJob, error: Failure, now: number, plan?: Plan): Transition {
  if (!isGraph(state)) return fail(state, error, now);
  if (state.state === "undoing") return unchanged(breakOffUndo(state, error, now));
  return endGraph(state, { state: "failed", error }, plan ?? planOf(state.functions), now, undefined);
}

function fail(state: LiveJob, error: Failure, now: number): Transition<EndedJob> {
  return end(state, { state: "failed", finished_at: now, error });
}

function end(state: LiveJob, phase: EndPhase): Transition<EndedJob> {
  return unchanged(inPhase(state, phase));
}

function withFunction(state: LiveJob, fn: FunctionState): LiveJob {
  return { ...state, functions: state.functions.with(state.current_function, fn) };
}

function attemptRef(state: LiveJob): AttemptRef {
  return { function: currentFunction(state).name, index: state.current_function, attempt: state.attempt };
}

/** The function being run. Nobody outside of this file asks for it: they have the address of an attempt. */
function currentFunction(state: JobState): FunctionState {
  return functionAt(state, state.current_function);
}
