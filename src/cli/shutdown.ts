/** What was opened is closed in reverse order, once, by whichever comes first: a signal, a failure, the end. */
import { setTimeout as delay } from "node:timers/promises";

type Close = () => Promise<unknown> | unknown;

const SIGNALS = ["SIGTERM", "SIGINT"] as const;
/** After a second signal, or when closing takes longer than this, the process goes without further ado. */
const CLOSE_LIMIT_MS = 60_000;

export class Shutdown {
  readonly #closes: Close[] = [];
  readonly #requested: Promise<void>;
  #request: () => void = () => {};
  #signals = 0;

  constructor() {
    this.#requested = new Promise((resolve) => {
      this.#request = resolve;
    });
    for (const signal of SIGNALS) process.on(signal, () => this.#onSignal());
    // Started by `async dev` with a channel to it: without the parent there is no point in going on.
    process.on("disconnect", () => this.request());
    if (process.connected === false) this.request(); // it is gone already; without a channel this is undefined
    process.channel?.unref(); // the channel alone must not keep the process alive
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

  /** Waits until the end is asked for, then closes everything. */
  async run(): Promise<void> {
    await this.#requested;
    await this.close();
  }

  async close(): Promise<void> {
    const all = (async () => {
      for (let close = this.#closes.pop(); close; close = this.#closes.pop()) await close();
    })();
    const limit = new AbortController();
    const late = delay(CLOSE_LIMIT_MS, "late" as const, { signal: limit.signal }).catch(() => {}); // closed in time
    if ((await Promise.race([all, late])) === "late") process.exit(1);
    limit.abort();
  }

  #onSignal(): void {
    this.#signals += 1;
    if (this.#signals > 1) process.exit(1);
    this.request();
  }
}
