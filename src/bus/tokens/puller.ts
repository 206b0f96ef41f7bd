/**
 * Pulls messages of one durable consumer, never more than its owner has room for. The library's `consume()` prefetches
 * a fixed number; messages in its buffer would wait with their lease running out.
 *
 * PULLER-1  What was asked for and has not come is never more than the owner's room at the time of asking.
 * PULLER-2  It never goes silent for good: the server sends a heartbeat every `IDLE_HEARTBEAT_MS` while a pull is open; if
 *     nothing at all comes for three of them (leader change, lost pull, reconnect), it forgets the pull and asks again.
 * PULLER-3  What was asked for is limited in bytes too, while messages may be large: at the beginning, after a loss, and for a
 *     while after each large one. The server sends all of a pull at once, and drops a connection that does not read as fast. A
 *     pull always has room for the largest message, so none is kept out. (With a limit in bytes the server takes its time:
 *     half of the throughput of small jobs, measured; so it is left out where all have been small.)
 */
import type { Msg } from "nats";
import type { Bus } from "../connection.ts";
import { leave } from "../wire/leave.ts";
import type { Listening } from "../wire/steady-subscription.ts";
import { Delivery } from "./delivery.ts";

/**
 * A pull lives for about this time (four fifths of it at least): the server gives a message to the oldest one, so supervisors whose
 * pulls all had one length would take turns in one order for ever, and what one of them gives back might only ever meet it again.
 */
const EXPIRES_MS = 5_000;
const IDLE_HEARTBEAT_MS = 500;
const SILENCE_LIMIT_MS = 3 * IDLE_HEARTBEAT_MS;
/** The largest pull; the server's default limit of a request's batch has room for it. */
const MAX_BATCH = 1_000;
/** After an error status the next pull waits this long. */
const RETRY_MS = 200;
const NANOS_PER_MS = 1_000_000;
/** What is asked for together, unless its owner has less room. */
const MAX_OPEN_BYTES = 16 * 1024 ** 2;
/** What a message has besides its payload: subjects and headers. */
const ENVELOPE_BYTES = 8_192;
/** From this size on a message is large: those after it may be large as well. */
const LARGE_BYTES = 65_536;
/** So many messages must have been small before pulls have no limit in bytes; after a large one, and at the beginning. */
const CAUTION_AFTER_LARGE = 2_000;
const CAUTION_AT_FIRST = 100;
/** Where others wait for the room that a pull holds, it is given up this soon if nothing comes. */
const EXPIRES_TIGHT_MS = 1_000;
const TOO_LARGE = "Message Size Exceeds MaxBytes";
/** All messages of a pull have come, and fewer bytes than it was limited to. */
const COMPLETED = "Batch Completed";
const DELETED = "Consumer Deleted";
const NO_RESPONDERS = 503;

export interface PullerOptions {
  stream: string;
  consumer: string;
  /** How many messages the owner can take now, those that were asked for included. */
  room: () => number;
  /** How many bytes of messages it can take; where it can take any, it can take one message. Default: no limit of its own. */
  roomBytes?: () => number;
  /** Whether what is asked for may be missing elsewhere: then a pull for which nothing comes is given up sooner. */
  isTight?: () => boolean;
  /** Told instead of asking again at once, when a pull has ended of which something did not come. Default: it asks again. */
  onUnused?: () => void;
  onDelivery: (delivery: Delivery) => void;
  /** Told when pulls go unanswered or are refused, with the reason; once per spell, not per try. */
  onTrouble: (reason: string) => void;
  /** Told each time that a pull has to be given up: the server may have been away, or has another leader. */
  onBroken?: () => void;
  /** Told each time that a pull was refused as if there were no such consumer. */
  onNoConsumer?: () => void;
}

export class Puller {
  readonly #bus: Bus;
  readonly #options: PullerOptions;
  readonly #inbox: string;
  readonly #subscription: Listening;
  readonly #watchdog: NodeJS.Timeout;
  readonly #stopReconnected: () => void;
  #retry: NodeJS.Timeout | undefined;
  /** Asked for and not come yet. */
  #outstanding = 0;
  /** The same in bytes: what was asked for, of which each message that comes gives back its share. */
  #outstandingBytes = 0;
  /** The size of messages so far, to ask for no more bytes than it takes. */
  #usualBytes = 512;
  #largestBytes: number;
  /** How many more messages have to be small before bytes are not limited any more. */
  #caution = CAUTION_AT_FIRST;
  /** Pulls are numbered so that a status of a forgotten one is told from that of an open one. */
  #pull = 0;
  #oldestOpen = 1;
  #lastHeard = performance.now();
  #troubled = false;
  #stopped = false;

