/**
 * Calls jobs in from the backlogs of their functions as soon as there is room for them.
 *
 * FEEDER-1  Every backlog that is not empty is known to some supervisor: to the one that filled it, to those it told, and to
 *     each that looks, at its start, after a reconnect and now and then.
 * FEEDER-2  Where no job of a function is in memory, one is called as a trial, so that a worker that announces nothing is found.
 */

import { QUEUED } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readQueued } from "../bus/messages/nudges.ts";
import type { Backlog } from "../bus/tokens/backlog.ts";
import { isAsyncError } from "../job/errors.ts";
import type { Dispatcher } from "./dispatcher.ts";

const TRY_MS = 1_000;
/** Jobs called in one go. */
const MAX_CALL = 500;
/** Function names come from users: those beyond are found again when others are done. */
const MAX_KNOWN = 10_000;

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
  /** Functions that jobs may wait for; "calling" while they are being called. */
  readonly #known = new Map<string, "idle" | "calling" | "filled while calling">();
  readonly #timer: NodeJS.Timeout;
  readonly #stops: (() => void)[];

  constructor(options: FeederOptions) {
    this.#options = options;
    const { bus } = options;
    const queued = bus.nc.subscribe(QUEUED, { callback: (_, message) => this.#onQueued(message.data) });
    this.#stops = [() => queued.unsubscribe(), bus.onReconnected(() => void this.discover())];
    this.#timer = setInterval(() => {
      for (const name of this.#known.keys()) this.feed(name);
    }, TRY_MS);
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

  /** Calls as many jobs of the function as there is room for. */
  feed(name: string): void {
    if (this.#known.get(name) !== "idle" || !this.#options.bus.connected) return;
    const { dispatcher, room } = this.#options;
    const count = Math.min(dispatcher.room(name), room(), MAX_CALL);
    if (count > 0) void this.#call(name, count);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const stop of this.#stops) stop();
  }

  async #call(name: string, count: number): Promise<void> {
    this.#known.set(name, "calling");
    let mayBeMore = true;
    try {
      mayBeMore = await this.#options.backlog.call(name, count);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#options.onTrouble(`cannot call the jobs that wait for ${name}`, error);
    }
    if (!mayBeMore && this.#known.get(name) === "calling") this.#known.delete(name);
    else this.#known.set(name, "idle");
  }

  #note(name: string): void {
    const known = this.#known.get(name);
    if (known === "calling") this.#known.set(name, "filled while calling");
    else if (known === undefined && this.#known.size < MAX_KNOWN) this.#known.set(name, "idle");
  }

  /** A name that no job waits for does no harm. */
  #onQueued(data: Uint8Array): void {
    const name = readQueued(data);
    if (name !== undefined) this.#note(name);
  }
}
