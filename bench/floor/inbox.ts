/**
 * Requests over one inbox, as bare as they can be: callbacks by their tokens. No timeouts, no limits, no disconnects: what it
 * costs is what any implementation has to pay.
 */
import type { Msg, MsgHdrs, NatsConnection, Payload } from "nats";
import { OpenRequests } from "../../src/bus/wire/open-requests.ts";

export class Inbox {
  readonly #connection: NatsConnection;
  readonly #prefix: string;
  /** A Map would leave garbage that costs more than the requests (`registry.ts`). */
  readonly #waiting = new OpenRequests<(message: Msg) => void>();

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
    const token = this.#waiting.reserve();
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
