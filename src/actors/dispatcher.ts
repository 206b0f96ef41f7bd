/**
 * Sends invocations to `fn.<name>` and keeps those for which no worker has room: one line per function, first come
 * first served, so that functions without workers hold up nobody else.
 *
 * DISPATCH-1  An attempt has at most one outcome; after `cancel()` it has none.
 * DISPATCH-2  "No room" (503 no responders, 429) is no attempt: it uses up no retry and goes back to the head of its line.
 * DISPATCH-3  An attempt of a function whose workers send heartbeats is lost when three of them are missing. While we are
 *     disconnected, or were stopped, silence proves nothing.
 * DISPATCH-4  At most `limit` invocations of a function are in flight (see `FunctionLine`).
 */
import type { Msg } from "nats";
import { STATUS_HEADER } from "../api/headers.ts";
import { afterPrefix, FUNCTION_PREFIX, ROOM, STOP } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import type { EncodedResults } from "../bus/messages/invocation.ts";
import { encodeStop, readRoom } from "../bus/messages/nudges.ts";
import { discoverServices } from "../bus/messages/service.ts";
import type { Failure } from "../job/failure.ts";
import { type AttemptAddress, functionAt, type LiveJob } from "../job/state.ts";
import { Attempt, type AttemptListener } from "./attempt.ts";
import { FunctionLine } from "./function-line.ts";
import type { Lifecycle } from "./lifecycle.ts";

export interface DispatcherOptions {
  /** A worker's heartbeat interval; three missing ones are a lost attempt. Default 1,500 ms. */
  heartbeatMs?: number;
  /** An attempt that has lasted this long is told and recorded as started. Default 100 ms. */
  recordStartMs?: number;
  /** The timeout of a function that has none, where its worker sends no heartbeats. Default 30 minutes. */
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
}

const WATCH_MS = 100;
/** A start that is recorded is a commit more: where attempts take long because too much is going on, it must not add to it. */
const MAX_STARTS_PER_WATCH = 100;
/** Function names come from users: the memory of who sends heartbeats is limited. */
const MAX_KNOWN_FUNCTIONS = 10_000;

export class Dispatcher {
  readonly #bus: Bus;
  readonly #lifecycle: Lifecycle;
  readonly #options: Required<DispatcherOptions>;
  readonly #lines = new Map<string, FunctionLine>();
  /** Functions served by workers that send heartbeats. */
  readonly #heartbeating = new Set<string>();
  /** Only while there is something to watch. */
  #watchdog: NodeJS.Timeout | undefined;
  readonly #stops: (() => void)[];
  readonly #observer: DispatcherObserver;
  #lastWatch = performance.now();
  /** Attempts that have lasted for long enough to be told as started, if a worker has them. */
  #lasting: Attempt[] = [];
  #discovery: Promise<void> | undefined;

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
    bus.mux.onStray = (message) => this.#onStray(message);
    const rooms = bus.nc.subscribe(ROOM, { callback: (_, message) => this.#onRoom(message.data) });
    this.#stops = [() => rooms.unsubscribe(), bus.onReconnected(() => this.#onReconnected())];
    this.#discover();
  }

  /** Has the attempt of the job executed, as soon as a worker has room. */
  dispatch(job: LiveJob, address: AttemptAddress, listener: AttemptListener, results?: EncodedResults): Attempt {
    const { name } = functionAt(job, address.index);
    const attempt = new Attempt(job, address, name, listener, results);
    this.#lineOf(name).add(attempt);
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

  /** Memory is full with `jobs`: those of slow functions, or of functions without workers, make room. */
  relieve(jobs: number): void {
    const now = performance.now();
    const slow = [...this.#lines.values()].filter((line) => line.waitedMs(now) >= this.#options.relieveAfterMs);
    for (const line of slow) line.keepFirst(Math.floor(jobs / 2 / slow.length));
  }

  close(): void {
    clearInterval(this.#watchdog);
    this.#bus.mux.onStray = undefined;
    for (const stop of this.#stops) stop();
    for (const line of this.#lines.values()) line.close();
    this.#lines.clear();
  }

  #lineOf(name: string): FunctionLine {
    const known = this.#lines.get(name);
    if (known) return known;
    const line = new FunctionLine(name, this.#bus, {
      onHeartbeat: () => this.#remember(name),
      onRoom: () => this.#observer.onRoom(name),
      onAbandoned: (attempt, reply) => this.#stop(attempt, reply),
      onTrouble: (error) => this.#lifecycle.emit("trouble", { what: `cannot send invocations of ${name}`, error }),
    });
    this.#lines.set(name, line);
    if (!this.#watchdog) {
      this.#lastWatch = performance.now();
      this.#watchdog = setInterval(() => setImmediate(() => this.#watch()), WATCH_MS);
    }
    return line;
  }

  #remember(name: string): void {
    this.#heartbeating.delete(name); // to the end: the one not heard of for longest is forgotten first
    this.#heartbeating.add(name);
    for (const oldest of this.#heartbeating) {
      if (this.#heartbeating.size <= MAX_KNOWN_FUNCTIONS) return;
      this.#heartbeating.delete(oldest);
    }
  }

  /** Asks who serves what: workers announce themselves, but not to those who do not listen yet. One question at a time. */
  #discover(): void {
    this.#discovery ??= this.#askServices().finally(() => {
      this.#discovery = undefined;
    });
  }

  async #askServices(): Promise<void> {
    try {
      for (const service of await discoverServices(this.#bus)) {
        if (!service.metadata?.heartbeat_ms) continue;
        for (const endpoint of service.endpoints) {
          const name = afterPrefix(endpoint.subject, FUNCTION_PREFIX);
          if (name !== undefined) this.#remember(name);
        }
      }
    } catch (error) {
      this.#lifecycle.emit("trouble", { what: "cannot ask which workers there are", error });
    }
  }

  #onRoom(data: Uint8Array): void {
    const room = readRoom(data);
    if (!room) return;
    for (const name of room.functions) {
      this.#remember(name);
      this.#lines.get(name)?.onRoom(room.slots);
      this.#observer.onRoom(name);
    }
  }

