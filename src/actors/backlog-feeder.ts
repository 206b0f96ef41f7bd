/**
 * Calls jobs in from the backlogs of their functions as soon as there is room for them.
 *
 * FEEDER-1  Every backlog that is not empty is known to some supervisor: to the one that filled it, to those it told, and to
 *     each that looks, at its start, after a reconnect and now and then.
 * FEEDER-2  Where no job of a function is in memory, one is called as a trial, so that a worker that announces nothing is found.
 * FEEDER-3  There are few trials at a time over all functions. One that is tried in vain is tried more and more rarely, the
 *     more so the more of them there are; where a worker gives a sign, it is tried at once.
 */

import { QUEUED } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readQueued } from "../bus/messages/nudges.ts";
import type { Backlog } from "../bus/tokens/backlog.ts";
import { isAsyncError } from "../job/errors.ts";
import type { Dispatcher } from "./dispatcher.ts";

const TRY_MS = 1_000;
/** Functions tried each time (FEEDER-3): each may bring a job into memory that stays for half a minute. */
const MAX_TRIALS = 10;
/** A function is tried no more rarely than this. */
const MAX_REST_MS = 60_000;
/** What each function that is known adds to the longest rest: so up to fifty are tried each time. */
const REST_PER_FUNCTION_MS = 20;
/** After so many it is forgotten. */
const MAX_EMPTIES = 2;
/** Jobs called in one go. */
const MAX_CALL = 500;
/** Function names come from users: those beyond are found again when others are done. */
const MAX_KNOWN = 50_000;

interface Known {
  mode: "idle" | "calling" | "filled while calling";
  /** When it is tried next, monotonic ms, and for how long it rests then. */
  tryAt: number;
  restMs: number;
  /** How often nothing was left since a job was put there. */
  empties: number;
}

export interface FeederOptions {
  bus: Bus;
  backlog: Backlog;
  dispatcher: Pick<Dispatcher, "room">;
  /** How many more jobs there is room for in memory. */
  room: () => number;
  onTrouble: (what: string, error: unknown) => void;
}

export class BacklogFeeder {
  readonly #options: FeederOptions;
  /** Functions that jobs may wait for. */
  readonly #known = new Map<string, Known>();
  readonly #timer: NodeJS.Timeout;
  readonly #stops: (() => void)[];

  constructor(options: FeederOptions) {
    this.#options = options;
    const { bus } = options;
    const queued = bus.subscribe(QUEUED, (message) => this.#onQueued(message.data));
    this.#stops = [() => queued.unsubscribe(), bus.onReconnected(() => void this.discover())];
    this.#timer = setInterval(() => this.#tryInTurn(), TRY_MS);
  }

  /** Looks which functions jobs wait for. */
  async discover(): Promise<void> {
    try {
      for (const name of await this.#options.backlog.functions()) this.#note(name);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#options.onTrouble("cannot look for backlogs", error);
    }
  }

  /** A job of the function has been put into its backlog here. */
  filled(name: string): void {
    if (!this.#known.has(name)) this.#options.backlog.announce(name);
    this.#note(name);
  }

  /** A worker gave a sign: calls as many jobs of the function as there is room for. */
  feed(name: string): void {
    const known = this.#known.get(name);
    if (!known) return;
    known.restMs = TRY_MS;
    known.tryAt = 0;
    this.#feed(name, known);
  }

  /** FEEDER-3 */
  #tryInTurn(): void {
    const now = performance.now();
    const longest = Math.min(MAX_REST_MS, Math.max(TRY_MS, this.#known.size * REST_PER_FUNCTION_MS));
    let trials = 0;
    for (const [name, known] of this.#known) {
      if (trials === MAX_TRIALS) return;
      if (known.tryAt > now || !this.#feed(name, known)) continue;
      trials += 1;
      known.tryAt = now + known.restMs;
      known.restMs = Math.min(longest, 2 * known.restMs);
    }
  }

  #feed(name: string, known: Known): boolean {
    if (known.mode !== "idle" || !this.#options.bus.connected) return false;
    const { dispatcher, room } = this.#options;
    const count = Math.min(dispatcher.room(name), room(), MAX_CALL);
    if (count > 0) void this.#call(name, known, count);
    return count > 0;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const stop of this.#stops) stop();
  }

  async #call(name: string, known: Known, count: number): Promise<void> {
    known.mode = "calling";
    let mayBeMore = true;
    try {
      mayBeMore = await this.#options.backlog.call(name, count);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#options.onTrouble(`cannot call the jobs that wait for ${name}`, error);
    }
    const isEmpty = !mayBeMore && known.mode === "calling";
    known.mode = "idle";
    known.empties += isEmpty ? 1 : 0;
    // If a trial was in vain its job comes back, and it is to be remembered until then how rarely to try.
    if (isEmpty && (known.restMs === TRY_MS || known.empties > MAX_EMPTIES)) this.#known.delete(name);
  }

  #note(name: string): void {
    const known = this.#known.get(name);
    if (known) {
      known.empties = 0;
      if (known.mode === "calling") known.mode = "filled while calling";
      return;
    }
    this.#known.set(name, { mode: "idle", tryAt: 0, restMs: TRY_MS, empties: 0 });
    for (const [oldest, { mode }] of this.#known) {
      if (this.#known.size <= MAX_KNOWN) return;
      if (mode === "idle") this.#known.delete(oldest);
    }
  }

  /** A name that no job waits for does no harm. */
  #onQueued(data: Uint8Array): void {
    const name = readQueued(data);
    if (name !== undefined) this.#note(name);
  }
}
