/**
 * The state of jobs in bucket `jobs`. Every write is compare-and-set on the revision of the job's key.
 *
 * S1  A write succeeds only on the revision it was derived from; 0 is "the key does not exist".
 * S2  The caller can tell three outcomes apart: stored, conflict (someone else wrote), unknown (no answer came).
 */
import type { Msg } from "nats";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { isEnded, type JobState } from "../job/state.ts";
import { decode, encode } from "./codec.ts";
import type { Bus } from "./connection.ts";
import { JetStreamError } from "./mux.ts";
import { headersOf } from "./raw-headers.ts";
import { KV_JOBS, KV_PREFIX } from "./topology.ts";

export interface StoredJob {
  /** Undefined where the key was deleted by hand: only the deletion's revision is left. */
  state: JobState | undefined;
  revision: number;
}

export type CommitOutcome =
  | { type: "stored"; revision: number }
  /** Someone else has written since; read before deciding. */
  | { type: "conflict" }
  /** No answer, or no leader right now: it may be stored or not; read before deciding. */
  | { type: "unknown"; cause: AsyncError }
  /** It is not stored and never will be as it is. */
  | { type: "refused"; cause: AsyncError };

const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);
const MESSAGE_TOO_LARGE = 10054;

export interface JobStoreOptions {
  replicas: number;
  /** How long an ended job is kept. Default 7 days. */
  retentionMs?: number;
  timeoutMs?: number;
}

export class JobStore {
  readonly #bus: Bus;
  readonly #replicas: number;
  readonly #ttl: string;
  readonly #timeoutMs: number;

  constructor(bus: Bus, { replicas, retentionMs = 7 * 24 * 3_600_000, timeoutMs = 2_000 }: JobStoreOptions) {
    this.#bus = bus;
    this.#replicas = replicas;
    this.#ttl = `${Math.max(1, Math.round(retentionMs / 1000))}s`;
    this.#timeoutMs = timeoutMs;
  }

  /** Stores `state` as the successor of `revision` (0: as a new job). */
  async commit(state: JobState, revision: number): Promise<CommitOutcome> {
    const headers = headersOf({ "Nats-Expected-Last-Subject-Sequence": String(revision) });
    if (isEnded(state)) headers.set("Nats-TTL", this.#ttl);
    try {
      const subject = `${KV_PREFIX}.${state.job_id}`;
      const ack = await this.#bus.mux.publish(subject, encode(state, "msgpack"), headers, this.#timeoutMs);
      return { type: "stored", revision: ack.seq };
    } catch (error) {
      return outcomeOf(error);
    }
  }

  /**
   * The newest stored state. Read from the leader where there are replicas, which may lag behind.
   *
   * @returns undefined if there is no such job
   * @throws AsyncError of the bus, `undecodable`
   */
  async get(id: string): Promise<StoredJob | undefined> {
    return this.#replicas > 1 ? this.#getFromLeader(id) : this.#getDirect(id);
  }

  async #getDirect(id: string): Promise<StoredJob | undefined> {
    const message = await this.#request(`$JS.API.DIRECT.GET.${KV_JOBS}.${KV_PREFIX}.${id}`, "");
    if (message.headers?.code === 404) return undefined;
    if (message.headers?.code)
      throw new AsyncError("jetstream_unavailable", `cannot read job ${id}: ${message.headers.description}`);
    return storedFrom(message);
  }

  async #getFromLeader(id: string): Promise<StoredJob | undefined> {
    const query = JSON.stringify({ last_by_subj: `${KV_PREFIX}.${id}` });
    const reply = (await this.#request(`$JS.API.STREAM.MSG.GET.${KV_JOBS}`, query)).json<LeaderReply>();
    if (reply.error?.code === 404) return undefined;
    if (!reply.message)
      throw new AsyncError("jetstream_unavailable", `cannot read job ${id}: ${reply.error?.description}`);
    const data = Buffer.from(reply.message.data ?? "", "base64");
    return { revision: reply.message.seq, state: stateFrom(data) };
  }

  async #request(subject: string, query: string): Promise<Msg> {
    try {
      return await this.#bus.mux.request(subject, query, this.#timeoutMs);
    } catch (error) {
      if (!isAsyncError(error, "no_responders")) throw error;
      throw new AsyncError(
        "jetstream_unavailable",
        "bucket `jobs` cannot be read right now: no leader, or not made yet",
        {
          cause: error,
        },
      );
    }
  }
}

interface LeaderReply {
  message?: { seq: number; data?: string };
  error?: { code: number; description?: string };
}

function storedFrom(message: { headers?: Msg["headers"]; data: Uint8Array }): StoredJob {
  return { revision: Number(message.headers?.get("Nats-Sequence")), state: stateFrom(message.data) };
}

/** A deletion marker has no body. */
export function stateFrom(data: Uint8Array): JobState | undefined {
  return data.length === 0 ? undefined : (decode(data, "msgpack") as JobState);
}

function outcomeOf(error: unknown): CommitOutcome {
  if (error instanceof JetStreamError) {
    if (WRONG_LAST_SEQUENCE.has(error.errorCode)) return { type: "conflict" };
    if (error.errorCode === MESSAGE_TOO_LARGE) {
      return { type: "refused", cause: new AsyncError("payload_too_large", error.message, { cause: error }) };
    }
    return { type: "unknown", cause: error };
  }
  if (isAsyncError(error, "payload_too_large")) return { type: "refused", cause: error };
  if (isAsyncError(error)) return { type: "unknown", cause: error };
  throw error;
}
