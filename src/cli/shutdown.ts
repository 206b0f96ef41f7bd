/** What was opened is closed in reverse order, once, by whichever comes first: a signal, a failure, the end. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { describeThrown } from "../job/describe.ts";
import { timerMs } from "../job/time.ts";

type Close = () => Promise<unknown> | unknown;

/** A terminal that is closed is as good a reason to end in order as any. */
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
/** Signals of one kind that come closer together are one: a terminal and a program between us and it both send it. */
const SAME_REQUEST_MS = 250;
/** After a second signal of a kind, or when closing takes longer than this and its grace, the process goes without further ado. */
const CLOSE_LIMIT_MS = 60_000;
/** What others may take to end after something that nobody caught. */
const UNCAUGHT_LIMIT_MS = 5_000;

export class Shutdown {
  readonly #closes: Close[] = [];
  /** Resolves when the end is asked for. */
  readonly requested: Promise<void>;
  #request: () => void = () => {};
  /** When each kind came last. */
  readonly #signals = new Map<NodeJS.Signals, number>();
  readonly #graceMs: number;
  #uncaught = false;

  /** `graceMs`: how long attempts may take to end. */
  constructor(graceMs: number) {
    this.#graceMs = graceMs;
    this.requested = new Promise((resolve) => {
      this.#request = resolve;
    });
    for (const signal of SIGNALS) process.on(signal, () => this.#onSignal(signal));
    // Started by `async dev` with a channel to it: without the parent there is no point in going on.
    process.on("disconnect", () => this.request());
    if (process.connected === false) this.request(); // it is gone already; without a channel this is undefined
    process.channel?.unref(); // the channel alone must not keep the process alive
  }

  /**
   * How long attempts may take to end, for those who close. After something that nobody caught there is no end to it before that of
   * the process: the attempt that threw would be interrupted, not lost, and would end the next worker, for ever.
   */
  get graceMs(): number {
    return this.#uncaught ? Number.POSITIVE_INFINITY : this.#graceMs;
  }

  /** To be closed before everything that was added earlier. */
  add(close: Close): void {
    this.#closes.push(close);
  }

  /** Asks for the end, as a signal does. */
  request(): void {
    this.#request();
  }

  /** The end has come by itself: the process exits with 1. */
  fail(): void {
    process.exitCode = 1;
    this.#request();
  }

  /**
   * What nobody caught, such as a throw in a timer of a handler, ends the process, but other attempts may end before. The first is
   * told to `log`, with its stack.
   */
  onUncaught(log: Logger): void {
    process.once("uncaughtException", (error: unknown, origin) => {
      process.on("uncaughtException", () => {}); // it ends already, because of the first
      log.fatal({ err: describeThrown(error), origin }, "nobody has caught this; the process ends with 1");
      this.#uncaught = true;
      this.fail();
      setTimeout(() => process.exit(), UNCAUGHT_LIMIT_MS);
    });
  }

  /** Waits until the end is asked for, closes everything, and ends the process: what modules have opened may be open still. */
  async run(): Promise<never> {
    await this.requested;
    await this.close();
    process.exit();
  }

  async close(): Promise<void> {
    const all = (async () => {
      for (let close = this.#closes.pop(); close; close = this.#closes.pop()) await close();
    })();
    const limit = new AbortController();
    // A server has two graces: for the attempts of its own workers, then for those of workers elsewhere.
    const limitMs = timerMs(CLOSE_LIMIT_MS + 2 * this.#graceMs);
    const late = delay(limitMs, "late" as const, { signal: limit.signal }).catch(() => {}); // closed in time
    if ((await Promise.race([all, late])) === "late") process.exit(1);
    limit.abort();
  }

  /**
   * On Ctrl-C a worker of `async dev` gets SIGINT from the terminal and SIGTERM from its parent: that is one request. Who
   * is in a hurry sends the same again.
   */
  #onSignal(signal: NodeJS.Signals): void {
    const now = performance.now();
    const last = this.#signals.get(signal);
    this.#signals.set(signal, now);
    if (last !== undefined && now - last > SAME_REQUEST_MS) process.exit(1);
    this.request();
  }
}
