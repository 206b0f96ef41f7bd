/**
 * Finished jobs in any number, quickly: what the system itself has stored of one job that really ran, its state and the
 * event of its end, is published again under other ids, with the same headers (the expected sequence and the TTL that
 * src/bus/job-store.ts writes, read from the stored message). So they are what the real ones are, byte for byte but for the id,
 * at 100,000 a second and more. Nobody else may be writing to these streams meanwhile.
 */
import { setTimeout as delay } from "node:timers/promises";
import { eventSubject } from "../../src/api/subjects.ts";
import { readLast } from "../../src/bus/store/stream-read.ts";
import { EVENTS, KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import { expectSequence, expectSequenceWithTtl } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { functionsOf, resultOf, WrongResults } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { type Observer, pooled } from "../contenders/nats.ts";

const ID_PREFIX = "finished-";
/** As long as the ids that clients make up. */
const ID_DIGITS = 12;
/** Published at once; only the last of each stream is acknowledged, which tells that the others are stored as well. */
const CHUNK = 1_000;
/** A stream has at most 10,000 messages in its queue and drops what is beyond. */
const CHUNKS_IN_FLIGHT = 4;
const LIMIT_MS = 30_000;
/** After many were made the server is busy for a while with writing them to disk. */
const SETTLE_MS = 4_000;
const MANY = 100_000;

export class FinishedJobs {
  readonly #observer: Observer;
  readonly #id: string;
  readonly #state: Uint8Array;
  readonly #ttl: string;
  readonly #event: Uint8Array;
  #made = 0;

  private constructor(observer: Observer, id: string, stored: { state: Uint8Array; ttl: string; event: Uint8Array }) {
    this.#observer = observer;
    this.#id = id;
    this.#state = stored.state;
    this.#ttl = stored.ttl;
    this.#event = stored.event;
  }

  /** Runs the one that the others are made of. @throws WrongResults */
  static async on(observer: Observer): Promise<FinishedJobs> {
    const { bus } = observer;
    const client = new Client(bus);
    const job = { job_id: idOf(0), name: "bench", functions: functionsOf(FUNCTION, 0, 1) };
    const { job_id: id } = await client.submit(job);
    const done = await client.wait(id);
    if (done.functions[0]?.result !== resultOf(0, 0)) throw new WrongResults(`job ${id} is ${done.state}`);
    const state = await bus.mux.request(`$JS.API.DIRECT.GET.${KV_JOBS}.${KV_PREFIX}.${id}`, "", LIMIT_MS);
    const ttl = state.headers?.get("Nats-TTL");
    const event = await readLast(bus, EVENTS, eventSubject(id, "completed"));
    if (!ttl || !event) throw new WrongResults(`job ${id} has no TTL, or no event of its end`);
    return new FinishedJobs(observer, id, { state: state.data, ttl, event: event.data });
  }

  /** So that `count` jobs are stored, a fifth more at most: too few are added to, of too many all are removed first. */
  async hold(count: number): Promise<void> {
    let stored = await this.#observer.count(KV_JOBS);
    if (stored > count * 1.2) {
      for (const stream of [KV_JOBS, EVENTS]) {
        await this.#observer.bus.mux.request(`$JS.API.STREAM.PURGE.${stream}`, "", LIMIT_MS);
      }
      stored = 0;
    }
    const missing = count - stored;
    if (missing > 0) await this.#make(missing);
    if (missing >= MANY) await delay(SETTLE_MS);
  }

  async #make(count: number): Promise<void> {
    const streams = [KV_JOBS, EVENTS];
    const before = await Promise.all(streams.map((stream) => this.#observer.count(stream)));
    const first = this.#made + 1;
    await pooled(Math.ceil(count / CHUNK), CHUNKS_IN_FLIGHT, (chunk) =>
      this.#makeChunk(first + chunk * CHUNK, Math.min(CHUNK, count - chunk * CHUNK)),
    );
    this.#made += count;
    const after = await Promise.all(streams.map((stream) => this.#observer.count(stream)));
    if (after.some((now, i) => now !== (before[i] ?? 0) + count)) {
      throw new WrongResults(`${count} finished jobs should have been added to ${before}, which made ${after}`);
    }
  }

  async #makeChunk(first: number, count: number): Promise<void> {
    const { nc, mux } = this.#observer.bus;
    const stateHeaders = expectSequenceWithTtl(0, this.#ttl);
    const eventHeaders = expectSequence(0);
    for (let number = first; number < first + count - 1; number++) {
      const id = idOf(number);
      nc.publish(stateSubject(id), this.#under(id, this.#state), { headers: stateHeaders });
      nc.publish(eventSubject(id, "completed"), this.#under(id, this.#event), { headers: eventHeaders });
    }
    const id = idOf(first + count - 1);
    await Promise.all([
      mux.publish(stateSubject(id), this.#under(id, this.#state), stateHeaders, LIMIT_MS),
      mux.publish(eventSubject(id, "completed"), this.#under(id, this.#event), eventHeaders, LIMIT_MS),
    ]);
  }

  /** The ids are of the same length, so that nothing else changes. */
  #under(id: string, stored: Uint8Array): Uint8Array {
    const bytes = Buffer.from(stored);
    const at = bytes.indexOf(this.#id);
    if (at < 0) throw new TypeError(`job ${this.#id} does not hold its id`);
    bytes.write(id, at, "latin1");
    return bytes;
  }
}

function idOf(number: number): string {
  return ID_PREFIX + String(number).padStart(ID_DIGITS, "0");
}

function stateSubject(id: string): string {
  return `${KV_PREFIX}.${id}`;
}
