/**
 * The state machine of a job: every decision, no I/O, no clock, no randomness of its own.
 *
 * Invariants (ARCHITECTURE.md tells how the shell keeps its side of them):
 * M1  An ended job never changes again, unless it is retried by hand: then it lives on a new token.
 * M2  Only the live attempt has an effect: an outcome that names another function or attempt is ignored.
 * M3  A function is invoked only in the state that records the end of its predecessor.
 * M4  `failures` never exceeds `retry_limit`, `lost` never exceeds LOST_LIMIT: every job ends if attempts do.
 * M5  Effects are returned with the state that must be committed before any of them is done.
 * M6  A live job that is left alone has something that makes it go on: an `invoke`, `sleep`, `park` or `enqueue` is
 *     always among the effects of a transition that ends an attempt or a wait.
 * M7  Taking a job over changes its state, if only its writer: the commit is the fence against the owner before.
 * M8  What passes quickly is not told: `accepted` only if the start is ahead, `started` and `succeeded` only of attempts
 *     whose start was worth recording. What comes next, at last the end of the job, tells it too.
 */
import { backoffDelayMs } from "./backoff.ts";
import type { Encoding } from "./encoding.ts";
import { endEvent, eventOf, iso, type JobEvent, type JobEventBody } from "./events.ts";
import { type Functions, functionList } from "./functions.ts";
import type { Submission } from "./schema.ts";
import {
  currentFunction,
  dueAt,
  type EndedJob,
  type EndPhase,
  type Failure,
  type FunctionState,
  inPhase,
  isEnded,
  type JobFields,
  type JobState,
  type LiveJob,
  type LivePhase,
  newFunction,
  returned,
  unreachable,
} from "./state.ts";

/** How often workers may disappear in the middle of one function before the job fails. */
export const LOST_LIMIT = 5;
const LOST_DELAY_MS = 5_000;

/** Names the attempt that an outcome belongs to. */
export interface Attempt {
  index: number;
  attempt: number;
}

export type Event =
  /** An actor has taken the job over from the store; whatever was in flight before is not ours. */
  | { type: "resumed" }
  /** The attempt has been executing for a while. */
  | ({ type: "started" } & Attempt)
  | ({ type: "succeeded"; result: unknown } & Attempt)
  /** `random` from [0, 1) is for the jitter of the backoff. */
  | ({ type: "failed"; error: Failure; retryable: boolean; retryAfterMs?: number; random: number } & Attempt)
  /** The worker of the attempt went silent. */
  | ({ type: "lost" } & Attempt)
  /** No worker had room for the attempt for so long that the job had better wait outside of memory. */
  | ({ type: "no_room" } & Attempt)
  /** The time of the last `sleep` has come. */
  | { type: "due" }
  /** The job's own deadline has passed. */
  | { type: "expired" }
  /** Someone wants it to end now. */
  | { type: "cancelled" }
  /** Someone wants a failed or cancelled job to go on at the function it had reached; with other `data` or `args`. */
  | ({ type: "retried" } & RetryPatch);

/** What may be changed when a job is retried by hand; what is absent stays. */
export interface RetryPatch {
  data?: unknown;
  /** Of the function that is run next. */
  args?: unknown;
}

export type Effect =
  /** Run the current attempt of the current function. */
  | { type: "invoke" }
  /** Leave the job alone until `until` (ms since 1970), then send `due`. */
  | { type: "sleep"; until: number }
  /** The same, but for so long that the job leaves memory: timer number `token` is its next token. */
  | { type: "park"; until: number; token: number }
  /** Wait outside of memory until a worker of the current function has room; the place there is token number `token`. */
  | { type: "enqueue"; token: number }
  | { type: "tell"; event: JobEvent }
  /** The job has ended: its token can go. */
  | { type: "settle" };

export interface Transition<S extends JobState = JobState> {
  state: S;
  effects: Effect[];
}

export interface Origin {
  jobId: string;
  encoding: Encoding;
  createdAt: number;
  sequence: number;
}

/** The first state of a submitted job. `now` decides whether its start is still ahead. */
export function createJob(submission: Submission, origin: Origin, now: number): Transition {
  const fields = initialFields(origin, submission);
  if (submission.notify !== undefined) fields.notify = submission.notify;
  if (submission.scheduled_at !== undefined) fields.scheduled_at = Date.parse(submission.scheduled_at);
  if (submission.timeout_ms !== undefined) {
    fields.timeout_ms = submission.timeout_ms;
    fields.deadline_at = fields.scheduled_at + submission.timeout_ms;
  }
  if (fields.scheduled_at <= now) return goOn(inPhase(fields, { state: "pending" }), now);
  const job = inPhase(fields, { state: "scheduled" });
  const first = goOn(job, now);
  first.effects.unshift(tell(job, now, { type: "accepted", scheduled_at: iso(job.scheduled_at) }));
  return first;
}

/** A submission that is no valid job, recorded as a failed one so that it is not lost in silence. */
export function createFailedJob(error: Failure, name: string, origin: Origin, now: number): Transition {
  const fields = initialFields(origin, { name, functions: [] });
  return fail(inPhase(fields, { state: "pending" }), error, now);
}

