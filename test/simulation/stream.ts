/** A stream of the model: its messages, and how much of its limit they take (JETSTREAM-4). */
import type { MsgHdrs } from "nats";

export interface Stored {
  sequence: number;
  subject: string;
  data: Uint8Array;
  headers: MsgHdrs | undefined;
  storedAt: number;
  /** Bytes of the stream's limit. */
  size: number;
}

/** What a file store writes besides subject, headers and payload. */
const RECORD_BYTES = 30;
const HEADER_LENGTH_BYTES = 4;

/** What a message takes of the limit of its stream, as a server counts it. */
export function sizeOf(subject: string, data: Uint8Array, headers: MsgHdrs | undefined): number {
  if (!headers) return RECORD_BYTES + subject.length + data.length;
  const { length } = (headers as unknown as { encode(): Uint8Array }).encode();
  return RECORD_BYTES + subject.length + HEADER_LENGTH_BYTES + length + data.length;
}

export class Stream {
  readonly name: string;
  readonly messages = new Map<number, Stored>();
  readonly newest = new Map<string, number>();
  readonly seen = new Map<string, { sequence: number; at: number }>();
  lastSequence = 0;
  bytes = 0;
  maxBytes = Number.POSITIVE_INFINITY;

  constructor(name: string) {
    this.name = name;
  }

  /** JETSTREAM-4: what is replaced makes room only if it was as large. */
  hasRoomFor(subject: string, size: number): boolean {
    const old = this.name === "KV_jobs" ? this.last(subject) : undefined;
    return this.bytes + size <= this.maxBytes || (old !== undefined && old.size >= size);
  }

  /** The newest message of the subject has gone. */
  forget(subject: string): void {
    this.newest.delete(subject);
    for (const one of this.messages.values()) if (one.subject === subject) this.newest.set(subject, one.sequence);
  }

  last(subject: string): Stored | undefined {
    return this.messages.get(this.newest.get(subject) ?? 0);
  }
}
