/**
 * Requests over one inbox, as bare as they can be: a map of callbacks. No timeouts, no limits, no disconnects: what it
 * costs is what any implementation has to pay.
 */
import type { Msg, MsgHdrs, NatsConnection, Payload } from "nats";

export class Inbox {
  readonly #connection: NatsConnection;
  readonly #prefix: string;
  readonly #waiting = new Map<string, (message: Msg) => void>();
  #count = 0;

  constructor(connection: NatsConnection, prefix: string) {
    this.#connection = connection;
    this.#prefix = `${prefix}.`;
    connection.subscribe(`${this.#prefix}*`, {
      callback: (_, message) => {
        const token = message.subject.slice(this.#prefix.length);
        const callback = this.#waiting.get(token);
        this.#waiting.delete(token);
        callback?.(message);
      },
    });
  }

  request(subject: string, payload: Payload, headers: MsgHdrs | undefined, callback: (message: Msg) => void): void {
    this.#count += 1;
    const token = this.#count.toString(36);
    this.#waiting.set(token, callback);
    this.#connection.publish(subject, payload, {
      reply: this.#prefix + token,
      ...(headers && { headers }),
    });
  }
}

/** Headers that are text already: the client's own object builds them anew for every message. */
export function rawHeaders(lines: string): MsgHdrs {
  const bytes = Buffer.from(`NATS/1.0\r\n${lines}\r\n\r\n`);
  return { encode: () => bytes } as unknown as MsgHdrs; // all that publishing asks of headers
}

/** The sequence in JetStream's answer to a publish. @throws Error if the stream has refused */
export function sequenceIn(ack: Msg): number {
  const { seq, error } = ack.json<{ seq?: number; error?: { description?: string } }>();
  if (seq === undefined) throw new Error(`the stream refused: ${error?.description ?? ack.headers?.description}`);
  return seq;
}
