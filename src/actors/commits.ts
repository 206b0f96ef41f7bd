/**
 * What is stored of the job of one actor, and the only way in which the actor writes it. Where the outcome of a commit is not
 * clear, it finds out what has become of it; what follows from that is for the actor to do.
 *
 * COMMIT-1  It writes only on the revision that it has read or written last.
 * COMMIT-2  Its own write whose answer was lost is recognised by `writer` and `version`.
 * COMMIT-3  A state that does not fit into a message is refused for good. One that has ended, but for a completed one, is
 *     stored without its payloads then, if there are no results in it that can be stored besides: so any job can end.
 * COMMIT-4  Where there is no room for another state, the end of a job waits for it. A job that has not ended, and is not stored
 *     yet, had better wait as the submission that it is: `full`. What is stored already can change.
 * COMMIT-5  With each commit the version grows by one, the token does not shrink, and a job that has ended does not change.
 * COMMIT-6  A job that was begun as its submission says takes the place of an ended one that had its id, if the id is made from
 *     the sequence of the submission: stream JOBS was made anew (ARRIVALS-9).
 */

import type { Bus } from "../bus/connection.ts";
import { BriefWriter } from "../bus/store/brief-state.ts";
import type { CommitOutcome, JobStore, StoredJob } from "../bus/store/job-store.ts";
import { isAsyncError } from "../job/errors.ts";
import { isEnded, isGraph, type JobState, unreachable, withoutPayloads } from "../job/state.ts";
import { largestInline } from "./refusal.ts";
import { pause } from "./retrying.ts";
import { isPredecessor } from "./submission.ts";

/** What has become of a commit. Unless it is `stored`, nothing that follows from its state may be done. */
export type CommitResult =
  | "stored"
  | Found
  /** There is no room for it, and nothing of the job is stored but its submission. */
  | "full"
  /** It does not fit into a message; it has about so many bytes too much, as far as that is known. */
  | { type: "refused"; why: string; overBytes?: number };

/** What someone else has made of the job. */
export type Found =
  /** It has ended, and its state is that of ours now: it was cancelled. */
  | "ended"
  /** The same, but it undoes what it has done before it ends. It is still ours. */
  | "undoing"
  /** It has another owner, is gone, or cannot be read. */
  | "superseded";

export interface CommitsContext {
  bus: Bus;
  store: JobStore;
  /** Unique to this process's supervisor. */
  writer: string;
}

/** A job that has so much in it that what stays the same is not encoded anew at each step. */
export interface Long {
  /** The sequence of its definition, if that is stored. */
  definition: number | undefined;
}

/** Whose commits they are. */
export interface CommitsOwner {
  /** The job has left it. */
  readonly isGone: boolean;
  /** What is being stored has so many more bytes than before that the job had better be measured again. */
  onGrown(state: JobState, bytes: number): void;
  /** Told when what is tried again fails for the first time. */
  onTrouble(what: string, error: unknown, isOver?: () => boolean): void;
  /** A fault of ours. */
  onFault(error: unknown): void;
}

export class Commits {
  readonly #context: CommitsContext;
  readonly #owner: CommitsOwner;
  readonly #long: Long | undefined;
  #brief: BriefWriter | undefined;
  #state: JobState;
  /** 0 while only the submission is stored. */
  #revision: number;
  /** From how many bytes on it has grown. */
  #grownAt: number;

  /**
   * @param long present if its steps are stored without what its submission says, or its definition, if that is stored
   * @param measuredBytes how many bytes the job had when it was measured
   */
  constructor(
    context: CommitsContext,
    owner: CommitsOwner,
    state: JobState,
    revision: number,
    long: Long | undefined,
    measuredBytes: number,
  ) {
    this.#context = context;
    this.#owner = owner;
    this.#state = state;
    this.#revision = revision;
    this.#long = long;
    this.#grownAt = grownAt(measuredBytes);
    this.#brief = long && new BriefWriter(long.definition);
  }

  /** The newest state that is known to be stored. */
  get state(): JobState {
    return this.#state;
  }