  /** The worker that executes it may stop; one that does not hear of it goes on for nothing. */
  #stop(attempt: Attempt, reply: string): void {
    if (this.#bus.connected) this.#bus.nc.publish(STOP, encodeStop(reply, attempt.job.job_id, attempt));
  }

  /** A heartbeat of an attempt that nobody waits for: its worker has not heard that it may stop. */
  #onStray(message: Msg): void {
    if (message.headers?.get(STATUS_HEADER) !== "heartbeat" || !this.#bus.connected) return;
    this.#bus.nc.publish(STOP, encodeStop(message.subject));
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
    if (pausedMs > 10 * WATCH_MS) {
      this.#forgive();
      return;
    }
    for (const [name, line] of this.#lines) {
      this.#watchLine(name, line, now);
      if (line.idle) this.#lines.delete(name);
    }
    if (this.#lasting.length > 0) void this.#recordStarts(this.#lasting.splice(0));
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

  #watchLine(name: string, line: FunctionLine, now: number): void {
    const { heartbeatMs, recordStartMs, silentTimeoutMs, roomWaitMs } = this.#options;
    const heartbeats = this.#heartbeating.has(name);
    for (const attempt of line.inFlight) {
      const age = now - attempt.sentAt;
      if (!attempt.started && age >= recordStartMs && this.#lasting.length < MAX_STARTS_PER_WATCH) {
        this.#lasting.push(attempt);
      }
      const timeoutMs = attempt.timeoutMs ?? (heartbeats ? undefined : silentTimeoutMs);
      if (timeoutMs !== undefined && age >= timeoutMs) {
        line.end(attempt, (listener) => listener.onFailed(attempt, timeoutFailure(timeoutMs), true, undefined));
      } else if (heartbeats && now - attempt.heardAt >= 3 * heartbeatMs) {
        line.end(attempt, (listener) => listener.onLost(attempt));
      }
    }
    line.releaseWaiting(now, roomWaitMs);
    line.probe(now);
  }
}

function timeoutFailure(timeoutMs: number): Failure {
  return { code: "attempt_timeout", name: "AttemptTimeout", message: `no result within ${timeoutMs} ms` };
}
