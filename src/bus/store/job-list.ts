/**
 * Pages through all jobs, in three parts: those in the store, in the order in which they last changed; the submissions of
 * which nothing is stored, because no supervisor has taken them yet, or because one has begun them as they are (ARRIVALS-7);
 * and what has been stored since the first part was read.
 *
 * LIST-1  A job that changes while the pages are read may be seen twice, but is never missed: it goes from the submissions to
 *     the store, never back, and each of its changes goes to the end of the store. So what is found to be stored when
 *     its submission is looked at, or gone because it has ended, either has not changed since the first part, which had
 *     it, or is in the third.
 * LIST-2  The newest first, the submissions are read first, and then the store from its end at that time backwards. A job that is
 *     taken meanwhile is in both; one that changes while the store is read is in the third part, which comes last, too.
 */
import { type Cursor, END_OF_STREAM } from "../../api/cursor.ts";
import { afterPrefix, SUBMIT } from "../../api/subjects.ts";
import { AsyncError } from "../../job/errors.ts";
import type { JobState, StateName } from "../../job/state.ts";
import { Limiter } from "../../util/limiter.ts";
import type { Bus } from "../connection.ts";
import { JOBS, KV_JOBS, KV_PREFIX, SUPERVISOR_CONSUMER } from "../topology.ts";
import { apiAnswer } from "../wire/jetstream.ts";
import { isPart } from "./definition.ts";
import type { FamilyFilter } from "./family-filter.ts";
import { type JobStore, storedJob } from "./job-store.ts";
import { peekStateName } from "./stored-state.ts";
import { readAt, readBatch, readLast, type StoredMessage, streamState } from "./stream-read.ts";
import type { TagFilter } from "./tag-filter.ts";

/** A submission that waits in stream JOBS. */
export type Waiting = Omit<StoredMessage, "expires">;

/** `sequence` is that in the stream of the page. */
export type Listed = { sequence: number } & (
  | { type: "job"; state: JobState }
  /** `isTaken`: a supervisor has got it. */
  | { type: "waiting"; submission: Waiting; isTaken: boolean }
);

/** Which jobs are asked for. */
export interface Wanted {
  state?: StateName | undefined;
  tags?: TagFilter | undefined;
  /** Absent: children and others. */
  family?: FamilyFilter | undefined;
}

export interface Page {
  entries: Listed[];
  /** Where the next page begins; absent after the last one. */
  next?: Cursor;
}

const TIMEOUT_MS = 2_000;
/** Read for a page at most, so that large jobs make small pages. */
const PAGE_BYTES = 2 * 1024 ** 2;
/** Ranges that are read for one page. */
const MAX_READS = 24;
/** How much is looked at for an id that is in the body of its submission only. */
const LOOK_BATCH = 500;
const LOOK_BATCHES = 4;
const LOOK_BYTES = 4 * 1024 ** 2;
const LOOK_MS = 300;
/** Each look reads megabytes, and ids that do not exist are asked for by anybody. */
const MAX_LOOKS = 2;

export class JobList {
  readonly #bus: Bus;
  readonly #looks = new Limiter(() => MAX_LOOKS);
  readonly #store: JobStore;
  readonly #idOf: (submission: Waiting) => string;

  /** `idOf` tells the id of the job that a submission makes. */
  constructor(bus: Bus, store: JobStore, idOf: (submission: Waiting) => string) {
    this.#bus = bus;
    this.#store = store;
    this.#idOf = idOf;
  }

