/**
 * The core of a NATS server and the links to it: subscriptions, queue groups, requests, and what networks do to messages.
 *
 * NETWORK-1  A link keeps the order of its messages, unless the fault `reorder` strikes.
 * NETWORK-2  What is on its way when a connection breaks is lost; what is published without a connection never leaves.
 * NETWORK-3  A request that nobody and no stream takes is answered 503.
 * NETWORK-4  What a user may not publish is dropped, and what he may not subscribe to is not, or not any more, subscribed to. He is
 *     told so by the status of his connection. A subscription that was refused does not come back with the permission.
 */
import { headers as createHeaders, type Msg, type MsgHdrs, PermissionViolationError } from "nats";
import { matcher } from "./subjects.ts";
import { NOBODY, type SimProcess, type World } from "./world.ts";

export interface Packet {
  subject: string;
  data: Uint8Array;
  reply: string | undefined;
  headers: MsgHdrs | undefined;
}

/** What the network does to messages, as probabilities. */
export interface LinkFaults {
  drop: number;
  repeat: number;
  reorder: number;
  delay: number;
}

export const NO_FAULTS: LinkFaults = { drop: 0, repeat: 0, reorder: 0, delay: 0 };
export const MAX_PAYLOAD = 1024 ** 2;

interface Subscription {
  fits: (subject: string) => boolean;
  pattern: string;
  queue: string | undefined;
  connection: Connection;
  deliver: (packet: Packet) => void;
  refuse: (error: Error) => void;
  closed: boolean;
}

type Operation = "publish" | "subscription";

/** What takes published messages besides subscribers: JetStream. Returns true if it has answered, or will. */
export type Taker = (packet: Packet, from: Connection) => boolean;

export class Network {
  readonly world: World;
  faults: LinkFaults = NO_FAULTS;
  /** How often each fault has struck. */
  readonly struck: Record<string, number> = {};
  /** Told of everything that reaches the server. */
  onPacket: ((packet: Packet, from: Connection) => void) | undefined;
  taker: Taker = () => false;
  readonly connections = new Set<Connection>();
  readonly #exact = new Map<string, Subscription[]>();
  readonly #wild: Subscription[] = [];

  constructor(world: World) {
    this.world = world;
  }

  connect(process: SimProcess): Connection {
    const connection = new Connection(this, process);
    this.connections.add(connection);
    return connection;
  }

  /** A message has reached the server. */
  receive(packet: Packet, from: Connection): void {
    this.onPacket?.(packet, from);
    const delivered = this.route(packet);
    const taken = this.taker(packet, from);
    if (delivered || taken || packet.reply === undefined) return;
    this.route({
      subject: packet.reply,
      data: new Uint8Array(),
      reply: undefined,
      headers: status(503, "No Responders"),
    });
  }

