/**
 * One connection to NATS, with the mux on it and a gate: whether it is connected right now, and who wants to know.
 *
 * BUS-1  It reconnects for ever; only `close()` ends it.
 * BUS-2  Nothing is sent while disconnected: the client drops such messages in silence, so the gate is asked first.
 */
import { EventEmitter } from "node:events";
import { connect as connectToServer, type NatsConnection, NatsConnectionImpl, type NodeConnectionOptions } from "nats";
import { type Access, type AccessOptions, accessOf, notConnected } from "./address.ts";
import { requireServer } from "./server-check.ts";
import { Mux } from "./wire/mux.ts";
import { readFramesOf } from "./wire/reader.ts";
import { writeSlabsOf } from "./wire/writer.ts";

export interface BusOptions extends AccessOptions {
  /**
   * One or more addresses, separated by commas, with or without `user:password@` or `token@`. Default
   * `nats://127.0.0.1:4222`.
   */
  url?: string;
  /** Shown by the server's monitoring, e.g. `async-supervisor-3f2a`. */
  name: string;
  /** Further options of the client. */
  client?: Partial<NodeConnectionOptions>;
  /** Makes the connection. Default: the client's own function; the simulation has one that needs no network. */
  connect?: (options: NodeConnectionOptions) => Promise<NatsConnection>;
}

const DEFAULT_URL = "nats://127.0.0.1:4222";
/** How long the first connection may take. */
const CONNECT_TIMEOUT_MS = 5_000;

export class Bus {
  readonly nc: NatsConnection;
  /** @internal */
  readonly mux: Mux;
  /** Where it is connected to, without secrets. */
  readonly url: string;
  /** What subjects of the JetStream API begin with. @internal */
  readonly apiPrefix: string;
  readonly #gate = new EventEmitter();
  #connected = true;
  #closing = false;
  /** It ended without being closed by us. */
  #ended = false;

  private constructor(nc: NatsConnection, { shown, apiPrefix }: Access, inboxPrefix: string) {
    this.nc = nc;
    this.url = shown;
    this.apiPrefix = apiPrefix;
    this.#gate.setMaxListeners(0);
    this.mux = new Mux(nc, { inboxPrefix, isConnected: () => this.#connected });
    void this.#watch(); // ends with the connection; it has no failures of its own
  }

  /**
   * Connects and checks that the server is one we can work with.
   *
   * @throws AsyncError `invalid_option`, `not_connected`, `server_too_old` or `jetstream_unavailable`
   */
  static async open(options: BusOptions): Promise<Bus> {
    const { url = DEFAULT_URL, name, inboxPrefix = "_INBOX_async", client } = options;
    const { connect = connectToServer } = options;
    const access = accessOf(url, options);
    let nc: NatsConnection;
    try {
      nc = await connect({
        ...access.client,
        ...client,
        servers: access.servers,
        name,
        inboxPrefix,
        timeout: CONNECT_TIMEOUT_MS,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 100,
        pingInterval: 3_000,
        noAsyncTraces: true,
      });
    } catch (cause) {
      throw notConnected(access.shown, cause);
    }
    try {
      requireServer(nc.info);
    } catch (error) {
      await nc.close();
      throw error;
    }
    if (nc instanceof NatsConnectionImpl) {
      readFramesOf(nc.protocol);
      writeSlabsOf(nc.protocol);
    }
    return new Bus(nc, access, inboxPrefix);
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Calls `listener` each time the connection is made again after a loss. Returns how to stop that. */
  onReconnected(listener: () => void): () => void {
    this.#gate.on("connected", listener);
    return () => this.#gate.off("connected", listener);
  }

  /** It is, or is being, closed for good. */
  get closed(): boolean {
    return this.#closing || this.#ended;
  }

  /** Calls `listener` when it is closed for good, maybe more than once. Returns how to stop that. */
  onClosed(listener: () => void): () => void {
    this.#gate.on("closed", listener);
    return () => this.#gate.off("closed", listener);
  }

  /** Resolves to whether the connection is there, at once or within `timeoutMs`. */
  whenConnected(timeoutMs: number): Promise<boolean> {
    if (this.#connected || this.closed) return Promise.resolve(this.#connected);
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#gate.off("connected", done);
        this.#gate.off("closed", done);
        resolve(this.#connected);
      };
      const timer = setTimeout(done, timeoutMs);
      this.#gate.on("connected", done);
      this.#gate.on("closed", done);
    });
  }

  /** Waits until the server has seen everything that was sent; false if the connection is gone, and that with it. */
  async flush(): Promise<boolean> {
    try {
      if (this.#connected) await this.nc.flush();
      return this.#connected;
    } catch {
      return false;
    }
  }

  /** Sends what is buffered, then closes. What is still waited for ends as a timeout. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.mux.close();
    await this.flush();
    this.#connected = false;
    this.#gate.emit("closed");
    await this.nc.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #watch(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === "disconnect") this.#connected = false;
      if (status.type === "reconnect" && !this.#closing) {
        this.#connected = true;
        this.#gate.emit("connected");
      }
    }
    this.#connected = false;
    this.#ended = true;
    this.#gate.emit("closed");
  }
}