/**
 * A job of which nothing is stored but its submission, as it is to be shown. It has not ended, even if its first transition
 * is its end: someone may have begun it before its deadline, and complete it.
 */
export function untaken({ state }: Transition): LiveJob {
  return isEnded(state) ? inPhase(state, { state: "pending" }) : state;
}

function initialFields(origin: Origin, submission: Submission): JobFields {
  return {
    job_id: origin.jobId,
    name: submission.name,
    data: submission.data ?? null,
    functions: functionList(submission.functions.map(newFunction)),
    current_function: 0,
    attempt: 1,
    encoding: origin.encoding,
    created_at: origin.createdAt,
    scheduled_at: origin.createdAt,
    sequence: origin.sequence,
    token: 0,
    version: 0,
    writer: "",
  };
}

/**
 * The next state and what it causes. The same `state` object comes back if nothing is to be committed.
 * `now` is in ms since 1970.
 */
export function reduce(state: JobState, event: Event, now: number): Transition {
  if (isEnded(state)) return reduceEnded(state, event, now);
  if ("attempt" in event && !isLive(state, event)) return { state, effects: [] };
  switch (event.type) {
    case "resumed":
      return resume(state, now);
    case "due":
      return goOn(state, now);
    case "started":
      return started(state, now);
    case "succeeded":
      return succeeded(state, event.result, now);
    case "failed":
      return failed(state, event, now);
    case "lost":
      return lost(state, now);
    case "no_room":
      return noRoom(state, now);
    case "expired":
      return pastDeadline(state, now) ? expired(state, now) : { state, effects: [] };
    case "cancelled":
      return end(state, { state: "cancelled", finished_at: now });
    case "retried":
      return { state, effects: [] };
    default:
      return unreachable(event);
  }
}

function reduceEnded(state: EndedJob, event: Event, now: number): Transition {
  if (event.type === "retried" && canRetry(state)) return retried(state, event, now);
  return { state, effects: event.type === "resumed" ? endEffects(state) : [] };
}

/** Whether a job that has ended can be retried by hand. */
export function canRetry(state: EndedJob): boolean {
  return state.state !== "completed" && state.functions.length > 0;
}

function retried(state: EndedJob, patch: RetryPatch, now: number): Transition {
  const { state: _state, finished_at: _finishedAt, error: _jobError, ...fields } = { error: undefined, ...state };
  const { failures: _failures, lost: _lost, error: _error, ...fn } = currentFunction(state);
  const live: LiveJob = {
    ...fields,
    state: "pending",
    token: state.token + 1,
    attempt: nextAttempt(state),
    retried_at: now,
    retries: (state.retries ?? 0) + 1,
    ...(state.timeout_ms !== undefined && { deadline_at: now + state.timeout_ms }),
    ...(patch.data !== undefined && { data: patch.data }),
  };
  const next = withFunction(live, { ...fn, ...(patch.args !== undefined && { args: patch.args }) });
  const { function: name, index } = attemptRef(next);
  return { state: next, effects: [tell(next, now, { type: "retried", function: name, index })] };
}

function isLive(state: LiveJob, { index, attempt }: Attempt): boolean {
  return index === state.current_function && attempt === state.attempt;
}

/** M7: always a new state, so that it is committed. */
function resume(state: LiveJob, now: number): Transition {
  return goOn({ ...state, attempt: nextAttempt(state) }, now);
}

/** An attempt whose start is recorded may have run to its end unseen: the next one must not share its number. */
function nextAttempt(state: JobState): number {
  return currentFunction(state).retry_count === state.attempt ? state.attempt + 1 : state.attempt;
}

function goOn(state: LiveJob, now: number): Transition {
  if (pastDeadline(state, now)) return expired(state, now);
  return { state, effects: [atTime(state, dueAt(state), now)] };
}

/** Goes on with the job at `due`, or at its deadline if that comes first: then there is nothing left to try. */
function atTime(state: LiveJob, due: number, now: number): Effect {
  if (due <= now) return { type: "invoke" };
  return { type: "sleep", until: Math.min(due, state.deadline_at ?? due) };
}

function started(state: LiveJob, now: number): Transition {
  const fn = currentFunction(state);
  if (fn.retry_count === state.attempt) return { state, effects: [] };
  const next = withFunction(inPhase(state, { state: "running" }), {
    ...fn,
    retry_count: state.attempt,
    started_at: fn.started_at ?? now,
  });
  next.started_at ??= now;
  return { state: next, effects: [tell(next, now, { type: "started", ...attemptRef(next) })] };
}

function succeeded(state: LiveJob, result: unknown, now: number): Transition {
  const { current_function: index, attempt } = state;
  const functions = state.functions.with(index, returned(currentFunction(state), attempt, result, now));
  const next = afterSuccess(state, functions, now);
  // M8
  if (currentFunction(state).retry_count === attempt) {
    next.effects.unshift(tell(state, now, { type: "succeeded", ...attemptRef(state) }));
  }
  return next;
}

