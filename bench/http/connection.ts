/**
 * One keep-alive connection to an HTTP server, one request at a time. The request is written and the reply read by hand:
 * node's own client costs several times of what the servers under test do, and would be what is measured.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface Reply {
  status: number;
  body: Buffer;
}

const HEAD_END = "\r\n\r\n";
const REPLY_LIMIT_BYTES = 4 * 1024 ** 2;

export class HttpConnection {
  readonly #socket: Socket;
  readonly #host: string;
  #received: Buffer = Buffer.alloc(0);
  #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error(`${host} has closed the connection`)));
  }

  static async open(url: string): Promise<HttpConnection> {
    const { hostname, port, host } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, "connect");
    return new HttpConnection(socket, host);
  }

  /** @throws Error if the connection is lost, or the reply is not one that this client understands */
  post(path: string, body: string): Promise<Reply> {
    if (this.#waiting) throw new TypeError("a connection has one request at a time");
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const head = `POST ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: application/json\r\n`;
      this.#socket.write(`${head}Content-Length: ${Buffer.byteLength(body)}${HEAD_END}${body}`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    try {
      const read = readReply(this.#received);
      if (!read) return;
      const waiting = this.#waiting;
      this.#waiting = undefined;
      this.#received = Buffer.alloc(0);
      waiting?.resolve(read);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#socket.destroy();
  }
}

/** The reply that the bytes are, or undefined if they are only a part of it. @throws Error */
export function readReply(bytes: Buffer): Reply | undefined {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd === -1) return undefined;
  const head = bytes.toString("latin1", 0, headEnd);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
  if (Number.isNaN(status) || Number.isNaN(length) || length > REPLY_LIMIT_BYTES) {
    throw new Error(`not a reply with a length that can be read:\n${head}`);
  }
  const from = headEnd + HEAD_END.length;
  if (bytes.length < from + length) return undefined;
  if (bytes.length > from + length) throw new Error("there is more than one reply to one request");
  return { status, body: bytes.subarray(from) };
}
