/**
 * One connection to NATS, with the mux on it and a gate: whether it is connected right now, and who wants to know.
 *
 * BUS-1  It reconnects for ever; only `close()` ends it.
 * BUS-2  Nothing is sent while disconnected: the client drops such messages in silence, so the gate is asked first.
 * BUS-3  Nothing that comes from outside, and no listener, ends its reading. What goes wrong in one of them is counted and told to
 *     who listens for faults. If it ends all the same, who listens for that is told why.
 */
import {
  connect as connectToServer,
  type Msg,
  type NatsConnection,
  NatsConnectionImpl,
  type NodeConnectionOptions,
  PermissionViolationError,
} from "nats";
import type typedEmitter from "typed-emitter";
import { AsyncError, messageOf } from "../job/errors.ts";
import { timerMs } from "../job/time.ts";
import { callGuarded, guardedEmitter } from "../util/guarded-emitter.ts";
import { type Access, type AccessOptions, accessOf, notConnected } from "./address.ts";
import { requireServer } from "./server-check.ts";
import { denied, Mux } from "./wire/mux.ts";
import { readFramesOf } from "./wire/reader.ts";
import { type Listening, SteadySubscription } from "./wire/steady-subscription.ts";
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

export const DEFAULT_URL = "nats://127.0.0.1:4222";
/** Of a server that is not configured otherwise. */
const DEFAULT_MAX_PAYLOAD = 1024 ** 2;
/** How long the first connection may take. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Faults are told at most this often, with their number. */
const FAULT_SPELL_MS = 10_000;

/** A message that could not be dealt with; nothing else was harmed. */
export interface Fault {
  what: string;
  error: unknown;
  /** How many there have been since the connection was made. */
  count: number;
}

type GateEvents = {
  connected: () => void;
  disconnected: () => void;
  closed: () => void;
  fault: (fault: Fault) => void;
  denied: (denial: Denial) => void;
  lost: (error: AsyncError) => void;
};

/** The server does not permit something. */
export interface Denial {
  operation: "publish" | "subscription";
  subject: string;
  error: AsyncError;
}