function afterSuccess(state: LiveJob, functions: Functions, now: number): Transition {
  if (state.current_function === functions.length - 1) {
    const ended: EndedJob = inPhase(state, { state: "completed", finished_at: now });
    ended.functions = functions;
    return { state: ended, effects: endEffects(ended) };
  }
  const next = inPhase(state, { state: "running" });
  next.functions = functions;
  if (pastDeadline(state, now)) return expired(next, now);
  next.current_function += 1;
  next.attempt = 1;
  return { state: next, effects: [{ type: "invoke" }] };
}

function failed(state: LiveJob, event: Extract<Event, { type: "failed" }>, now: number): Transition {
  const fn = currentFunction(state);
  const failures = (fn.failures ?? 0) + 1;
  const counted = withFunction(state, { ...fn, retry_count: state.attempt, failures, error: event.error });
  if (pastDeadline(counted, now)) return expired(counted, now);
  if (!event.retryable || failures >= (fn.retry_options?.retry_limit ?? 1)) return fail(counted, event.error, now);
  const delayMs = event.retryAfterMs ?? backoffDelayMs(fn.retry_options?.backoff, failures, event.random);
  return retry(counted, event.error, now + delayMs, now);
}

function lost(state: LiveJob, now: number): Transition {
  const fn = currentFunction(state);
  const count = (fn.lost ?? 0) + 1;
  const error: Failure = {
    code: "attempt_lost",
    name: "AttemptLost",
    message: `the worker went silent in attempt ${state.attempt} (${count} of at most ${LOST_LIMIT} times)`,
  };
  const counted = withFunction(state, { ...fn, retry_count: state.attempt, lost: count, error });
  return count >= LOST_LIMIT ? fail(counted, error, now) : retry(counted, error, now + lostDelayMs(count), now);
}

/** At once, but the third time not: a hung worker swallows attempts until the server drops it, and must not end the job. */
function lostDelayMs(count: number): number {
  return count <= 2 ? 0 : (count - 2) * LOST_DELAY_MS;
}

/** The next attempt, at `dueAt`. At once if that is now. */
function retry(state: LiveJob, error: Failure, due: number, now: number): Transition {
  if (pastDeadline(state, now)) return expired(state, now);
  const told = tell(state, now, { type: "retrying", ...attemptRef(state), error, due_at: iso(due) });
  const phase: LivePhase = due > now ? { state: "waiting", waiting_for: "backoff", due_at: due } : { state: "running" };
  const next: LiveJob = { ...inPhase(state, phase), attempt: state.attempt + 1 };
  return { state: next, effects: [told, atTime(next, due, now)] };
}

function noRoom(state: LiveJob, now: number): Transition {
  const token = state.token + 1;
  const next: LiveJob = { ...inPhase(state, { state: "waiting", waiting_for: "worker" }), token };
  const { function: name, index } = attemptRef(next);
  const told = tell(next, now, { type: "waiting", waiting_for: "worker", function: name, index });
  return { state: next, effects: [told, { type: "enqueue", token }] };
}

function pastDeadline(state: LiveJob, now: number): boolean {
  return state.deadline_at !== undefined && now >= state.deadline_at;
}

function expired(state: LiveJob, now: number): Transition {
  const message = `the job was not done ${state.timeout_ms} ms after it was due to start`;
  return fail(state, { code: "job_timeout", name: "JobTimeout", message }, now);
}

function fail(state: LiveJob, error: Failure, now: number): Transition {
  return end(state, { state: "failed", finished_at: now, error });
}

function end(state: LiveJob, phase: EndPhase): Transition<EndedJob> {
  const ended: EndedJob = inPhase(state, phase);
  return { state: ended, effects: endEffects(ended) };
}

/** What the end of a job causes. It may be caused again after a crash, so it depends on the state alone. */
function endEffects(state: EndedJob): Effect[] {
  return [{ type: "tell", event: endEvent(state) }, { type: "settle" }];
}

function withFunction(state: LiveJob, fn: FunctionState): LiveJob {
  return { ...state, functions: state.functions.with(state.current_function, fn) };
}

function attemptRef(state: LiveJob) {
  return { function: currentFunction(state).name, index: state.current_function, attempt: state.attempt };
}

function tell(state: JobState, at: number, body: JobEventBody): Effect {
  return { type: "tell", event: eventOf(state, at, body) };
}

/**
 * Decides where the job spends a `sleep`: in memory if it is short, else parked. Parking counts the token up in the
 * very state that is committed with the transition, so that an older token is known as such wherever it turns up.
 */
export function placeSleep(transition: Transition, now: number, parkAfterMs: number): Transition {
  const sleep = transition.effects.find((effect) => effect.type === "sleep");
  if (!sleep || sleep.until - now <= parkAfterMs) return transition;
  const token = transition.state.token + 1;
  const park: Effect = { type: "park", until: sleep.until, token };
  return {
    state: { ...transition.state, token },
    effects: transition.effects.map((effect) => (effect === sleep ? park : effect)),
  };
}
