/**
 * Whether what is written is stored: that cannot be told from a stream that answers questions. A nats-server whose disk was
 * full once goes on answering, but each stream that could not write then takes no more writes until it is restarted. So each
 * is written to.
 */
import { SUBMIT, TIMER_PREFIX } from "../api/subjects.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";
import type { Bus } from "./connection.ts";
import { EVENTS, JOBS, KV_JOBS, KV_PREFIX, TIMERS } from "./topology.ts";
import { headersOf } from "./wire/headers.ts";

/** No id of a job has a dot. Supervisors drop it where it comes to them before it is removed. */
const SUBMITTED_PROBE = `${SUBMIT}.probe.write`;

interface Target {
  stream: string;
  subject: string;
  body?: string;
  /** How the message goes again; without them it is removed. */
  headers?: ReturnType<typeof headersOf>;
}

/** What submissions and live jobs are stored in. No job has a dot or a tilde in its id; a timer without a time never fires. */
const TARGETS: Target[] = [
  // Empty like a deletion marker.
  { stream: KV_JOBS, subject: `${KV_PREFIX}.probe.write`, headers: headersOf({ "Nats-TTL": "60s" }) },
  // As large as a usual submission: where that does not fit any more, the stream is full.
  { stream: JOBS, subject: SUBMITTED_PROBE, body: "x".repeat(4_096) },
];
/** For who asks by hand: one of a process that dies before it has removed it stays, and who listens to events sees the other. */
const BY_HAND: Target[] = [
  { stream: TIMERS, subject: `${TIMER_PREFIX}.~probe` },
  { stream: EVENTS, subject: "job.event.~probe.retried" },
];

/** Whether a message with that subject stands for nothing. */
export function isProbe(subject: string): boolean {
  return [...TARGETS, ...BY_HAND].some((target) => target.subject === subject);
}

const TIMEOUT_MS = 1_000;
/** However often it is asked, it writes no more often than that. */
const FRESH_MS = 1_000;

export class WriteProbe {
  readonly #bus: Bus;
  readonly #targets: Target[];
  #newest: { problems: Promise<string[]>; at: number } | undefined;

  /** @param byHand looks at streams TIMERS and EVENTS as well */
  constructor(bus: Bus, { byHand = false } = {}) {
    this.#bus = bus;
    this.#targets = byHand ? [...TARGETS, ...BY_HAND] : TARGETS;
  }

  /** Which streams take no writes, why, and what to do; none if each has taken one just now. */
  problems(): Promise<string[]> {
    const now = performance.now();
    if (!this.#newest || now - this.#newest.at > FRESH_MS) {
      const all = Promise.all(this.#targets.map((target) => this.#write(target)));
      this.#newest = { problems: all.then((found) => found.flatMap((one) => one ?? [])), at: now };
    }
    return this.#newest.problems;
  }

  async #write({ stream, subject, body = "", headers }: Target): Promise<string | undefined> {
    try {
      const sequence = await this.#bus.mux.publish(this.#subjectOf(stream, subject), body, headers, TIMEOUT_MS);
      if (headers) return undefined;
      const query = JSON.stringify({ seq: sequence, no_erase: true });
      await this.#bus.mux.request(`${this.#bus.apiPrefix}.STREAM.MSG.DELETE.${stream}`, query, TIMEOUT_MS);
      return undefined;
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return problemOf(stream, error);
    }
  }

  #subjectOf(stream: string, subject: string): string {
    return stream === KV_JOBS ? this.#bus.bucketSubject(subject) : subject;
  }
}

function problemOf(stream: string, { code, message }: AsyncError): string {
  if (code === "jobs_full") return `stream ${stream} is full (${message}): add workers, or raise its max_bytes`;
  const next =
    "if its disk is or was full, make room and restart nats-server; in a cluster, see whether it has a leader";
  return `stream ${stream} takes no writes (${message}): ${next}`;
}
