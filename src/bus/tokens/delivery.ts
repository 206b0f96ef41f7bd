/** A message of a consumer that waits for its acknowledgement. While it is un-acked, it is a lease. */
import type { Msg, NatsConnection } from "nats";
import { AsyncError } from "../../job/errors.ts";
import type { Mux } from "../wire/mux.ts";

const NANOS_PER_MS = 1_000_000;

export class Delivery {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: Msg["headers"];
  /** 1 for the first delivery. */
  readonly deliveries: number;
  /** When the server stored it, ms since 1970. */
  readonly storedAt: number;
  readonly receipt: Receipt;

  /** @throws AsyncError `undecodable` if it does not come from a consumer */
  constructor(message: Msg, connection: NatsConnection) {
    this.subject = message.subject;
    this.data = message.data;
    this.headers = message.headers;
    const reply = message.reply ?? "";
    const stream = startOf(reply, 0, startOf(reply, 0, 9) === 0 ? 2 : 4);
    const deliveries = startOf(reply, stream, 2);
    const sequence = startOf(reply, deliveries, 1);
    this.deliveries = Number(partAt(reply, deliveries));
    this.storedAt = Math.floor(Number(partAt(reply, startOf(reply, sequence, 2))) / NANOS_PER_MS);
    this.receipt = new Receipt(connection, reply, partAt(reply, stream), Number(partAt(reply, sequence)));
    if (!reply.startsWith("$JS.ACK.") || !Number.isSafeInteger(this.sequence)) {
      throw new AsyncError("undecodable", `not an acknowledgement subject: ${reply}`);
    }
  }

  /** Sequence in its stream. */
  get sequence(): number {
    return this.receipt.sequence;
  }

  /** Removes the message. Lost if the connection is: then it is delivered again. */
  ack(): void {
    this.receipt.ack();
  }

  /** Gives the message back, to be delivered again: at once, or after a time. */
  nak(delayMs?: number): void {
    this.receipt.nak(delayMs);
  }
}

/** What is kept of a message to acknowledge it: its bytes stay in memory with all that came in one read with them. */
export class Receipt {
  readonly stream: string;
  /** Sequence in its stream. */
  readonly sequence: number;
  readonly #reply: string;
  readonly #connection: NatsConnection;

  constructor(connection: NatsConnection, reply: string, stream: string, sequence: number) {
    this.#connection = connection;
    this.#reply = reply;
    this.stream = stream;
    this.sequence = sequence;
  }

  /** Removes the message. Lost if the connection is: then it is delivered again. */
  ack(): void {
    this.#connection.publish(this.#reply);
  }

  /**
   * Extends the lease by the consumer's `ack_wait`.
   *
   * @throws AsyncError of the bus: it may be extended or not
   */
  async working(mux: Mux, timeoutMs: number): Promise<void> {
    await mux.request(this.#reply, "+WPI", timeoutMs);
  }

  /** Gives the message back, to be delivered again: at once, or after a time. */
  nak(delayMs?: number): void {
    const delay = delayMs === undefined ? "" : ` ${JSON.stringify({ delay: Math.round(delayMs * NANOS_PER_MS) })}`;
    this.#connection.publish(this.#reply, `-NAK${delay}`);
  }
}

// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time ns>.<pending>[.<random>]
// To split it would make twice as many strings as there are to look at, for every job.

/** Where the part begins that comes `parts` after the one that begins at `from`; 0 if there are not that many. */
function startOf(subject: string, from: number, parts: number): number {
  let start = from;
  for (let left = parts; left > 0; left--) {
    start = subject.indexOf(".", start) + 1;
    if (start === 0) return 0;
  }
  return start;
}

function partAt(subject: string, start: number): string {
  const end = subject.indexOf(".", start);
  return subject.slice(start, end < 0 ? undefined : end);
}
