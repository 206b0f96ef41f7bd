/**
 * The state of jobs in bucket `jobs`. Every write is compare-and-set on the revision of the job's key.
 *
 * STORE-1  A write succeeds only on the revision it was derived from; 0 is "the key does not exist".
 * STORE-2  The caller can tell four outcomes apart: stored, conflict (someone else wrote), unknown (no answer came), refused.
 * STORE-3  Each write of a state that has ended, whoever makes it, has a time to live: the retention as it is now, or less if the
 *     job says so (`keep_ms`), but not less than STORAGE-3 asks for. Others have none.
 */
import type { Msg, MsgHdrs } from "nats";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import { stateProblem } from "../../job/record.ts";
import { type EndedJob, isEnded, type JobState } from "../../job/state.ts";
import type { Bus } from "../connection.ts";
import { JOBS, KV_JOBS, KV_PREFIX } from "../topology.ts";
import { expectSequence, expectSequenceWithTtl } from "../wire/headers.ts";
import { apiAnswer, isTooLarge, isWrongSequence } from "../wire/jetstream.ts";
import { type Brief, type BriefWriter, briefFrom, canBeBrief, completed } from "./brief-state.ts";
import { compareRuns, definitionKey, packDefinition, readDefinition } from "./definition.ts";
import { shortestKeptMs } from "./storage.ts";
import { packState, readRecord, stateFrom } from "./stored-state.ts";
import { readAt, readLast } from "./stream-read.ts";

export interface StoredJob {
  /** Undefined where `problem`, `newer` or `brief` is set, and where the key was deleted by hand: only its revision is left. */
  state: JobState | undefined;
  revision: number;
  /** Why what is stored is no state of a job: someone else than us has written it. */
  problem?: string;
  /** The format of what a newer version has stored. It is not ours to read, to fail or to overwrite. */
  newer?: number;
  /** Present instead where the rest of the state is in the submission: see {@link JobStore.complete}. */
  brief?: Brief;
  /** The sequence of its definition, if it is stored and the state names it. */
  definition?: number;
}

/** Whether something is stored of the job that is not ours to read. */
export function isUnreadable(stored: StoredJob | undefined): boolean {
  return stored?.newer !== undefined || stored?.problem !== undefined;
}

export type CommitOutcome =
  | { type: "stored"; revision: number }
  /** Someone else has written since; read before deciding. */
  | { type: "conflict" }
  /** No answer, or no leader right now: it may be stored or not; read before deciding. */
  | { type: "unknown"; cause: AsyncError }
  /** It is not stored, as there is no room for another job now: try again. */
  | { type: "full"; cause: AsyncError }
  /** It is not stored and never will be as it is. */
  | { type: "refused"; cause: AsyncError };

/** How long an ended job is kept, where there is room. */
export const DEFAULT_RETENTION_MS = 7 * 24 * 3_600_000;
const TIMEOUT_MS = 2_000;
/** How long the empty value is kept that replaces what cannot be deleted. */
const REMOVED_TTL = "5s";
/** What the server stores with a state, by and large: its subject, headers and bookkeeping. */
const MESSAGE_OVERHEAD_BYTES = 120;

export interface JobStoreOptions {
  replicas: number;
  /** How long an ended job is kept. Default 7 days. */
  retentionMs?: number;
  /** How long a lease lasts: an ended job is kept for some of them, even if it asks for less. Default 10 s. */
  ackWaitMs?: number;
}

export class JobStore {
  readonly #bus: Bus;
  readonly #replicas: number;
  readonly #shortestMs: number;
  /** What the subjects of states begin with where they are written. */
  readonly #prefix: string;
  /** How long ended jobs are kept, and the same in words of the server. */
  #keptMs = 0;
  #ttl = "";
  /** Of a job that ends with its first commit, as most do that have one function. */
  #expectNoneAtEnd: MsgHdrs | undefined;
  /** How full the bucket is; absent where nobody looks. */
  storage: { readonly full: boolean; wrote(bytes: number): void } | undefined;

  constructor(bus: Bus, { replicas, retentionMs = DEFAULT_RETENTION_MS, ackWaitMs = 10_000 }: JobStoreOptions) {
    this.#bus = bus;
    this.#replicas = replicas;
    this.#shortestMs = shortestKeptMs(ackWaitMs);
    this.#prefix = bus.bucketSubject(KV_PREFIX);
    this.keepEndedFor(retentionMs);
  }

