/**
 * What must be true of jobs that are children of others.
 *
 * SIM-14 A job ends after its children: none of them is live then, nor begins after that. What an entry has come to by its child is
 *     what that has: its last result. When a job that has failed, or was cancelled, has undone what it has done, so have its completed
 *     children, where nothing else undoes them. A child that undoes itself goes back to where it was: it stays completed.
 */
import { isDeepStrictEqual } from "node:util";
import { childIdOf, childOrigin } from "../../src/job/children.ts";
import { type FunctionState, kindOf } from "../../src/job/function-state.ts";
import { type Graph, isEnded, type JobState } from "../../src/job/state.ts";
import { isToBeUndone } from "../../src/job/undoable.ts";
import { type Seen, Violation } from "./seen.ts";

/** What ends a job at once, whatever is under way. */
const BROKEN_OFF = new Set(["schedule_refused", "payload_too_large", "corrupt_state"]);

export class FamilyInvariants {
  readonly #jobs: ReadonlyMap<string, Seen>;
  readonly #expired: ReadonlyMap<string, Seen>;

  /** @param expired those of which nothing is kept any more */
  constructor(jobs: ReadonlyMap<string, Seen>, expired: ReadonlyMap<string, Seen>) {
    this.#jobs = jobs;
    this.#expired = expired;
  }

  find(jobId: string): JobState | undefined {
    return (this.#jobs.get(jobId) ?? this.#expired.get(jobId))?.state;
  }

  /** @param before undefined if nothing was stored before */
  onState(before: JobState | undefined, after: JobState): void {
    if (after.parent && !isEnded(after) && (!before || isEnded(before))) this.#requireParent(after);
    if (isEnded(after) && !(before && isEnded(before) && before.retries === after.retries)) this.#requireEnded(after);
  }

  /** A child begins, or goes on, only while its parent is live. */
  #requireParent({ job_id: jobId, parent, retries, state }: JobState): void {
    const of = parent && this.#jobs.get(parent.job_id);
    // Somebody may retry it by itself.
    if (!of || of.state.created_at !== parent?.created_at || (retries !== undefined && state !== "undoing")) return;
    if (isEnded(of.state)) throw violation(`${jobId} begins, and its parent ${parent.job_id} is ${of.state.state}`);
  }

  #requireEnded(after: JobState): void {
    const { job_id: jobId, created_at } = after;
    if (isEnded(after) && after.state === "failed" && BROKEN_OFF.has(after.error.code)) return;
    if (after.undo?.error && BROKEN_OFF.has(after.undo.error.code)) return; // it could not wait for them
    for (const [childId, { state }] of this.#jobs) {
      const { parent } = state;
      if (parent?.job_id !== jobId || parent.created_at !== created_at) continue;
      // One that is retried by itself has left its parent alone, and one of which nothing is kept any more may run once more.
      if (!isEnded(state) && (state.retries ?? 0) === 0 && !this.#expired.has(childId))
        throw violation(`${jobId} is ${after.state}, and its child ${childId} is ${state.state}`);
    }
  }

  /** The result of an entry is that of its child, as this was or is. */
  requireResult(job: Graph, index: number, { result }: FunctionState): void {
    const childId = childIdOf(childOrigin(job, index));
    const child = this.#jobs.get(childId);
    const before = this.#expired.get(childId)?.results ?? [];
    if ([...(child?.results ?? []), ...before].some((one) => isDeepStrictEqual(one, result))) return;
    throw violation(
      `entry ${index} of ${job.job_id} has ${JSON.stringify(result)}, and its child ${childId}, which is ${child?.state.state}, has not`,
    );
  }

  /** A job has ended, and has undone what it has done. */
  requireUndone(job: Graph): void {
    for (const [index, fn] of [...job.functions].entries()) {
      if (kindOf(fn) !== "job" || fn.undo !== undefined || fn.items || fn.skipped || fn.handling || fn.caught) continue;
      if (fn.finished_at === undefined) continue;
      const childId = childIdOf(childOrigin(job, index));
      const child = this.#jobs.get(childId);
      if (!child || (child.state.retries ?? 0) > fn.retry_count + 1) continue; // it was retried by itself
      const left = [...child.state.functions].find((one) => isToBeUndone(one) && !one.undoing);
      if (left && child.state.state === "completed")
        throw violation(`${job.job_id} is ${job.state}, and entry ${left.id} of its child ${childId} is not undone`);
    }
  }
}

function violation(message: string): Violation {
  return new Violation("SIM-14", message);
}
