/**
 * Services in this very process: a supervisor's requests to a worker on the same connection do not go over the bus, which
 * saves the four hops between processes that an attempt takes there.
 *
 * LOCAL-1  A service in this process is asked first. A worker without room ends its service here, as it leaves its queue
 *     groups on the bus; then the request goes to another process.
 * LOCAL-2  Both sides see what they would see on the bus: bytes of their own, headers, an unguessable subject to reply to, the
 *     same limit of size. Nobody is called from within their own call, but at the end of the turn.
 * LOCAL-3  What one side throws does not reach the other, but `onFault`.
 */
import { type Msg, type MsgHdrs, MsgHdrsImpl, type Payload, type PublishOptions } from "nats";
import type { OnFault } from "./reader.ts";

/** As much of a message as services and their clients use. */
export interface LocalMessage extends Pick<Msg, "subject" | "reply" | "data" | "respond"> {
  headers?: MsgHdrs | undefined;
}

type Deliver = (message: LocalMessage) => void;

export class LocalServices {
  readonly #onReply: Deliver;
  readonly #maxPayload: () => number;
  readonly #onFault: OnFault;
  readonly #services = new Map<string, Deliver>();

  constructor(onReply: Deliver, maxPayload: () => number, onFault: OnFault) {
    this.#onReply = onReply;
    this.#maxPayload = maxPayload;
    this.#onFault = onFault;
  }

  /** `deliver` gets the requests to `subject` from now on. Returns how to stop that. */
  serve(subject: string, deliver: Deliver): () => void {
    this.#services.set(subject, deliver);
    return () => {
      if (this.#services.get(subject) === deliver) this.#services.delete(subject);
    };
  }

  /** Takes the request, if its subject is served here. @throws Error as the client's, if it is too large */
  take(subject: string, reply: string, payload: Payload, headers: MsgHdrs | undefined): boolean {
    const deliver = this.#services.get(subject);
    if (!deliver) return false;
    const respond = (data: Payload = "", options?: PublishOptions) => {
      const message = this.#message(reply, "", data, options?.headers, () => false);
      this.#deliver(this.#onReply, message);
      return true;
    };
    const request = this.#message(subject, reply, payload, headers, respond);
    queueMicrotask(() => this.#deliver(deliver, request));
    return true;
  }

  /** LOCAL-3 */
  #deliver(to: Deliver, message: LocalMessage): void {
    try {
      to(message);
    } catch (error) {
      this.#onFault(error, message.subject);
    }
  }

  #message(
    subject: string,
    reply: string,
    payload: Payload,
    headers: MsgHdrs | undefined,
    respond: Msg["respond"],
  ): LocalMessage {
    const data = Buffer.from(payload as Uint8Array); // a copy, or the bytes of a text
    if (data.length > this.#maxPayload()) throw new Error("'payload' max_payload size exceeded");
    return { subject, reply, data, headers: headers && readable(headers), respond };
  }
}

/** Headers as who receives them sees them: those that we send cannot be read. */
function readable(headers: MsgHdrs): MsgHdrs {
  return MsgHdrsImpl.decode((headers as MsgHdrsImpl).encode());
}
