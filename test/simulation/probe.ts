/** A client that asks a server, real or modelled, and keeps what it answers. */
import { randomUUID } from "node:crypto";
import { type Msg, type MsgHdrs, type NatsConnection, PermissionViolationError } from "nats";

/** What JetStream answers to a publish. */
export interface Stored {
  seq?: number;
  duplicate?: boolean;
  error?: { code: number; err_code: number; description: string };
}

const NANOS_PER_MS = 1_000_000;
const EXPIRES_MS = 4_000;
const IDLE_HEARTBEAT_MS = 500;
/** An answer is there by then, also on a busy machine. */
export const SOON_MS = 60;

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export interface Scenario {
  name: string;
  /** What the server does, line by line. */
  tell: (probe: Probe) => Promise<string[]>;
  expected: string[];
  /** CONTRACT-3 */
  model?: string[];
}

/** A user whose permissions can be changed. */
export interface Limited {
  connect(): Promise<NatsConnection>;
  deny(operation: "publish" | "subscription", subject: string): Promise<void>;
  /** Everything again. */
  permit(): Promise<void>;
}

export class Probe {
  readonly nc: NatsConnection;
  readonly limited: Limited;
  readonly #connect: () => Promise<NatsConnection>;

  constructor(nc: NatsConnection, connect: () => Promise<NatsConnection>, limited: Limited) {
    this.nc = nc;
    this.#connect = connect;
    this.limited = limited;
  }

  /** Another client of the same server. */
  async another(): Promise<Probe> {
    return new Probe(await this.#connect(), this.#connect, this.limited);
  }

  /** That of the user whose permissions can be changed. */
  async ofLimited(): Promise<Probe> {
    return new Probe(await this.limited.connect(), this.#connect, this.limited);
  }

  /** What the status of the connection tells of errors, from now on. */
  errors(): string[] {
    const told: string[] = [];
    const watch = async () => {
      for await (const status of this.nc.status()) {
        if (status.type !== "error" || !(status.error instanceof PermissionViolationError)) continue;
        const { operation, subject, queue } = status.error;
        told.push([operation, subject, queue].filter(Boolean).join(" "));
      }
    };
    void watch(); // ends with the connection
    return told;
  }

  listen(subject: string, queue?: string): Msg[] {
    const heard: Msg[] = [];
    const callback = (error: unknown, message: Msg) => {
      if (!error) heard.push(message);
    };
    this.nc.subscribe(subject, queue === undefined ? { callback } : { callback, queue });
    return heard;
  }

  /** Sends a request. Returns the list that its replies are put into as they come. */
  send(subject: string, body: string | Uint8Array = "", headers?: MsgHdrs): Msg[] {
    // Of its own: a pull that is left open must not end up with the next client.
    const inbox = `contract.inbox.${randomUUID()}`;
    const replies = this.listen(inbox);
    this.nc.publish(subject, body, headers ? { reply: inbox, headers } : { reply: inbox });
    return replies;
  }

  async ask(subject: string, body: string | Uint8Array = "", headers?: MsgHdrs): Promise<Msg[]> {
    const replies = this.send(subject, body, headers);
    await sleep(SOON_MS);
    return replies;
  }

  /** Publishes into a stream: the answer. */
  async store(subject: string, body: string, headers?: MsgHdrs): Promise<Stored> {
    const [reply] = await this.ask(subject, body, headers);
    return reply && reply.data.length > 0 ? reply.json<Stored>() : {};
  }

  pull(stream: string, batch: number, expiresMs = EXPIRES_MS): Msg[] {
    const idle_heartbeat = IDLE_HEARTBEAT_MS * NANOS_PER_MS;
    const query = { batch, expires: expiresMs * NANOS_PER_MS, idle_heartbeat };
    return this.send(`$JS.API.CONSUMER.MSG.NEXT.${stream}.supervisor`, JSON.stringify(query));
  }

  async read(stream: string, subject: string): Promise<string> {
    const [reply] = await this.ask(`$JS.API.DIRECT.GET.${stream}.${subject}`);
    return described(reply);
  }

  async readAt(stream: string, sequence = 0): Promise<string> {
    const [reply] = await this.ask(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify({ seq: sequence }));
    return described(reply);
  }
}

/** The body of a message, or the code of a status. */
export function described(message: Msg | undefined): string {
  if (!message) return "nothing";
  const code = message.headers?.code ?? 0;
  return code === 0 ? message.string() : String(code);
}

/** What a pull has brought so far, without heartbeats and other statuses. */
export function delivered(pulled: Msg[]): Msg[] {
  return pulled.filter(({ headers }) => (headers?.code ?? 0) === 0);
}

/** The same in words: `<body> <number of the delivery>`. */
export function deliveries(pulled: Msg[]): string {
  const lines = delivered(pulled).map((message) => `${message.string()} ${message.reply?.split(".").at(-5)}`);
  return lines.join(", ") || "nothing";
}

export function outcome({ seq, duplicate, error }: Stored): string {
  if (error) return `${error.code} ${error.err_code}`;
  if (duplicate) return "duplicate";
  return seq === undefined ? "nothing" : "stored";
}
