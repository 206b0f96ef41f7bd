/**
 * Pulls messages of one durable consumer, never more than its owner has room for. The library's `consume()` prefetches
 * a fixed number; messages in its buffer would wait with their lease running out.
 *
 * PULLER-1  What was asked for and has not come is never more than the owner's room at the time of asking.
 * PULLER-2  It never goes silent for good: the server sends a heartbeat every `IDLE_HEARTBEAT_MS` while a pull is open; if
 *     nothing at all comes for three of them (leader change, lost pull, reconnect), it forgets the pull and asks again.
 */
import type { Msg, Subscription } from "nats";
import type { Bus } from "../connection.ts";
import { leave } from "../wire/leave.ts";
import { Delivery } from "./delivery.ts";

const EXPIRES_MS = 5_000;
const IDLE_HEARTBEAT_MS = 500;
const SILENCE_LIMIT_MS = 3 * IDLE_HEARTBEAT_MS;
/** The largest pull; the server's default limit of a request's batch has room for it. */
const MAX_BATCH = 1_000;
/** After an error status the next pull waits this long. */
const RETRY_MS = 200;
const NANOS_PER_MS = 1_000_000;

export interface PullerOptions {
  stream: string;
  consumer: string;
  /** How many more messages the owner can take now. */
  room: () => number;
  onDelivery: (delivery: Delivery) => void;
  /** Told when pulls go unanswered or are refused, with the reason; once per spell, not per try. */
  onTrouble: (reason: string) => void;
  /** Told each time that a pull has to be given up: the server may have been away, or has another leader. */
  onBroken?: () => void;
}

export class Puller {
  readonly #bus: Bus;
  readonly #options: PullerOptions;
  readonly #inbox: string;
  readonly #subscription: Subscription;
  readonly #watchdog: NodeJS.Timeout;
  readonly #stopReconnected: () => void;
  #retry: NodeJS.Timeout | undefined;
  /** Asked for and not come yet. */
  #outstanding = 0;
  /** Pulls are numbered so that a status of a forgotten one is told from that of an open one. */
  #pull = 0;
  #oldestOpen = 1;
  #lastHeard = performance.now();
  #troubled = false;
  #stopped = false;

  constructor(bus: Bus, options: PullerOptions) {
    this.#bus = bus;
    this.#options = options;
    this.#inbox = `${bus.mux.inboxPrefix}pull.${options.stream}.`;
    this.#subscription = bus.nc.subscribe(`${this.#inbox}*`, { callback: (_, message) => this.#onMessage(message) });
    this.#watchdog = setInterval(() => this.#watch(), IDLE_HEARTBEAT_MS);
    this.#stopReconnected = bus.onReconnected(() => this.#forget());
    this.refill();
  }

  /** Asks for as many messages as there is room for. Call it when room appears. */
  refill(): void {
    if (this.#stopped || this.#retry || !this.#bus.connected) return;
    const want = Math.min(this.#options.room(), MAX_BATCH) - this.#outstanding;
    // Few large pulls instead of many small ones: top up when half of what is wanted has come.
    if (want <= 0 || this.#outstanding > want) return;
    if (this.#outstanding === 0) this.#lastHeard = performance.now();
    this.#pull += 1;
    this.#outstanding += want;
    const { stream, consumer } = this.#options;
    const query = {
      batch: want,
      expires: EXPIRES_MS * NANOS_PER_MS,
      idle_heartbeat: IDLE_HEARTBEAT_MS * NANOS_PER_MS,
    };
    this.#bus.nc.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify(query), {
      reply: `${this.#inbox}${this.#pull}`,
    });
  }

  /** Takes nothing more; what is under way is given back. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#watchdog);
    clearTimeout(this.#retry);
    this.#stopReconnected();
    await leave([this.#subscription]);
  }

  #onMessage(message: Msg): void {
    this.#lastHeard = performance.now();
    const code = message.headers?.code ?? 0;
    if (code === 0) {
      if (this.#outstanding > 0) this.#outstanding -= 1;
      this.#troubled = false;
      const delivery = new Delivery(message, this.#bus.nc);
      if (this.#stopped) delivery.nak();
      else this.#options.onDelivery(delivery);
      this.refill();
    } else if (code !== 100) this.#onStatus(message, code);
  }

  #onStatus(message: Msg, code: number): void {
    if (this.#stopped) return;
    const pull = Number(message.subject.slice(this.#inbox.length));
    if (pull < this.#oldestOpen) return;
    const unfilled = message.headers?.get("Nats-Pending-Messages");
    if (code === 408 || code === 404) {
      this.#outstanding = Math.max(0, this.#outstanding - Number(unfilled || this.#outstanding));
      this.refill();
      return;
    }
    this.#trouble(`${code} ${message.headers?.description ?? ""}`.trim());
    this.#forget(RETRY_MS);
  }

  #watch(): void {
    if (!this.#bus.connected) return;
    if (this.#outstanding === 0) this.refill();
    else if (performance.now() - this.#lastHeard > SILENCE_LIMIT_MS) {
      this.#trouble("no heartbeat");
      this.#forget();
    }
  }

  /** Counts every open pull as gone and asks again. If one was not gone after all, a little more comes than was asked. */
  #forget(delayMs = 0): void {
    this.#outstanding = 0;
    this.#oldestOpen = this.#pull + 1;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    if (delayMs === 0) this.refill();
    else {
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.refill();
      }, delayMs);
    }
  }

  #trouble(reason: string): void {
    this.#options.onBroken?.();
    if (!this.#troubled) this.#options.onTrouble(reason);
    this.#troubled = true;
  }
}
