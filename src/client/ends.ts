/**
 * How a client hears that jobs have ended. Of those that name it in `notify` it is told on a subject of its own, with one
 * subscription for all of them; for any other it listens to the events of that job. Either may be missed, and then the
 * job is looked at; so whoever waits does that now and then as well.
 */
import type { Msg } from "nats";
import { eventSubject, notifySubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readEvent } from "../bus/messages/events.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import { AsyncError } from "../job/errors.ts";
import { isEndEvent, type JobEvent } from "../job/events.ts";
import { Bag, type Bagged } from "../util/bag.ts";
import { RandomText } from "../util/random-text.ts";
import { Registry } from "../util/registry.ts";

/** How long to wait. */
export interface Limits {
  /** Default: for ever. The job goes on when it is over. */
  timeoutMs?: number | undefined;
  /** Ends the waiting, not the job. */
  signal?: AbortSignal | undefined;
}

export type Completed = Extract<JobEvent, { type: "completed" }>;

const NAME_CHARACTERS = 12;
/** What tells of ends may be missed: while waiting, the job is looked at this often. */
const POLL_MS = 2_000;

export class Ends {
  /** What a job has in `notify` for us to be told of its end. */
  readonly name = new RandomText(NAME_CHARACTERS).next();
  readonly #bus: Bus;
  readonly #watches = new Bag<EndWatch>();
  /** Of jobs that name us. */
  readonly #notified = new Registry<EndWatch>();
  #notices: Listening | undefined;
  #stops: (() => void)[] = [];

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * To be called before the job, which names us in `notify`, is submitted.
   *
   * @throws AsyncError `closed`
   */
  watchNotified(jobId: string): EndWatch {
    this.#requireOpen();
    // As long as the connection: a subscription costs more than the notice that it is for.
    this.#notices ??= this.#bus.subscribe(notifySubject(this.name), (message) => {
      const event = jobEventIn(message);
      if (event) this.#notified.get(event.job_id)?.onEvent(event);
    });
    const watch = this.#watch(jobId, () => this.#notified.delete(jobId));
    this.#notified.set(jobId, watch);
    return watch;
  }

  /** @throws AsyncError `closed` */
  watchEvents(jobId: string, onEvent?: (event: JobEvent) => void): EndWatch {
    this.#requireOpen();
    const subscription = this.#bus.subscribe(eventSubject(jobId, "*"), (message) => {
      const event = jobEventIn(message);
      if (!event) return;
      if (onEvent) this.#bus.callGuarded("onEvent failed", () => onEvent(event));
      watch.onEvent(event);
    });
    const watch = this.#watch(jobId, () => subscription.unsubscribe());
    return watch;
  }

  #requireOpen(): void {
    if (this.#bus.closed) throw new AsyncError("closed", "the connection of the client is closed");
  }

  #watch(jobId: string, stop: () => void): EndWatch {
    const bus = this.#bus;
    if (this.#watches.size === 0) {
      const wakeAll = () => {
        for (const watch of this.#watches) watch.wake();
      };
      this.#stops = [bus.onReconnected(wakeAll), bus.onClosed(wakeAll)];
    }
    const watch = new EndWatch(bus, jobId, () => {
      stop();
      this.#watches.delete(watch);
      if (this.#watches.size === 0) for (const stopOne of this.#stops) stopOne();
    });
    this.#watches.add(watch);
    return watch;
  }
}

/** Waits for the end of one job. To be closed by who opened it. */
export class EndWatch implements Bagged {
  /** The job is completed, as it will be for ever; any other end may be undone by hand. */
  completed: Completed | undefined;
  bagIndex: number | undefined;
  readonly #bus: Bus;
  readonly #jobId: string;
  readonly #stop: () => void;
  #wake = () => {};
  #timer: NodeJS.Timeout | undefined;

  constructor(bus: Bus, jobId: string, stop: () => void) {
    this.#bus = bus;
    this.#jobId = jobId;
    this.#stop = stop;
  }

  /**
   * Calls `find` until it finds the end: at once, whenever there is news, and now and then.
   *
   * @throws AsyncError `bus_timeout` when the time is over, `closed` if the connection is; the signal's reason; what
   * `find` throws
   */
  async until<End>(find: () => Awaitable<End | undefined>, { timeoutMs, signal }: Limits): Promise<End> {
    const over = timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
    const onAbort = () => this.wake();
    signal?.addEventListener("abort", onAbort);
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (this.#bus.closed)
          throw new AsyncError("closed", `the connection was closed while job ${this.#jobId} goes on`);
        const leftMs = over - performance.now();
        // Before the look. News that comes meanwhile makes it outdated, so its answer is not waited for any more.
        const news = this.#news(Math.min(POLL_MS, leftMs));
        const found = await (leftMs > 0 ? Promise.race([find(), news]) : find());
        if (found !== undefined) return found;
        if (leftMs <= 0) throw new AsyncError("bus_timeout", `job ${this.#jobId} has not ended in time; it goes on`);
        await news;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** It is time to look. */
  wake(): void {
    this.#wake();
  }

  onEvent(event: JobEvent): void {
    if (!isEndEvent(event)) return;
    // Without its result it says no more than that it is time to look.
    if (event.type === "completed" && !event.result_omitted) this.completed = event;
    this.wake();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stop();
  }

  /** Resolves when it is time to look, or after `ms`. The one asked for before never does any more. */
  #news(ms: number): Promise<undefined> {
    clearTimeout(this.#timer);
    return new Promise((resolve) => {
      this.#wake = () => resolve(undefined);
      this.#timer = setTimeout(this.#wake, ms);
    });
  }
}

type Awaitable<T> = T | Promise<T>;

function jobEventIn(message: Msg): JobEvent | undefined {
  const event = readEvent(message);
  return event?.type === "rejected" ? undefined : event;
}
