/**
 * The attempts of the items of one entry that are under way: each item has one at a time, in line or in flight, or waits for the next. Which
 * items begin, and what becomes of them, is for who has it to say (`item-runner.ts`, `item-undo.ts`).
 *
 * CREW-1  An item is under way from `begin` until it has been told how it ended, was dropped or cancelled: one that backs off keeps its place.
 * CREW-2  Nothing is sent on a lease that may have run out (ACTOR-4), or while it pauses: such an attempt is held back until `release`.
 * CREW-3  After `stop` nothing is sent or tried again. What is in flight may answer, for `STOP_MS`, if its answer is of interest; all else
 *     goes at once, also what was on its way to a worker and is refused by it.
 */
import type { GivenInput } from "../bus/messages/invocation.ts";
import { expressionFailure } from "../job/expressions.ts";
import type { Failure } from "../job/failure.ts";
import { callOf, type FunctionState } from "../job/function-state.ts";
import { STOP_MS } from "../job/graph-undo.ts";
import { afterFailure, afterLoss, type Outcome } from "../job/outcome.ts";
import type { Plan } from "../job/plan.ts";
import { ROOM_RETRY_MS } from "../job/rest.ts";
import { isEnded } from "../job/state.ts";
import { timerMs } from "../job/time.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import type { Attempt, AttemptListener, FailureDetails } from "./attempt.ts";
import { begunAt, setFor } from "./attempts.ts";
import { type Crew, type CrewOwner, type CrewWait, LISTING } from "./item-work.ts";

/** Waits that are shorter are spent with the branch at work: to say so would be two commits. */
const SHORT_MS = 1_000;

interface Flight {
  readonly item: number;
  fn: FunctionState;
  number: number;
  /** `sent`: in line or in flight; `loading`: what it is handed is being read. */
  wait: "sent" | "loading" | "held" | "room" | "backoff";
  /** When it is tried again, of the last two. Ms since 1970. */
  dueAt: number;
  attempt: Attempt | undefined;
}

export class ItemAttempts implements Crew, AttemptListener {
  readonly #context: ActorContext;
  readonly #host: GraphHost;
  readonly #plan: Plan;
  readonly #index: number;
  readonly #undo: true | undefined;
  readonly #owner: CrewOwner;
  readonly #flights = new Map<number, Flight>();
  /** How many of them are `sent` or `loading`. */
  #atWork = 0;
  #held = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #stopTimer: NodeJS.Timeout | undefined;
  #mode: "on" | "paused" | "stopping" | "draining" | "closed" = "on";

  constructor(
    context: ActorContext,
    host: GraphHost,
    plan: Plan,
    { index, undo }: { index: number; undo?: true | undefined },
    owner: CrewOwner,
  ) {
    this.#context = context;
    this.#host = host;
    this.#plan = plan;
    this.#index = index;
    this.#undo = undo;
    this.#owner = owner;
  }

  get size(): number {
    return this.#flights.size;
  }

