/**
 * One timer for the deadlines of all open requests. Deadlines are coarse: one is met up to two ticks late, never early.
 *
 * Most requests are answered within milliseconds of a deadline that is seconds away, so what is kept per request is its
 * time and nothing else: no timer, no list to be put into and taken out of. When the earliest time that was ever
 * noted has come, those that are open then are looked through for what is due and for the next time to look.
 *
 * DEADLINES-1  The timer runs only while there may be something to wait for.
 * DEADLINES-2  Expiry runs after the sockets have been read, so that a process that was stopped or busy for a while sees the
 *     replies that arrived in the meantime before it gives up on them.
 */
import { timerMs } from "../../job/time.ts";

export interface Expiring {
  /** Monotonic ms; infinite for what does not expire. May be moved to a later time. */
  at: number;
  /** It is due. Called once if it takes what it is called on out of the open ones. */
  expire(): void;
}

/** Looks are at least this far apart. */
const TICK_MS = 50;

export class Deadlines {
  readonly #open: () => Iterable<Expiring>;
  #next = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `open` returns what is open when it is called; what it returns may change while it is gone through, as in a Map. */
  constructor(open: () => Iterable<Expiring>) {
    this.#open = open;
  }

  /** To be called for everything that is opened with a finite time. */
  note(at: number): void {
    if (at >= this.#next || this.#closed) return;
    this.#next = at;
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #plan(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#next === Number.POSITIVE_INFINITY) return;
    const ms = timerMs(Math.max(TICK_MS, this.#next - performance.now()));
    this.#timer = setTimeout(() => setImmediate(() => this.#scan()), ms);
    this.#timer.unref();
  }

  #scan(): void {
    if (this.#closed) return;
    const now = performance.now();
    this.#next = Number.POSITIVE_INFINITY;
    for (const one of this.#open()) {
      if (one.at <= now) one.expire();
      else if (one.at < this.#next) this.#next = one.at;
    }
    this.#plan();
  }
}
