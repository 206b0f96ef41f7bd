/**
 * Requests and acknowledged publishes over one inbox: a list of open requests and one coarse timer. The client's own
 * `request()` builds a subscription entry, a timer, a promise race and an error per call and manages a quarter of this.
 * What is on the path of every job takes a callback; promises are for the rest: a chain of them costs more than the
 * message, and what is sent from it misses the write to the socket that the callbacks of a turn share.
 *
 * MUX-1  Each request has a reply key of its own, which cannot be guessed. What arrives under a key that is not waited for is
 *     dropped. So a late reply of an attempt that was given up has no effect.
 * MUX-2  Nothing is sent while disconnected (the client would drop it in silence): the caller gets `not_connected`.
 * MUX-3  A timeout means "unknown", not "not done".
 * MUX-4  At most `maxWaiters` are open; beyond it the caller gets `bus_overloaded`.
 * MUX-5  What the server does not permit fails at once with `permission_denied`, and was not sent. What has had a reply was sent
 *     before that.
 */
import type { Msg, MsgHdrs, NatsConnection, Payload } from "nats";
import { AsyncError, isAsyncError, messageOf } from "../../job/errors.ts";
import { RandomText } from "../../util/random-text.ts";
import { Deadlines, type Expiring } from "./deadlines.ts";
import { isNoResponders, jetStreamUnavailable, type OnStored, settleAck } from "./jetstream.ts";
import { LocalServices } from "./local-services.ts";
import { OpenRequests } from "./open-requests.ts";
import type { OnFault } from "./reader.ts";
import { type Listening, SteadySubscription } from "./steady-subscription.ts";

/** An open request that may get several replies. */
export interface Waiter {
  /** Returns true when this was the last reply to be waited for. */
  onReply(message: Msg): boolean;
  onTimeout(): void;
  /** The server does not permit the request, or its replies (MUX-5): then it was sent. Without it: `onTimeout`. */
  onDenied?(error: AsyncError, wasSent: boolean): void;
}

/** A handle on an open request. */
export interface Ticket {
  /** The subject that replies go to. */
  readonly reply: string;
  /** Stops waiting; neither callback is called any more. */
  cancel(): void;
}

/** 72 bits. */
const INBOX_CHARACTERS = 12;
/** Of all replies to one request. */
const MAX_REPLIES_BYTES = 16 * 1024 ** 2;

export interface MuxOptions {
  inboxPrefix: string;
  isConnected: () => boolean;
  /** Told what goes wrong in callbacks. Must not throw. */
  onFault: OnFault;
  /** Told that the subscription for replies was refused once more. */
  onRefusedAgain?: (subject: string) => void;
  maxWaiters?: number;
}

export class Mux {
  readonly #connection: NatsConnection;
  readonly #isConnected: () => boolean;
  /** Told of what arrives under a key that is not waited for. */
  readonly #strayListeners = new Set<(message: Msg) => void>();
  readonly #maxWaiters: number;
  readonly #onFault: OnFault;
  readonly #onRefusedAgain: ((subject: string) => void) | undefined;
  /** Our own part of the inbox namespace, with a final dot; unguessable. What comes after it is the key of a request. */
  readonly inboxPrefix: string;
  /** What requests go to without the bus. */
  readonly local: LocalServices;
  readonly #inboxRoot: string;
  readonly #subscription: Listening;
  /** Why replies cannot come, until they are permitted again. */
  #deaf: AsyncError | undefined;
  readonly #open = new OpenRequests<Open>();
  readonly #deadlines = new Deadlines(() => this.#open);

  constructor(connection: NatsConnection, options: MuxOptions) {
    this.#connection = connection;
    this.#isConnected = options.isConnected;
    this.#onRefusedAgain = options.onRefusedAgain;
    this.#maxWaiters = options.maxWaiters ?? 500_000;
    this.#onFault = options.onFault;
    this.#inboxRoot = options.inboxPrefix;
    this.inboxPrefix = this.newInboxPrefix();
    this.local = new LocalServices(
      (message) => this.#onMessage(message as Msg),
      () => connection.info?.max_payload ?? Number.POSITIVE_INFINITY,
      options.onFault,
    );
    this.#subscription = this.#subscribe();
  }

  /** A part of the inbox namespace that nobody else has heard of, with a final dot. */
  newInboxPrefix(): string {
    return `${this.#inboxRoot}.${new RandomText(INBOX_CHARACTERS).next()}.`;
  }

