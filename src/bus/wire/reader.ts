/**
 * Reads messages from the bytes that a socket has received with less work than the client does: its parser looks at each
 * byte of the line before a message several times, and makes seven objects of it. That was a tenth of a supervisor's time.
 *
 * READER-1  What is no message, or is not understood, is left to the client's parser, byte for byte.
 * READER-2  A message that has not come as a whole is kept until the rest of it is there; a large one is left to the client's
 *     parser, which does not put it together anew with each part that comes.
 * READER-3  Nothing that a message says or that who gets it does ends the reading: what a delivery throws goes to `onFault`, and
 *     lines of headers that cannot be read are none (`read-headers.ts`). This holds for what the client's parser reads as well.
 * READER-4  Where the bytes themselves make no sense, the connection is made anew.
 */
import { type Msg, type MsgHdrs, MsgImpl, type ProtocolHandler, State } from "nats";
import { readHeaders } from "./read-headers.ts";

const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;
const H = 72;
const M = 77;
const MSG_LENGTH = "MSG ".length;
const HMSG_LENGTH = "HMSG ".length;
const LINE_END_LENGTH = 2;
/** As much as comes in one part, at most. */
const LARGE_BYTES = 65_536;

/** Told what a delivery, or the reading itself, has thrown; `where` is the subject, if there is one. Must not throw. */
export type OnFault = (error: unknown, where: string) => void;

/** Makes a connection of the client read as told above. */
export function readFramesOf(protocol: ProtocolHandler, onFault: OnFault): void {
  const reset = protocol.resetOutbound;
  // It makes a new parser for each connection to a server.
  protocol.resetOutbound = () => {
    reset.call(protocol);
    readWith(protocol, onFault);
  };
  readWith(protocol, onFault);
  protocol.processMsg = (arg, data) => {
    deliver(protocol, new ParsedMessage(arg, data, protocol), arg.sid, data.length, onFault);
  };
  guardErrors(protocol, onFault);
}

function readWith(protocol: ProtocolHandler, onFault: OnFault): void {
  const { parser } = protocol;
  const reader = new FrameReader(protocol, onFault);
  const parse = parser.parse.bind(parser);
  let broken = false;
  parser.parse = (bytes) => {
    if (broken) return;
    try {
      // READER-1: it may be in the middle of something
      if (parser.state === State.OP_START) reader.read(bytes, parse);
      else parse(bytes);
    } catch (error) {
      broken = true; // READER-4: where the next message begins is not known any more
      onFault(error, "");
      protocol.disconnect();
    }
  };
}

/** The client tells a subscription that it was refused by calling its callback with an error and no message. */
function guardErrors(protocol: ProtocolHandler, onFault: OnFault): void {
  const { subscriptions } = protocol;
  const handleError = subscriptions.handleError.bind(subscriptions);
  subscriptions.handleError = (error) => {
    try {
      return handleError(error);
    } catch (thrown) {
      onFault(thrown, error.subject);
      const { subject, queue } = error;
      const refused = subscriptions.all().find((one) => one.subject === subject && one.queue === queue);
      if (refused && error.operation === "subscription") subscriptions.cancel(refused); // as the client does after the callback
      return false;
    }
  };
}

/** As the client does it, under a guard (READER-3). */
function deliver(protocol: ProtocolHandler, message: MsgImpl, sid: number, length: number, onFault: OnFault): void {
  protocol.inMsgs += 1;
  protocol.inBytes += length;
  const subscription = protocol.subscriptions.get(sid);
  if (!subscription) return;
  subscription.received += 1;
  try {
    subscription.callback?.(null, message as Msg); // whose types leave out that it may have no headers
  } catch (error) {
    onFault(error, message.subject);
  }
  if (subscription.max !== undefined && subscription.received >= subscription.max) subscription.unsubscribe();
}

/** A message that the client's parser has read. */
class ParsedMessage extends MsgImpl {
  override get headers(): MsgHdrs | undefined {
    const { hdr } = this._msg;
    if (hdr > 0 && !this._headers) {
      const headers = readHeaders(this._rdata.subarray(0, hdr));
      if (headers) this._headers = headers;
    }
    return this._headers;
  }
}

class FrameReader {
  readonly #protocol: ProtocolHandler;
  readonly #onFault: OnFault;
  /** READER-2 */
  #rest: Buffer | undefined;

  constructor(protocol: ProtocolHandler, onFault: OnFault) {
    this.#protocol = protocol;
    this.#onFault = onFault;
  }

