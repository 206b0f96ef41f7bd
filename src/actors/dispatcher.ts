/**
 * Sends invocations to `fn.<name>` and keeps those for which no worker has room: one line per function, first come
 * first served, so that functions without workers hold up nobody else.
 *
 * DISPATCH-1  An attempt has at most one outcome; after `cancel()` it has none.
 * DISPATCH-2  "No room" (503 no responders, 429) is no attempt: it uses up no retry and goes back to the head of its line.
 * DISPATCH-3  An attempt is judged by its own worker: one that has sent a heartbeat that says its interval is lost when three of them
 *     are missing; one that has been heard of without is not lost by silence. As long as none has come, it is lost when three are
 *     missing if nobody but workers with heartbeats served the function when it was sent (see `WorkerRoll`). While we are
 *     disconnected, or were stopped, silence proves nothing.
 * DISPATCH-4  At most `limit` invocations of a function are in flight (see `FunctionLine`).
 */
import type { Msg } from "nats";
import { HEARTBEAT_MS_HEADER, STATUS_HEADER } from "../api/headers.ts";
import type { LineDepth } from "../api/requests.ts";
import { ROOM, STOP } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { encodingOf } from "../bus/messages/codec.ts";
import { type EncodedResults, type GivenInput, readReply } from "../bus/messages/invocation.ts";
import { encodeStop, readRoom, type Stop } from "../bus/messages/nudges.ts";
import { queueGroupProblem, type ServedFunction, servedFunctions } from "../bus/messages/served-functions.ts";
import { discoverServices } from "../bus/messages/service.ts";
import type { Failure } from "../job/failure.ts";
import { callOf } from "../job/function-state.ts";
import type { Plan } from "../job/plan.ts";
import { type AttemptAddress, callAt, type LiveJob } from "../job/state.ts";
import { Attempt, type AttemptListener } from "./attempt.ts";
import { FunctionLine } from "./function-line.ts";
import type { SettingsOf } from "./function-settings.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { WorkerRoll } from "./worker-roll.ts";

export interface DispatcherOptions {
  /** The heartbeat interval of workers that announce room and do not say theirs. Default 1,500 ms. */
  heartbeatMs?: number;
  /** An attempt that has lasted this long is told and recorded as started. Default 100 ms. */
  recordStartMs?: number;
  /** How long an attempt without a timeout may be silent, where its worker promises no heartbeats. Default 30 minutes. */
  silentTimeoutMs?: number;
  /** How long a function may be without any worker before its jobs wait outside of memory. Default 30 s. */
  roomWaitMs?: number;
  /**
   * When memory is full, jobs of functions whose first in line has been waiting for this long make room for those of
   * other functions. Default 5 s.
   */
  relieveAfterMs?: number;
}

export interface DispatcherObserver {
  /** There may be room for more jobs of the function. */
  onRoom(functionName: string): void;
  /** What is set at functions. */
  settings?: SettingsOf;
}

const WATCH_MS = 100;
/** Who has not watched for so long was stopped, or too busy. */
const STOPPED_MS = 10 * WATCH_MS;
/** A start that is recorded is a commit more: where attempts take long because too much is going on, it must not add to it. */
const MAX_STARTS_PER_WATCH = 100;
/** So often it is asked who serves what, while there are attempts. */
const ASK_AGAIN_MS = 60_000;
/** And no more often than this. */
const ASK_PAUSE_MS = 1_000;
/** How many attempts lost by silence are remembered, in case that their worker was none of those with heartbeats. */
const MAX_REMEMBERED = 1_000;
/** When memory is full, jobs of functions that have had no worker at all for this long make room. */
const UNSERVED_RELIEF_MS = 250;
/** Of all blocked lines together, so that thousands of functions that nobody serves do not keep the server busy. */
const MAX_PROBES_PER_MS = 1;

interface Overdue {
  line: FunctionLine;
  attempt: Attempt;
  sentAt: number;
  timeoutMs: number;
}

