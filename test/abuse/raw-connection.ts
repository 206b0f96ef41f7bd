/** A connection to NATS on which anything can be written, also what no client would write. */
import { connect, type Socket } from "node:net";

export class RawConnection {
  readonly #port: number;
  readonly #host: string;
  #socket: Socket | undefined;
  /** How often the server has closed it, which it does when what it reads makes no sense. */
  closes = 0;

  constructor(url: string) {
    const { port, hostname } = new URL(url.replace("nats:", "http:"));
    this.#port = Number(port);
    this.#host = hostname;
  }

  /** Publishes; `head` is the block of headers as it stands on the wire. */
  publish(subject: string, body: Uint8Array | string, head = "", reply = ""): void {
    const payload = Buffer.from(body as string);
    const headers = Buffer.from(head, "latin1");
    const to = reply === "" ? subject : `${subject} ${reply}`;
    const line =
      head === ""
        ? `PUB ${to} ${payload.length}\r\n`
        : `HPUB ${to} ${headers.length} ${headers.length + payload.length}\r\n`;
    this.write(Buffer.concat([Buffer.from(line), headers, payload, Buffer.from("\r\n")]));
  }

  write(bytes: Uint8Array | string): void {
    this.#open().write(bytes);
  }

  /** Resolves when what was written has gone to the system, so that who attacks fills no memory of his own. */
  async drained(): Promise<void> {
    const socket = this.#open();
    while (!socket.destroyed && socket.writableLength > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  close(): void {
    this.#socket?.destroy();
  }

  #open(): Socket {
    if (this.#socket && !this.#socket.destroyed) return this.#socket;
    const socket = connect(this.#port, this.#host);
    socket.write('CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n');
    socket.on("data", (bytes) => bytes.includes("PING\r\n") && socket.write("PONG\r\n"));
    socket.on("error", () => socket.destroy()); // the server closes it when it does not like what it reads
    socket.once("close", () => {
      this.closes += 1;
    });
    this.#socket = socket;
    return socket;
  }
}
