/** What all contenders on NATS have in common: a server, a client, and how the end of a load is noticed and checked. */
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { Bus } from "../../src/bus/connection.ts";
import { startEmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { readBatch, type StoredMessage } from "../../src/bus/store/stream-read.ts";
import { JOBS, KV_JOBS, SUPERVISOR_CONSUMER } from "../../src/bus/topology.ts";
import type { ProcessHandle } from "../process.ts";
import { untilNoneLeft } from "../until-none-left.ts";

export interface NatsServer {
  readonly url: string;
  /** Empty for a server that is not ours. */
  readonly processes: ProcessHandle[];
  close(): Promise<void>;
}

/** The one at `url`, or one of our own in the default durability profile. */
export async function useServer(url: string | undefined): Promise<NatsServer> {
  if (url !== undefined) return { url, processes: [], close: async () => {} };
  const server = await startEmbeddedServer();
  return { url: server.url, processes: [{ role: "server", pid: server.pid }], close: () => server.close() };
}

const PAGE = 1_000;
const ASK_LIMIT_MS = 5_000;
const NOT_FOUND = 404;

export class Observer {
  readonly bus: Bus;
  readonly #manager: JetStreamManager;

  private constructor(bus: Bus, manager: JetStreamManager) {
    this.bus = bus;
    this.#manager = manager;
  }

  static async on(url: string): Promise<Observer> {
    const bus = await Bus.open({ url, name: "bench" });
    return new Observer(bus, await jetstreamManager(bus.nc));
  }

  /** How many copies of each job there are. */
  async replicas(): Promise<number> {
    return (await this.#manager.streams.info(KV_JOBS)).config.num_replicas;
  }

  /** Whether a supervisor is taking submissions. */
  async isServed(): Promise<boolean> {
    const { num_waiting } = await this.#manager.consumers.info(JOBS, SUPERVISOR_CONSUMER);
    return num_waiting > 0;
  }

  /** How many submissions no supervisor has taken yet. */
  async notTaken(): Promise<number> {
    return (await this.#manager.consumers.info(JOBS, SUPERVISOR_CONSUMER)).num_pending;
  }

  /** How many messages a stream holds. */
  async count(stream: string): Promise<number> {
    return (await this.#manager.streams.info(stream)).state.messages;
  }

  /** The newest sequence of a stream. */
  async lastSequence(stream: string): Promise<number> {
    return (await this.#manager.streams.info(stream)).state.last_seq;
  }

  async bytes(streams: string[]): Promise<number> {
    const infos = await Promise.all(streams.map((stream) => this.#manager.streams.info(stream)));
    return infos.reduce((sum, { state }) => sum + state.bytes, 0);
  }

  /** Until the stream of submissions is empty: the jobs have ended, and the ends are stored. */
  untilEmpty(stream: string): Promise<void> {
    return untilNoneLeft("jobs", () => this.count(stream));
  }

  /**
   * The first message from a sequence on whose subject fits, as the leader of the stream has it: a copy may not have
   * heard yet of one that is stored.
   */
  async firstFrom(stream: string, from: number, fits: (subject: string) => boolean): Promise<number | undefined> {
    for (let seq = from; ; ) {
      const query = JSON.stringify({ seq, next_by_subj: ">" });
      const reply = await this.bus.mux.request(`$JS.API.STREAM.MSG.GET.${stream}`, query, ASK_LIMIT_MS);
      const { message, error } = reply.json<{
        message?: { subject: string; seq: number };
        error?: { code: number; description: string };
      }>();
      if (error?.code === NOT_FOUND) return undefined;
      if (!message) throw new Error(`stream ${stream} cannot be read: ${error?.description}`);
      if (fits(message.subject)) return message.seq;
      seq = message.seq + 1;
    }
  }

  /** All messages of a stream from a sequence on. */
  async *messages(stream: string, from: number): AsyncGenerator<StoredMessage> {
    for (let next = from; ; ) {
      const { messages, pending } = await readBatch(this.bus, stream, { from: next, batch: PAGE });
      yield* messages;
      const last = messages.at(-1);
      if (!last || pending === 0) return;
      next = last.sequence + 1;
    }
  }

  close(): Promise<void> {
    return this.bus.close();
  }
}

/** Calls `task` for 0 … count-1, at most `inFlight` at a time. */
export async function pooled(count: number, inFlight: number, task: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await task(index);
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, lane));
}
