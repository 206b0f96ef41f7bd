/**
 * Finished jobs in any number, quickly: the state that the system itself has stored of one job that really ran is published
 * again under other ids, with the same headers (the expected sequence and the TTL that src/bus/store/job-store.ts writes, read
 * from the stored message). So they are what the real ones are, byte for byte but for the id, at 100,000 a second and more.
 * Nobody else may be writing to the bucket meanwhile.
 */
import { setTimeout as delay } from "node:timers/promises";
import { KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import { expectSequenceWithTtl } from "../../src/bus/wire/headers.ts";
import { Client } from "../../src/client/client.ts";
import { functionsOf, resultOf, WrongResults } from "../contender.ts";
import { FUNCTION } from "../contenders/async.ts";
import { type Observer, pooled } from "../contenders/nats.ts";

const ID_PREFIX = "finished-";
/** As long as the ids that clients make up. */
const ID_DIGITS = 12;
/** Published at once; only the last is acknowledged, which tells that the others are stored as well. */
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
  #made = 0;

  private constructor(observer: Observer, id: string, stored: { state: Uint8Array; ttl: string }) {
    this.#observer = observer;
    this.#id = id;
    this.#state = stored.state;
    this.#ttl = stored.ttl;
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
    if (!ttl) throw new WrongResults(`job ${id} has no TTL`);
    return new FinishedJobs(observer, id, { state: state.data, ttl });
  }

  /** So that `count` jobs are stored, a fifth more at most: too few are added to, of too many all are removed first. */
  async hold(count: number): Promise<void> {
    let stored = await this.#observer.count(KV_JOBS);
    if (stored > count * 1.2) {
      await this.#observer.bus.mux.request(`$JS.API.STREAM.PURGE.${KV_JOBS}`, "", LIMIT_MS);
      stored = 0;
    }
    const missing = count - stored;
    if (missing > 0) await this.#make(missing);
    if (missing >= MANY) await delay(SETTLE_MS);
  }

  async #make(count: number): Promise<void> {
    const before = await this.#observer.count(KV_JOBS);
    const first = this.#made + 1;
    await pooled(Math.ceil(count / CHUNK), CHUNKS_IN_FLIGHT, (chunk) =>
      this.#makeChunk(first + chunk * CHUNK, Math.min(CHUNK, count - chunk * CHUNK)),
    );
    this.#made += count;
    const after = await this.#observer.count(KV_JOBS);
    if (after !== before + count) {
      throw new WrongResults(`${count} finished jobs should have been added to ${before}, which made ${after}`);
    }
  }

  async #makeChunk(first: number, count: number): Promise<void> {
    const { nc, mux } = this.#observer.bus;
    const headers = expectSequenceWithTtl(0, this.#ttl);
    for (let number = first; number < first + count - 1; number++) {
      const id = idOf(number);
      nc.publish(stateSubject(id), this.#under(id, this.#state), { headers });
    }
    const id = idOf(first + count - 1);
    await mux.publish(stateSubject(id), this.#under(id, this.#state), headers, LIMIT_MS);
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
