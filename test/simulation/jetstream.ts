/**
 * A model of JetStream as far as our code uses it: four streams, compare-and-set, duplicates, schedules, two work-queue
 * consumers, direct reads. It survives crashes of the server; pulls and messages on their way do not.
 *
 * JETSTREAM-1  An expected last sequence is checked against the newest message of the subject.
 * JETSTREAM-2  A delivered message that is neither acked nor extended within `ackWaitMs` is delivered again.
 * JETSTREAM-3  A schedule fires once, up to 250 ms late, and is replaced by the removal of itself and its message on the target.
 * JETSTREAM-4  A bucket that is full refuses new keys, and values that are larger than the one they replace: 10077, with the status
 *     503. An account without storage refuses whatever comes: 10002. Nothing can be deleted from the bucket.
 * JETSTREAM-5  A message with a TTL goes up to 260 ms after it.
 */
import { headers as createHeaders, type MsgHdrs } from "nats";
import { eventSubject } from "../../src/api/subjects.ts";
import { EVENT_TYPES } from "../../src/job/events.ts";
import { type Connection, type Network, type Packet, status } from "./network.ts";
import { type Stored, Stream, sizeOf } from "./stream.ts";
import { matcher } from "./subjects.ts";
import { NOBODY } from "./world.ts";

/** What the invariants look at. */
export interface Observer {
  onStored(stream: string, message: Stored): void;
  onRemoved(stream: string, message: Stored): void;
  onDelivered(stream: string, message: Stored, to: string): void;
}

/** How JetStream fails, as probabilities; `away` is having no leader. */
export interface JetStreamFaults {
  lostAck: number;
  refuse: number;
  redeliver: number;
  /** A schedule is refused for good. */
  refuseSchedule: number;
}

export const RELIABLE: JetStreamFaults = { lostAck: 0, refuse: 0, redeliver: 0, refuseSchedule: 0 };

const DUPLICATE_WINDOW_MS = 120_000;
const RARE_EVENTS = EVENT_TYPES.filter((type) => type !== "completed").map((type) => eventSubject("*", type));
const SUBJECTS: Record<string, string[]> = {
  JOBS: ["job.submit", "job.submit.>"],
  KV_jobs: ["$KV.jobs.>"],
  TIMERS: ["job.timer.*", "job.wake.*", "job.wait.>"],
  EVENTS: RARE_EVENTS,
};

interface Pending {
  message: Stored;
  deliveries: number;
  expiresAt: number;
}

interface Pull {
  reply: string;
  left: number;
  expiresAt: number;
  /** The connection that asked; gone with it. */
  from: Connection;
}

class Consumer {
  readonly stream: Stream;
  readonly fits: (subject: string) => boolean;
  /** Waiting to be delivered, for the first time or again. */
  readonly ready: Stored[] = [];
  readonly pending = new Map<number, Pending>();
  readonly deliveries = new Map<number, number>();
  pulls: Pull[] = [];
  delivered = 0;

  constructor(stream: Stream, filter: string) {
    this.stream = stream;
    this.fits = matcher(filter);
  }
}

export class JetStream {
  faults: JetStreamFaults = RELIABLE;
  /** No leader: nothing is answered or delivered. */
  away = false;
  /** The account has no storage left: whatever would be stored is refused. */
  exhausted = false;
  readonly streams = new Map(Object.keys(SUBJECTS).map((name) => [name, new Stream(name)]));
  readonly #network: Network;
  readonly #observer: Observer;
  readonly #ackWaitMs: number;
  readonly #consumers: Map<string, Consumer>;
  readonly #routes: { stream: Stream; fits: (subject: string) => boolean }[];
  /** Whether stream EVENTS takes all events. */
  readonly storesCompleted: boolean;