export class Dispatcher {
  readonly #bus: Bus;
  readonly #lifecycle: Lifecycle;
  readonly #options: Required<DispatcherOptions>;
  readonly #lines = new Map<string, FunctionLine>();
  readonly #roll = new WorkerRoll();
  #askedAt = Number.NEGATIVE_INFINITY;
  /** A question that has to wait. */
  #nextQuestion: NodeJS.Timeout | undefined;
  /** The function of attempts that were lost before anything was heard of them, by their reply subjects. */
  readonly #lostUnheard = new Map<string, string>();
  /** Functions that are served in other queue groups: told once. */
  #strange = new Set<string>();
  /** Only while there is something to watch. */
  #watchdog: NodeJS.Timeout | undefined;
  readonly #stops: (() => void)[];
  readonly #observer: DispatcherObserver;
  #lastWatch = performance.now();
  /** Attempts that have lasted for long enough to be told as started, if a worker has them. */
  #lasting: Attempt[] = [];
  /** Attempts whose time is over, of which nothing has been heard. */
  #overdue: Overdue[] = [];
  #discovery: Promise<void> | undefined;
  #askAgain = false;
  #closed = false;

  constructor(bus: Bus, lifecycle: Lifecycle, observer: DispatcherObserver, options: DispatcherOptions = {}) {
    this.#bus = bus;
    this.#lifecycle = lifecycle;
    this.#observer = observer;
    this.#options = {
      heartbeatMs: 1_500,
      recordStartMs: 100,
      silentTimeoutMs: 30 * 60_000,
      roomWaitMs: 30_000,
      relieveAfterMs: 5_000,
      ...options,
    };
    const rooms = bus.subscribe(ROOM, (message) => this.#onRoom(message.data));
    this.#stops = [
      () => rooms.unsubscribe(),
      bus.onReconnected(() => this.#onReconnected()),
      bus.mux.onStray((message) => this.#onStray(message)),
    ];
    this.#discover();
  }

  /** Has the attempt of the job executed, as soon as a worker has room. */
  dispatch(
    job: LiveJob,
    address: AttemptAddress,
    listener: AttemptListener,
    results?: EncodedResults,
    plan?: Plan,
    given?: GivenInput,
  ): Attempt {
    const call = given ? callOf(given.fn) : callAt(job, address);
    const attempt = new Attempt(job, address, call, listener, results, plan, given);
    this.#lineOf(call.name).add(attempt);
    return attempt;
  }

  /** How many more jobs of the function would find room, as far as can be told; one to find out. */
  room(functionName: string): number {
    return this.#lines.get(functionName)?.room ?? 1;
  }

  /** Whether a job of the function had better wait in the backlog. */
  isFull(functionName: string): boolean {
    return this.#lines.get(functionName)?.full ?? false;
  }

  /** What each line has. */
  *depths(): Generator<LineDepth> {
    const now = performance.now();
    for (const [name, line] of this.#lines) yield { name, ...line.depth(now) };
  }

  /** Memory is full with `jobs`: those of slow functions, or of functions without workers, make room. */
  relieve(jobs: number): void {
    const now = performance.now();
    const after = this.#options.relieveAfterMs;
    const unservedAfter = Math.min(after, UNSERVED_RELIEF_MS);
    const slow = [...this.#lines.values()].filter(
      (line) => line.waitedMs(now) >= after || line.unservedMs(now) >= unservedAfter,
    );
    for (const line of slow) line.keepFirst(Math.floor(jobs / 2 / slow.length));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#watchdog);
    clearTimeout(this.#nextQuestion);
    for (const stop of this.#stops) stop();
    for (const line of this.#lines.values()) line.close();
    this.#lines.clear();
  }

  #lineOf(name: string): FunctionLine {
    const known = this.#lines.get(name);
    if (known) return known;
    const line = new FunctionLine(name, this.#bus, {
      onPlainWorker: () => this.#onPlainWorker(name),
      onLateReply: () => this.#onLateReply(name),
      onRoom: () => this.#observer.onRoom(name),
      onStopWanted: (attempt, reply, isAnswerAwaited) => this.#stop(attempt, reply, isAnswerAwaited),
      setTimeoutMs: () => this.#observer.settings?.of(name)?.timeout_ms,
      onTrouble: (error) => {
        const what = `cannot send invocations of ${name}`;
        this.#lifecycle.emit("trouble", { what, kind: "cannot send invocations", error });
      },
    });
    line.heartbeatMs = this.#roll.heartbeatMsOf(name, performance.now());
    this.#lines.set(name, line);
    if (!this.#watchdog) {
      this.#lastWatch = performance.now();
      this.#watchdog = setInterval(() => setImmediate(() => this.#watch()), WATCH_MS);
    }
    return line;
  }

  /** DISPATCH-3 */
  #onPlainWorker(name: string): void {
    const now = performance.now();
    this.#roll.shownPlain(name, now);
    const line = this.#lines.get(name);
    if (line?.heartbeatMs === undefined) return;
    line.heartbeatMs = undefined;
    for (const attempt of line.inFlight) if (!attempt.heard) attempt.heartbeatMs = undefined;
  }

  /** Where this process was stopped, the reply may have been there for long. */
  #onLateReply(name: string): void {
    if (performance.now() - this.#lastWatch <= STOPPED_MS) this.#onPlainWorker(name);
  }

  /** Asks who serves what: workers announce themselves, but not to those who do not listen yet. One question at a time. */
  #discover(): void {
    if (this.#nextQuestion || this.#closed) return;
    if (this.#discovery) {
      this.#askAgain = true; // what has changed may not be in the answer
      return;
    }
    this.#askAgain = false;
    const waitMs = this.#askedAt + ASK_PAUSE_MS - performance.now();
    if (waitMs > 0) {
      this.#nextQuestion = setTimeout(() => {
        this.#nextQuestion = undefined;
        this.#discover();
      }, Math.ceil(waitMs)); // a fraction of a ms may be too little for a clock to advance by
      return;
    }
    this.#discovery = this.#askServices().finally(() => {
      this.#discovery = undefined;
      if (this.#askAgain) this.#discover();
    });
  }

  async #askServices(): Promise<void> {
    this.#askedAt = performance.now();
    const askedAt = this.#askedAt;
    try {
      const functions = servedFunctions(await discoverServices(this.#bus));
      const now = performance.now();
      this.#roll.answered(functions, askedAt, now);
      this.#tellStrangers(functions);
      for (const [name, line] of this.#lines) {
        line.heartbeatMs = this.#roll.heartbeatMsOf(name, now);
        // Who has answered was there when these were sent.
        for (const attempt of line.inFlight) {
          if (!attempt.heard && attempt.sentAt >= askedAt) attempt.heartbeatMs = line.heartbeatMs;
        }
      }
    } catch (error) {
      this.#lifecycle.emit("trouble", { what: "cannot ask which workers there are", error });
    }
  }

  /** Once per spell. */
  #tellStrangers(functions: ReadonlyMap<string, ServedFunction>): void {
    const strange = new Set<string>();
    for (const [name, served] of functions) {
      const what = queueGroupProblem(name, served);
      if (what === undefined) continue;
      strange.add(name);
      if (!this.#strange.has(name))
        this.#lifecycle.emit("trouble", { what, kind: "functions are served outside of their queue group" });
    }
    this.#strange = strange;
  }

  #onRoom(data: Uint8Array): void {
    const room = readRoom(data);
    if (!room) return;
    if (room.slots === 0) {
      for (const name of room.functions) this.#roll.left(name);
      this.#discover();
      return;
    }
    const now = performance.now();
    for (const name of room.functions) {
      this.#roll.announced(name, room.heartbeatMs ?? this.#options.heartbeatMs, now);
      const line = this.#lines.get(name);
      if (line) {
        line.heartbeatMs = this.#roll.heartbeatMsOf(name, now);
        line.onRoom(room.slots);
      }
      this.#observer.onRoom(name);
    }
  }

  /** The worker that executes it may stop; one that does not hear of it goes on for nothing. */
  #stop(attempt: Attempt, reply: string, isAnswerAwaited: boolean): void {
    if (!this.#bus.connected) return;
    const stop: Stop = { reply, ...(isAnswerAwaited && { answer: true }) };
    this.#bus.nc.publish(STOP, encodeStop(stop, attempt.job.job_id, attempt));
  }

  /** A heartbeat of an attempt that nobody waits for: its worker has not heard that it may stop. */
  #onStray(message: Msg): void {
    const name = this.#lostUnheard.get(message.subject);
    if (name !== undefined && isOfPlainWorker(message)) {
      this.#lostUnheard.delete(message.subject);
      this.#onPlainWorker(name);
    }
    if (message.headers?.get(STATUS_HEADER) !== "heartbeat" || !this.#bus.connected) return;
    this.#bus.nc.publish(STOP, encodeStop({ reply: message.subject }));
  }

  #onReconnected(): void {
    this.#forgive();
    this.#discover();
    for (const line of this.#lines.values()) line.retry();
  }

  /** DISPATCH-3: what we could not have heard counts as heard. */
  #forgive(): void {
    const now = performance.now();
    for (const line of this.#lines.values()) for (const attempt of line.inFlight) attempt.heardAt = now;
  }

  #watch(): void {
    const now = performance.now();
    const pausedMs = now - this.#lastWatch;
    this.#lastWatch = now;
    if (!this.#bus.connected) return;
    if (pausedMs > STOPPED_MS) {
      this.#forgive();
      return;
    }
    if (now - this.#askedAt >= ASK_AGAIN_MS) this.#discover();
    for (const [name, line] of this.#lines) {
      this.#watchLine(line, now);
      if (line.idle) this.#lines.delete(name);
    }
    if (this.#lasting.length > 0) void this.#recordStarts(this.#lasting.splice(0));
    if (this.#overdue.length > 0) void this.#endOverdue(this.#overdue.splice(0));
    if (this.#lines.size > 0) return;
    clearInterval(this.#watchdog);
    this.#watchdog = undefined;
  }

  /** "No responders" may have come and not been read yet. It was sent before the answer to a flush, so flush first. */
  async #recordStarts(lasting: Attempt[]): Promise<void> {
    const sentAt = lasting.map((attempt) => attempt.sentAt);
    if (!(await this.#bus.flush())) return;
    for (const [index, attempt] of lasting.entries()) {
      if (attempt.inFlight && !attempt.started && attempt.sentAt === sentAt[index]) attempt.start();
    }
  }

  /** The same goes for those whose time is over, and of which nothing has been heard. */
  async #endOverdue(overdue: Overdue[]): Promise<void> {
    if (!(await this.#bus.flush())) return;
    for (const { line, attempt, sentAt, timeoutMs } of overdue) {
      if (attempt.inFlight && attempt.sentAt === sentAt) this.#timeOut(line, attempt, timeoutMs);
    }
  }

  #timeOut(line: FunctionLine, attempt: Attempt, timeoutMs: number): void {
    line.end(attempt, (listener) => listener.onFailed(attempt, timeoutFailure(timeoutMs), true));
  }

  #watchLine(line: FunctionLine, now: number): void {
    const { recordStartMs, silentTimeoutMs, roomWaitMs } = this.#options;
    for (const attempt of line.inFlight) {
      const age = now - attempt.sentAt;
      const silentMs = now - attempt.heardAt;
      if (!attempt.started && age >= recordStartMs && this.#lasting.length < MAX_STARTS_PER_WATCH) {
        this.#lasting.push(attempt);
      }
      const { timeoutMs, heartbeatMs } = attempt;
      if (timeoutMs !== undefined && age >= timeoutMs) {
        // Its time is over, if anybody has it: that nobody has may have been said, and not been read yet.
        if (attempt.started || attempt.heard) this.#timeOut(line, attempt, timeoutMs);
        else this.#overdue.push({ line, attempt, sentAt: attempt.sentAt, timeoutMs });
      } else if (heartbeatMs !== undefined && silentMs >= 3 * heartbeatMs) {
        this.#rememberLost(attempt);
        line.end(attempt, (listener) => listener.onLost(attempt));
      } else if (heartbeatMs === undefined && timeoutMs === undefined && silentMs >= silentTimeoutMs) {
        line.end(attempt, (listener) => listener.onFailed(attempt, timeoutFailure(silentTimeoutMs), true));
      }
    }
    line.releaseWaiting(now, roomWaitMs);
    line.probe(now, this.#lines.size / MAX_PROBES_PER_MS);
  }

  /** If something still comes of it, its worker was none of those by which it was judged. */
  #rememberLost(attempt: Attempt): void {
    this.#discover();
    const { reply } = attempt;
    if (attempt.heard || reply === undefined) return;
    this.#lostUnheard.set(reply, attempt.functionName);
    for (const oldest of this.#lostUnheard.keys()) {
      if (this.#lostUnheard.size <= MAX_REMEMBERED) break;
      this.#lostUnheard.delete(oldest);
    }
  }
}

/** It was executed by somebody who does not say that heartbeats are sent. */
function isOfPlainWorker(message: Msg): boolean {
  if (message.headers?.has(HEARTBEAT_MS_HEADER)) return false;
  return readReply(message, encodingOf(message.data)).type !== "no_room";
}

function timeoutFailure(timeoutMs: number): Failure {
  return { code: "attempt_timeout", name: "AttemptTimeout", message: `no result within ${timeoutMs} ms` };
}