  /** Delivers to subscribers only. Returns whether there was one. */
  route(packet: Packet, shown = packet): boolean {
    const { subject } = packet;
    let groups: Map<string, Subscription[]> | undefined;
    let found = false;
    const take = (one: Subscription) => {
      if (!one.connection.up) return;
      found = true;
      if (one.queue === undefined) {
        one.connection.send(() => one.deliver(shown));
        return;
      }
      groups ??= new Map();
      const members = groups.get(one.queue);
      if (members) members.push(one);
      else groups.set(one.queue, [one]);
    };
    for (const one of this.#exact.get(subject) ?? []) take(one);
    for (const one of this.#wild) if (one.fits(subject)) take(one);
    for (const members of groups?.values() ?? []) {
      const member = this.world.random.pick(members);
      member.connection.send(() => member.deliver(shown));
    }
    return found;
  }

  add(subscription: Subscription): void {
    const { pattern } = subscription;
    if (/[*>]/.test(pattern)) this.#wild.push(subscription);
    else this.#exact.set(pattern, [...(this.#exact.get(pattern) ?? []), subscription]);
  }

  remove(subscription: Subscription): void {
    const index = this.#wild.indexOf(subscription);
    if (index >= 0) this.#wild.splice(index, 1);
    const { pattern } = subscription;
    this.#exact.set(
      pattern,
      (this.#exact.get(pattern) ?? []).filter((one) => one !== subscription),
    );
  }

  /** Whether a fault strikes; counted. */
  strikes(fault: string, probability: number): boolean {
    if (probability === 0 || !this.world.random.chance(probability)) return false;
    this.struck[fault] = (this.struck[fault] ?? 0) + 1;
    return true;
  }
}

type Status = { type: "disconnect" | "reconnect" } | { type: "error"; error: Error };

/** The part of a `NatsConnection` that our code uses. */
export class Connection {
  readonly info = { version: "2.15.1", jetstream: true, headers: true, max_payload: MAX_PAYLOAD };
  readonly process: SimProcess;
  /** What the server knows: a connection that is down gets nothing. */
  up = true;
  /** Subscriptions that were refused and not made again, with their queue groups. */
  readonly missing = new Set<string>();
  readonly #network: Network;
  readonly #subscriptions = new Set<Subscription>();
  /** Flushes under way. */
  readonly #flushes = new Set<() => void>();
  /** What its user may not do. */
  readonly #denied: { operation: Operation; fits: (subject: string) => boolean }[] = [];
  #closed = false;
  /** Counts connections made; what was sent over an older one is lost. */
  #epoch = 0;
  #lastOut = 0;
  #lastIn = 0;
  #statuses: Status[] = [];
  #wakeStatus: (() => void) | undefined;

  constructor(network: Network, process: SimProcess) {
    this.#network = network;
    this.process = process;
  }

  publish(
    subject: string,
    payload: Uint8Array | string = "",
    { reply, headers }: { reply?: string; headers?: MsgHdrs } = {},
  ): void {
    const data = Buffer.from(payload as Uint8Array); // a copy, see WRITER-3
    if (data.length > MAX_PAYLOAD) throw new Error("'payload' max_payload size exceeded");
    const packet = { subject, data, reply, headers: headers && readable(headers) };
    this.#toServer(() => {
      if (this.#isDenied("publish", subject)) this.#refuse("publish", subject);
      else this.#network.receive(packet, this);
    });
  }

  subscribe(pattern: string, options: { queue?: string; callback: (error: Error | null, message: Msg) => void }) {
    const subscription: Subscription = {
      fits: matcher(pattern),
      pattern,
      queue: options.queue,
      connection: this,
      closed: false,
      deliver: (packet) => {
        if (!subscription.closed) options.callback(null, new Message(packet, this) as unknown as Msg);
      },
      refuse: (error) => {
        if (!subscription.closed) options.callback(error, {} as Msg);
        subscription.closed = true;
      },
    };
    this.#subscriptions.add(subscription);
    this.#toServer(() => this.#add(subscription), "kept");
    const end = () => {
      this.#subscriptions.delete(subscription);
      this.#toServer(() => this.#network.remove(subscription), "kept");
    };
    return {
      unsubscribe: () => {
        subscription.closed = true;
        end();
      },
      drain: async () => {
        end();
        await this.flush();
        subscription.closed = true;
      },
    };
  }

  flush(): Promise<void> {
    if (!this.up) return Promise.reject(new Error("connection disconnected"));
    return new Promise((resolve, reject) => {
      const lost = () => reject(new Error("connection disconnected"));
      const done = () => {
        this.#flushes.delete(lost);
        resolve();
      };
      this.#flushes.add(lost);
      this.#toServer(() => this.send(done, "kept"), "kept");
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.drop();
    this.#network.connections.delete(this);
    this.#wakeStatus?.();
  }

  isClosed(): boolean {
    return this.#closed;
  }

  /** From now on its user may not publish on, or subscribe to, what fits the pattern. Returns how to permit it again. */
  deny(operation: Operation, pattern: string): () => void {
    const denial = { operation, fits: matcher(pattern) };
    this.#denied.push(denial);
    if (operation === "subscription") for (const one of [...this.#subscriptions]) if (this.up) this.#check(one);
    return () => void this.#denied.splice(this.#denied.indexOf(denial), 1);
  }

  #isDenied(operation: Operation, subject: string): boolean {
    return this.#denied.some((denial) => denial.operation === operation && denial.fits(subject));
  }

  #add(subscription: Subscription): void {
    this.#network.add(subscription);
    this.missing.delete(nameOf(subscription));
    this.#check(subscription);
  }

  /** NETWORK-4 */
  #check(subscription: Subscription): void {
    const { pattern, queue } = subscription;
    if (!this.#isDenied("subscription", pattern)) return;
    this.#network.remove(subscription);
    this.missing.add(nameOf(subscription));
    this.#refuse("subscription", pattern, queue, subscription);
  }

  #refuse(operation: Operation, subject: string, queue?: string, subscription?: Subscription): void {
    this.#network.strikes(`denied ${operation}`, 1);
    const name = operation === "publish" ? "Publish" : "Subscription";
    const error = new PermissionViolationError(
      `Permissions Violation for ${name} to "${subject}"`,
      operation,
      subject,
      queue,
    );
    const tell = () => {
      // A client that does not hear of it, as the connection breaks, subscribes again with the next one.
      if (subscription) this.#subscriptions.delete(subscription);
      subscription?.refuse(error);
      this.#statuses.push({ type: "error", error });
      this.#wakeStatus?.();
    };
    this.send(tell, "kept");
  }

  getServer(): string {
    return "simulated";
  }

  async *status(): AsyncGenerator<Status> {
    for (;;) {
      for (const status of this.#statuses.splice(0)) yield status;
      if (this.#closed) return;
      await new Promise<void>((resolve) => {
        this.#wakeStatus = resolve;
      });
    }
  }

  /** Breaks the connection; the server notices at once, the client a little later. */
  drop(): void {
    if (!this.up) return;
    this.up = false;
    this.#epoch += 1;
    for (const subscription of this.#subscriptions) this.#network.remove(subscription);
    this.#network.world.after(1, () => this.#loseFlushes(), this.process);
    this.#tell("disconnect");
  }

  /** Makes it again, with all its subscriptions. */
  restore(): void {
    if (this.up || this.#closed || this.process.state === "dead") return;
    this.up = true;
    for (const subscription of [...this.#subscriptions]) this.#add(subscription);
    this.#tell("reconnect");
  }

  /** From the server to the client. `kept` is what the fault injection leaves alone: it is no message. */
  send(arrive: () => void, kept?: "kept"): void {
    if (!this.up) return;
    const times = kept ? 1 : this.#fate("in");
    for (let i = 0; i < times; i++) {
      this.#lastIn = this.#travel(this.#lastIn, kept, arrive, this.process);
    }
  }

  #toServer(arrive: () => void, kept?: "kept"): void {
    if (!this.up || this.#closed) return;
    if (!kept && this.#fate("out") === 0) return;
    this.#lastOut = this.#travel(this.#lastOut, kept, arrive, NOBODY);
  }

  /** How many copies arrive. Clients do not repeat what they send; servers may deliver twice. */
  #fate(direction: "in" | "out"): number {
    const { faults } = this.#network;
    if (this.#network.strikes("drop", faults.drop)) return 0;
    return direction === "in" && this.#network.strikes("repeat", faults.repeat) ? 2 : 1;
  }

  #travel(last: number, kept: "kept" | undefined, arrive: () => void, owner: SimProcess | null): number {
    const { world, faults } = this.#network;
    let latency = 0.1 + world.random.float() * world.random.float() * 3;
    if (!kept && this.#network.strikes("delay", faults.delay)) latency += world.random.between(10, 800);
    const outOfOrder = !kept && this.#network.strikes("reorder", faults.reorder);
    const at = outOfOrder ? world.now + latency + world.random.between(0, 30) : Math.max(last, world.now + latency);
    const epoch = this.#epoch;
    world.after(at - world.now, () => epoch === this.#epoch && arrive(), owner);
    return outOfOrder ? last : at;
  }

  #loseFlushes(): void {
    for (const lost of this.#flushes) lost();
    this.#flushes.clear();
  }

  #tell(type: "disconnect" | "reconnect"): void {
    this.#network.world.after(
      1,
      () => {
        this.#statuses.push({ type });
        this.#wakeStatus?.();
      },
      this.process,
    );
  }
}

function nameOf({ pattern, queue = "" }: Subscription): string {
  return `${pattern} ${queue}`.trim();
}

/** A message as a client sees it. */
class Message {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply: string | undefined;
  readonly headers: MsgHdrs | undefined;
  readonly #connection: Connection;

  constructor(packet: Packet, connection: Connection) {
    this.subject = packet.subject;
    this.data = packet.data;
    this.reply = packet.reply;
    this.headers = packet.headers;
    this.#connection = connection;
  }

  respond(data: Uint8Array | string = "", options: { headers?: MsgHdrs } = {}): boolean {
    if (this.reply === undefined) return false;
    this.#connection.publish(this.reply, data, options);
    return true;
  }

  string(): string {
    return Buffer.from(this.data).toString();
  }

  json<T>(): T {
    return JSON.parse(this.string());
  }
}

export function status(code: number, description: string, pairs: Record<string, string> = {}): MsgHdrs {
  const result = createHeaders(code, description);
  for (const key in pairs) result.set(key, pairs[key] as string);
  return result;
}

/** Headers as who receives them sees them, however they were made. */
function readable(sent: MsgHdrs): MsgHdrs {
  const [, ...lines] = Buffer.from((sent as unknown as { encode(): Uint8Array }).encode())
    .toString()
    .split("\r\n");
  const received = createHeaders();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) received.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return received;
}