  constructor(network: Network, observer: Observer, ackWaitMs: number, storesCompleted = false) {
    this.storesCompleted = storesCompleted;
    const subjects = { ...SUBJECTS, ...(storesCompleted && { EVENTS: ["job.event.>"] }) };
    this.#routes = Object.entries(subjects).flatMap(([name, patterns]) =>
      patterns.map((pattern) => ({ stream: this.stream(name), fits: matcher(pattern) })),
    );
    this.#network = network;
    this.#observer = observer;
    this.#ackWaitMs = ackWaitMs;
    this.#consumers = new Map([
      ["JOBS", new Consumer(this.stream("JOBS"), ">")],
      ["TIMERS", new Consumer(this.stream("TIMERS"), "job.wake.*")],
    ]);
    network.taker = (packet, from) => this.#take(packet, from);
  }

  stream(name: string): Stream {
    const stream = this.streams.get(name);
    if (!stream) throw new Error(`the model has no stream ${name}`);
    return stream;
  }

  /** The server has been killed: what was asked of it is forgotten. */
  forgetPulls(): void {
    for (const consumer of this.#consumers.values()) consumer.pulls = [];
  }

  #take(packet: Packet, from: Connection): boolean {
    if (packet.subject.startsWith("$JS.ACK.")) {
      if (this.away) return false;
      this.#ack(packet);
      this.#answer(packet, new Uint8Array());
      return true;
    }
    if (packet.subject.startsWith("$JS.API.")) {
      if (this.away) return false;
      this.#request(packet, from);
      return true;
    }
    const route = this.#routes.find(({ fits }) => fits(packet.subject));
    if (!route) return false;
    if (this.away || this.#network.strikes("refuse", this.faults.refuse)) return false;
    this.#publish(route.stream, packet);
    return true;
  }

  #answer(packet: Packet, body: unknown): void {
    if (packet.reply === undefined) return;
    const data = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
    this.#network.route({ subject: packet.reply, data, reply: undefined, headers: undefined });
  }

  #publish(stream: Stream, packet: Packet): void {
    const { headers, subject, data } = packet;
    const expected = headers?.get("Nats-Expected-Last-Subject-Sequence");
    const newest = stream.last(subject)?.sequence ?? 0;
    const id = headers?.get("Nats-Msg-Id") || undefined;
    const schedule = headers?.get("Nats-Schedule");
    const isBad = schedule && !/^@at \d{4}-/.test(schedule);
    if (isBad || (schedule && this.#network.strikes("refuseSchedule", this.faults.refuseSchedule))) {
      const description = "message schedules pattern is invalid";
      this.#answer(packet, { error: { code: 400, err_code: 10189, description } });
      return;
    }
    if (expected && Number(expected) !== newest) {
      const description = `wrong last sequence: ${newest}`;
      this.#answer(packet, { error: { code: 400, err_code: 10071, description } });
      return;
    }
    const before = id === undefined ? undefined : stream.seen.get(id);
    if (before && this.#network.world.now - before.at < DUPLICATE_WINDOW_MS) {
      this.#answer(packet, { stream: stream.name, seq: before.sequence, duplicate: true });
      return;
    }
    if (this.exhausted) {
      this.#network.strikes("refused by the account", 1);
      const description = "resource limits exceeded for account";
      this.#answer(packet, { error: { code: 400, err_code: 10002, description } });
      return;
    }
    const size = sizeOf(subject, data, headers);
    if (!stream.hasRoomFor(subject, size)) {
      this.#network.strikes("refused as full", 1);
      this.#answer(packet, { error: { code: 503, err_code: 10077, description: "maximum bytes exceeded" } });
      return;
    }
    const message = this.#store(stream, subject, data, headers, size);
    if (id !== undefined) stream.seen.set(id, { sequence: message.sequence, at: this.#network.world.now });
    if (this.#network.strikes("lostAck", this.faults.lostAck)) return;
    this.#answer(packet, { stream: stream.name, seq: message.sequence });
  }

  #store(
    stream: Stream,
    subject: string,
    data: Uint8Array,
    headers: MsgHdrs | undefined,
    size = sizeOf(subject, data, headers),
  ): Stored {
    const { world } = this.#network;
    const old = stream.last(subject);
    const message: Stored = {
      sequence: ++stream.lastSequence,
      subject,
      data,
      headers,
      storedAt: world.wallClock,
      size,
    };
    stream.messages.set(message.sequence, message);
    stream.bytes += size;
    stream.newest.set(subject, message.sequence);
    this.#observer.onStored(stream.name, message);
    const schedule = headers?.get("Nats-Schedule");
    // One value per key, one schedule per subject: the newer replaces the older.
    if (old && (stream.name === "KV_jobs" || schedule)) this.#remove(stream, old);
    if (schedule) this.#plan(stream, message, Date.parse(schedule.slice("@at ".length)));
    const ttl = headers?.get("Nats-TTL");
    if (ttl) this.#expire(stream, message, Number.parseInt(ttl, 10) * 1_000);
    const consumer = this.#consumers.get(stream.name);
    if (consumer?.fits(subject)) {
      consumer.ready.push(message);
      this.#deliver(consumer);
    }
    return message;
  }

  /** JETSTREAM-3 */
  #plan(stream: Stream, message: Stored, at: number): void {
    const { world } = this.#network;
    const target = message.headers?.get("Nats-Schedule-Target") ?? "";
    const wait = Math.max(0, at - world.as(NOBODY, () => world.wallClock)) + world.random.between(5, 250);
    const fire = () => {
      if (!stream.messages.has(message.sequence)) return;
      if (this.away) {
        world.after(100, fire, NOBODY);
        return;
      }
      this.#store(stream, target, message.data, undefined);
      this.#remove(stream, message);
    };
    world.after(wait, fire, NOBODY);
  }

  /** JETSTREAM-5 */
  #expire(stream: Stream, message: Stored, ms: number): void {
    const { world } = this.#network;
    world.after(ms + world.random.between(0, 260), () => this.#remove(stream, message), NOBODY);
  }

  #remove(stream: Stream, message: Stored): void {
    if (!stream.messages.delete(message.sequence)) return;
    stream.bytes -= message.size;
    if (stream.newest.get(message.subject) === message.sequence) stream.forget(message.subject);
    this.#consumers.get(stream.name)?.pending.delete(message.sequence);
    this.#observer.onRemoved(stream.name, message);
  }

  // --- consumers

  #ack(packet: Packet): void {
    const [, , stream = "", , , sequence] = packet.subject.split(".");
    const consumer = this.#consumers.get(stream);
    const pending = consumer?.pending.get(Number(sequence));
    if (!consumer || !pending) return;
    const body = Buffer.from(packet.data).toString();
    if (body === "+WPI") pending.expiresAt = this.#network.world.now + this.#ackWaitMs;
    else if (body.startsWith("-NAK")) this.#giveBack(consumer, pending, body.slice("-NAK".length));
    else this.#remove(consumer.stream, pending.message);
  }

  /** At once, or after a delay in ns. */
  #giveBack(consumer: Consumer, pending: Pending, options: string): void {
    const { delay = 0 } = options === "" ? {} : (JSON.parse(options) as { delay?: number });
    if (delay === 0) {
      this.#again(consumer, pending);
      return;
    }
    const { world } = this.#network;
    pending.expiresAt = world.now + delay / 1e6;
    const again = () => {
      if (consumer.pending.get(pending.message.sequence) === pending) this.#again(consumer, pending);
    };
    world.after(delay / 1e6, again, NOBODY);
  }

  #again(consumer: Consumer, pending: Pending): void {
    consumer.pending.delete(pending.message.sequence);
    if (!consumer.stream.messages.has(pending.message.sequence)) return;
    consumer.ready.unshift(pending.message);
    this.#deliver(consumer);
  }

  #deliver(consumer: Consumer): void {
    const { world } = this.#network;
    if (this.away) return;
    consumer.pulls = consumer.pulls.filter(({ left, from, expiresAt }) => left > 0 && from.up && expiresAt > world.now);
    while (consumer.pulls.length > 0 && consumer.ready.length > 0) {
      const message = consumer.ready.shift() as Stored;
      if (!consumer.stream.messages.has(message.sequence)) continue;
      const pull = consumer.pulls[0] as Pull;
      pull.left -= 1;
      if (pull.left === 0) consumer.pulls.shift();
      this.#hand(consumer, message, pull);
    }
  }

  #hand(consumer: Consumer, message: Stored, pull: Pull): void {
    const { world } = this.#network;
    const deliveries = (consumer.deliveries.get(message.sequence) ?? 0) + 1;
    consumer.deliveries.set(message.sequence, deliveries);
    consumer.delivered = Math.max(consumer.delivered, message.sequence);
    const pending: Pending = { message, deliveries, expiresAt: world.now + this.#ackWaitMs };
    consumer.pending.set(message.sequence, pending);
    this.#watch(consumer, pending);
    const nanos = message.storedAt * 1_000_000;
    const reply = `$JS.ACK.${consumer.stream.name}.supervisor.${deliveries}.${message.sequence}.1.${nanos}.0`;
    this.#observer.onDelivered(consumer.stream.name, message, pull.from.process.name);
    const { subject, data, headers } = message;
    this.#network.route({ subject: pull.reply, data, reply, headers }, { subject, data, reply, headers });
    // A second delivery while the first is being worked at, as after a lost ack or an early timeout.
    if (this.#network.strikes("redeliver", this.faults.redeliver)) pending.expiresAt = world.now + 5;
  }

  /** JETSTREAM-2 */
  #watch(consumer: Consumer, pending: Pending): void {
    const { world } = this.#network;
    const look = () => {
      if (consumer.pending.get(pending.message.sequence) !== pending) return;
      if (world.now >= pending.expiresAt && !this.away) this.#again(consumer, pending);
      else world.after(Math.max(20, pending.expiresAt - world.now), look, NOBODY);
    };
    world.after(0, () => world.after(Math.max(1, pending.expiresAt - world.now), look, NOBODY), NOBODY);
  }

  // --- the API

  #request(packet: Packet, from: Connection): void {
    const rest = packet.subject.slice("$JS.API.".length);
    const body = Buffer.from(packet.data).toString();
    const query = body === "" ? {} : JSON.parse(body);
    if (rest.startsWith("CONSUMER.MSG.NEXT.")) this.#pull(rest.split(".")[3] ?? "", query, packet, from);
    else if (rest.startsWith("DIRECT.GET.")) this.#get(rest.slice("DIRECT.GET.".length), query, packet);
    else if (rest.startsWith("STREAM.MSG.DELETE.")) this.#delete(rest.split(".")[3] ?? "", query.seq, packet);
    else if (rest.startsWith("STREAM.UPDATE.")) this.#limit(rest.split(".")[2] ?? "", query.max_bytes, packet);
    else if (rest.startsWith("STREAM.INFO.")) this.#list(rest.split(".")[2] ?? "", query.subjects_filter, packet);
    else if (rest.startsWith("CONSUMER.INFO.")) this.#tell(rest.split(".")[2] ?? "", packet);
    else throw new Error(`the model does not know ${packet.subject}`);
  }

  #pull(
    name: string,
    { batch, expires, idle_heartbeat }: { batch: number; expires: number; idle_heartbeat: number },
    packet: Packet,
    from: Connection,
  ): void {
    const { world } = this.#network;
    const consumer = this.#consumers.get(name);
    if (!consumer || packet.reply === undefined) return;
    const { reply } = packet;
    const pull: Pull = { reply, left: batch, expiresAt: world.now + expires / 1e6, from };
    consumer.pulls.push(pull);
    const tell = (headers: MsgHdrs) =>
      this.#network.route({ subject: reply, data: new Uint8Array(), reply: undefined, headers });
    const beat = () => {
      if (!consumer.pulls.includes(pull) || this.away) return;
      if (world.now >= pull.expiresAt) {
        consumer.pulls = consumer.pulls.filter((one) => one !== pull);
        tell(status(408, "Request Timeout", { "Nats-Pending-Messages": String(pull.left) }));
        return;
      }
      tell(status(100, "Idle Heartbeat"));
      world.after(Math.min(idle_heartbeat / 1e6, pull.expiresAt - world.now), beat, NOBODY);
    };
    world.after(idle_heartbeat / 1e6, beat, NOBODY);
    this.#deliver(consumer);
  }

  #get(where: string, query: { seq?: number; next_by_subj?: string; batch?: number }, packet: Packet): void {
    const dot = where.indexOf(".");
    const stream = this.stream(dot === -1 ? where : where.slice(0, dot));
    if (dot !== -1) this.#show(packet, stream.last(where.slice(dot + 1)), 0);
    else if (query.next_by_subj === undefined) this.#show(packet, stream.messages.get(query.seq ?? 0), 0);
    else {
      const fits = matcher(query.next_by_subj);
      const found = [...stream.messages.values()].filter(
        (one) => one.sequence >= (query.seq ?? 1) && fits(one.subject),
      );
      const page = found.slice(0, query.batch ?? 1);
      if (page.length === 0) this.#show(packet, undefined, 0);
      for (const [index, message] of page.entries()) {
        this.#show(packet, message, found.length - index - 1, page[index - 1]?.sequence);
      }
      const last = page.at(-1)?.sequence;
      if (last !== undefined && query.batch !== undefined)
        this.#status(packet, 204, "EOB", { "Nats-Last-Sequence": String(last) });
    }
  }

  #show(packet: Packet, message: Stored | undefined, pending: number, before = 0): void {
    if (packet.reply === undefined) return;
    if (!message) {
      this.#status(packet, 404, "Message Not Found");
      return;
    }
    const headers = createHeaders();
    // Those that it was published with, and others.
    for (const [name, values] of message.headers ?? []) for (const value of values) headers.append(name, value);
    headers.set("Nats-Subject", message.subject);
    headers.set("Nats-Sequence", String(message.sequence));
    headers.set("Nats-Time-Stamp", new Date(message.storedAt).toISOString());
    headers.set("Nats-Num-Pending", String(pending));
    headers.set("Nats-Last-Sequence", String(before));
    this.#network.route({ subject: packet.reply, data: message.data, reply: undefined, headers });
  }

  #status(packet: Packet, code: number, description: string, pairs: Record<string, string> = {}): void {
    if (packet.reply === undefined) return;
    const headers = status(code, description, pairs);
    this.#network.route({ subject: packet.reply, data: new Uint8Array(), reply: undefined, headers });
  }

  #delete(name: string, sequence: number, packet: Packet): void {
    const stream = this.stream(name);
    if (name === "KV_jobs") {
      const description = "message delete not permitted";
      this.#answer(packet, { error: { code: 500, err_code: 10057, description } });
      return;
    }
    const message = stream.messages.get(sequence);
    if (message) this.#remove(stream, message);
    this.#answer(packet, { success: message !== undefined });
  }

  #limit(name: string, maxBytes: number, packet: Packet): void {
    this.stream(name).maxBytes = maxBytes > 0 ? maxBytes : Number.POSITIVE_INFINITY;
    this.#answer(packet, {});
  }

  /** How far the consumer has got; what is at or before the ack floor is certainly dealt with. */
  #tell(name: string, packet: Packet): void {
    const delivered = this.#consumers.get(name)?.delivered ?? 0;
    this.#answer(packet, { delivered: { stream_seq: delivered }, ack_floor: { stream_seq: 0 } });
  }

  #list(name: string, filter: string | undefined, packet: Packet): void {
    const stream = this.stream(name);
    const subjects: Record<string, number> = {};
    if (filter !== undefined) {
      const fits = matcher(filter);
      for (const { subject } of stream.messages.values()) if (fits(subject)) subjects[subject] = 1;
    }
    const [first] = stream.messages.values();
    const state = {
      subjects,
      messages: stream.messages.size,
      bytes: stream.bytes,
      first_seq: first?.sequence ?? stream.lastSequence + 1,
      first_ts: new Date(first?.storedAt ?? 0).toISOString(),
      last_seq: stream.lastSequence,
    };
    const limit = Number.isFinite(stream.maxBytes) ? stream.maxBytes : -1;
    this.#answer(packet, { config: { max_bytes: limit }, state });
  }
}