  /** How long jobs are kept that end from now on. */
  keepEndedFor(ms: number): void {
    const ttl = ttlOf(ms);
    this.#keptMs = ms;
    if (ttl === this.#ttl) return;
    this.#ttl = ttl;
    this.#expectNoneAtEnd = expectSequenceWithTtl(0, ttl);
  }

  /**
   * Stores `state` as the successor of `revision` (0: as a new job). Tells the outcome once, maybe before it returns. Returns
   * how many bytes it has.
   *
   * @param brief of the job, if its steps are to be stored without what its submission says
   */
  put(state: JobState, revision: number, done: (outcome: CommitOutcome) => void, brief?: BriefWriter): number {
    const headers = isEnded(state) ? this.#expectAtEnd(state, revision) : expectSequence(revision);
    const body = brief && canBeBrief(state, brief.definition) ? brief.write(state) : packState(state);
    const bytes = body.length;
    if (revision === 0 && this.storage?.full && !isEnded(state)) {
      done({ type: "full", cause: new AsyncError("storage_full", "the bucket of states is too full for another job") });
      return bytes;
    }
    this.storage?.wrote(bytes + MESSAGE_OVERHEAD_BYTES);
    this.#bus.mux.store(`${this.#prefix}.${state.job_id}`, body, headers, TIMEOUT_MS, (error, sequence) => {
      done(error ? outcomeOf(error) : { type: "stored", revision: sequence });
    });
    return bytes;
  }

  /** STORE-3 */
  #expectAtEnd({ keep_ms: keepMs }: EndedJob, revision: number): MsgHdrs {
    if (keepMs !== undefined) {
      return expectSequenceWithTtl(revision, this.#ttlFor(keepMs));
    }
    return revision === 0 && this.#expectNoneAtEnd ? this.#expectNoneAtEnd : expectSequenceWithTtl(revision, this.#ttl);
  }

  #ttlFor(keepMs: number): string {
    return ttlOf(Math.min(this.#keptMs, Math.max(keepMs, this.#shortestMs)));
  }

  /** The same with a promise. */
  commit(state: JobState, revision: number, brief?: BriefWriter): Promise<CommitOutcome> {
    return new Promise((resolve) => this.put(state, revision, resolve, brief));
  }

  /**
   * The newest stored state. Read from the leader where there are replicas, which may lag behind.
   *
   * @returns undefined if there is no such job
   * @throws AsyncError of the bus
   */
  async get(id: string): Promise<StoredJob | undefined> {
    const stored = await this.#read(id);
    return stored && this.complete(id, stored);
  }

  /**
   * What was read of a job, with what is in its submission or definition. If that is gone the job has ended meanwhile, or
   * waits on another token, and is read again.
   *
   * @throws AsyncError of the bus
   */
  async complete(id: string, stored: StoredJob): Promise<StoredJob | undefined> {
    if (!stored.brief) return stored;
    const { revision, brief } = stored;
    const { sequence, leansOn } = brief;
    if (leansOn === "submission") {
      const submission = await this.#message(JOBS, { seq: sequence });
      if (submission) return { revision, state: undefined, ...completed(brief, submission.data) };
    } else {
      const message = await this.#message(KV_JOBS, { seq: sequence });
      const definition = message && readDefinition(message.data);
      const whole = definition && completed(brief, definition.submission);
      if (whole) return { revision, state: undefined, ...whole, definition: sequence };
    }
    const now = await this.#read(id);
    if (now?.revision !== revision) return now && this.complete(id, now);
    const where = leansOn === "submission" ? JOBS : KV_JOBS;
    return { revision, state: undefined, problem: `${leansOn}, number ${sequence} in stream ${where}, is gone` };
  }

  /**
   * Stores the definition of a job, so that its states need not have it (DEFINITION-1).
   *
   * @param aboveBytes one that is smaller is not worth it
   * @returns its sequence; undefined if it is not stored, or that is not known: then states are stored in full
   * @throws AsyncError of the bus
   */
  async define(state: JobState, aboveBytes: number): Promise<number | undefined> {
    const body = packDefinition(state);
    if (body.length < aboveBytes || this.storage?.full) return undefined;
    const made = await this.#putDefinition(state.job_id, body, 0);
    if (made !== "conflict") return made;
    const found = await this.part(definitionKey(state.job_id));
    if (!found) return undefined; // it went just now
    const definition = readDefinition(found.data);
    const age = definition ? compareRuns(definition, state) : -1;
    if (age === 0) return found.sequence;
    if (age > 0) return undefined; // the job is not ours any more
    const replaced = await this.#putDefinition(state.job_id, body, found.sequence);
    return replaced === "conflict" ? undefined : replaced;
  }

  async #putDefinition(id: string, body: Uint8Array, after: number): Promise<number | "conflict" | undefined> {
    try {
      return await this.putPart(definitionKey(id), body, after);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return isWrongSequence(error) ? "conflict" : undefined;
    }
  }

  /** Removes the definition of a job whose run has ended (DEFINITION-2). If that fails it is left to the sweep. */
  removeDefinition(id: string, sequence: number): void {
    this.removePart(definitionKey(id), sequence);
  }

  /** What is stored of a job besides its state, under a key of its own (`isPart`). @throws AsyncError of the bus */
  part(key: string): Promise<Found | undefined> {
    return this.#message(KV_JOBS, { last_by_subj: `${KV_PREFIX}.${key}` });
  }

  /**
   * Stores such a part as the successor of the one with that sequence (0: there is none).
   *
   * @returns its sequence; @throws AsyncError of the bus: it may be stored, unless that `isWrongSequence`
   */
  putPart(key: string, body: Uint8Array, after: number): Promise<number> {
    this.storage?.wrote(body.length + MESSAGE_OVERHEAD_BYTES);
    return this.#bus.mux.publish(`${this.#prefix}.${key}`, body, expectSequence(after), TIMEOUT_MS);
  }

  /** Removes the part with that sequence, and returns when that is done. @throws AsyncError as {@link putPart} */
  async dropPart(key: string, sequence: number): Promise<void> {
    const headers = expectSequenceWithTtl(sequence, REMOVED_TTL);
    await this.#bus.mux.publish(`${this.#prefix}.${key}`, "", headers, TIMEOUT_MS);
  }

  /** Removes the part with that sequence. If that fails it is left to the sweep. */
  removePart(key: string, sequence: number): void {
    const headers = expectSequenceWithTtl(sequence, REMOVED_TTL);
    this.#bus.mux.store(`${this.#prefix}.${key}`, "", headers, TIMEOUT_MS, () => {});
  }

  /**
   * The part with that sequence is kept for as long as the state of a job that has ended. If that fails it is left to the sweep.
   *
   * @param keepMs what the job says of that
   */
  expirePart(key: string, data: Uint8Array, sequence: number, keepMs?: number): void {
    const headers = expectSequenceWithTtl(sequence, keepMs === undefined ? this.#ttl : this.#ttlFor(keepMs));
    this.#bus.mux.store(`${this.#prefix}.${key}`, data, headers, TIMEOUT_MS, () => {});
  }

  async #read(id: string): Promise<StoredJob | undefined> {
    const message = await this.#message(KV_JOBS, { last_by_subj: `${KV_PREFIX}.${id}` });
    return message && storedJob(id, message.sequence, message.data);
  }

  async #message(stream: string, query: MessageQuery): Promise<Found | undefined> {
    if (this.#replicas > 1) return this.#askLeader(stream, query);
    return "seq" in query ? readAt(this.#bus, stream, query.seq) : readLast(this.#bus, stream, query.last_by_subj);
  }

  async #askLeader(stream: string, query: MessageQuery): Promise<Found | undefined> {
    const reply = await this.#request(`${this.#bus.apiPrefix}.STREAM.MSG.GET.${stream}`, JSON.stringify(query));
    const { message, error } = apiAnswer<LeaderReply>(reply);
    if (message) return { sequence: message.seq, data: Buffer.from(message.data ?? "", "base64") };
    if (error?.code === 404) return undefined;
    const what = `stream ${stream} cannot be read: ${error?.description}`;
    throw new AsyncError("jetstream_unavailable", what);
  }

  async #request(subject: string, query: string): Promise<Msg> {
    try {
      return await this.#bus.mux.request(subject, query, TIMEOUT_MS);
    } catch (cause) {
      if (!isAsyncError(cause, "no_responders")) throw cause;
      const what = "jobs cannot be read right now: no leader, or the streams are not made yet";
      throw new AsyncError("jetstream_unavailable", what, { cause });
    }
  }
}

