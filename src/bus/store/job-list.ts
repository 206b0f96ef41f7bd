/**
 * Pages through all jobs, in three parts: those in the store, in the order in which they last changed; the submissions of
 * which nothing is stored, because no supervisor has taken them yet, or because one has begun them as they are (ARRIVALS-7);
 * and what has been stored since the first part was read.
 *
 * LIST-1  A job that changes while the pages are read may be seen twice, but is never missed: it goes from the submissions to
 *     the store, never back, and each of its changes goes to the end of the store. So what is found to be stored when
 *     its submission is looked at, or gone because it has ended, either has not changed since the first part, which had
 *     it, or is in the third.
 */
import type { Cursor } from "../../api/cursor.ts";
import { afterPrefix, SUBMIT } from "../../api/subjects.ts";
import { AsyncError } from "../../job/errors.ts";
import type { JobState } from "../../job/state.ts";
import type { Bus } from "../connection.ts";
import { JOBS, KV_JOBS, KV_PREFIX, SUPERVISOR_CONSUMER } from "../topology.ts";
import { type JobStore, storedJob } from "./job-store.ts";
import { readAt, readBatch, readLast, type StoredMessage } from "./stream-read.ts";

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

const TIMEOUT_MS = 2_000;
/** How much is looked at for an id that is in the body of its submission only. */
const LOOK_BATCH = 500;
const LOOK_BATCHES = 4;
const LOOK_BYTES = 4 * 1024 ** 2;
const LOOK_MS = 300;

export class JobList {
  readonly #bus: Bus;
  readonly #store: JobStore;
  readonly #idOf: (submission: Waiting) => string;

  /** `idOf` tells the id of the job that a submission makes. */
  constructor(bus: Bus, store: JobStore, idOf: (submission: Waiting) => string) {
    this.#bus = bus;
    this.#store = store;
    this.#idOf = idOf;
  }

  /** At most `batch` entries from `cursor` on. What is stored but is no job is left out. @throws AsyncError of the bus */
  page(cursor: Cursor, batch: number): Promise<Page> {
    return cursor.part === "submitted" ? this.#submittedPage(cursor, batch) : this.#storedPage(cursor, batch);
  }

  /**
   * The submission with a sequence, or the first on a subject, if it is still in stream JOBS: of several with one id, the first
   * makes the job.
   *
   * @throws AsyncError of the bus
   */
  async submission(where: string | number): Promise<Waiting | undefined> {
    if (typeof where === "number") return readAt(this.#bus, JOBS, where);
    return (await readBatch(this.#bus, JOBS, { filter: where, from: 1, batch: 1 })).messages[0];
  }

  /**
   * The submission that names the job in its body only, if no supervisor has stored anything of it yet. No more than a part of
   * what waits is looked at, so it may be missed.
   *
   * @throws AsyncError of the bus
   */
  async submissionByBody(jobId: string): Promise<Waiting | undefined> {
    const { delivered, ackFloor } = await this.#consumer();
    const end = performance.now() + LOOK_MS;
    // Those that no supervisor has got yet, then those of a supervisor that has just got them, or has died since.
    const newest = await this.#lookThrough(jobId, delivered + 1, Number.POSITIVE_INFINITY, end);
    return newest ?? this.#lookThrough(jobId, ackFloor + 1, delivered, end);
  }

  async #lookThrough(jobId: string, from: number, to: number, end: number): Promise<Waiting | undefined> {
    let next = from;
    for (let batches = 0; batches < LOOK_BATCHES && next <= to && performance.now() < end; batches++) {
      const query = { filter: SUBMIT, from: next, batch: LOOK_BATCH, maxBytes: LOOK_BYTES };
      const { messages, pending } = await readBatch(this.#bus, JOBS, query);
      for (const message of messages) {
        // Most do not contain it, and need not be decoded.
        const bytes = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length);
        if (bytes.includes(jobId) && this.#idOf(message) === jobId) return message;
      }
      if (messages.length === 0 || pending === 0) return undefined;
      next = afterLast(messages, next);
    }
    return undefined;
  }

  async #storedPage(cursor: Exclude<Cursor, { part: "submitted" }>, batch: number): Promise<Page> {
    const { messages, pending } = await readBatch(this.#bus, KV_JOBS, { from: cursor.sequence, batch });
    const entries: Listed[] = [];
    for (const { subject, sequence, data } of messages) {
      const jobId = afterPrefix(subject, KV_PREFIX) ?? "";
      const state = (await this.#store.complete(jobId, storedJob(jobId, sequence, data)))?.state;
      if (state) entries.push({ type: "job", sequence, state });
    }
    const sequence = afterLast(messages, cursor.sequence);
    if (messages.length > 0 && pending > 0) return { entries, next: { ...cursor, sequence } };
    if (cursor.part === "changed") return { entries };
    return { entries, next: { part: "submitted", sequence: 1, since: sequence } };
  }

  async #submittedPage(cursor: Extract<Cursor, { part: "submitted" }>, batch: number): Promise<Page> {
    const { messages, pending } = await readBatch(this.#bus, JOBS, { from: cursor.sequence, batch });
    const entries = (await this.#withoutStored(messages)).map(
      (submission): Listed => ({ type: "waiting", sequence: submission.sequence, submission }),
    );
    if (messages.length > 0 && pending > 0) {
      return { entries, next: { ...cursor, sequence: afterLast(messages, cursor.sequence) } };
    }
    return { entries, next: { part: "changed", sequence: cursor.since } };
  }

  /** Of those that have been delivered, most are stored. Those that have not are not looked for: there may be many. */
  async #withoutStored(submissions: StoredMessage[]): Promise<StoredMessage[]> {
    if (submissions.length === 0) return submissions;
    const { delivered } = await this.#consumer();
    const stored = await Promise.all(
      submissions.map((submission) => submission.sequence <= delivered && this.#isStored(this.#idOf(submission))),
    );
    return submissions.filter((_, index) => !stored[index]);
  }

  /** A key that was deleted by hand has an empty message. */
  async #isStored(jobId: string): Promise<boolean> {
    const message = await readLast(this.#bus, KV_JOBS, `${KV_PREFIX}.${jobId}`);
    return message !== undefined && message.data.length > 0;
  }

  /** The sequence of the newest submission that a supervisor has got, and up to which all are dealt with. */
  async #consumer(): Promise<{ delivered: number; ackFloor: number }> {
    const subject = `$JS.API.CONSUMER.INFO.${JOBS}.${SUPERVISOR_CONSUMER}`;
    const info = (await this.#bus.mux.request(subject, "", TIMEOUT_MS)).json<ConsumerInfoReply>();
    if (info.delivered) return { delivered: info.delivered.stream_seq, ackFloor: info.ack_floor?.stream_seq ?? 0 };
    throw new AsyncError("jetstream_unavailable", "the consumer of stream JOBS cannot be asked right now; try again");
  }
}

interface ConsumerInfoReply {
  delivered?: { stream_seq: number };
  ack_floor?: { stream_seq: number };
}

function afterLast(messages: StoredMessage[], from: number): number {
  return (messages.at(-1)?.sequence ?? from - 1) + 1;
}