  constructor(bus: Bus, options: PullerOptions) {
    this.#bus = bus;
    this.#options = options;
    this.#largestBytes = bus.maxPayload + ENVELOPE_BYTES;
    this.#inbox = bus.mux.newInboxPrefix();
    this.#subscription = bus.subscribe(`${this.#inbox}*`, (message) => this.#onMessage(message));
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
    const bytes = this.#bytesFor(want);
    if (bytes === 0) return;
    if (this.#outstanding === 0) this.#lastHeard = performance.now();
    this.#pull += 1;
    this.#outstanding += want;
    this.#outstandingBytes += bytes;
    const { stream, consumer } = this.#options;
    const query = {
      batch: want,
      ...(this.#caution > 0 && { max_bytes: bytes }),
      expires: Math.round(this.#expiresMs() * NANOS_PER_MS),
      idle_heartbeat: IDLE_HEARTBEAT_MS * NANOS_PER_MS,
    };
    this.#bus.nc.publish(`${this.#bus.apiPrefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify(query), {
      reply: `${this.#inbox}${this.#pull}`,
    });
  }

  get stream(): string {
    return this.#options.stream;
  }

  /** How many messages were asked for and have not come. */
  get outstanding(): number {
    return this.#outstanding;
  }

  #expiresMs(): number {
    return this.#options.isTight?.() ? EXPIRES_TIGHT_MS : EXPIRES_MS * (0.8 + 0.2 * Math.random());
  }

  /** PULLER-3: how many bytes to ask for with `want` messages; 0 if there is no room even for one. */
  #bytesFor(want: number): number {
    const room = Math.min(MAX_OPEN_BYTES, this.#options.roomBytes?.() ?? MAX_OPEN_BYTES);
    if (room <= 0) return 0;
    const left = Math.max(room, this.#largestBytes) - this.#outstandingBytes;
    if (left < this.#largestBytes) return 0;
    return Math.ceil(Math.min(left, Math.max(this.#largestBytes, 4 * want * this.#usualBytes)));
  }

  #expectLess(messages: number, bytes: number): void {
    // Most messages are much smaller than what a pull has room for; what they leave over is free as well.
    const share = this.#outstanding === 0 ? 0 : (this.#outstandingBytes * messages) / this.#outstanding;
    this.#outstanding = Math.max(0, this.#outstanding - messages);
    this.#outstandingBytes = this.#outstanding === 0 ? 0 : Math.max(0, this.#outstandingBytes - Math.max(bytes, share));
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
    // What comes from a stream has a reply subject; its own headers may say anything, also what looks like a status.
    const code = message.reply ? 0 : (message.headers?.code ?? 0);
    if (code === 0) {
      const delivery = new Delivery(message, this.#bus.nc); // throws for a stranger's, which is none that we have asked for
      const bytes = message.data.length + message.subject.length + (message.reply?.length ?? 0);
      this.#usualBytes += (bytes - this.#usualBytes) / 16;
      if (bytes > LARGE_BYTES) this.#caution = CAUTION_AFTER_LARGE;
      else if (this.#caution > 0) this.#caution -= 1;
      this.#expectLess(1, bytes);
      this.#troubled = false;
      if (this.#stopped) delivery.nak();
      else this.#options.onDelivery(delivery);
      this.refill();
    } else if (code !== 100) this.#onStatus(message, code);
  }

  #onStatus(message: Msg, code: number): void {
    if (this.#stopped) return;
    const pull = Number(message.subject.slice(this.#inbox.length));
    if (pull < this.#oldestOpen) return;
    const unfilled = Number(message.headers?.get("Nats-Pending-Messages") || this.#outstanding);
    const unfilledBytes = Number(message.headers?.get("Nats-Pending-Bytes") || 0);
    const why = message.headers?.description ?? "";
    if (code === 409 && why === COMPLETED) {
      this.refill();
      return;
    }
    if (code === 409 && why === TOO_LARGE) {
      this.#expectLess(unfilled, unfilledBytes);
      // Stored while the server's limit was higher.
      if (unfilledBytes >= this.#largestBytes) this.#largestBytes *= 2;
      this.refill();
      return;
    }
    if (code === 408 || code === 404) {
      this.#expectLess(unfilled, unfilledBytes);
      if (this.#options.onUnused) this.#options.onUnused();
      else this.refill();
      return;
    }
    this.#trouble(`${code} ${why}`.trim());
    if (code === NO_RESPONDERS || why === DELETED) this.#options.onNoConsumer?.();
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
    this.#outstandingBytes = 0;
    this.#caution = Math.max(this.#caution, CAUTION_AT_FIRST);
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