/** As the server reads it, which knows no shorter time to live than a second. */
function ttlOf(ms: number): string {
  return `${Math.max(1, Math.round(ms / 1000))}s`;
}

type MessageQuery = { seq: number } | { last_by_subj: string };

/** A message as it was read. */
export interface Found {
  sequence: number;
  data: Uint8Array;
}

interface LeaderReply {
  message?: { seq: number; data?: string };
  error?: { code: number; description?: string };
}

/** What is stored as a revision of a job. Anyone with the right to may have written it, so it is looked at before it is believed. */
export function storedJob(jobId: string, revision: number, data: Uint8Array): StoredJob {
  if (data.length === 0) return { revision, state: undefined }; // a deletion marker
  try {
    const stored = readRecord(jobId, data);
    if (stored.type === "newer") return { revision, state: undefined, newer: stored.format };
    if (stored.type === "none") return { revision, state: undefined, problem: "value is no record of this job" };
    const brief = briefFrom(stored.fields);
    if (brief) return { revision, state: undefined, brief };
    const state = stateFrom(stored.fields);
    const problem = stateProblem(state);
    return problem === undefined
      ? { revision, state: state as JobState }
      : { revision, state: undefined, problem: `its ${problem}` };
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return { revision, state: undefined, problem: error.message };
  }
}

function outcomeOf(cause: AsyncError): CommitOutcome {
  if (isWrongSequence(cause)) return { type: "conflict" };
  if (isTooLarge(cause)) {
    const isTold = cause.code === "payload_too_large";
    return { type: "refused", cause: isTold ? cause : new AsyncError("payload_too_large", cause.message, { cause }) };
  }
  if (cause.code === "jobs_full") {
    const next = "ended jobs that expire make room, or raise the limit of the bucket or of the account";
    const what = `there is no room for the state (${cause.message}); ${next}`;
    return { type: "full", cause: new AsyncError("storage_full", what, { cause }) };
  }
  return { type: "unknown", cause };
}
