import type { EncodedResults } from "../bus/messages/invocation.ts";
import { APART_BYTES } from "../job/apart.ts";
import type { Failure } from "../job/failure.ts";
import type { FailedAttempt } from "../job/outcome.ts";
import type { Plan } from "../job/plan.ts";
import type { FunctionSettings } from "../job/settings.ts";
import { type AttemptAddress, isSameAttempt, type LiveJob } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import type { Attempt, AttemptListener, FailureDetails } from "./attempt.ts";
import type { Dispatcher } from "./dispatcher.ts";

/** The attempts of one job that are in line or in flight, one of each entry: in a chain there is one. */
export class Attempts {
  #first: Attempt | undefined;
  /** Where there are several: those besides the first, by the index of their entry. */
  #others: Map<number, Attempt> | undefined;
  /** Gone from here as soon as that attempt has been held back, or has failed: maybe before it is known which one it is. */
  #dispatching: AttemptAddress | undefined;

  get inFlight(): boolean {
    if (this.#first?.inFlight) return true;
    for (const attempt of this.#others?.values() ?? []) if (attempt.inFlight) return true;
    return false;
  }

  has(address: AttemptAddress): boolean {
    return this.#of(address.index)?.has(address) ?? false;
  }

  dispatch(
    dispatcher: Dispatcher,
    job: LiveJob,
    address: AttemptAddress,
    listener: AttemptListener,
    results?: EncodedResults,
    plan?: Plan,
  ): void {
    this.#dispatching = address;
    const attempt = dispatcher.dispatch(job, address, listener, results, plan);
    if (this.#dispatching !== address) return;
    this.#dispatching = undefined;
    this.#of(address.index)?.cancel(); // nobody waits for the outcome of an earlier one
    this.#set(attempt);
  }

  /** It has come to its end, or was held back. */
  delete(address: AttemptAddress): void {
    const { index } = address;
    if (this.#dispatching && isSameAttempt(this.#dispatching, address)) this.#dispatching = undefined;
    if (!this.#of(index)?.has(address)) return;
    if (this.#first?.index === index) this.#first = undefined;
    else this.#others?.delete(index);
  }

  /** Who executes it may stop; its answer is waited for. Returns false if it is with nobody. */
  askToStop(address: AttemptAddress): boolean {
    const attempt = this.#of(address.index);
    if (!attempt?.has(address) || !attempt.inFlight) return false;
    attempt.askToStop();
    return true;
  }

  /** Nobody waits for the outcomes of those for which that holds. */
  cancelIf(isOver: (attempt: Attempt) => boolean): void {
    for (const attempt of [this.#first, ...(this.#others?.values() ?? [])]) {
      if (!attempt || !isOver(attempt)) continue;
      this.delete(attempt);
      attempt.cancel();
    }
  }

  /** Nobody waits for their outcomes any more. */
  cancel(): void {
    this.#first?.cancel();
    this.#first = undefined;
    for (const attempt of this.#others?.values() ?? []) attempt.cancel();
    this.#others = undefined;
  }

  #of(index: number): Attempt | undefined {
    return this.#first?.index === index ? this.#first : this.#others?.get(index);
  }

  #set(attempt: Attempt): void {
    const { index } = attempt;
    if ((this.#first === undefined && !this.#others?.has(index)) || this.#first?.index === index) this.#first = attempt;
    else {
      this.#others ??= new Map();
      this.#others.set(index, attempt);
    }
  }
}

/**
 * What the machine is told of an attempt that was answered with an error, or was given up.
 *
 * @param settings of its function, if there are any
 */
export function failedEvent(
  { index, attempt, undo, progress, sentAt }: Attempt,
  error: Failure,
  retryable: boolean,
  { retryAfterMs, interrupted }: FailureDetails = {},
  settings?: FunctionSettings,
): Event {
  return {
    ...{ type: "failed", index, attempt, error, retryable, random: Math.random() },
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(interrupted && { interrupted }),
    ...setFor(sentAt, settings),
    ...(progress !== undefined && { progress }),
    ...(undo && { undo }),
  };
}

/** What is set at the function of an attempt that has failed, as `afterFailure` counts with it. */
export function setFor(
  sentAt: number,
  settings: FunctionSettings | undefined,
): Pick<FailedAttempt, "defaults" | "began_at"> {
  return settings ? { defaults: settings, ...(sentAt > 0 && { began_at: begunAt(sentAt) }) } : {};
}

/** Of one whose worker went silent. */
export function lostEvent({ index, attempt, undo, progress }: Attempt): Event {
  return { type: "lost", index, attempt, ...(undo && { undo }), ...(progress !== undefined && { progress }) };
}

export function startedEvent({ index, attempt, undo }: AttemptAddress): Event {
  return undo ? { type: "started", index, attempt, undo } : { type: "started", index, attempt };
}

/** @param bytes how many the answer had */
export function succeededEvent({ index, attempt, undo }: AttemptAddress, result: unknown, bytes: number): Event {
  if (undo) return { type: "succeeded", index, attempt, undo, result };
  if (bytes > APART_BYTES) return { type: "succeeded", index, attempt, result, bytes };
  return { type: "succeeded", index, attempt, result };
}

export function noRoomEvent({ index, attempt, undo }: AttemptAddress): Event {
  return { type: "no_room", index, attempt, ...(undo && { undo }) };
}

/** By the wall clock, of a monotonic time. */
export function begunAt(sentAt: number): number {
  return Math.round(Date.now() - (performance.now() - sentAt));
}
