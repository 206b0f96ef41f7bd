/**
 * Requests and acknowledged publishes over one inbox: a map of waiters and one coarse timer. The client's own
 * `request()` builds a subscription entry, a timer, a promise race and an error per call and manages a quarter of this.
 *
 * X1  A reply token is used for one message and cannot be guessed; what arrives on a token that is not waited for is
 *     dropped. So a late reply of an attempt that was given up has no effect.
 * X2  Nothing is sent while disconnected (the client would drop it in silence): the caller gets `not_connected`.
 * X3  A timeout means "unknown", not "not done".
 * X4  At most `maxWaiters` are open; beyond it the caller gets `bus_overloaded`.
 */
import { randomBytes, randomFillSync } from "node:crypto";
import type { Msg, MsgHdrs, NatsConnection, Payload, Subscription } from "nats";
import { AsyncError, messageOf } from "../job/errors.ts";
import { type Deadline, Deadlines } from "./deadlines.ts";

/** An open request that may get several replies. */
export interface Waiter {
  /** Returns true when this was the last reply to be waited for. */
  onReply(message: Msg): boolean;
  onTimeout(): void;
}

/** A handle on an open request. */
export interface Ticket {
  /** The subject that replies go to. */
  readonly reply: string;
  /** Stops waiting; neither callback is called any more. */
  cancel(): void;
}

/** JetStream's answer to a publish. */
export interface PubAck {
  stream: string;
  seq: number;
  duplicate?: boolean;
}

/** JetStream refused; `errorCode` is its own number (10071 is a wrong revision). */
export class JetStreamError extends AsyncError {
  readonly errorCode: number;

  constructor(code: "jetstream_error" | "jobs_full", errorCode: number, description: string) {
    super(code, `JetStream: ${description} (${errorCode})`);
    this.name = "JetStreamError";
    this.errorCode = errorCode;
  }
}

/** The newest message of the subject was another one than expected; 10164 is what a replicated stream says. */
const WRONG_SEQUENCE = new Set([10071, 10164]);

/** Whether JetStream refused because someone else had written. */
export function isWrongSequence(error: unknown): boolean {
  return error instanceof JetStreamError && WRONG_SEQUENCE.has(error.errorCode);
}

interface Entry {
  waiter: Waiter;
  deadline: Deadline | undefined;
}

export interface MuxOptions {
  inboxPrefix: string;
  isConnected: () => boolean;
  maxWaiters?: number;
}

export class Mux {
  readonly #connection: NatsConnection;
  readonly #isConnected: () => boolean;
  /** Told of what arrives on a token that is not waited for. */
  onStray: ((message: Msg) => void) | undefined;
  readonly #maxWaiters: number;
  /** Our own part of the inbox namespace, with a final dot; unguessable. */
  readonly inboxPrefix: string;
  readonly #prefix: string;
  readonly #subscription: Subscription;
  readonly #entries = new Map<string, Entry>();
  readonly #deadlines = new Deadlines();
  readonly #tokens = new TokenSource();