  read(bytes: Uint8Array, parse: (bytes: Uint8Array) => void): void {
    let chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#rest) chunk = Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    for (let at = 0; at < chunk.length; ) {
      const lineEnd = chunk.indexOf(LINE_FEED, at) - 1;
      if (lineEnd < at) {
        this.#rest = chunk.subarray(at);
        return;
      }
      const length = this.#readMessage(chunk, at, lineEnd);
      if (length === undefined) {
        parse(chunk.subarray(at, lineEnd + LINE_END_LENGTH));
        at = lineEnd + LINE_END_LENGTH;
      } else if (at + length <= chunk.length) at += length;
      else {
        if (length < LARGE_BYTES) this.#rest = chunk.subarray(at);
        else parse(chunk.subarray(at));
        return;
      }
    }
  }

  /**
   * Delivers the message at `at`, if it is there as a whole. Returns its length in bytes, or undefined if it is none: that is
   * `MSG <subject> <sid> [reply] <length>` or `HMSG <subject> <sid> [reply] <length of headers> <length of all>`.
   */
  #readMessage(chunk: Buffer, at: number, lineEnd: number): number | undefined {
    const first = chunk[at];
    if ((first !== M && first !== H) || chunk[lineEnd] !== CARRIAGE_RETURN) return undefined;
    const line = chunk.toString("utf8", at, lineEnd);
    const start = first === H ? HMSG_LENGTH : MSG_LENGTH;
    const subjectEnd = line.indexOf(" ", start);
    const sidEnd = line.indexOf(" ", subjectEnd + 1);
    const lengthStart = line.lastIndexOf(" ");
    const optionsEnd = first === H ? line.lastIndexOf(" ", lengthStart - 1) : lengthStart;
    const sid = Number(line.slice(subjectEnd + 1, sidEnd));
    const length = Number(line.slice(lengthStart + 1));
    const headers = first === H ? Number(line.slice(optionsEnd + 1, lengthStart)) : 0;
    if (!(start < subjectEnd && subjectEnd < sidEnd && sidEnd <= optionsEnd && sid > 0 && headers <= length)) {
      return undefined;
    }
    const begin = lineEnd + LINE_END_LENGTH;
    const end = begin + length;
    if (end + LINE_END_LENGTH <= chunk.length) {
      const reply = sidEnd < optionsEnd ? line.slice(sidEnd + 1, optionsEnd) : "";
      const protocol = this.#protocol;
      const subject = line.slice(start, subjectEnd);
      const message = new WireMessage(protocol, subject, sid, reply, chunk, begin, headers, end);
      deliver(protocol, message, sid, length, this.#onFault);
    }
    return end + LINE_END_LENGTH - at;
  }
}

const NOTHING = new Uint8Array();
const UNREAD = { subject: NOTHING, sid: 0, hdr: -1, size: 0 };

/** A message that takes out of its bytes only what is asked for. */
class WireMessage extends MsgImpl {
  readonly #subject: string;
  readonly #sid: number;
  readonly #reply: string;
  readonly #chunk: Buffer;
  readonly #begin: number;
  readonly #dataBegin: number;
  readonly #end: number;
  #data: Uint8Array | undefined;

  /** Its headers, if it has any, begin at `begin`, its data after them. */
  constructor(
    protocol: ProtocolHandler,
    subject: string,
    sid: number,
    reply: string,
    chunk: Buffer,
    begin: number,
    headersLength: number,
    end: number,
  ) {
    super(UNREAD, NOTHING, protocol);
    this.#subject = subject;
    this.#sid = sid;
    this.#reply = reply;
    this.#chunk = chunk;
    this.#begin = begin;
    this.#dataBegin = begin + headersLength;
    this.#end = end;
  }

  override get subject(): string {
    return this.#subject;
  }

  override get sid(): number {
    return this.#sid;
  }

  /** Empty if there is none, as with the client. */
  override get reply(): string {
    return this.#reply;
  }

  override get headers(): MsgHdrs | undefined {
    if (this.#dataBegin > this.#begin && !this._headers) {
      const headers = readHeaders(this.#chunk.subarray(this.#begin, this.#dataBegin));
      if (headers) this._headers = headers;
    }
    return this._headers;
  }

  override get data(): Uint8Array {
    this.#data ??= this.#chunk.subarray(this.#dataBegin, this.#end);
    return this.#data;
  }

  /** Bytes of its headers and data. */
  get length(): number {
    return this.#end - this.#begin;
  }

  override size(): number {
    return this.#subject.length + this.#reply.length + this.length;
  }

  override string(): string {
    return this.#chunk.toString("utf8", this.#dataBegin, this.#end);
  }
}
