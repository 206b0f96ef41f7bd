/**
 * A subscription that is made again if the server takes it away. Permissions can change while a process runs: the server then
 * ends what is not permitted any more, and the client forgets it. When the permission is given back nobody makes the
 * subscription again, and a supervisor or worker that says that it serves would be deaf until it is restarted.
 *
 * STEADY-1  One that is refused is tried again after a second, then after twice as long each time, up to half a minute.
 * STEADY-2  It ends only by `unsubscribe()` or `drain()`, or with the connection.
 */
import type { Msg, NatsConnection, Subscription } from "nats";

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;

export interface SteadyOptions {
  queue?: string;
  /** Told each time that the server has refused it; `again` if it was refused at the last try as well. */
  onRefused?: (again: boolean) => void;
  /** Told when the server has taken it after it had been refused. */
  onMade?: () => void;
}

/** What the owner of a subscription does with it. */
export interface Listening {
  /** What is under way is dropped. */
  unsubscribe(): void;
  /** What the server has sent before it hears of this is still delivered. */
  drain(): Promise<void>;
}

export class SteadySubscription implements Listening {
  readonly #connection: NatsConnection;
  readonly #subject: string;
  readonly #callback: (message: Msg) => void;
  readonly #options: SteadyOptions;
  /** Undefined while it is refused. */
  #subscription: Subscription | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** How often in a row it was refused. */
  #refusals = 0;

  constructor(
    connection: NatsConnection,
    subject: string,
    callback: (message: Msg) => void,
    options: SteadyOptions = {},
  ) {
    this.#connection = connection;
    this.#subject = subject;
    this.#callback = callback;
    this.#options = options;
    this.#subscribe();
  }

  unsubscribe(): void {
    clearTimeout(this.#retry);
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }

  async drain(): Promise<void> {
    clearTimeout(this.#retry);
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await subscription?.drain();
  }

  #subscribe(): void {
    const { queue } = this.#options;
    const callback = (error: Error | null, message: Msg) => {
      if (error) this.#refused(subscription);
      else this.#callback(message);
    };
    const subscription = this.#connection.subscribe(
      this.#subject,
      queue === undefined ? { callback } : { callback, queue },
    );
    this.#subscription = subscription;
  }

  #refused(subscription: Subscription): void {
    if (this.#subscription !== subscription) return; // it has been ended by its owner
    this.#subscription = undefined;
    const delayMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#refusals);
    this.#refusals += 1;
    this.#retry = setTimeout(() => this.#subscribeAgain(), delayMs).unref();
    this.#options.onRefused?.(this.#refusals > 1);
  }

  #subscribeAgain(): void {
    if (this.#connection.isClosed()) return;
    this.#subscribe();
    const subscription = this.#subscription;
    const confirmed = () => {
      // What the server refuses it says before it answers the flush.
      if (subscription === undefined || this.#subscription !== subscription) return;
      this.#refusals = 0;
      this.#options.onMade?.();
    };
    // Without a connection it is made with the next one: then it is not known whether it is taken.
    this.#connection.flush().then(confirmed, confirmed);
  }
}
