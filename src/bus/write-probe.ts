/**
 * Whether what is written is stored: that cannot be told from a stream that answers questions. A nats-server whose disk was
 * full once goes on answering, but takes no more writes into that stream until it is restarted.
 */
import { isAsyncError } from "../job/errors.ts";
import type { Bus } from "./connection.ts";
import { KV_JOBS, KV_PREFIX } from "./topology.ts";
import { headersOf } from "./wire/headers.ts";

/** No job has a dot in its id. The value is empty like a deletion marker, and expires by itself. */
export const PROBE_SUBJECT = `${KV_PREFIX}.probe.write`;
const HEADERS = headersOf({ "Nats-TTL": "60s" });
const TIMEOUT_MS = 1_000;
/** However often it is asked, it writes no more often than that. */
const FRESH_MS = 1_000;

export class WriteProbe {
  readonly #bus: Bus;
  #newest: { problem: Promise<string | undefined>; at: number } | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Why the bucket of states takes no writes, and what to do; undefined if it has taken one just now. */
  problem(): Promise<string | undefined> {
    const now = performance.now();
    if (!this.#newest || now - this.#newest.at > FRESH_MS) this.#newest = { problem: this.#write(), at: now };
    return this.#newest.problem;
  }

  async #write(): Promise<string | undefined> {
    try {
      await this.#bus.mux.publish(this.#bus.bucketSubject(PROBE_SUBJECT), "", HEADERS, TIMEOUT_MS);
      return undefined;
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      const next =
        "if its disk is or was full, make room and restart nats-server; in a cluster, see whether it has a leader";
      return `stream ${KV_JOBS} takes no writes (${error.message}): ${next}`;
    }
  }
}
