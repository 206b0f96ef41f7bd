/**
 * Pages through all jobs: first those in the store, in the order in which they last changed, then the submissions that
 * no supervisor has taken yet. A job that changes while the pages are read may be seen twice, but is never missed.
 */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import { AsyncError, messageOf } from "../job/errors.ts";
import type { JobState } from "../job/state.ts";
import type { Bus } from "./connection.ts";
import { stateFrom } from "./job-store.ts";
import { JOBS, KV_JOBS, openManager, SUPERVISOR_CONSUMER } from "./topology.ts";

/** A submission that waits in stream JOBS. */
export interface Waiting {
  subject: string;
  data: Uint8Array;
  sequence: number;
  storedAt: number;
}

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

export class JobList {
  readonly #bus: Bus;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** At most `batch` entries from `cursor` on. @throws AsyncError of the bus */
  page(cursor: Cursor, batch: number): Promise<Page> {
    return this.#ask((manager) =>
      cursor.stream === "kv" ? storedPage(manager, cursor, batch) : waitingPage(manager, cursor, batch),
    );
  }

  /** The submission on a subject or with a sequence, if it is still in stream JOBS. @throws AsyncError of the bus */
  submission(where: string | number): Promise<Waiting | undefined> {
    return this.#ask(async (manager) => {
      const query = typeof where === "string" ? { last_by_subj: where } : { seq: where };
      const message = await manager.direct.getMessage(JOBS, query);
      return message ? waitingFrom(message) : undefined;
    });
  }

  async #ask<T>(question: (manager: JetStreamManager) => Promise<T>): Promise<T> {
    this.#manager ??= openManager(this.#bus);
    try {
      return await question(await this.#manager);
    } catch (cause) {
      this.#manager = undefined;
      if (cause instanceof AsyncError) throw cause;
      const why = messageOf(cause);
      throw new AsyncError("jetstream_unavailable", `cannot read the streams: ${why}`, { cause });
    }
  }
}

function waitingFrom({ subject, data, seq, timestamp }: StoredMsg): Waiting {
  return { subject, data, sequence: seq, storedAt: Date.parse(timestamp) };
}

async function storedPage(manager: JetStreamManager, { sequence }: Cursor, batch: number): Promise<Page> {
  const entries: Listed[] = [];
  let last = sequence - 1;
  let pending = 0;
  for await (const message of batchOf(manager, KV_JOBS, sequence, batch)) {
    last = message.seq;
    pending = message.pending;
    const state = stateFrom(message.data);
    if (state) entries.push({ type: "job", sequence: last, state });
  }
  return { entries, next: pending > 0 ? { stream: "kv", sequence: last + 1 } : { stream: "jobs", sequence: 0 } };
}

async function waitingPage(manager: JetStreamManager, { sequence }: Cursor, batch: number): Promise<Page> {
  // What has been delivered is in the store, or will be in a moment.
  const { delivered } = await manager.consumers.info(JOBS, SUPERVISOR_CONSUMER);
  const entries: Listed[] = [];
  let pending = 0;
  let last = Math.max(sequence, delivered.stream_seq + 1) - 1;
  for await (const message of batchOf(manager, JOBS, last + 1, batch)) {
    last = message.seq;
    pending = message.pending;
    entries.push({ type: "waiting", sequence: last, submission: waitingFrom(message) });
  }
  return pending > 0 ? { entries, next: { stream: "jobs", sequence: last + 1 } } : { entries };
}

/** JetStream's "nothing from there on". */
const NO_MESSAGES = 404;

async function* batchOf(
  manager: JetStreamManager,
  stream: string,
  seq: number,
  batch: number,
): AsyncGenerator<StoredMsg> {
  try {
    yield* await manager.direct.getBatch(stream, { seq: Math.max(1, seq), batch, next_by_subj: ">" });
  } catch (error) {
    if ((error as { code?: unknown }).code !== NO_MESSAGES) throw error;
  }
}
