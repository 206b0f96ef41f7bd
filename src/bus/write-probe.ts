/**
 * Whether what is written is stored: that cannot be told from a stream that answers questions. A nats-server whose disk was
 * full once goes on answering, but takes no more writes into a stream until it is restarted; into each one that was written to
 * while the disk was full. So the two that a job needs first are tried.
 */
import { SUBMIT_PROBE } from "../api/subjects.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";
import type { Bus } from "./connection.ts";
import { JOBS, KV_JOBS, KV_PREFIX } from "./topology.ts";
import { headersOf } from "./wire/headers.ts";

/** No job has a dot in its id. The value is empty like a deletion marker, and expires by itself. */
export const PROBE_SUBJECT = `${KV_PREFIX}.probe.write`;
const HEADERS = headersOf({ "Nats-TTL": "60s" });
const TIMEOUT_MS = 1_000;
/** However often it is asked, it writes no more often than that. */
const FRESH_MS = 1_000;

type Probed = typeof KV_JOBS | typeof JOBS;

export class WriteProbe {
  readonly #bus: Bus;
  readonly #streams: readonly Probed[];
  #newest: { problem: Promise<string | undefined>; at: number } | undefined;

  constructor(bus: Bus, streams: readonly Probed[] = [JOBS, KV_JOBS]) {
    this.#bus = bus;
    this.#streams = streams;
  }

  /** Which stream takes no writes, why, and what to do; undefined if all have taken one just now. */
  problem(): Promise<string | undefined> {
    const now = performance.now();
    if (!this.#newest || now - this.#newest.at > FRESH_MS) this.#newest = { problem: this.#write(), at: now };
    return this.#newest.problem;
  }

  async #write(): Promise<string | undefined> {
    const problems = await Promise.all(this.#streams.map((stream) => this.#writeTo(stream)));
    return problems.find((problem) => problem !== undefined);
  }

  async #writeTo(stream: Probed): Promise<string | undefined> {
    try {
      if (stream === JOBS) await this.#writeSubmission();
      else await this.#bus.mux.publish(this.#bus.bucketSubject(PROBE_SUBJECT), "", HEADERS, TIMEOUT_MS);
      return undefined;
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return problemOf(stream, error);
    }
  }

  /** A supervisor removes it when it gets it; who has none need not keep it either. */
  async #writeSubmission(): Promise<void> {
    const { mux, apiPrefix } = this.#bus;
    const sequence = await mux.publish(SUBMIT_PROBE, "", undefined, TIMEOUT_MS);
    const query = JSON.stringify({ seq: sequence, no_erase: true });
    try {
      await mux.request(`${apiPrefix}.STREAM.MSG.DELETE.${JOBS}`, query, TIMEOUT_MS);
    } catch (error) {
      if (!isAsyncError(error)) throw error; // it is stored, which is what was asked; a supervisor removes it
    }
  }
}

function problemOf(stream: Probed, { code, message }: AsyncError): string {
  if (code === "jobs_full") return `stream ${stream} is full (${message}): add workers, or raise its max_bytes`;
  const next =
    "if its disk is or was full, make room and restart nats-server; in a cluster, see whether it has a leader";
  return `stream ${stream} takes no writes (${message}): ${next}`;
}
