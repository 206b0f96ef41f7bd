/**
 * Pages through all jobs: first those in the store, in the order in which they last changed, then the submissions that
 * no supervisor has taken yet. A job that changes while the pages are read may be seen twice, but is never missed.
 */
import { AsyncError } from "../job/errors.ts";
import type { JobState } from "../job/state.ts";
import type { Bus } from "./connection.ts";
import { storedJob } from "./job-store.ts";
import { readAt, readBatch, readLast, type StoredMessage } from "./stream-read.ts";
import { JOBS, KV_JOBS, KV_PREFIX, SUPERVISOR_CONSUMER } from "./topology.ts";

/** A submission that waits in stream JOBS. */
export type Waiting = Omit<StoredMessage, "expires">;

/** `sequence` is that in the stream of the page. */
export type Listed = { sequence: number } & (
  | { type: "job"; state: JobState }
  | { type: "waiting"; submission: Waiting }
);

export interface Page {
  entries: Listed[];
  /** Where the next page begins; absent after the last one. */
  next?: Cursor;
}

export interface Cursor {
  stream: "jobs" | "kv";
  /** The first sequence to be read. */
  sequence: number;
}

export function parseCursor(text: string): Cursor {
  const match = /^(kv|jobs)-(\d{1,15})$/.exec(text);
  if (!match) throw new AsyncError("invalid_request", `not a cursor: ${text}; use the one of the page before`);
  return { stream: match[1] as Cursor["stream"], sequence: Number(match[2]) };
}

export function formatCursor({ stream, sequence }: Cursor): string {
  return `${stream}-${sequence}`;
}

const TIMEOUT_MS = 2_000;

export class JobList {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** At most `batch` entries from `cursor` on. What is stored but is no job is left out. @throws AsyncError of the bus */
  page(cursor: Cursor, batch: number): Promise<Page> {
    return cursor.stream === "kv" ? this.#storedPage(cursor, batch) : this.#waitingPage(cursor, batch);
  }

  /** The submission on a subject or with a sequence, if it is still in stream JOBS. @throws AsyncError of the bus */
  submission(where: string | number): Promise<Waiting | undefined> {
    return typeof where === "string" ? readLast(this.#bus, JOBS, where) : readAt(this.#bus, JOBS, where);
  }

  async #storedPage({ sequence }: Cursor, batch: number): Promise<Page> {
    const query = { filter: `${KV_PREFIX}.>`, from: sequence, batch };
    const { messages, pending } = await readBatch(this.#bus, KV_JOBS, query);
    const entries = messages.flatMap((message): Listed[] => {
      const { state } = storedJob(message.sequence, message.data);
      return state ? [{ type: "job", sequence: message.sequence, state }] : [];
    });
    return { entries, next: nextCursor("kv", messages, pending) ?? { stream: "jobs", sequence: 0 } };
  }

  async #waitingPage({ sequence }: Cursor, batch: number): Promise<Page> {
    // What has been delivered is in the store, or will be in a moment.
    const from = Math.max(sequence, (await this.#lastDelivered()) + 1);
    const { messages, pending } = await readBatch(this.#bus, JOBS, { filter: ">", from, batch });
    const entries = messages.map(
      (submission): Listed => ({ type: "waiting", sequence: submission.sequence, submission }),
    );
    const next = nextCursor("jobs", messages, pending);
    return { entries, ...(next && { next }) };
  }

  /** The sequence of the newest submission that a supervisor has got. */
  async #lastDelivered(): Promise<number> {
    const subject = `$JS.API.CONSUMER.INFO.${JOBS}.${SUPERVISOR_CONSUMER}`;
    const { delivered } = (await this.#bus.mux.request(subject, "", TIMEOUT_MS)).json<ConsumerInfoReply>();
    if (delivered) return delivered.stream_seq;
    throw new AsyncError("jetstream_unavailable", "the consumer of stream JOBS cannot be asked right now; try again");
  }
}

interface ConsumerInfoReply {
  delivered?: { stream_seq: number };
}

function nextCursor(stream: Cursor["stream"], messages: StoredMessage[], pending: number): Cursor | undefined {
  const last = messages.at(-1);
  return last && pending > 0 ? { stream, sequence: last.sequence + 1 } : undefined;
}
