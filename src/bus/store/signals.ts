/**
 * The inboxes of signals in bucket `jobs` (`inbox.ts`): whoever has a signal to send puts it in, the owner of the job takes the next
 * one that it has not used. Each write is compare-and-set on the sequence of the inbox, and only those who send write.
 *
 * SIGNALS-1  What is sent is stored once, whatever answers get lost: each signal has a key, its sender's or one that is made up here, by
 *     which it is found again.
 * SIGNALS-2  An inbox goes when its job has ended. Whoever removes it looks at the inbox first and at the state after that: so what
 *     is sent to a job that was retried meanwhile is not removed, as the inbox has changed then.
 * SIGNALS-3  What somebody else has written under its key counts as empty, and is told of. It ends no owner and no job.
 */
import { setTimeout as delay } from "node:timers/promises";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import { usedNumber } from "../../job/signals.ts";
import { type EndedJob, isEnded, type JobState } from "../../job/state.ts";
import { RandomText } from "../../util/random-text.ts";
import type { Bus } from "../connection.ts";
import { storedPayload } from "../messages/signal-payload.ts";
import { isTooLarge, isWrongSequence } from "../wire/jetstream.ts";
import {
  type Inbox,
  inboxKey,
  isInboxOf,
  MAX_KEPT,
  nextSignal,
  numberOfKey,
  packInbox,
  readInbox,
  type Signal,
  withSignal,
} from "./inbox.ts";
import type { JobStore } from "./job-store.ts";

/** A signal that is stored. */
export interface SentSignal {
  n: number;
  /** One with the same key was stored before. */
  repeated: boolean;
  /** By which it is known if it is sent again. */
  key: string;
}

/** Of a job: what signals go by. */
export type SignalledJob = Pick<JobState, "job_id" | "created_at" | "encoding" | "signals">;

/** Each time that somebody else has written meanwhile, or that no answer came. */
const TRIES = 12;
const MAX_DELAY_MS = 100;
/** So that no two are made up alike: 96 bits. */
const KEY_CHARACTERS = 16;
/** What an inbox has in its message besides its body: subject, headers. */
const ENVELOPE_BYTES = 1_024;

export class Signals {
  readonly #bus: Bus;
  readonly #store: JobStore;
  readonly #onProblem: (jobId: string, problem: string) => void;
  readonly #keys = new RandomText(KEY_CHARACTERS);

  /** @param onProblem told of what is no inbox (SIGNALS-3) */
  constructor(bus: Bus, store: JobStore, onProblem: (jobId: string, problem: string) => void) {
    this.#bus = bus;
    this.#store = store;
    this.#onProblem = onProblem;
  }