  #subscribe(): Listening {
    const onMade = () => {
      this.#deaf = undefined;
    };
    const inbox = `${this.inboxPrefix}*`;
    const onRefused = (again: boolean) => {
      if (again) this.#onRefusedAgain?.(inbox);
    };
    return new SteadySubscription(this.#connection, inbox, (message) => this.#onMessage(message), {
      onMade,
      onRefused,
    });
  }

  /** MUX-5: the server has refused to publish on that subject, or a subscription to it. */
  deny(operation: "publish" | "subscription", subject: string): void {
    const isInbox = operation === "subscription" && subject === `${this.inboxPrefix}*`;
    if (operation === "subscription" && !isInbox) return;
    const error = denied(operation, subject);
    if (isInbox) this.#deaf = error;
    for (const request of [...this.#open]) {
      if (!isInbox && request.subject !== subject) continue;
      try {
        request.deny(error, !isInbox);
      } catch (thrown) {
        this.#onFault(thrown, request.subject); // the others are told all the same
      }
    }
  }

  /** Calls `listener` with what arrives under a key that is not waited for (MUX-1). Returns how to stop that. */
  onStray(listener: (message: Msg) => void): () => void {
    this.#strayListeners.add(listener);
    return () => this.#strayListeners.delete(listener);
  }

  /** How many requests are open. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * Sends a request whose replies go to `waiter`. Without `timeoutMs` it is open until the last reply or `cancel()`.
   *
   * @throws AsyncError `not_connected`, `bus_overloaded` or `payload_too_large`; then nothing was sent
   */
  open(
    subject: string,
    payload: Payload,
    timeoutMs: number | undefined,
    waiter: Waiter,
    headers?: MsgHdrs,
  ): OpenRequest {
    const key = this.#send(subject, payload, headers, this.local);
    const request = new OpenRequest(this.#open, key, this.inboxPrefix, subject, waiter);
    this.#open.set(key, request);
    if (timeoutMs !== undefined) this.#expireIn(request, timeoutMs);
    return request;
  }

  /** Returns the key that the replies will come with. No reply comes before the end of the turn. */
  #send(subject: string, payload: Payload, headers: MsgHdrs | undefined, local?: LocalServices): string {
    if (!this.#isConnected()) throw notConnected();
    if (this.#deaf) throw this.#deaf;
    if (this.#open.size >= this.#maxWaiters) {
      throw new AsyncError("bus_overloaded", `${this.#maxWaiters} requests are open; wait for some of them to end`);
    }
    const key = this.#open.reserve();
    const reply = this.inboxPrefix + key;
    try {
      if (!local?.take(subject, reply, payload, headers)) {
        this.#connection.publish(subject, payload, headers ? { reply, headers } : { reply });
      }
      return key;
    } catch (cause) {
      this.#open.delete(key);
      throw sendError(cause, subject, payload.length);
    }
  }

  /**
   * One request, one reply. A reply that is an error of the service is returned like any other.
   *
   * @throws AsyncError `no_responders`, `bus_timeout` or what {@link open} throws
   */
  request(subject: string, payload: Payload, timeoutMs: number, headers?: MsgHdrs): Promise<Msg> {
    return new Promise((resolve, reject) => {
      const onReply = (message: Msg) => {
        if (isNoResponders(message)) {
          reject(new AsyncError("no_responders", `nobody listens on ${subject}`));
        } else resolve(message);
        return true;
      };
      const onTimeout = () => {
        reject(new AsyncError("bus_timeout", `no reply on ${subject} within ${timeoutMs} ms`));
      };
      this.open(subject, payload, timeoutMs, { onReply, onTimeout, onDenied: reject }, headers);
    });
  }

  /**
   * One request, all replies that come until `timeoutMs`, or until none has come for `quietMs` after the first; or until they are
   * more than 16 MiB, as anybody may answer.
   */
  requestMany(subject: string, payload: Payload, timeoutMs: number, quietMs: number): Promise<Msg[]> {
    return new Promise((resolve, reject) => {
      const replies: Msg[] = [];
      let bytes = 0;
      const end = performance.now() + timeoutMs;
      const onReply = (message: Msg) => {
        if (isNoResponders(message)) {
          resolve(replies);
          return true;
        }
        replies.push(message);
        bytes += message.data.length;
        if (bytes > MAX_REPLIES_BYTES) {
          resolve(replies);
          return true;
        }
        this.#expireIn(request, Math.min(quietMs, end - performance.now()));
        return false;
      };
      const onTimeout = () => resolve(replies);
      const request = this.open(subject, payload, timeoutMs, { onReply, onTimeout, onDenied: reject });
    });
  }

  /**
   * Publishes into a stream and waits for the acknowledgement. `done` may be called before this returns, if nothing
   * could be sent. Its error is a JetStreamError if the stream refused; else an AsyncError: `jetstream_unavailable` if
   * there is no stream or no leader right now, `bus_timeout` if the outcome is unknown, or what {@link open} throws.
   */
  store(subject: string, payload: Payload, headers: MsgHdrs | undefined, timeoutMs: number, done: OnStored): void {
    let key: string;
    try {
      key = this.#send(subject, payload, headers);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      done(error, 0);
      return;
    }
    const request = new StoreRequest(this.#open, key, subject, timeoutMs, done);
    this.#open.set(key, request);
    this.#expireIn(request, timeoutMs);
  }

  /** The same with a promise of the sequence. @throws AsyncError as {@link store} tells */
  publish(subject: string, payload: Payload, headers?: MsgHdrs, timeoutMs = 2_000): Promise<number> {
    return new Promise((resolve, reject) => {
      this.store(subject, payload, headers, timeoutMs, (error, sequence) => {
        if (error) reject(error);
        else resolve(sequence);
      });
    });
  }

  /** Stops waiting: everything open ends as if it had timed out. */
  close(): void {
    this.#subscription.unsubscribe();
    this.#deadlines.close();
    for (const request of [...this.#open]) request.expire();
  }

  #expireIn(request: Open, ms: number): void {
    request.at = performance.now() + ms;
    this.#deadlines.note(request.at);
  }

  #onMessage(message: Msg): void {
    const request = this.#open.get(message.subject.slice(this.inboxPrefix.length));
    if (request) request.take(message);
    else for (const listener of this.#strayListeners) listener(message); // MUX-1
  }
}

/** What waits for a reply. */
interface Open extends Expiring {
  /** Where it was sent to. */
  readonly subject: string;
  take(message: Msg): void;
  /** MUX-5 */
  deny(error: AsyncError, byPublishing: boolean): void;
}

/** A request that may get replies. */
class OpenRequest implements Ticket, Open {
  at = Number.POSITIVE_INFINITY;
  readonly subject: string;
  readonly #open: OpenRequests<Open>;
  readonly #key: string;
  readonly #inboxPrefix: string;
  readonly #waiter: Waiter;
  #answered = false;

  constructor(open: OpenRequests<Open>, key: string, inboxPrefix: string, subject: string, waiter: Waiter) {
    this.#open = open;
    this.#key = key;
    this.#inboxPrefix = inboxPrefix;
    this.subject = subject;
    this.#waiter = waiter;
  }

  get reply(): string {
    return this.#inboxPrefix + this.#key;
  }

  take(message: Msg): void {
    this.#answered = true;
    if (this.#waiter.onReply(message)) this.cancel();
  }

  cancel(): void {
    this.#open.delete(this.#key);
  }

  expire(): void {
    this.cancel();
    this.#waiter.onTimeout();
  }

  deny(error: AsyncError, byPublishing: boolean): void {
    if (byPublishing && this.#answered) return;
    this.cancel();
    if (this.#waiter.onDenied) this.#waiter.onDenied(error, !byPublishing);
    else this.#waiter.onTimeout();
  }
}

/** Waits for JetStream's answer to a publish. */
class StoreRequest implements Open {
  at = 0;
  readonly subject: string;
  readonly #open: OpenRequests<Open>;
  readonly #key: string;
  readonly #timeoutMs: number;
  readonly #done: OnStored;

  constructor(open: OpenRequests<Open>, key: string, subject: string, timeoutMs: number, done: OnStored) {
    this.#open = open;
    this.#key = key;
    this.subject = subject;
    this.#timeoutMs = timeoutMs;
    this.#done = done;
  }

  take(message: Msg): void {
    this.#open.delete(this.#key);
    if (isNoResponders(message)) this.#done(jetStreamUnavailable(this.subject), 0);
    else settleAck(message, this.#done);
  }

  expire(): void {
    this.#open.delete(this.#key);
    const what = `no acknowledgement of ${this.subject} within ${this.#timeoutMs} ms: it may be stored or not`;
    this.#done(new AsyncError("bus_timeout", what), 0);
  }

  deny(error: AsyncError): void {
    this.#open.delete(this.#key);
    this.#done(error, 0);
  }
}

/** What the server has refused, in words. */
export function denied(operation: "publish" | "subscription", subject: string, queue?: string): AsyncError {
  const group = queue === undefined ? "" : ` in queue group ${queue}`;
  const what = operation === "publish" ? `publish on ${subject}` : `subscribe to ${subject}${group}`;
  return new AsyncError("permission_denied", `NATS does not permit this user to ${what}`);
}

function notConnected(): AsyncError {
  return new AsyncError("not_connected", "not connected to NATS; it is being reconnected, try again");
}

function sendError(cause: unknown, subject: string, length: number): AsyncError {
  const why = messageOf(cause);
  if (why.includes("max_payload")) {
    return new AsyncError("payload_too_large", `${length} bytes for ${subject} are more than the server takes`, {
      cause,
    });
  }
  return new AsyncError("not_connected", `could not send to ${subject}: ${why}`, { cause });
}
