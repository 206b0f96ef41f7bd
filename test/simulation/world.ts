/**
 * Virtual time: everything that happens is an event in one queue, ordered by its time and, at the same time, by when it
 * was planned. Same seed, same history.
 *
 * WORLD-1  An event runs to the end of its promise chains before the next one begins.
 * WORLD-2  Timers belong to the simulated process that set them. A killed process does nothing more; a paused one does it
 *     all when it goes on, while its clocks have not stood still.
 * WORLD-3  Code under test sees only virtual clocks and seeded random numbers (`install`).
 */
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import timersPromises from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { Random } from "./random.ts";

const EPOCH = Date.parse("2026-11-24T00:00:00Z");

export class SimProcess {
  readonly name: string;
  state: "running" | "paused" | "dead" = "running";
  /** How far its wall clock is ahead, in ms. */
  skewMs = 0;
  /** How far its monotonic clock is behind, in ms: that of a suspended machine stands still. */
  suspendedMs = 0;
  /** What could not be done while it was paused. */
  readonly deferred: Planned[] = [];

  constructor(name: string) {
    this.name = name;
  }
}

/** Owns what belongs to no process: the network, the server, and those who break them. */
export const NOBODY = null;

interface Planned {
  at: number;
  order: number;
  owner: SimProcess | null;
  run: (() => void) | undefined;
}

/** What the patched timers return. */
class Timer {
  planned: Planned;

  constructor(planned: Planned) {
    this.planned = planned;
  }

  unref(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

/** Between them, Node may do what else it has to do. */
const EVENTS_PER_TURN = 5_000;

// V8's own; to leave the event loop for a turn at each event instead costs twice as much as all the rest.
setFlagsFromString("--allow-natives-syntax");
const runMicrotasks = new Function("%PerformMicrotaskCheckpoint()") as () => void;

const realSetImmediate = setImmediate;
const realNow = performance.now.bind(performance);

export class World {
  readonly random: Random;
  readonly #seed: number;
  /** Virtual ms since the begin. */
  now = 0;
  /** Whose code is running. */
  current: SimProcess | null = NOBODY;
  events = 0;
  readonly #heap: Planned[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.#seed = seed;
  }

  /** The wall clock of whoever asks. */
  get wallClock(): number {
    return EPOCH + Math.floor(this.now) + (this.current?.skewMs ?? 0);
  }

  /** The monotonic clock of whoever asks. */
  get monotonicClock(): number {
    return this.now - (this.current?.suspendedMs ?? 0);
  }

  /** Does something later, as part of `owner`; by default of whoever plans it. */
  after(ms: number, run: () => void, owner = this.current): Planned {
    const planned = { at: this.now + Math.max(0, ms), order: this.#order++, owner, run };
    push(this.#heap, planned);
    return planned;
  }

  /** Does something now, as part of a process. */
  as<T>(process: SimProcess | null, run: () => T): T {
    const before = this.current;
    this.current = process;
    try {
      return run();
    } finally {
      this.current = before;
    }
  }

  kill(process: SimProcess): void {
    process.state = "dead";
    process.deferred.length = 0;
  }

  pause(process: SimProcess): void {
    if (process.state === "running") process.state = "paused";
  }

  resume(process: SimProcess): void {
    if (process.state !== "paused") return;
    process.state = "running";
    for (const planned of process.deferred.splice(0)) {
      planned.at = this.now;
      push(this.#heap, planned);
    }
  }

  /** Runs until `done()` or the virtual time `until`. */
  run(until: number, done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const some = () => {
        try {
          for (let i = 0; i < EVENTS_PER_TURN; i++) {
            if (this.#next(until) && !done()) continue;
            realSetImmediate(resolve); // rejections that nobody handles are told before
            return;
          }
          realSetImmediate(some);
        } catch (error) {
          reject(error);
        }
      };
      // In a task of its own: promise chains cannot be run to their end from within one.
      realSetImmediate(some);
    });
  }

  /** Does what is next. Returns false if nothing is, until then. */
  #next(until: number): boolean {
    for (;;) {
      const next = pop(this.#heap);
      if (!next || next.at > until) return false;
      const { run, owner } = next;
      if (!run || owner?.state === "dead") continue;
      if (owner?.state === "paused") {
        owner.deferred.push(next);
        continue;
      }
      this.now = Math.max(this.now, next.at);
      next.run = undefined;
      this.current = owner;
      this.events += 1;
      run();
      runMicrotasks(); // WORLD-1
      this.current = NOBODY;
      return true;
    }
  }

  /** WORLD-3. Returns how to undo it. */
  install(): () => void {
    const saved = {
      setTimeout: globalThis.setTimeout,
      clearTimeout: globalThis.clearTimeout,
      setInterval: globalThis.setInterval,
      clearInterval: globalThis.clearInterval,
      setImmediate: globalThis.setImmediate,
      clearImmediate: globalThis.clearImmediate,
    };
    const realDelay = timersPromises.setTimeout;
    const realDateNow = Date.now;
    const realRandom = Math.random;
    const { randomBytes: realBytes } = crypto;
    const clear = (timer: unknown) => {
      if (timer instanceof Timer) timer.planned.run = undefined;
    };
    const once = (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
      new Timer(this.after(ms, () => run(...args)));
    Object.assign(globalThis, {
      setTimeout: once,
      clearTimeout: clear,
      setInterval: (run: () => void, ms: number) => this.#repeat(run, ms),
      clearInterval: clear,
      setImmediate: (run: (...args: unknown[]) => void, ...args: unknown[]) => once(run, 0, ...args),
      clearImmediate: clear,
    });
    Date.now = () => this.wallClock;
    performance.now = () => this.monotonicClock;
    Math.random = () => this.random.float();
    // Ids and writers as well, so that a seed is the same history each time. They have numbers of their own.
    const ids = new Random(this.#seed + 1);
    crypto.randomBytes = ((length: number) => {
      const words = Uint32Array.from({ length: Math.ceil(length / 4) }, () => ids.float() * 2 ** 32);
      return Buffer.from(words.buffer, 0, length);
    }) as typeof realBytes;
    timersPromises.setTimeout = ((ms: number, value: unknown, { signal }: { signal?: AbortSignal } = {}) =>
      this.#delay(ms, value, signal)) as typeof realDelay;
    syncBuiltinESMExports();
    return () => {
      Object.assign(globalThis, saved);
      Date.now = realDateNow;
      performance.now = realNow;
      Math.random = realRandom;
      crypto.randomBytes = realBytes;
      timersPromises.setTimeout = realDelay;
      syncBuiltinESMExports();
    };
  }

  #repeat(run: () => void, ms: number): Timer {
    const tick = () => {
      timer.planned = this.after(ms, tick);
      run();
    };
    const timer = new Timer(this.after(ms, tick));
    return timer;
  }

  #delay(ms: number, value: unknown, signal: AbortSignal | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const planned = this.after(ms, () => resolve(value));
      signal?.addEventListener("abort", () => {
        planned.run = undefined;
        reject(signal.reason);
      });
    });
  }
}

function earlier(a: Planned, b: Planned): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function push(heap: Planned[], item: Planned): void {
  let index = heap.length;
  heap.push(item);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent] as Planned;
    if (!earlier(item, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = item;
}

function pop(heap: Planned[]): Planned | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (!first || !last || heap.length === 0) return first;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && earlier(heap[child + 1] as Planned, heap[child] as Planned)) child += 1;
    if (!earlier(heap[child] as Planned, last)) break;
    heap[index] = heap[child] as Planned;
    index = child;
  }
  heap[index] = last;
  return first;
}
