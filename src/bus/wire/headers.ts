/** Message headers as they go over the wire. The client's own object costs more to build than the message it is for. */
import type { MsgHdrs } from "nats";

/** Headers that are only ever sent. */
export class RawHeaders {
  readonly #bytes: Uint8Array;

  constructor(lines: string) {
    this.#bytes = Buffer.from(`NATS/1.0\r\n${lines}\r\n`);
  }

  /** Of the client's interface this is all that publishing uses, and all that there is. */
  static of(lines: string): MsgHdrs {
    return new RawHeaders(lines) as unknown as MsgHdrs;
  }

  encode(): Uint8Array {
    return this.#bytes;
  }
}

/** Message headers from plain pairs. Names and values must not have line breaks. */
export function headersOf(pairs: Record<string, string>): MsgHdrs {
  let lines = "";
  for (const key in pairs) lines += line(key, pairs[key] as string);
  return RawHeaders.of(lines);
}

/** @throws TypeError rather than let a value become a header of its own */
function line(key: string, value: string): string {
  if (/[\r\n]/.test(key) || /[\r\n]/.test(value)) throw new TypeError(`a line break in header ${key}`);
  return `${key}: ${value}\r\n`;
}

/** Store only if the newest message of the subject has that sequence (0: if there is none). */
export function expectSequence(sequence: number): MsgHdrs {
  return sequence === 0 ? EXPECT_NONE : RawHeaders.of(expectation(sequence));
}

/** The same, and the message goes after `ttl`, e.g. "60s". */
export function expectSequenceWithTtl(sequence: number, ttl: string): MsgHdrs {
  return RawHeaders.of(`${expectation(sequence)}Nats-TTL: ${ttl}\r\n`);
}

function expectation(sequence: number): string {
  return `Nats-Expected-Last-Subject-Sequence: ${sequence}\r\n`;
}

const EXPECT_NONE = RawHeaders.of(expectation(0));
