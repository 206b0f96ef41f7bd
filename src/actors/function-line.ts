/**
 * The line of one function: what is in flight, what waits, and how many may be in flight.
 *
 * How many workers have how much room is not known, so the line finds out as TCP does: while `limit` is what holds it
 * back, it grows with the results; when there is no room, it falls to what was accepted and grows more rarely, at worst
 * once in `MAX_GROWTH_INTERVAL` results. An announcement of a worker makes room for as many as it says; besides, a
 * blocked line is probed with one invocation now and then.
 */
import type { Msg } from "nats";
import { HEARTBEAT_MS_HEADER } from "../api/headers.ts";
import type { LineDepth } from "../api/requests.ts";
import { functionSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { attemptTimeoutMs, encodeInvocation, readReply } from "../bus/messages/invocation.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";
import { expressionFailure } from "../job/expressions.ts";
import type { Failure } from "../job/failure.ts";
import { dueSince } from "../job/rest.ts";
import { MissingValue } from "../job/values.ts";
import { Bag } from "../util/bag.ts";
import { Queue } from "../util/queue.ts";
import type { Attempt, AttemptLine, AttemptListener } from "./attempt.ts";
import { tooMuch } from "./refusal.ts";

/** A fan of some fifty is not held back. */
const FIRST_LIMIT = 64;
const MAX_LIMIT = 100_000;
/** How often an invocation is sent again at once before its line is blocked. */
const TRIES_PER_TURN = 4;
const MAX_GROWTH_INTERVAL = 64;
/** From so many waiting on, those that were cancelled are taken out; then at twice as many as were left. */
const FIRST_PURGE = 1_024;
const FIRST_PROBE_MS = 50;
const MAX_PROBE_MS = 500;

export interface LineObserver {
  /** The timeout that is set at the function. */
  setTimeoutMs(): number | undefined;
  /** A result made room, and none are waiting. */
  onRoom(): void;
  /** Who executes the attempt may stop; `reply` is the reply subject of its invocation. */
  onStopWanted(attempt: Attempt, reply: string, isAnswerAwaited: boolean): void;
  /** A reply has shown that somebody serves the function without heartbeats. */
  onPlainWorker(): void;
  /** The same, if the reply has come late because it was sent late. */
  onLateReply(): void;
  /** Sending fails for a reason of the bus; once per spell. */
  onTrouble(error: AsyncError): void;
}

export class FunctionLine implements AttemptLine {
  readonly inFlight = new Bag<Attempt>();
  /** How often all workers of the function send heartbeats, as far as is known; undefined if some may send none. */
  heartbeatMs: number | undefined;
  readonly #bus: Bus;
  readonly #subject: string;
  readonly #observer: LineObserver;
  readonly #waiting = new Queue<Attempt>((attempt) => attempt.enqueuedAt);
  #purgeAt = FIRST_PURGE;
  #limit = FIRST_LIMIT;
  /** After how many results the limit grows: fewer after a growth that nobody refused, more after a refusal. */
  #growthInterval = 1;
  #resultsSinceGrowth = 0;
  /** Nothing is sent until a result, an announcement or a probe. */
  #blocked = false;
  #probeMs = FIRST_PROBE_MS;
  #probeAt = 0;
  /** Since when there has been no worker at all; undefined while there is one. */
  #noWorkerSince: number | undefined;
  #troubled = false;
  /** How many may wait here since some had to be sent to the backlog; undefined while all may. */
  #share: number | undefined;

  constructor(name: string, bus: Bus, observer: LineObserver) {
    this.#subject = functionSubject(name);
    this.#bus = bus;
    this.#observer = observer;
  }

  /** So many wait that further jobs had better wait in the backlog. */
  get full(): boolean {
    if (this.#share !== undefined && this.#waiting.size <= this.#share / 2) this.#share = undefined;
    return this.#share !== undefined;
  }

  /** How many more it has room for: as many as it takes so that it does not run dry. */
  get room(): number {
    if (this.#blocked && this.#waiting.size > 0) return 0;
    return Math.max(0, 2 * this.#limit - this.inFlight.size - this.#waiting.size);
  }

  /** What it has. An invocation that is on its way to nobody, to find out whether that is still so, waits. */
  depth(now: number): Omit<LineDepth, "name"> {
    const unserved = this.#noWorkerSince !== undefined && ![...this.inFlight].some(isTaken);
    const probes = unserved ? this.inFlight.size : 0;
    const waiting = this.#waiting.size + probes;
    const depth: Omit<LineDepth, "name"> = { waiting, in_flight: this.inFlight.size - probes };
    if (unserved && waiting > 0) depth.unserved = true;
    const first = this.#firstWaiting() ?? [...this.inFlight].find((attempt) => unserved && !attempt.cancelled);
    if (first) depth.oldest_ms = Math.round(waitedMs(first, now));
    return depth;
  }

  /** For how long the first in line has been waiting, in ms. */
  waitedMs(now: number): number {
    const head = this.#firstWaiting();
    return head ? now - head.enqueuedAt : 0;
  }

  /** For how long there has been no worker at all, in ms. */
  unservedMs(now: number): number {
    return this.#noWorkerSince === undefined || this.inFlight.size > 0 ? 0 : now - this.#noWorkerSince;
  }

  /** Nothing is in flight or waits: the line can go. */
  get idle(): boolean {
    return this.inFlight.size === 0 && this.#waiting.size === 0;
  }

  add(attempt: Attempt): void {
    this.#waiting.push(attempt);
    if (this.#waiting.size >= this.#purgeAt) this.#purge();
    this.#pump();
  }

  /** A worker says that it has room for `slots` more. */
  onRoom(slots: number): void {
    this.#growthInterval = 1;
    this.#noWorkerSince = undefined;
    this.#limit = Math.min(MAX_LIMIT, Math.max(this.#limit, this.inFlight.size + slots));
    this.retry();
  }

  /** Something has changed that may have made room. */
  retry(): void {
    this.#blocked = false;
    this.#probeMs = FIRST_PROBE_MS;
    this.#pump();
  }

  /** Tries one invocation if the line has been blocked for long enough; not again for `restMs` at least. */
  probe(now: number, restMs = 0): void {
    if (this.#waiting.size === 0 || now < this.#probeAt) return;
    if (!this.#blocked && this.inFlight.size < this.#limit) return;
    this.#probeAt = now + Math.max(restMs, this.#probeMs);
    this.#probeMs = Math.min(MAX_PROBE_MS, this.#probeMs * 2);
    this.#limit = Math.max(this.#limit, Math.min(MAX_LIMIT, this.inFlight.size + 1));
    this.#blocked = false;
    this.#pump(1);
  }

  /** Tells those that have been waiting for `waitMs`, with no worker for as long, that there is no room. */
  releaseWaiting(now: number, waitMs: number): void {
    if (this.#noWorkerSince === undefined || now - this.#noWorkerSince < waitMs || this.inFlight.size > 0) return;
    while (this.#firstWaiting() && this.waitedMs(now) >= waitMs) sendAway(this.#waiting.shift());
  }

  /** Keeps the first `share` of those that wait, and tells the others that there is no room. */
  keepFirst(share: number): void {
    this.#share = share;
    for (const attempt of this.#waiting.cut(share)) sendAway(attempt);
  }

  /** Ends an attempt in flight, and gives it up if its reply has not come; `report` tells its listener the outcome. */
  end(attempt: Attempt, report: (listener: AttemptListener) => void): void {
    if (!this.inFlight.delete(attempt)) return;
    const { listener } = attempt;
    attempt.listener = undefined;
    attempt.abandon();
    if (listener) report(listener);
    this.#pump();
    if (this.#waiting.size === 0) this.#observer.onRoom();
  }

  onAbandoned(attempt: Attempt, reply: string): void {
    this.#observer.onStopWanted(attempt, reply, false);
    if (this.inFlight.delete(attempt)) this.#pump();
  }

  onStopWanted(attempt: Attempt, reply: string): void {
    this.#observer.onStopWanted(attempt, reply, true);
  }

  close(): void {
    for (const attempt of this.inFlight) attempt.close();
    this.inFlight.clear();
  }

  #purge(): void {
    this.#waiting.keepOnly((attempt) => !attempt.cancelled);
    this.#purgeAt = Math.max(FIRST_PURGE, 2 * this.#waiting.size);
  }

  #firstWaiting(): Attempt | undefined {
    while (this.#waiting.peek()?.cancelled) this.#waiting.shift();
    return this.#waiting.peek();
  }

  #pump(most = MAX_LIMIT): void {
    for (let left = most; left > 0 && !this.#blocked && this.inFlight.size < this.#limit; left--) {
      const attempt = this.#waiting.shift();
      if (!attempt) return;
      if (attempt.listener?.mayBegin(attempt)) this.#send(attempt);
      else left += 1;
    }
  }

  #send(attempt: Attempt): void {
    const now = Date.now();
    const { job, results, plan, given } = attempt;
    const timeoutMs = attemptTimeoutMs(job, attempt.index, now, attempt.call, this.#observer.setTimeoutMs());
    try {
      const body = encodeInvocation(job, attempt, now, timeoutMs, results, plan, given);
      const ticket = this.#bus.mux.open(this.#subject, body, undefined, attempt, attempt.results?.headers);
      attempt.sent(this, ticket, timeoutMs, this.heartbeatMs);
      this.inFlight.add(attempt);
      this.#troubled = false;
    } catch (error) {
      this.#onSendError(attempt, error);
    }
  }

  #onSendError(attempt: Attempt, error: unknown): void {
    if (error instanceof MissingValue) {
      sendAway(attempt); // it is tried again later, and what it needs is read before
      return;
    }
    if (!isAsyncError(error)) {
      unsent(attempt, expressionFailure(error));
      return;
    }
    if (error.code === "payload_too_large") {
      const message = attempt.plan
        ? tooMuch(error.message)
        : `the invocation does not fit into a message: ${error.message}`;
      unsent(attempt, { code: "payload_too_large", name: "PayloadTooLarge", message });
      return;
    }
    this.#waiting.giveBack(attempt);
    this.#blocked = true;
    if (!this.#troubled) this.#observer.onTrouble(error);
    this.#troubled = true;
  }

  onReply(attempt: Attempt, message: Msg): boolean {
    const reply = readReply(message, attempt.job.encoding);
    switch (reply.type) {
      case "heartbeat":
        attempt.heardAt = performance.now();
        attempt.heard = true;
        attempt.heartbeatMs = reply.heartbeatMs;
        if (reply.heartbeatMs === undefined) this.#observer.onPlainWorker();
        if (reply.progress !== undefined) attempt.listener?.onProgress(attempt, reply.progress);
        return false;
      case "no_room":
        this.#refused(attempt, reply.anyWorker);
        return true;
      case "result":
        this.#learn(attempt, message);
        attempt.close();
        this.#accepted();
        this.end(attempt, (listener) => listener.onSucceeded(attempt, reply.result, message.data.length));
        return true;
      case "error":
        this.#learn(attempt, message);
        attempt.close();
        this.#accepted();
        this.end(attempt, (listener) => {
          const { retryAfterMs, interrupted } = reply;
          listener.onFailed(attempt, reply.error, reply.retryable, { retryAfterMs, interrupted });
        });
        return true;
    }
  }

  /** Who would have sent a heartbeat before, and does not say that it sends any, sends none. */
  #learn({ heard, heartbeatMs, heardAt }: Attempt, message: Msg): void {
    if (heard || heartbeatMs === undefined || performance.now() - heardAt < 1.5 * heartbeatMs) return;
    if (!message.headers?.has(HEARTBEAT_MS_HEADER)) this.#observer.onLateReply();
  }

  /** It may not be sent to its function, so it was not executed; or its replies may not be heard, so that is not known. */
  onDenied(attempt: Attempt, { message }: AsyncError, wasSent: boolean): void {
    attempt.close();
    const code = wasSent ? "attempt_lost" : "function_failed";
    const error: Failure = { code, name: "PermissionDenied", message };
    this.end(attempt, (listener) => listener.onFailed(attempt, error, true));
  }

  #accepted(): void {
    if (this.inFlight.size >= this.#limit && ++this.#resultsSinceGrowth >= this.#growthInterval) this.#grow();
    this.#blocked = false;
    this.#noWorkerSince = undefined;
    this.#probeMs = FIRST_PROBE_MS;
  }

  #grow(): void {
    this.#limit = Math.min(MAX_LIMIT, this.#limit + Math.ceil(this.#limit / 8));
    this.#growthInterval = Math.ceil(this.#growthInterval / 2);
    this.#resultsSinceGrowth = 0;
  }

  /** Nobody took it: it goes back to the head of the line. */
  #refused(attempt: Attempt, anyWorker: boolean): void {
    this.inFlight.delete(attempt);
    attempt.close();
    if (!attempt.cancelled) this.#waiting.giveBack(attempt);
    attempt.refusals += 1;
    // A worker that refuses has left the queue group, so the next one may well have room.
    if (anyWorker && attempt.refusals % TRIES_PER_TURN !== 0) {
      this.#pump();
      return;
    }
    this.#growthInterval = Math.min(MAX_GROWTH_INTERVAL, this.#growthInterval * 4);
    this.#limit = Math.max(1, this.inFlight.size);
    this.#blocked = true;
    this.#probeAt = Math.max(this.#probeAt, performance.now() + this.#probeMs);
    if (anyWorker || this.inFlight.size > 0) this.#noWorkerSince = undefined;
    else this.#noWorkerSince ??= performance.now();
  }
}

/** A worker has it. */
function isTaken({ started, heard }: Attempt): boolean {
  return started || heard;
}

/** It may have been in other lines before, and in the backlog. */
function waitedMs({ enqueuedAt, job, index }: Attempt, now: number): number {
  const since = dueSince(job, index);
  return Math.max(now - enqueuedAt, since === undefined ? 0 : Date.now() - since);
}

/** It never can be sent as it is. */
function unsent(attempt: Attempt, why: Failure): void {
  const { listener } = attempt;
  attempt.listener = undefined;
  listener?.onFailed(attempt, why, false);
}

/** Its job is to wait elsewhere. */
function sendAway(attempt: Attempt | undefined): void {
  const listener = attempt?.listener;
  if (!attempt || !listener) return;
  attempt.listener = undefined;
  listener.onNoRoom(attempt);
}
