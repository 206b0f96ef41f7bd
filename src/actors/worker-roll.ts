/**
 * Which functions are served by workers that send heartbeats, as far as this supervisor has heard. It is asked for attempts whose
 * own worker has not been heard of: a worker sends its first heartbeat some time after it has begun, and may die before.
 *
 * It is told what services answer on `$SRV.INFO`, what workers announce, and what replies show. It sends nothing.
 *
 * ROLL-1  An interval is given only for functions that nobody is known to serve without heartbeats: where somebody does,
 *     silence shows nothing.
 * ROLL-2  Who says that it leaves is forgotten with the next answer. Who just does not answer any more may be hung, and gets
 *     invocations until the server drops it: it is forgotten after `FORGET_AFTER_MS`. What replies have shown, after `SHOWN_FOR_MS`.
 */
import type { ServedFunction } from "../bus/messages/served-functions.ts";

/** Function names come from users: the memory of who serves them is limited. */
const MAX_KNOWN_FUNCTIONS = 10_000;
/** Longer than it takes the server, with our configuration, to drop a hung worker. */
const FORGET_AFTER_MS = 15_000;
const SHOWN_FOR_MS = 10 * 60_000;

interface Known {
  /** The longest interval heard of, until the next answer. */
  heartbeatMs: number | undefined;
  heardAt: number;
  /** Services that say so serve it without heartbeats. */
  plain: boolean;
  /** Until then it is believed that workers without heartbeats serve it. */
  plainUntil: number;
}

export class WorkerRoll {
  /** The one not heard of for longest comes first. */
  readonly #known = new Map<string, Known>();

  /** ROLL-1 */
  heartbeatMsOf(name: string, now: number): number | undefined {
    const known = this.#known.get(name);
    return known && !known.plain && known.plainUntil <= now ? known.heartbeatMs : undefined;
  }

  /** A worker of it says that it sends heartbeats. */
  announced(name: string, heartbeatMs: number, now: number): void {
    const known = this.#touch(name);
    known.heartbeatMs = Math.max(known.heartbeatMs ?? 0, heartbeatMs);
    known.heardAt = now;
  }

  /** A worker of it leaves for good; others may be there. */
  left(name: string): void {
    const known = this.#known.get(name);
    if (known) known.heardAt = Number.NEGATIVE_INFINITY;
  }

  /** A reply has shown that somebody serves it without heartbeats. */
  shownPlain(name: string, now: number): void {
    this.#touch(name).plainUntil = now + SHOWN_FOR_MS;
  }

  /** What all services say to a question that was asked at `askedAt` (ROLL-2). */
  answered(functions: ReadonlyMap<string, ServedFunction>, askedAt: number, now: number): void {
    for (const [name, known] of this.#known) {
      known.plain = false;
      if (known.heardAt < askedAt - FORGET_AFTER_MS) known.heartbeatMs = undefined;
      if (known.heartbeatMs === undefined && known.plainUntil <= now && !functions.has(name)) this.#known.delete(name);
    }
    for (const [name, { heartbeatMs, plain }] of functions) {
      const known = this.#touch(name);
      known.plain = plain;
      if (heartbeatMs === undefined) continue;
      known.heartbeatMs = Math.max(known.heartbeatMs ?? 0, heartbeatMs);
      known.heardAt = now;
    }
  }

  #touch(name: string): Known {
    const known = this.#known.get(name) ?? {
      heartbeatMs: undefined,
      heardAt: Number.NEGATIVE_INFINITY,
      plain: false,
      plainUntil: Number.NEGATIVE_INFINITY,
    };
    this.#known.delete(name);
    this.#known.set(name, known);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN_FUNCTIONS) break;
      this.#known.delete(oldest);
    }
    return known;
  }
}