  /**
   * Stores a signal for a job, as it was found. Nothing tells the owner of the job of it.
   *
   * @param body of the message: JSON, MessagePack, or empty for null
   * @param key the same one again changes nothing. Default: one that nobody else has
   * @throws AsyncError `invalid_request`, `payload_too_large`, `signals_full`, `storage_full`, or of the bus: it may be stored or not
   */
  async send(job: SignalledJob, name: string, body: Uint8Array, key = this.#keys.next()): Promise<SentSignal> {
    const payload = storedPayload(body, job.encoding, Math.floor(this.#bus.maxPayload / 2));
    const used = usedNumber(job, name);
    /** The number in a write of ours of which no answer came. */
    let tried: number | undefined;
    for (let tries = 0; tries < TRIES; tries++) {
      const { inbox, sequence } = await this.#read(job.job_id, job.created_at, name);
      const before = inbox && numberOfKey(inbox, key);
      if (before !== undefined) return { n: before, repeated: before !== tried, key };
      const next = withSignal(inbox, job, used, { at: Date.now(), key, payload });
      if (next === "full") throw full(job.job_id, name, `has ${MAX_KEPT} signals ${name} that it has not used yet`);
      const outcome = await this.#put(job.job_id, name, next, sequence);
      if (outcome === "stored") return { n: next.last, repeated: false, key };
      if (outcome === "unknown") tried = next.last;
      await delay(Math.random() * Math.min(MAX_DELAY_MS, 5 * 2 ** tries));
    }
    const repeat = `send it again with the same key: ${key}`;
    throw new AsyncError("bus_timeout", `signal ${name} of job ${job.job_id} may be stored or not; ${repeat}`);
  }

  /**
   * The signal with the lowest number above `after` that was sent to a job. For its owner, who gives the number that it has used last.
   * What it says is read with `openSignal`, when it is needed.
   *
   * @throws AsyncError of the bus
   */
  async read(jobId: string, createdAt: number, name: string, after: number): Promise<Signal | undefined> {
    const { inbox } = await this.#read(jobId, createdAt, name);
    return inbox && nextSignal(inbox, after);
  }

  /**
   * Removes the inboxes of a job that has ended (SIGNALS-2), but for signals that it has not used and a retry by hand may (`settle`). What
   * fails is left to the sweep, so this never throws what the bus does.
   *
   * @param names of the signals that the job waits for: see `signalNames`
   */
  async remove(jobId: string, names: readonly string[]): Promise<void> {
    try {
      const found: { name: string; part: StoredPart }[] = [];
      for (const name of names) {
        const part = await this.#store.part(inboxKey(jobId, name));
        if (part && part.data.length > 0) found.push({ name, part });
      }
      if (found.length === 0) return;
      const state = (await this.#store.get(jobId))?.state;
      if (!state || !isEnded(state)) return;
      for (const { name, part } of found) settle(this.#store, state, name, part);
    } catch (error) {
      if (!isAsyncError(error)) throw error; // the sweep sees to it
    }
  }

  /** Takes back a signal that came too late. If that fails, a retry by hand would use it. */
  async withdraw(job: EndedJob, name: string, n: number): Promise<void> {
    try {
      const { inbox, sequence } = await this.#read(job.job_id, job.created_at, name);
      if (!inbox?.kept.some((signal) => signal.n === n)) return;
      const kept = inbox.kept.filter((signal) => signal.n !== n);
      settle(this.#store, job, name, { data: packInbox({ ...inbox, kept }), sequence });
    } catch (error) {
      if (!isAsyncError(error)) throw error; // its sender is told that it was refused all the same
    }
  }

  /** The inbox if it is of that job, and what is to be replaced by the next one. */
  async #read(jobId: string, createdAt: number, name: string): Promise<{ inbox: Inbox | undefined; sequence: number }> {
    const part = await this.#store.part(inboxKey(jobId, name));
    if (!part || part.data.length === 0) return { inbox: undefined, sequence: part?.sequence ?? 0 };
    const { sequence } = part;
    const inbox = readInbox(part.data);
    if (!inbox) {
      this.#onProblem(
        jobId,
        `what is stored under ${inboxKey(jobId, name)} is no inbox of a signal, and counts as empty`,
      );
      return { inbox: undefined, sequence };
    }
    return { inbox: isInboxOf(inbox, { created_at: createdAt }) ? inbox : undefined, sequence };
  }

  async #put(jobId: string, name: string, inbox: Inbox, after: number): Promise<"stored" | "conflict" | "unknown"> {
    const bytes = packInbox(inbox);
    const tooLarge = () =>
      full(jobId, name, `has signals ${name} that do not fit into a message together with this one`);
    if (bytes.length > this.#bus.maxPayload - ENVELOPE_BYTES) throw tooLarge();
    try {
      await this.#store.putPart(inboxKey(jobId, name), bytes, after);
      return "stored";
    } catch (error) {
      if (isWrongSequence(error)) return "conflict";
      if (isTooLarge(error)) throw tooLarge();
      if (isAsyncError(error, "jobs_full")) {
        const what = `there is no room for the signal (${error.message}); raise the limit of the bucket or of the account`;
        throw new AsyncError("storage_full", what, { cause: error });
      }
      if (isAsyncError(error, "bus_timeout") || isAsyncError(error, "jetstream_unavailable")) return "unknown";
      throw error; // it was not sent
    }
  }
}

/** An inbox as it is stored. */
export interface StoredPart {
  data: Uint8Array;
  sequence: number;
}

/**
 * What becomes of an inbox when its job has ended: it goes, or, where the job may be retried and has not used all of it, it stays for
 * as long as the state does.
 */
export function settle(store: JobStore, state: EndedJob, name: string, { data, sequence }: StoredPart): void {
  const key = inboxKey(state.job_id, name);
  const inbox = state.state === "completed" ? undefined : readInbox(data);
  const isNeeded = inbox && isInboxOf(inbox, state) && nextSignal(inbox, usedNumber(state, name)) !== undefined;
  if (isNeeded) store.expirePart(key, data, sequence);
  else store.removePart(key, sequence);
}

function full(jobId: string, name: string, why: string): AsyncError {
  return new AsyncError(
    "signals_full",
    `job ${jobId} ${why}; send signal ${name} again when one of them has been used`,
  );
}
