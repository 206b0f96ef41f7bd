/** Trying again what may pass by itself: NATS or the supervisors are away, or have too much to do. */
import { setTimeout as delay } from "node:timers/promises";
import type { Bus } from "../bus/connection.ts";
import { AsyncError, type ErrorCode, isAsyncError } from "../job/errors.ts";

/** The most that one try gets, and what is waited between two. */
const MAX_TRY_MS = 5_000;
const MAX_DELAY_MS = 2_000;
const TRANSIENT = new Set<ErrorCode>([
  "not_connected",
  "bus_timeout",
  "jetstream_unavailable",
  "no_responders",
  "bus_overloaded",
  "newer_format", // another supervisor may be able to read it
]);

/** These say that nothing was done. Where no answer has come, something may have been. */
const NOT_DONE = new Set<ErrorCode>(["no_responders", "bus_overloaded", "newer_format"]);

/** Whether trying again may mend it, and does not do it twice. */
export function wasNotDone(error: unknown): error is AsyncError {
  return isAsyncError(error) && NOT_DONE.has(error.code);
}

/** Whether trying again may mend it. */
export function mayPass(error: unknown): error is AsyncError {
  return isAsyncError(error) && TRANSIENT.has(error.code);
}

/**
 * Tries until it succeeds, fails for good, the time is over, or the client is closed. One try gets at most half of the time.
 *
 * @param passes whether it is tried again after that error
 * @throws AsyncError `closed`, or what the last try has failed with
 */
export async function patiently<T>(
  bus: Bus,
  timeoutMs: number,
  call: (leftMs: number) => Promise<T>,
  passes = mayPass,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (let failures = 0; ; failures++) {
    if (bus.closed) throw closed();
    try {
      return await call(Math.max(50, Math.min(end - performance.now(), tryMs(timeoutMs))));
    } catch (error) {
      if (!passes(error)) throw error;
      if (bus.closed) throw closed(error);
      const leftMs = end - performance.now();
      if (leftMs <= 0) throw error;
      if (error.code === "not_connected") await bus.whenConnected(leftMs);
      else await delay(Math.min(leftMs, MAX_DELAY_MS, 50 * 2 ** failures));
    }
  }
}

/** One try gets half of the time, so that there is a second one; and not for ever, as an answer may get lost. */
export function tryMs(timeoutMs: number): number {
  return Math.min(timeoutMs / 2, MAX_TRY_MS);
}

export function closed(cause?: AsyncError): AsyncError {
  const what = "the connection of the client is closed";
  const wasSent = cause !== undefined && cause.code !== "not_connected";
  return new AsyncError("closed", wasSent ? `${what}; what was asked for may have been done or not` : what, { cause });
}

/** Where NATS is there and answers nothing, for example as its disk was full. */
export function unacknowledged(cause: AsyncError): AsyncError {
  const next = "repeat it with the same id; if this goes on, `async doctor` says which stream takes no writes";
  return new AsyncError("bus_timeout", `${cause.message}: ${next}`, { cause });
}
