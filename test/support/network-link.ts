/** A network link to a server that can be cut, so that a process is alone without being dead. */
import { connect, createServer, type Server, type Socket } from "node:net";

export class NetworkLink {
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  #cut = false;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on("connection", (socket) => this.#link(socket));
  }

  static async start(targetPort: number): Promise<NetworkLink> {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new NetworkLink(server, targetPort);
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** From now on nothing gets through, in silence: connections stay open, as when a cable is pulled. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** New connections get through again; those that were cut are gone. */
  mend(): void {
    this.#cut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #link(near: Socket): void {
    this.#add(near);
    if (this.#cut) return; // accepted by the kernel, answered by nobody
    const far = connect(this.#targetPort, "127.0.0.1");
    this.#add(far);
    near.pipe(far);
    far.pipe(near);
    near.once("close", () => far.destroy());
    far.once("close", () => near.destroy());
  }

  #add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy()); // the other end has gone, which is what this is for
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
