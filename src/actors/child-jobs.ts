/**
 * What a parent does to its children: submits them, has them go on, ends them, has them undo themselves. Each of these may be done again,
 * in doubt, by whoever has the parent then: it changes nothing once it is done.
 *
 * CHILDREN-1  A child is submitted at most once. Its id follows from its parent (CHILD-1); its submission is stored only if no other one is
 *     there; and before it is submitted in doubt it is looked for its end and its state.
 * CHILDREN-2  What has ended is not begun anew by accident: a child is retried only if it has failed, or was cancelled, in a run before the
 *     one that is wanted.
 */
import { FORMAT_HEADER, PARENT_HEADER } from "../api/headers.ts";
import { submitSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { encodeGiven } from "../bus/messages/codec.ts";
import type { ChildEnds, StoredEnd } from "../bus/store/child-ends.ts";
import type { JobStore, StoredJob } from "../bus/store/job-store.ts";
import { headersOf } from "../bus/wire/headers.ts";
import { isTooLarge, isWrongSequence } from "../bus/wire/jetstream.ts";
import {
  type ChildEnd,
  type ChildOrigin,
  childFailed,
  isEndFor,
  type MadeDocument,
  neverBegun,
  runOf,
} from "../job/children.ts";
import type { Encoding } from "../job/encoding.ts";
import { isAsyncError } from "../job/errors.ts";
import type { Failure } from "../job/failure.ts";
import { UnsendableError } from "../job/plain.ts";
import type { Submission } from "../job/schema.ts";
import { type EndedJob, isEnded, type JobState } from "../job/state.ts";
import { Limiter } from "../util/limiter.ts";
import type { Parents } from "./parents.ts";

export interface ChildJobsContext {
  bus: Bus;
  store: JobStore;
  ends: ChildEnds;
  parents: Pick<Parents, "endOf">;
  control: ChildControl;
}

/** What it has done to them: see `JobControl`. */
export interface ChildControl {
  cancel(jobId: string, options?: { undo?: "skip" }): Promise<JobState>;
  goOn(jobId: string, run: number): Promise<JobState>;
  undo(jobId: string): Promise<JobState>;
}

/** A child, as its parent knows it. */
export interface Child {
  id: string;
  origin: ChildOrigin;
  encoding: Encoding;
}

/** What is wanted of a child to be begun. */
export interface Start {
  /** The run that is waited for, at least. */
  run: number;
  /** Nobody can have submitted it. */
  isFresh: boolean;
  /** A run that has ended without success before is not waited for, ms since 1970. */
  since?: number;
  /** Asked for if it has to be submitted. */
  document: () => MadeDocument;
}

/** An end that is there already; the sequence is that of where it is stored, if it is. */
export type FoundEnd = Omit<StoredEnd, "sequence"> & { sequence?: number };

const TIMEOUT_MS = 5_000;
/** At a time, of all parents: each may be as large as a message. */
const MAX_AT_A_TIME = 16;
/** Why a child cannot go on, or be changed: trying again would not help. */
const FOR_GOOD = [
  "job_ended",
  "undo_first",
  "invalid_request",
  "no_entry",
  "payload_too_large",
  "corrupt_state",
] as const;

export class ChildJobs {
  readonly #context: ChildJobsContext;
  readonly #limit = new Limiter(() => MAX_AT_A_TIME);

  constructor(context: ChildJobsContext) {
    this.#context = context;
  }

  /** The end of a child, if it is stored besides its parent. @throws AsyncError of the bus */
  read({ id, origin }: Child): Promise<StoredEnd | undefined> {
    return this.#limit.run(() => this.#context.ends.read(origin, id));
  }

  /** Its parent has dealt with that end. */
  settle({ id, origin }: Child, sequence: number): void {
    this.#context.ends.remove(origin.job_id, id, sequence);
  }

  /**
   * Has a child run, from its beginning or from where it has failed.
   *
   * @returns its end, if it has ended by then; @throws AsyncError of the bus: repeat it, not as `isFresh`. MissingValue
   */
  start(child: Child, start: Start): Promise<FoundEnd | undefined> {
    return this.#limit.run(() => this.#start(child, start));
  }

  async #start(child: Child, { run, isFresh, since, document }: Start): Promise<FoundEnd | undefined> {
    if (!isFresh) {
      const { end, stored } = await this.#find(child, { attempt: run });
      if (end) return end;
      if (stored) {
        if (!stored.state || !isEnded(stored.state)) return undefined;
        return this.#goOn(stored.state, run, since);
      }
    }
    const made = document();
    if (made.failure) return failed(run, made.failure);
    const failure = await this.#submit(child, run, made.document);
    return failure && failed(run, failure);
  }

  /** CHILDREN-2 */
  async #goOn(state: EndedJob, run: number, since = 0): Promise<FoundEnd | undefined> {
    // It may have been retried by itself, in vain, before its parent was.
    const isOfBefore = runOf(state) < run || Math.max(state.finished_at, state.retried_at ?? 0) < since;
    if (state.state === "completed" || !isOfBefore) return { end: await this.#endOf(state) };
    return this.#unlessForGood(run, async () => {
      await this.#context.control.goOn(state.job_id, runOf(state) + 1);
      return undefined;
    });
  }

  /** CHILDREN-1. Returns why it cannot be submitted. */
  async #submit({ id, origin, encoding }: Child, run: number, document: Submission): Promise<Failure | undefined> {
    const { bus } = this.#context;
    const parent = run > 1 ? { ...origin, run } : origin;
    const headers = headersOf({
      [PARENT_HEADER]: JSON.stringify(parent),
      [FORMAT_HEADER]: "2",
      "Nats-Expected-Last-Subject-Sequence": "0",
    });
    try {
      await bus.mux.publish(submitSubject(id), encodeGiven(document, encoding), headers, TIMEOUT_MS);
    } catch (error) {
      if (error instanceof UnsendableError) {
        const message = `the document of the child job cannot be sent: ${error.path || "/"} ${error.problem}`;
        return { code: "invalid_child", name: "InvalidChild", message };
      }
      if (isTooLarge(error)) {
        const message = `the document of the child job does not fit into a message: ${(error as Error).message}; give it less data`;
        return { code: "payload_too_large", name: "PayloadTooLarge", message };
      }
      if (!isWrongSequence(error)) throw error; // else it is there
    }
    return undefined;
  }

  /**
   * Ends a child that is not wanted any more, when it has undone what it has done.
   *
   * @param skipUndo that is left as it is
   * @returns its end, if it has ended by then; @throws AsyncError of the bus: repeat it
   */
  stop(child: Child, run: number, skipUndo: boolean): Promise<FoundEnd | undefined> {
    return this.#limit.run(() => this.#stop(child, run, skipUndo));
  }

  async #stop(child: Child, run: number, skipUndo: boolean): Promise<FoundEnd | undefined> {
    const { end } = await this.#find(child, { attempt: run });
    return end ?? this.#cancel(child, run, skipUndo);
  }

  async #cancel(child: Child, run: number, skipUndo: boolean): Promise<FoundEnd | undefined> {
    try {
      const state = await this.#context.control.cancel(child.id, skipUndo ? { undo: "skip" } : {});
      if (!isEnded(state)) return undefined;
    } catch (error) {
      if (isAsyncError(error, "job_undoing")) return undefined;
      if (isAsyncError(error, "job_not_found")) return { end: neverBegun(child.id, run) };
      if (isAsyncError(error, "corrupt_state")) return failed(run, childFailed(error.message));
      if (!isAsyncError(error, "job_ended")) throw error;
    }
    const { end, stored } = await this.#find(child, { attempt: run });
    if (end || !stored?.state || !isEnded(stored.state)) return end;
    return { end: await this.#endOf(stored.state) };
  }

  /**
   * Has a child that has completed undo what it has done.
   *
   * @returns its end, if it has ended by then; @throws AsyncError of the bus: repeat it
   */
  undo(child: Child, run: number, skipUndo: boolean): Promise<FoundEnd | undefined> {
    return this.#limit.run(() => this.#undo(child, run, skipUndo));
  }

  async #undo(child: Child, run: number, skipUndo: boolean): Promise<FoundEnd | undefined> {
    const { end, stored } = await this.#find(child, { attempt: run, undo: true });
    if (end) return end;
    if (!stored) return failed(run, childFailed(`the child job ${child.id} is not kept any more`));
    const { state } = stored;
    if (!state) return undefined; // a newer version has it, or it is about to be replaced
    if (!isEnded(state)) {
      // It has been retried by itself: so it undoes what it has done as if it were cancelled.
      const isAsked = state.state === "undoing" && !skipUndo;
      const ended = isAsked ? undefined : await this.#cancel(child, run, skipUndo);
      return ended && { ...ended, end: { ...ended.end, undone: true } };
    }
    if (state.state !== "completed" || state.undo) return { end: { ...(await this.#endOf(state)), undone: true } };
    if (skipUndo) return { end: { ...(await this.#endOf(state)), undo: SKIPPED, undone: true } };
    return this.#unlessForGood(run, async () => {
      const next = await this.#context.control.undo(child.id);
      // There is nothing to undo.
      return isEnded(next) ? { end: { ...(await this.#endOf(next)), undone: true } } : undefined;
    });
  }

  #endOf(state: EndedJob): Promise<ChildEnd> {
    return this.#context.parents.endOf(state);
  }

  /** Its end, if that is what is waited for; else what is stored of it. */
  async #find(
    child: Child,
    wanted: Parameters<typeof isEndFor>[0],
  ): Promise<{ end?: FoundEnd; stored?: StoredJob | undefined }> {
    const [found, stored] = await Promise.all([
      this.#context.ends.read(child.origin, child.id),
      this.#context.store.get(child.id),
    ]);
    if (found && isEndFor(wanted, found.end)) return { end: found, stored };
    // A key that was deleted by hand leaves nothing but its revision.
    const isThere = stored && (stored.state ?? stored.problem ?? stored.newer) !== undefined;
    return isThere ? { stored } : {};
  }

  async #unlessForGood(run: number, work: () => Promise<FoundEnd | undefined>): Promise<FoundEnd | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!FOR_GOOD.some((code) => isAsyncError(error, code))) throw error;
      return failed(run, childFailed(`the child job cannot go on: ${(error as Error).message}`));
    }
  }
}

const SKIPPED = { state: "skipped", undone: 0, failed: 0, not_undone: 1 } as const;

function failed(run: number, error: Failure): FoundEnd {
  return { end: { run, outcome: { state: "failed", error } } };
}