  /** Stores `next`, which must be a new object, and tells once what has become of it. One at a time. */
  commit(next: JobState, done: (result: CommitResult) => void): void {
    this.#assertFollows(next);
    next.version = this.#state.version + 1;
    next.writer = this.#context.writer;
    let bytes = 0; // told after a refusal that needs no answer
    const overBytes = () => Math.max(0, bytes - this.#context.bus.maxPayload);
    const onOutcome = (outcome: CommitOutcome) => {
      if (outcome.type === "stored") {
        this.#set(next, outcome.revision);
        done("stored");
      } else
        this.#sortOut(next, outcome)
          .then((result) =>
            done(typeof result === "object" && overBytes() > 0 ? { ...result, overBytes: overBytes() } : result),
          )
          .catch((error) => this.#owner.onFault(error));
    };
    bytes = this.#context.store.put(next, this.#revision, onOutcome, this.#brief);
    if (bytes < this.#grownAt) return;
    this.#grownAt = grownAt(bytes);
    this.#owner.onGrown(next, bytes);
  }

  /** The job has ended, and nothing leans on its definition any more. */
  removeDefinition(): void {
    const definition = this.#long?.definition;
    if (definition !== undefined) this.#context.store.removeDefinition(this.#state.job_id, definition);
  }

  /**
   * Compares the job with what is stored. Returns undefined if nobody else has written it.
   *
   * @throws AsyncError of the bus
   */
  async compare(): Promise<Found | undefined> {
    const stored = await this.#context.store.get(this.#state.job_id);
    return this.#isOurs(stored) ? undefined : this.#writtenByOthers(stored);
  }

  /** COMMIT-5 */
  #assertFollows(next: JobState): void {
    const before = this.#state;
    if (next === before || isEnded(before) || next.token < before.token || next.job_id !== before.job_id) {
      throw new TypeError(
        `job ${before.job_id} cannot go from ${before.state}/${before.token} to ${next.state}/${next.token}`,
      );
    }
  }

  #set(state: JobState, revision: number): void {
    this.#state = state;
    this.#revision = revision;
  }

  /** Whether nobody else has written it since. @throws AsyncError of the bus */
  async isOurs(): Promise<boolean> {
    return this.#isOurs(await this.#context.store.get(this.#state.job_id));
  }

  async #sortOut(state: JobState, first: CommitOutcome): Promise<CommitResult> {
    let over = false;
    try {
      return await this.#tryAgain(state, first, () => over);
    } finally {
      over = true;
    }
  }

  async #tryAgain(state: JobState, first: CommitOutcome, isOver: () => boolean): Promise<CommitResult> {
    const { store, bus } = this.#context;
    let next = state;
    let stripped = false;
    for (let failures = 0, outcome = first; !this.#owner.isGone; failures++) {
      if (failures > 0) outcome = await store.commit(next, this.#revision, this.#brief);
      switch (outcome.type) {
        case "stored":
          this.#set(next, outcome.revision);
          return "stored";
        case "refused":
          this.#brief = this.#long && new BriefWriter(this.#long.definition); // it has taken what is refused for done
          if (!isEnded(next) || next.state === "completed" || hasLargeResults(next))
            return { type: "refused", why: outcome.cause.message };
          if (stripped) throw new TypeError(`job ${next.job_id} does not fit into a message without its payloads`);
          next = withoutPayloads(next); // COMMIT-3
          stripped = true;
          continue;
        case "unknown":
          if (failures === 0) this.#owner.onTrouble("cannot commit", outcome.cause, isOver);
          await pause(bus, failures);
          break;
        case "full":
          if (this.#revision === 0 && !isEnded(next)) return "full";
          if (failures === 0) this.#owner.onTrouble("cannot commit", outcome.cause, isOver);
          await pause(bus, failures);
          continue;
        case "conflict":
          break;
        default:
          return unreachable(outcome);
      }
      const found = await this.#readBack(next, failures, isOver);
      if (found !== "unclear") return found;
    }
    return "superseded";
  }

  /** What the store says about a commit; `unclear` if it is to be tried again. */
  async #readBack(next: JobState, failures: number, isOver: () => boolean): Promise<"stored" | Found | "unclear"> {
    try {
      const stored = await this.#context.store.get(next.job_id);
      if (this.#isOurs(stored)) return "unclear"; // it is not stored
      if (stored?.state?.writer === next.writer && stored.state.version === next.version) {
        this.#set(next, stored.revision); // COMMIT-2
        return "stored";
      }
      return this.#writtenByOthers(stored);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (failures === 0) this.#owner.onTrouble("cannot read back a commit", error, isOver);
      await pause(this.#context.bus, failures);
      return "unclear";
    }
  }

  #isOurs(stored: StoredJob | undefined): boolean {
    const { job_id: jobId, sequence, created_at: storedAt } = this.#state;
    if (this.#revision === 0 && stored?.state && isEnded(stored.state)) {
      if (isPredecessor(stored.state, jobId, { sequence, storedAt })) this.#revision = stored.revision; // COMMIT-6
    }
    return (stored?.revision ?? 0) === this.#revision;
  }

  #writtenByOthers(stored: StoredJob | undefined): Found {
    const state = stored?.state;
    if (!stored || !state || !(isEnded(state) || this.#isChangedByHand(state))) return "superseded";
    this.#set(state, stored.revision);
    return isEnded(state) ? "ended" : "undoing";
  }

  /** Somebody has cancelled it, and no other actor has had it since we wrote it last (CONTROL-4). */
  #isChangedByHand({ state, writer, sequence }: JobState): boolean {
    if (state !== "undoing") return false;
    if (writer.startsWith(`${this.#context.writer}/`)) return true;
    // Nothing was stored of it before but its submission.
    return this.#revision === 0 && writer.startsWith("/") && sequence === this.#state.sequence;
  }
}

function hasLargeResults(state: JobState): boolean {
  return isGraph(state) && largestInline(state).length > 0;
}

/** A quarter more, so that what is measured over the life of a job is a few times its size. */
function grownAt(bytes: number): number {
  return 1.25 * bytes + 4_096;
}