  /**
   * At most `batch` entries from `cursor` on. What is stored but is no job is left out.
   *
   * @param wanted jobs that have certainly ended in another state, have certainly other tags or another parent, are left out too
   * @throws AsyncError of the bus
   */
  page(cursor: Cursor, batch: number, wanted: Wanted = {}): Promise<Page> {
    switch (cursor.part) {
      case "stored":
      case "changed":
        return this.#storedPage(cursor, batch, wanted);
      case "submitted":
        return this.#submittedPage(cursor, batch, wanted);
      case "newest-submitted":
        return this.#newestSubmittedPage(cursor, batch, wanted);
      case "newest-stored":
        return this.#newestStoredPage(cursor, batch, wanted);
    }
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
   * what waits is looked at, for a few at a time, so it may be missed.
   *
   * @throws AsyncError of the bus
   */
  submissionByBody(jobId: string): Promise<Waiting | undefined> {
    const end = performance.now() + LOOK_MS; // the time to wait for others that look is part of it
    return this.#looks.run(async () => {
      if (performance.now() >= end) return undefined;
      const { delivered, ackFloor } = await this.#consumer();
      // Those that no supervisor has got yet, then those of a supervisor that has just got them, or has died since.
      const newest = await this.#lookThrough(jobId, delivered + 1, Number.POSITIVE_INFINITY, end);
      return newest ?? this.#lookThrough(jobId, ackFloor + 1, delivered, end);
    });
  }

  /** Whether a supervisor has got the submission with that sequence. @throws AsyncError of the bus */
  async isTaken(sequence: number): Promise<boolean> {
    return sequence <= (await this.#consumer()).delivered;
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

  async #storedPage(
    cursor: Extract<Cursor, { part: "stored" | "changed" }>,
    batch: number,
    wanted: Wanted,
  ): Promise<Page> {
    const query = { from: cursor.sequence, batch, maxBytes: PAGE_BYTES };
    const { messages, pending } = await readBatch(this.#bus, KV_JOBS, query);
    const entries = await this.#stored(messages, wanted);
    const sequence = afterLast(messages, cursor.sequence);
    if (messages.length > 0 && pending > 0) return { entries, next: { ...cursor, sequence } };
    if (cursor.part === "changed") return { entries };
    return { entries, next: { part: "submitted", sequence: 1, since: sequence } };
  }

  async #stored(messages: StoredMessage[], { state: wanted, tags, family }: Wanted): Promise<Listed[]> {
    const entries: Listed[] = [];
    for (const { subject, sequence, data } of messages) {
      const jobId = afterPrefix(subject, KV_PREFIX) ?? "";
      if (isPart(jobId) || family?.mayBeRecord(jobId, data) === false) continue;
      if (wanted !== undefined && isEndedOtherwise(peekStateName(jobId, data), wanted)) continue;
      if (tags && !tags.mayBeRecord(data)) continue;
      const state = (await this.#store.complete(jobId, storedJob(jobId, sequence, data)))?.state;
      if (state) entries.push({ type: "job", sequence, state });
    }
    return entries;
  }

  /** LIST-2 */
  async #newestSubmittedPage(
    cursor: Extract<Cursor, { part: "newest-submitted" }>,
    batch: number,
    wanted: Wanted,
  ): Promise<Page> {
    let from = cursor.sequence;
    if (from === END_OF_STREAM) from = (await streamState(this.#bus, JOBS)).lastSequence;
    const { messages, next } = await this.#readBackwards(JOBS, from, batch);
    const entries = await this.#submitted(messages, wanted);
    if (next > 0) return { entries, next: { part: "newest-submitted", sequence: next } };
    const { lastSequence } = await streamState(this.#bus, KV_JOBS);
    return { entries, next: { part: "newest-stored", sequence: lastSequence, since: lastSequence } };
  }

  async #newestStoredPage(
    cursor: Extract<Cursor, { part: "newest-stored" }>,
    batch: number,
    wanted: Wanted,
  ): Promise<Page> {
    const { messages, next } = await this.#readBackwards(KV_JOBS, cursor.sequence, batch);
    const entries = await this.#stored(messages, wanted);
    if (next > 0) return { entries, next: { ...cursor, sequence: next } };
    return { entries, next: { part: "changed", sequence: cursor.since + 1 } };
  }

  /**
   * At most `batch` messages from a sequence on backwards, and where to go on; 0 at the beginning of the stream. The server
   * reads forwards only, so a range is read that is wide where there are few messages, and narrow where there are many.
   */
  async #readBackwards(
    stream: string,
    from: number,
    batch: number,
  ): Promise<{ messages: StoredMessage[]; next: number }> {
    const found: StoredMessage[] = [];
    let bytes = 0;
    let last = from;
    let width = batch;
    for (let reads = 0; reads < MAX_READS && last > 0 && found.length < batch && bytes < PAGE_BYTES; reads++) {
      const first = Math.max(1, last - width + 1);
      const query = { from: first, batch: batch - found.length, maxBytes: PAGE_BYTES };
      const { messages, pending } = await readBatch(this.#bus, stream, query);
      const inRange = messages.filter(({ sequence }) => sequence <= last);
      const isWhole = inRange.length < messages.length || pending === 0 || inRange.at(-1)?.sequence === last;
      if (!isWhole) {
        width = Math.max(1, Math.min(Math.floor(width / 2), inRange.length));
        continue;
      }
      found.push(...inRange.reverse());
      for (const { data } of inRange) bytes += data.length;
      last = first - 1;
      if (inRange.length < width / 4) width *= 4;
    }
    return { messages: found, next: last };
  }

  async #submittedPage(cursor: Extract<Cursor, { part: "submitted" }>, batch: number, wanted: Wanted): Promise<Page> {
    const query = { from: cursor.sequence, batch, maxBytes: PAGE_BYTES };
    const { messages, pending } = await readBatch(this.#bus, JOBS, query);
    const entries = await this.#submitted(messages, wanted);
    if (messages.length > 0 && pending > 0) {
      return { entries, next: { ...cursor, sequence: afterLast(messages, cursor.sequence) } };
    }
    return { entries, next: { part: "changed", sequence: cursor.since } };
  }

  /** Of those that have been delivered, most are stored. Those that have not are not looked for: there may be many. */
  async #submitted(messages: StoredMessage[], { tags }: Wanted): Promise<Listed[]> {
    const submissions = tags ? messages.filter(({ data }) => tags.mayBeSubmission(data)) : messages;
    if (submissions.length === 0) return [];
    const { delivered } = await this.#consumer();
    const stored = await Promise.all(
      submissions.map((submission) => submission.sequence <= delivered && this.#isStored(this.#idOf(submission))),
    );
    return submissions
      .filter((_, index) => !stored[index])
      .map((submission) => {
        const { sequence } = submission;
        return { type: "waiting", sequence, submission, isTaken: sequence <= delivered };
      });
  }

  /** A key that was deleted by hand has an empty message. */
  async #isStored(jobId: string): Promise<boolean> {
    const message = await readLast(this.#bus, KV_JOBS, `${KV_PREFIX}.${jobId}`);
    return message !== undefined && message.data.length > 0;
  }

  /** The sequence of the newest submission that a supervisor has got, and up to which all are dealt with. */
  async #consumer(): Promise<{ delivered: number; ackFloor: number }> {
    const subject = `${this.#bus.apiPrefix}.CONSUMER.INFO.${JOBS}.${SUPERVISOR_CONSUMER}`;
    const info = apiAnswer<ConsumerInfoReply>(await this.#bus.mux.request(subject, "", TIMEOUT_MS));
    if (info.delivered) return { delivered: info.delivered.stream_seq, ackFloor: info.ack_floor?.stream_seq ?? 0 };
    throw new AsyncError("jetstream_unavailable", "the consumer of stream JOBS cannot be asked right now; try again");
  }
}

/** An ended job is shown as what it is stored as; a live one may be shown otherwise. */
function isEndedOtherwise(stored: string | undefined, wanted: StateName): boolean {
  return stored !== wanted && (stored === "completed" || stored === "failed" || stored === "cancelled");
}

interface ConsumerInfoReply {
  delivered?: { stream_seq: number };
  ack_floor?: { stream_seq: number };
}

function afterLast(messages: StoredMessage[], from: number): number {
  return (messages.at(-1)?.sequence ?? from - 1) + 1;
}