  constructor(connection: NatsConnection, options: MuxOptions) {
    this.#connection = connection;
    this.#isConnected = options.isConnected;
    this.#maxWaiters = options.maxWaiters ?? 500_000;
    this.inboxPrefix = `${options.inboxPrefix}.${randomBytes(9).toString("hex")}.`;
    this.#prefix = `${this.inboxPrefix}r.`;
    this.#subscription = connection.subscribe(`${this.#prefix}*`, {
      callback: (_, message) => this.#onMessage(message),
    });
  }

  /** How many requests are open. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Sends a request whose replies go to `waiter`. Without `timeoutMs` it is open until the last reply or `cancel()`.
   *
   * @throws AsyncError `not_connected`, `bus_overloaded` or `payload_too_large`; then nothing was sent
   */
  open(subject: string, payload: Payload, timeoutMs: number | undefined, waiter: Waiter, headers?: MsgHdrs): Ticket {
    if (!this.#isConnected()) throw notConnected();
    if (this.#entries.size >= this.#maxWaiters) {
      throw new AsyncError("bus_overloaded", `${this.#maxWaiters} requests are open; wait for some of them to end`);
    }
    const token = this.#tokens.next();
    const reply = this.#prefix + token;
    this.#send(subject, payload, reply, headers);
    const expire = () => {
      this.#entries.delete(token);
      waiter.onTimeout();
    };
    const deadline = timeoutMs === undefined ? undefined : this.#deadlines.add(timeoutMs, expire);
    this.#entries.set(token, { waiter, deadline });
    return { reply, cancel: () => this.#end(token, deadline) };
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
      this.open(subject, payload, timeoutMs, { onReply, onTimeout }, headers);
    });
  }

  /**
   * One request, all replies that come until `timeoutMs`, or until none has come for `quietMs` after the first.
   */
  requestMany(subject: string, payload: Payload, timeoutMs: number, quietMs: number): Promise<Msg[]> {
    return new Promise((resolve, reject) => {
      const replies: Msg[] = [];
      let quiet: Deadline | undefined;
      const finish = () => {
        ticket?.cancel();
        resolve(replies);
      };
      const onReply = (message: Msg) => {
        if (isNoResponders(message)) {
          resolve(replies);
          return true;
        }
        replies.push(message);
        if (quiet) this.#deadlines.extend(quiet, quietMs);
        else quiet = this.#deadlines.add(quietMs, finish);
        return false;
      };
      let ticket: Ticket | undefined;
      try {
        ticket = this.open(subject, payload, timeoutMs, { onReply, onTimeout: () => resolve(replies) });
      } catch (error) {
        reject(error);
      }
    });
  }

  /**
   * Publishes into a stream and waits for the acknowledgement.
   *
   * @throws JetStreamError if the stream refused; AsyncError `jetstream_unavailable` if there is no stream or no
   * leader right now, `bus_timeout` if the outcome is unknown, or what {@link open} throws
   */
  publish(subject: string, payload: Payload, headers?: MsgHdrs, timeoutMs = 2_000): Promise<PubAck> {
    return new Promise((resolve, reject) => {
      const onReply = (message: Msg) => {
        if (isNoResponders(message)) reject(jetStreamUnavailable(subject));
        else settleAck(message, resolve, reject);
        return true;
      };
      const onTimeout = () => {
        reject(
          new AsyncError(
            "bus_timeout",
            `no acknowledgement of ${subject} within ${timeoutMs} ms: it may be stored or not`,
          ),
        );
      };
      this.open(subject, payload, timeoutMs, { onReply, onTimeout }, headers);
    });
  }

  /** Stops waiting: everything open ends as if it had timed out. */
  close(): void {
    this.#subscription.unsubscribe();
    this.#deadlines.close();
    const open = [...this.#entries.values()];
    this.#entries.clear();
    for (const { waiter } of open) waiter.onTimeout();
  }

  #send(subject: string, payload: Payload, reply: string, headers: MsgHdrs | undefined): void {
    try {
      this.#connection.publish(subject, payload, headers ? { reply, headers } : { reply });
    } catch (cause) {
      throw sendError(cause, subject, payload.length);
    }
  }

  #onMessage(message: Msg): void {
    const token = message.subject.slice(this.#prefix.length);
    const entry = this.#entries.get(token);
    if (!entry) {
      this.onStray?.(message); // X1
      return;
    }
    if (entry.waiter.onReply(message)) this.#end(token, entry.deadline);
  }

  #end(token: string, deadline: Deadline | undefined): void {
    if (deadline) this.#deadlines.cancel(deadline);
    this.#entries.delete(token);
  }
}

/** Tokens `<counter>-<48 random bits>`, base 36. */
class TokenSource {
  readonly #pool = Buffer.alloc(6 * 512);
  #used = this.#pool.length;
  #count = 0;

  next(): string {
    if (this.#used === this.#pool.length) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const random = this.#pool.readUIntBE(this.#used, 6);
    this.#used += 6;
    this.#count += 1;
    return `${this.#count.toString(36)}-${random.toString(36)}`;
  }
}

export function isNoResponders(message: Msg): boolean {
  return message.data.length === 0 && message.headers?.code === 503;
}

export function notConnected(): AsyncError {
  return new AsyncError("not_connected", "not connected to NATS; it is being reconnected, try again");
}

function jetStreamUnavailable(subject: string): AsyncError {
  return new AsyncError(
    "jetstream_unavailable",
    `no stream takes ${subject} right now: JetStream is down, has no leader, or the streams are not made (async server makes them)`,
  );
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

/** JetStream error codes that mean "the stream is full" (`discard: new`). */
const STREAM_FULL = new Set([10047, 10077, 10122]);

interface PubAckReply extends Partial<PubAck> {
  error?: { code: number; err_code?: number; description?: string };
}

function settleAck(message: Msg, resolve: (ack: PubAck) => void, reject: (error: Error) => void): void {
  let reply: PubAckReply;
  try {
    reply = message.json<PubAckReply>();
  } catch (cause) {
    reject(
      new AsyncError("bus_timeout", "the acknowledgement cannot be read: the message may be stored or not", { cause }),
    );
    return;
  }
  if (reply.error) {
    const errorCode = reply.error.err_code ?? reply.error.code;
    const code = STREAM_FULL.has(errorCode) ? "jobs_full" : "jetstream_error";
    reject(new JetStreamError(code, errorCode, reply.error.description ?? "error"));
  } else resolve(reply as PubAck);
}
