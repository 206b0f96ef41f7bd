/** What an attempt that ends without a result makes of its function: another attempt, or the failure of the function. */
import { backoffDelayMs } from "./backoff.ts";
import type { Failure } from "./failure.ts";
import { callOf, type FunctionState } from "./function-state.ts";
import type { RetryOptions } from "./schema.ts";
import { retryOptionsWith } from "./settings.ts";

/** How often workers may disappear in the middle of one function before it fails. */
export const LOST_LIMIT = 5;
const LOST_DELAY_MS = 5_000;
/** How often workers that have to stop may interrupt one function before it fails. */
export const INTERRUPTED_LIMIT = 100;
const INTERRUPTED_DELAY_MS = 1_000;
const MAX_INTERRUPTED_DELAY_MS = 60_000;

/** An attempt that was answered with an error, or was given up. */
export interface FailedAttempt {
  attempt: number;
  error: Failure;
  retryable: boolean;
  retryAfterMs?: number;
  /** From [0, 1), for the jitter of the backoff. */
  random: number;
  /** What is set at its function, where the job does not say it. */
  defaults?: RetryOptions;
  /** With those: when it began, ms since 1970, if that is known. */
  began_at?: number;
  /** Its worker had to stop: that uses up no retry. */
  interrupted?: true;
  /** What it told last of its progress. */
  progress?: unknown;
  /** It had returned, and its result cannot be kept. */
  executed?: true;
}

export interface Outcome {
  /** The function with that attempt counted. */
  fn: FunctionState;
  error: Failure;
  /** When the next attempt is due, ms since 1970; undefined if there is none. */
  retryAt: number | undefined;
}

/** The function with the start of an attempt recorded. */
export function begun(fn: FunctionState, attempt: number, now: number): FunctionState {
  const next: FunctionState = { ...fn, retry_count: attempt, started_at: fn.started_at ?? now };
  if (callOf(fn).retry_options?.retry_for_ms !== undefined) next.tried_at ??= now;
  return next;
}

/** @param now ms since 1970 */
export function afterFailure(fn: FunctionState, failed: FailedAttempt, now: number): Outcome {
  if (failed.interrupted) return afterInterruption(fn, failed, now);
  const { error, attempt, retryable, retryAfterMs, random } = failed;
  const options = retryOptionsWith(callOf(fn).retry_options, failed.defaults);
  const failures = (fn.failures ?? 0) + 1;
  const next: FunctionState = { ...fn, retry_count: attempt, failures, error };
  keepProgress(next, failed.progress);
  const windowMs = options?.retry_for_ms;
  // Not since `started_at`: that may be of a time before a retry by hand, or of the function in whose place it runs.
  if (windowMs !== undefined) next.tried_at ??= failed.began_at ?? now;
  const limit = options?.retry_limit ?? (windowMs === undefined ? 1 : Number.POSITIVE_INFINITY);
  if (!retryable || failures >= limit) return { fn: next, error, retryAt: undefined };
  const retryAt = now + (retryAfterMs ?? backoffDelayMs(options?.backoff, failures, random));
  const isTooLate = windowMs !== undefined && retryAt > (next.tried_at ?? now) + windowMs;
  return { fn: next, error, retryAt: isTooLate ? undefined : retryAt };
}

/** @param progress what the attempt told last of its progress */
export function afterLoss(fn: FunctionState, attempt: number, progress: unknown, now: number): Outcome {
  const lost = (fn.lost ?? 0) + 1;
  const error: Failure = {
    code: "attempt_lost",
    name: "AttemptLost",
    message: `the worker went silent in attempt ${attempt} (${lost} of at most ${LOST_LIMIT} times)${lost < LOST_LIMIT ? "" : WHY_LOST}`,
  };
  const next: FunctionState = { ...fn, retry_count: attempt, lost, error };
  keepProgress(next, progress);
  return { fn: next, error, retryAt: lost >= LOST_LIMIT ? undefined : now + lostDelayMs(lost) };
}

/** Said when it has been lost for the last time. */
const WHY_LOST =
  ": each time it died, was cut off, or the handler kept its event loop busy; in a thread it would not (examples/threads.ts)";

/** At once, but the third time not: a hung worker swallows attempts until the server drops it, and must not end the job. */
function lostDelayMs(count: number): number {
  return count <= 2 ? 0 : (count - 2) * LOST_DELAY_MS;
}

/** At once, as it is a matter of where it runs; but a service that does nothing but interrupt is asked more and more rarely. */
function afterInterruption(fn: FunctionState, { attempt, error: told, progress }: FailedAttempt, now: number): Outcome {
  const interrupted = (fn.interrupted ?? 0) + 1;
  const isLast = interrupted >= INTERRUPTED_LIMIT;
  const message = isLast
    ? `interrupted ${interrupted} times, by workers that had to stop: ${told.message}`
    : told.message;
  const error: Failure = { code: "attempt_interrupted", name: "AttemptInterrupted", message };
  const next: FunctionState = { ...fn, retry_count: attempt, interrupted, error };
  keepProgress(next, progress);
  const delayMs = interrupted <= 2 ? 0 : Math.min((interrupted - 2) * INTERRUPTED_DELAY_MS, MAX_INTERRUPTED_DELAY_MS);
  return { fn: next, error, retryAt: isLast ? undefined : now + delayMs };
}

/** That of an earlier attempt stays where this one has told nothing. */
function keepProgress(fn: FunctionState, progress: unknown): void {
  if (progress !== undefined) fn.last_progress = progress;
}

/** Whether it has something that records of format 1 cannot have. */
export function needsNewerFormat({ interrupted, tried_at, last_progress }: FunctionState): boolean {
  return interrupted !== undefined || tried_at !== undefined || last_progress !== undefined;
}

/** The function as it begins anew when its job is retried by hand. */
export function forgiven(fn: FunctionState): FunctionState {
  const { failures: _f, lost: _l, error: _e, interrupted: _i, tried_at: _t, ...rest } = fn;
  return rest;
}
