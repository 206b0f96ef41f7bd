/**
 * Looks after handlers at each heartbeat: those that go on although their attempt was given up, and those that keep the event
 * loop busy. It tells the log and counts; who gets a slot back is the worker's business.
 *
 * WATCH-1  A handler that goes on for `SHOWN_AFTER_MS` after its attempt was given up is *abandoned*: logged once, and counted
 *     until it ends.
 * WATCH-2  When it goes on for `abandonedAfterMs` its slot is released, once, unless `MAX_RELEASED` others go on without one.
 */
import type { Logger } from "pino";
import type { Execution } from "./execution.ts";

/** Most handlers end at once when their signal fires. */
const SHOWN_AFTER_MS = 1_000;
/** Each of them may keep memory and connections: a worker with more had better be full. */
const MAX_RELEASED = 1_000;
const MAX_NAMES = 10;

export interface HandlerWatchOptions {
  heartbeatMs: number;
  abandonedAfterMs: number;
  log: Logger;
}

export class HandlerWatch {
  readonly #options: HandlerWatchOptions;
  /** Abandoned ones that have a slot. */
  readonly #abandoned = new Set<Execution>();
  /** Abandoned ones that have none any more. */
  readonly #released = new Set<Execution>();
  /** Functions of handlers that took longer than a heartbeat and have ended since the last look. */
  readonly #endedLate = new Set<string>();
  #lookedAt = performance.now();
  #lateUntil = Number.NEGATIVE_INFINITY;

  constructor(options: HandlerWatchOptions) {
    this.#options = options;
  }

  /** How many are abandoned. */
  get count(): number {
    return this.#abandoned.size + this.#released.size;
  }

  /**
   * Until when (monotonic ms) what begins is taken to have been sent long ago: heartbeats were late, as the process was stopped or
   * too busy, so what it had got before comes late, and its supervisor cannot tell why.
   */
  get lateUntil(): number {
    return this.#lateUntil;
  }

  /** A handler has ended, after that time. */
  ended(execution: Execution, tookMs: number): void {
    if (tookMs >= this.#options.heartbeatMs && this.#endedLate.size < MAX_NAMES) {
      this.#endedLate.add(execution.functionName);
    }
    if (execution.givenUpAt === undefined) return;
    const wasAbandoned = this.#abandoned.delete(execution) || this.#released.delete(execution);
    if (wasAbandoned) execution.log.info("the abandoned handler has ended");
  }

  /** Whether those abandoned for so long that their slots could be released have at least so many of them. */
  holds(slots: number): boolean {
    const now = performance.now();
    let held = 0;
    for (const execution of this.#abandoned) if (this.#isOverdue(execution, now)) held += 1;
    return held >= slots;
  }

  /** To be called at each heartbeat. */
  look(running: Iterable<Execution>): void {
    const now = performance.now();
    const names = new Set(this.#endedLate);
    this.#endedLate.clear();
    for (const execution of running) {
      if (names.size < MAX_NAMES) names.add(execution.functionName);
      const { givenUpAt } = execution;
      if (givenUpAt === undefined || now - givenUpAt < SHOWN_AFTER_MS || this.#abandoned.has(execution)) continue;
      this.#abandoned.add(execution);
      execution.log.warn(
        "the handler goes on although its attempt was given up: it should end when its `signal` fires",
      );
    }
    const { heartbeatMs, log } = this.#options;
    const sinceMs = now - this.#lookedAt;
    if (sinceMs > 1.5 * heartbeatMs) this.#lateUntil = now + heartbeatMs;
    const lateMs = Math.round(sinceMs - heartbeatMs);
    this.#lookedAt = now;
    if (lateMs <= 3 * heartbeatMs) return;
    const why =
      "heartbeats were late: a handler kept the event loop busy, or the process was stopped. Attempts are taken for";
    log.warn({ lateMs, functions: [...names] }, `${why} lost then; give such work to a thread (examples/threads.ts)`);
  }

  /** Those whose slots are to be given to others now (WATCH-2). */
  release(): Execution[] {
    const now = performance.now();
    const overdue = [...this.#abandoned].filter((execution) => this.#isOverdue(execution, now));
    const released = overdue.slice(0, MAX_RELEASED - this.#released.size);
    for (const execution of released) {
      this.#abandoned.delete(execution);
      this.#released.add(execution);
      execution.log.error("the handler still goes on; its slot is given to others");
    }
    return released;
  }

  #isOverdue({ givenUpAt }: Execution, now: number): boolean {
    return givenUpAt !== undefined && now - givenUpAt >= this.#options.abandonedAfterMs;
  }
}