export class Bus {
  readonly nc: NatsConnection;
  /** @internal */
  readonly mux: Mux;
  /** Where it is connected to, without secrets. */
  readonly url: string;
  /** What subjects of the JetStream API begin with. @internal */
  readonly apiPrefix: string;
  /** The JetStream domain that was asked for; undefined is that of the server we are connected to. @internal */
  readonly domain: string | undefined;
  readonly #gate = guardedEmitter((event, error) =>
    this.#fault(error, `a listener of "${event}" failed`),
  ) as typedEmitter.default<GateEvents>;
  #faults = 0;
  #faultToldAt = Number.NEGATIVE_INFINITY;
  /** Subscriptions that are refused again: that was told before. */
  readonly #refusedAgain = new Set<string>();
  #connected = true;
  #closing = false;
  #closed: Promise<void> | undefined;
  /** It ended without being closed by us. */
  #ended = false;

  private constructor(
    nc: NatsConnection,
    { shown, apiPrefix }: Access,
    inboxPrefix: string,
    domain: string | undefined,
  ) {
    this.nc = nc;
    this.url = shown;
    this.apiPrefix = apiPrefix;
    this.domain = domain;
    this.#gate.setMaxListeners(0);
    const onFault = (error: unknown, where: string) =>
      this.#fault(error, where === "" ? "what the server sent makes no sense" : `a message on ${where} was dropped`);
    if (nc instanceof NatsConnectionImpl) {
      readFramesOf(nc.protocol, onFault);
      writeSlabsOf(nc.protocol);
    }
    this.mux = new Mux(nc, {
      inboxPrefix,
      isConnected: () => this.#connected && !this.#closing,
      onFault,
      onRefusedAgain: (subject) => this.#refusedAgain.add(subject),
    });
    void this.#watch(); // ends with the connection; it has no failures of its own
  }

  /**
   * Connects and checks that the server is one we can work with.
   *
   * @throws AsyncError `invalid_option`, `not_connected` or `server_too_old`
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
    return new Bus(nc, access, inboxPrefix, options.domain);
  }

  /**
   * Where to publish what is for a bucket. Servers keep `$KV` within a domain; the way into another one is its API.
   *
   * @internal
   */
  bucketSubject(subject: string): string {
    return this.domain === undefined ? subject : `${this.apiPrefix}.${subject}`;
  }

  /** Hears what comes on a subject until it is ended; also if the server refuses it for a time (STEADY-1). */
  subscribe(subject: string, callback: (message: Msg) => void, { queue }: { queue?: string } = {}): Listening {
    const onRefused = (again: boolean) => {
      if (again) this.#refusedAgain.add(subject);
    };
    return new SteadySubscription(
      this.nc,
      subject,
      callback,
      queue === undefined ? { onRefused } : { onRefused, queue },
    );
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** What the payload of a message may have, in bytes, its headers included. */
  get maxPayload(): number {
    return this.nc.info?.max_payload ?? DEFAULT_MAX_PAYLOAD;
  }

  /** Calls `listener` each time the connection is made again after a loss. Returns how to stop that. */
  onReconnected(listener: () => void): () => void {
    this.#gate.on("connected", listener);
    return () => this.#gate.off("connected", listener);
  }

  /** Calls `listener` each time the connection is lost, while it is not being closed. Returns how to stop that. */
  onDisconnected(listener: () => void): () => void {
    this.#gate.on("disconnected", listener);
    return () => this.#gate.off("disconnected", listener);
  }

  /** It is, or is being, closed for good. */
  get closed(): boolean {
    return this.#closing || this.#ended;
  }

  /** @throws AsyncError `closed` */
  requireOpen(): this {
    if (this.closed) throw new AsyncError("closed", "the connection is closed; open another one");
    return this;
  }

  /** Calls `listener` when it is closed for good, maybe more than once. Returns how to stop that. */
  onClosed(listener: () => void): () => void {
    this.#gate.on("closed", listener);
    return () => this.#gate.off("closed", listener);
  }

  /** Calls `listener` when messages have turned out to be nothing that can be dealt with; not for each of many. Returns how to stop. */
  onFault(listener: (fault: Fault) => void): () => void {
    this.#gate.on("fault", listener);
    return () => this.#gate.off("fault", listener);
  }

  /** Calls what a user has given us. What it throws is a fault and harms nobody (BUS-3). */
  callGuarded(what: string, call: () => unknown): void {
    callGuarded(call, (error) => this.#fault(error, what));
  }

  /** Calls `listener` when the server does not permit something; of a subscription once, until it is permitted. Returns how to stop. */
  onDenied(listener: (denial: Denial) => void): () => void {
    this.#gate.on("denied", listener);
    return () => this.#gate.off("denied", listener);
  }

  /** Calls `listener` if the connection ends for good without being closed by us. Returns how to stop that. */
  onLost(listener: (error: AsyncError) => void): () => void {
    this.#gate.on("lost", listener);
    return () => this.#gate.off("lost", listener);
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
      const timer = setTimeout(done, timerMs(timeoutMs));
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

  /** How long an answer of the server takes. */
  async roundTripMs(): Promise<number> {
    await this.flush(); // the first one may wait for what was sent before
    const begunAt = performance.now();
    await this.flush();
    return performance.now() - begunAt;
  }

  /** Sends what is buffered, then closes. What is still waited for ends as a timeout. Again: waits for the first call. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
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
      if (status.type === "disconnect" && this.#connected) {
        this.#connected = false;
        if (!this.#closing) this.#gate.emit("disconnected");
      }
      if (status.type === "reconnect" && !this.#closing) {
        this.#connected = true;
        this.#gate.emit("connected");
      }
      if (status.type === "error" && status.error instanceof PermissionViolationError) this.#deny(status.error);
    }
    this.#connected = false;
    this.#ended = true;
    this.#gate.emit("closed");
    if (this.#closing) return;
    const cause = await this.nc.closed();
    const why = cause ? messageOf(cause) : "the client gives no reason";
    const message = `the connection to NATS has ended for good: ${why}`;
    this.#gate.emit("lost", new AsyncError("not_connected", message, cause ? { cause } : {}));
  }

  /** MUX-5 */
  #deny({ operation, subject, queue }: PermissionViolationError): void {
    const error = denied(operation, subject, queue);
    this.mux.deny(operation, subject);
    if (operation === "subscription" && this.#refusedAgain.delete(subject)) return; // that is known
    this.#gate.emit("denied", { operation, subject, error } satisfies Denial);
  }

  /** BUS-3. It is told once per spell. */
  #fault(error: unknown, what: string): void {
    this.#faults += 1;
    const now = performance.now();
    if (now - this.#faultToldAt < FAULT_SPELL_MS) return;
    this.#faultToldAt = now;
    if (this.#gate.listenerCount("fault") === 0) process.emitWarning(`${what}: ${messageOf(error)}`, "AsyncWarning");
    else this.#gate.emit("fault", { what, error, count: this.#faults } satisfies Fault);
  }
}