  get inFlight(): boolean {
    for (const { attempt } of this.#flights.values()) if (attempt?.inFlight) return true;
    return false;
  }

  get heldBack(): boolean {
    return this.#held > 0;
  }

  has(item: number): boolean {
    return this.#flights.has(item);
  }

  begin(item: number, fn: FunctionState, dueAt = 0): void {
    const flight: Flight = { item, fn, number: fn.retry_count + 1, wait: "sent", dueAt, attempt: undefined };
    this.#flights.set(item, flight);
    this.#atWork += 1;
    if (dueAt > 0 && dueAt > Date.now()) this.#setWait(flight, "backoff");
    else this.#prepare(flight);
  }

  cancel(item: number): void {
    const flight = this.#flights.get(item);
    if (!flight) return;
    this.#remove(flight);
    flight.attempt?.cancel();
  }

  waitOf(now: number): CrewWait {
    if (this.#atWork > 0 || this.#held > 0) return undefined;
    let dueAt = Number.POSITIVE_INFINITY;
    for (const flight of this.#flights.values()) {
      if (flight.wait === "room") return { type: "worker" };
      dueAt = Math.min(dueAt, flight.dueAt);
    }
    return dueAt === Number.POSITIVE_INFINITY || dueAt - now <= SHORT_MS
      ? undefined
      : { type: "backoff", due_at: dueAt };
  }

  pause(): void {
    if (this.#mode === "on") this.#mode = "paused";
  }

  release(): void {
    if (this.#mode === "paused") this.#mode = "on";
    for (const flight of this.#flights.values()) {
      if (flight.wait === "held" && this.#host.lease.valid) this.#again(flight);
      else if (flight.wait === "room") this.#again(flight);
    }
    this.#onTimer();
  }

  stop(isHeard: boolean): void {
    if (this.#mode === "on" || this.#mode === "paused") this.#mode = "stopping";
    for (const flight of this.#flights.values()) {
      if (isHeard && flight.attempt?.inFlight) flight.attempt.askToStop();
      else this.cancel(flight.item);
    }
    if (this.#flights.size > 0) this.#stopTimer ??= setTimeout(() => this.#giveUp(), STOP_MS);
    this.#owner.onChange();
  }

  /** CREW-3 */
  #giveUp(): void {
    for (const { item, number } of this.#flights.values()) {
      this.cancel(item);
      this.#owner.onUnheard(item, number);
    }
    this.#owner.onChange();
  }

  skipUndo(): void {
    // The machine drops the branch: it is closed in a moment.
  }

  drain(): void {
    if (this.#mode === "on" || this.#mode === "paused") this.#mode = "draining";
    for (const flight of this.#flights.values()) if (!flight.attempt?.inFlight) this.cancel(flight.item);
  }

  close(): void {
    this.#mode = "closed";
    clearTimeout(this.#timer);
    clearTimeout(this.#stopTimer);
    for (const { attempt } of this.#flights.values()) attempt?.cancel();
    this.#flights.clear();
  }

  // --- one after the other

  #setWait(flight: Flight, wait: Flight["wait"]): void {
    if (flight.wait === "sent" || flight.wait === "loading") this.#atWork -= 1;
    else if (flight.wait === "held") this.#held -= 1;
    flight.wait = wait;
    if (wait === "sent" || wait === "loading") this.#atWork += 1;
    else if (wait === "held") this.#held += 1;
    else this.#wakeAt(flight.dueAt);
  }

  #remove(flight: Flight): void {
    if (!this.#flights.delete(flight.item)) return;
    if (flight.wait === "sent" || flight.wait === "loading") this.#atWork -= 1;
    else if (flight.wait === "held") this.#held -= 1;
  }

  #again(flight: Flight): void {
    this.#setWait(flight, "sent");
    this.#prepare(flight);
  }

  #prepare(flight: Flight): void {
    try {
      const given = this.#owner.given(flight.item, flight.fn);
      if (given instanceof Promise) this.#awaitGiven(flight, given);
      else this.#send(flight, given);
    } catch (error) {
      this.#unfit(flight, expressionFailure(error));
    }
  }

  #awaitGiven(flight: Flight, given: Promise<GivenInput>): void {
    this.#setWait(flight, "loading");
    given
      .then((known) => {
        if (this.#flights.get(flight.item) !== flight || flight.wait !== "loading") return;
        this.#setWait(flight, "sent");
        this.#send(flight, known);
      })
      .catch((error) => {
        if (this.#flights.get(flight.item) === flight) this.#unfit(flight, expressionFailure(error));
      })
      .catch((error) => this.#host.onFault(error));
  }

  /** What it is to be handed cannot be had. */
  #unfit(flight: Flight, error: Failure): void {
    this.#failed(flight, error, false);
  }

  #send(flight: Flight, given: GivenInput): void {
    const { job } = this.#host;
    if (isEnded(job)) return; // it is closed in a moment
    const item = flight.item === LISTING ? undefined : flight.item;
    const address = { index: this.#index, attempt: flight.number, item, undo: this.#undo };
    const attempt = this.#context.dispatcher.dispatch(job, address, this, undefined, this.#plan, given);
    // It may have been held back, or have failed, before this returns.
    if (this.#flights.get(flight.item) === flight && flight.wait === "sent") flight.attempt = attempt;
  }

  #flightOf({ item = LISTING, attempt }: Attempt): Flight | undefined {
    const flight = this.#flights.get(item);
    return flight?.number === attempt ? flight : undefined;
  }

  mayBegin(attempt: Attempt): boolean {
    const flight = this.#flightOf(attempt);
    if (!flight) return false;
    if (this.#mode === "on" && this.#host.lease.valid) return true;
    flight.attempt = undefined;
    if (this.#isEnding) this.#letGo(flight);
    else this.#setWait(flight, "held");
    return false;
  }

  onStarted(): void {
    // The start of an attempt of an item is not recorded: see `item-runner.ts`.
  }

  onProgress(attempt: Attempt, progress: unknown): void {
    attempt.progress = progress;
  }

  onSucceeded(attempt: Attempt, result: unknown): void {
    const flight = this.#flightOf(attempt);
    if (!flight) return;
    this.#remove(flight);
    this.#owner.onDone(flight.item, flight.number, result);
    this.#owner.onChange();
  }

  onFailed(attempt: Attempt, error: Failure, retryable: boolean, details?: FailureDetails): void {
    const flight = this.#flightOf(attempt);
    if (flight) this.#failed(flight, error, retryable, attempt, details);
  }

  #failed(flight: Flight, error: Failure, retryable: boolean, attempt?: Attempt, details: FailureDetails = {}): void {
    const now = Date.now();
    const { retryAfterMs, interrupted } = details;
    const failed = {
      attempt: flight.number,
      error,
      retryable,
      random: Math.random(),
      ...(retryAfterMs !== undefined && { retryAfterMs }),
      ...(interrupted && { interrupted }),
      ...(attempt?.progress !== undefined && { progress: attempt.progress }),
      ...(attempt && setFor(attempt.sentAt, this.#context.settings.of(attempt.functionName))),
    };
    this.#settle(flight, afterFailure(sinceBegun(flight.fn, attempt), failed, now));
  }

  onLost(attempt: Attempt): void {
    const flight = this.#flightOf(attempt);
    if (!flight) return;
    const now = Date.now();
    this.#settle(flight, afterLoss(sinceBegun(flight.fn, attempt), flight.number, attempt.progress, now));
  }

  onNoRoom(attempt: Attempt): void {
    const flight = this.#flightOf(attempt);
    if (!flight) return;
    flight.attempt = undefined;
    if (this.#isEnding) {
      this.#letGo(flight);
      return;
    }
    flight.dueAt = Date.now() + ROOM_RETRY_MS;
    this.#setWait(flight, "room");
    this.#owner.onChange();
  }

  get #isEnding(): boolean {
    return this.#mode === "stopping" || this.#mode === "draining";
  }

  /** CREW-3: no worker has got it, and none is to. */
  #letGo(flight: Flight): void {
    this.#remove(flight);
    this.#owner.onChange();
  }

  #settle(flight: Flight, outcome: Outcome): void {
    const { fn, retryAt } = outcome;
    const isAgain = retryAt !== undefined && (this.#mode === "on" || this.#mode === "paused");
    flight.attempt = undefined;
    if (isAgain) {
      // First: what comes of being told may take long.
      flight.fn = fn;
      flight.number = fn.retry_count + 1;
      flight.dueAt = retryAt;
      this.#setWait(flight, "backoff");
    } else this.#remove(flight);
    if (retryAt === undefined) this.#owner.onFailed(flight.item, outcome);
    else this.#owner.onTried(flight.item, outcome);
    this.#owner.onChange();
  }

  // --- what waits for a time

  #wakeAt(at: number): void {
    if (at >= this.#timerAt) return;
    this.#timerAt = at;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#onTimer(), timerMs(at - Date.now()));
  }

  #onTimer(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#mode !== "on") return;
    const now = Date.now();
    for (const flight of this.#flights.values()) {
      if (flight.wait !== "backoff" && flight.wait !== "room") continue;
      if (flight.dueAt <= now) this.#again(flight);
      else this.#wakeAt(flight.dueAt);
    }
  }
}

/** Where retries are limited by time, that begins with the first execution: it is recorded only now that this has failed. */
function sinceBegun(fn: FunctionState, attempt: Attempt | undefined): FunctionState {
  if (fn.tried_at !== undefined || !attempt || callOf(fn).retry_options?.retry_for_ms === undefined) return fn;
  return { ...fn, tried_at: begunAt(attempt.sentAt) };
}
