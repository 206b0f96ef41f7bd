/**
 * What must be true of a job that undoes what it has done.
 *
 * SIM-13 What has completed, or may have been done, has one undo begun in each run of the job that fails or is cancelled, and nothing
 *     else has. One is begun after the other: what may have been done first, then what was, the last first; and none before all that
 *     runs has answered, could not, or was waited for. It is committed before it is invoked, and handed what it undoes. What has been
 *     undone stays so, but by a retry, which runs it again. `on_failure` is called at last, once, and only if the job has failed.
 *
 * That something was done is known from the handlers, and not from the state of the job: so it is found if that has forgotten it.
 */
import { isDeepStrictEqual } from "node:util";
import { callOf, type FunctionState } from "../../src/job/function-state.ts";
import { functionAt, type Graph, isEnded, type JobState } from "../../src/job/state.ts";
import { isToBeUndone } from "../../src/job/undoable.ts";
import type { FamilyInvariants } from "./family-invariants.ts";
import { type Executed, type Execution, type GraphMemory, ON_FAILURE, partKey, type Seen, Violation } from "./seen.ts";

/** So long it is waited for an attempt that was told to stop. */
const STOP_MS = 10_000;
/** What ends a job at once, whatever there is to be undone. */
const BROKEN_OFF = new Set(["schedule_refused", "payload_too_large", "corrupt_state"]);

/** As much of the body of an invocation as is looked at. */
export interface Invoked {
  job_id: string;
  index: number;
  attempt: number;
  item_index?: number;
  undo?: true;
  cursor?: unknown;
  result?: unknown;
  error?: unknown;
  uncertain?: true;
}

/** @param count of the entries of the job, if that is known */
export function executedBy({ index, item_index: item, undo, cursor }: Invoked, count: number | undefined): Executed {
  if (cursor !== undefined) return { index, list: true };
  return {
    index: index === count ? ON_FAILURE : index,
    ...(item !== undefined && { item }),
    ...(undo && { undo }),
  };
}

/** Whether it is of what the job is for, and not of what undoes that, or deals with its failure. */
export function isForward({ index, undo, list }: Executed): boolean {
  return index !== ON_FAILURE && !undo && !list;
}

/** What an execution has done, or may have, as only an answer tells that it has not. */
interface Effect {
  execution: Execution;
  /** When it was sent for the first time; when it began, if that was not seen. */
  sentAt: number;
  begunAt: number;
  how: "runs" | "done" | "failed" | "stopped";
  /** It had been given up before it began. */
  isLate: boolean;
  /** How long it may take; undefined where that is not known. */
  timeoutMs: number | undefined;
}

export class UndoInvariants {
  readonly #now: () => number;
  readonly #family: FamilyInvariants;
  /** By job, generation and entry. */
  readonly #effects = new Map<string, Effect[]>();
  /** When each attempt was sent first, in virtual ms. */
  readonly #sentAt = new Map<string, number>();
  /** Jobs of which somebody has asked that they do not undo what they have done. */
  readonly #skipped = new Set<string>();
  /** Whether a message may be delivered to a worker twice. */
  repeats = false;
  /** From then on nothing fails, in virtual ms. */
  calmAt = 0;

  constructor(now: () => number, family: FamilyInvariants) {
    this.#now = now;
    this.#family = family;
  }

  /** A client asks for the end of the job without an undo. */
  asksToSkip(jobId: string): void {
    this.#skipped.add(jobId);
  }

  /** Its children are told the same. */
  #isSkipped({ job_id: jobId, parent }: JobState): boolean {
    if (this.#skipped.has(jobId)) return true;
    const above = parent && this.#family.find(parent.job_id);
    return above !== undefined && this.#isSkipped(above);
  }

  // --- what is executed

  /** @param state undefined if nothing is stored of the job but its submission */
  begun(execution: Execution, generation: number, state: JobState | undefined): void {
    if (!isForward(execution)) return;
    const key = `${execution.jobId}~${generation}/${execution.index}`;
    const effects = this.#effects.get(key) ?? [];
    this.#effects.set(key, effects);
    const timeoutMs = state && callOf(functionAt(state, execution.index)).timeout_ms;
    const begunAt = this.#now();
    const sentAt = this.#sentAt.get(attemptKey(execution.jobId, execution)) ?? begunAt;
    const branch = (state as Graph | undefined)?.live?.find(({ index }) => index === execution.index);
    const isLate = branch !== undefined && branch.attempt > execution.attempt;
    effects.push({ execution, sentAt, begunAt, how: "runs", timeoutMs, isLate });
  }

  finished({ jobId, index, number }: Execution, how: Effect["how"]): void {
    for (const [key, effects] of this.#effects) {
      if (!key.startsWith(`${jobId}~`) || !key.endsWith(`/${index}`)) continue;
      for (const effect of effects) if (effect.execution.number === number) effect.how = how;
    }
  }

  /** An invocation reaches the server. @param staleMs for how long it may have been on its way */
  invoked(seen: Seen, memory: GraphMemory, executed: Executed, invocation: Invoked, staleMs: number): void {
    const { job_id: jobId, attempt } = invocation;
    const key = attemptKey(jobId, { ...executed, attempt });
    if (!this.#sentAt.has(key)) this.#sentAt.set(key, this.#now());
    const state = seen.state as Graph;
    if (executed.index === ON_FAILURE) {
      if (state.failing === undefined) throw violation(`on_failure of ${jobId} is invoked, and that is not stored`);
      return;
    }
    if (!executed.undo) return;
    const { index } = executed;
    const fn = state.functions.at(index) as FunctionState;
    if (!fn.undoing) {
      if (this.#now() - memory.runBeganAt < staleMs) return;
      throw violation(`the undo of ${index} of ${jobId} is invoked, and that is not stored`);
    }
    if (state.state === "undoing") requireHanded(state, fn, executed, invocation);
    this.#requireAnswered(seen, executed);
  }

  /** No attempt of the entry runs unanswered, unless it was waited for, or could not answer. */
  #requireAnswered(seen: Seen, { index, item }: Executed): void {
    const { job_id: jobId } = seen.state;
    const { undoingSince = 0 } = seen.graph ?? {};
    // No attempt may take longer than the job.
    if (seen.state.outcome?.error?.code === "job_timeout") return;
    const { timeout_ms = Number.POSITIVE_INFINITY, lost = 0, retry_count } = functionAt(seen.state, index);
    for (const { execution, sentAt, begunAt, how, isLate, timeoutMs = timeout_ms } of this.#effectsOf(seen, index)) {
      if (how !== "runs" || sentAt < this.calmAt || (item !== undefined && execution.item !== item)) continue;
      const isWaitedFor = this.#now() - undoingSince >= STOP_MS - 1 || this.#now() - sentAt >= timeoutMs - 1;
      if (lost > 0 && item === undefined && execution.attempt === retry_count) continue; // it has gone silent
      // It has come late: its worker got it when nobody waited for it any more.
      if (isLate || begunAt >= (seen.graph?.undoBegunAt.get(index) ?? Number.POSITIVE_INFINITY)) continue;
      // Who has the job now has not begun it, and cannot hear it.
      if (isWaitedFor || (seen.graph?.takenOverAt ?? 0) >= begunAt) continue;
      throw violation(`entry ${index} of ${jobId} is undone while its attempt ${execution.attempt} runs`);
    }
  }

  // --- what is stored

  /** @param before undefined if nothing was stored before */
  onState(seen: Seen, memory: GraphMemory, before: Graph | undefined, after: Graph): void {
    const isRetry = before !== undefined && (after.retries ?? 0) > (before.retries ?? 0);
    if (isRetry) this.#retried(seen, memory, before, after);
    else if (before && isEnded(before)) return;
    else this.#compare(memory, before, after);
    const isAnother = before !== undefined && before.writer !== after.writer;
    if (isAnother && !after.writer.includes("/")) memory.takenOverAt = this.#now();
    this.#forgetRefused(seen, after);
    if (after.state === "undoing" && (isRetry || before?.state !== "undoing")) memory.undoingSince = this.#now();
    if (after.state === "undoing") this.#requireSound(memory, after);
    if (isEnded(after)) this.#requireUndone(seen, memory, after);
  }

  #compare(memory: GraphMemory, before: Graph | undefined, after: Graph): void {
    const { job_id: jobId } = after;
    const begun: number[] = [];
    for (const [index, fn] of [...after.functions].entries()) {
      const earlier = before?.functions.at(index)?.undoing;
      const { undoing } = fn;
      if (earlier && !undoing) throw violation(`the undo of ${index} of ${jobId} is forgotten`);
      if (!earlier && undoing) begun.push(index);
      if (isOver(earlier) && !isDeepStrictEqual(earlier, undoing))
        throw violation(`the undo of ${index} of ${jobId} was over, and has changed`);
      if (!earlier || isOver(earlier) || !undoing) continue;
      const branch = before?.live.find((one) => one.index === index && one.undo);
      if (!branch) throw violation(`the undo of ${index} of ${jobId} goes on, and was not live`);
      const now = after.live.find((one) => one.index === index && one.undo);
      if (now && now.attempt < branch.attempt)
        throw violation(`the undo of ${index} of ${jobId} goes back to attempt ${now.attempt}`);
      if (!now && !isOver(undoing) && !after.outcome?.skip && !isEnded(after))
        throw violation(`the undo of ${index} of ${jobId} is not live any more, and not over`);
    }
    if (before?.state === "undoing" && after.state !== "undoing" && !isEnded(after))
      throw violation(`${jobId} undoes, and goes on as ${after.state}`);
    if (before?.failing && !after.failing) throw violation(`${jobId} has forgotten that it has called on_failure`);
    if (begun.length > 1) throw violation(`${jobId} begins to undo ${begun} at once`);
    const [index] = begun;
    if (index !== undefined) this.#requireTurn(after, index);
    if (index !== undefined) memory.undoBegunAt.set(index, this.#now());
    if (after.failing && !before?.failing) requireLast(after);
  }

  /** It is the turn of that entry to be undone: nothing is under way, and all that comes before it has been. */
  #requireTurn({ job_id: jobId, functions, live, outcome }: Graph, index: number): void {
    if (!outcome || outcome.skip) throw violation(`entry ${index} of ${jobId} is undone, and nobody wants that`);
    const other = live.find((branch) => branch.index !== index);
    if (other) throw violation(`entry ${index} of ${jobId} is undone beside ${JSON.stringify(other)}`);
    const fn = functions.at(index) as FunctionState;
    if (!mustBeUndone(fn) && !isToBeUndone(fn))
      throw violation(`entry ${index} of ${jobId} is undone, and was not done: ${text(fn)}`);
    for (const [one, open] of [...functions].entries()) {
      if (one === index || open.undoing || !isToBeUndone(open)) continue;
      const isFirst = rankOf(open) === rankOf(fn) ? one < index : rankOf(open) < rankOf(fn);
      if (!isFirst) throw violation(`entry ${index} of ${jobId} is undone before ${one}`);
    }
  }

  /** What is stored of a job that undoes, whatever was before. */
  #requireSound(memory: GraphMemory, { job_id: jobId, live, outcome, deadline_at, functions }: Graph): void {
    if (!outcome) throw violation(`${jobId} undoes, and it is not said how it ends`);
    if (deadline_at !== undefined) throw violation(`${jobId} undoes, and has a deadline`);
    if (live.length === 0) throw violation(`${jobId} undoes, and nothing is live`);
    const isStopping = live.some(({ wait }) => wait === "stopping");
    const undos = live.filter(({ undo, index }) => undo || index === memory.plan.length);
    if (undos.length > (isStopping ? 0 : 1)) throw violation(`${jobId} undoes ${text(live)}`);
    for (const branch of live) {
      const { index, undo, wait } = branch;
      if (index === memory.plan.length) continue;
      const { undoing } = functions.at(index) as FunctionState;
      if (undo ? !undoing || isOver(undoing) : wait !== "stopping" && wait !== "child" && wait !== "items")
        throw violation(`${jobId} undoes with ${text(branch)}`);
    }
  }

  /** Nothing is left that was done, when the job has ended without being completed. */
  #requireUndone(seen: Seen, memory: GraphMemory, after: Graph): void {
    const { job_id: jobId, functions, undo, failing } = after;
    if (!isEnded(after)) return;
    if (after.state === "completed" && undo === undefined) return;
    const isBrokenOff = undo?.error !== undefined || (after.state === "failed" && BROKEN_OFF.has(after.error.code));
    if (isBrokenOff || undo?.state === "skipped" || this.#isSkipped(after)) return;
    for (const [index, fn] of [...functions].entries()) {
      if (fn.undoing ? !isOver(fn.undoing) : mustBeUndone(fn))
        throw violation(`${jobId} is ${after.state}, and entry ${index} is not undone: ${text(fn)}`);
      if (fn.undo === undefined || this.repeats) continue;
      const until = memory.undoingSince ?? this.#now();
      const since = memory.undoBegunAt.get(index) ?? Number.NEGATIVE_INFINITY;
      const forgotten = this.#effectsOf(seen, index).find(
        ({ begunAt, how }) => how !== "failed" && begunAt > since && begunAt <= until,
      );
      if (forgotten)
        throw violation(
          `${jobId} is ${after.state}, and execution ${forgotten.execution.number} of ${index}, which ${forgotten.how}, is not undone`,
        );
    }
    this.#family.requireUndone(after);
    if (after.state === "failed" && after.on_failure !== undefined && !isOver(failing))
      throw violation(`${jobId} has failed, and on_failure was not called: ${text(failing)}`);
  }

  /** What is undone is run again, and what could not be may be undone once more. */
  #retried(seen: Seen, memory: GraphMemory, before: Graph, after: Graph): void {
    const { job_id: jobId } = after;
    const overSince = memory.undoingSince ?? seen.storedAt;
    memory.undoingSince = undefined;
    // What has begun when the job was over was sent before, and came late.
    for (const [index] of [...after.functions].entries()) {
      const inTime = this.#effectsOf(seen, index).filter(({ begunAt }) => begunAt <= overSince);
      this.#effects.set(effectsKey(seen, index), inTime);
    }
    if (after.state === "undoing") {
      // A completed child undoes itself.
      for (const [index, { undoing }] of [...after.functions].entries()) {
        if (undoing && !before.functions.at(index)?.undoing) memory.undoBegunAt.set(index, this.#now());
      }
      return;
    }
    for (const [index, fn] of [...after.functions].entries()) {
      const earlier = before.functions.at(index) as FunctionState;
      if (fn.undoing) throw violation(`entry ${index} of ${jobId}, which goes on, is undone`);
      const isRunAgain = fn.finished_at === undefined || fn.finished_at !== earlier.finished_at;
      if (earlier.undoing?.finished_at !== undefined && !isRunAgain)
        throw violation(`entry ${index} of ${jobId} was undone, and is not run again`);
      // Who has it run again all the same has seen to what it had done.
      const mayBeDone = earlier.finished_at !== undefined || earlier.uncertain === true;
      if (mayBeDone && isRunAgain && !fn.uncertain) this.#effects.delete(effectsKey(seen, index));
    }
  }

  /** What an entry returned that was not as it expects counts as a failure. */
  #forgetRefused(seen: Seen, { functions }: Graph): void {
    for (const [index, fn] of [...functions].entries()) {
      const { code } = fn.caught ?? fn.error ?? {};
      if (code === "expectation_failed" && !fn.uncertain) this.#effects.delete(effectsKey(seen, index));
    }
  }

  #effectsOf(seen: Seen, index: number): readonly Effect[] {
    return this.#effects.get(effectsKey(seen, index)) ?? [];
  }
}

function attemptKey(jobId: string, attempt: Executed & { attempt: number }): string {
  return `${jobId} ${partKey(attempt)} ${attempt.attempt}`;
}

function effectsKey({ state, generation }: Seen, index: number): string {
  return `${state.job_id}~${generation}/${index}`;
}

/** The last of all, and only of a job that has failed. */
function requireLast({ job_id: jobId, functions, live, outcome }: Graph): void {
  if (outcome && (outcome.state !== "failed" || outcome.skip))
    throw violation(`${jobId} is to be ${outcome.state}, and on_failure is called`);
  const open = [...functions].findIndex((fn) => (fn.undoing ? !isOver(fn.undoing) : mustBeUndone(fn)));
  if (open !== -1) throw violation(`${jobId} calls on_failure before entry ${open} is undone`);
  if (live.some(({ index }) => index < functions.length)) throw violation(`${jobId} calls on_failure beside others`);
}

/** It is handed what it undoes. */
function requireHanded(state: Graph, fn: FunctionState, executed: Executed, invocation: Invoked): void {
  if (executed.item !== undefined) return;
  const { error, uncertain, result } = invocation;
  const isRight =
    isDeepStrictEqual(result, fn.result ?? null) &&
    (uncertain ?? false) === (fn.uncertain ?? false) &&
    (error as { code?: string } | undefined)?.code === state.outcome?.error?.code;
  if (isRight) return;
  throw violation(`the undo of ${executed.index} of ${state.job_id} is handed ${text([result, error, uncertain])}`);
}

/** Whether an entry has been done, or may have, and says how it is undone. Of children, and items, others say whether that is so. */
function mustBeUndone({ undo, skipped, finished_at, caught, handling, uncertain, for_each }: FunctionState): boolean {
  if (undo === undefined || skipped || for_each !== undefined) return false;
  return uncertain === true || (finished_at !== undefined && (caught === undefined || handling === true));
}

function rankOf({ finished_at, uncertain, rank }: FunctionState): number {
  return finished_at === undefined || uncertain ? Number.POSITIVE_INFINITY : (rank ?? 0);
}

function isOver(undoing: FunctionState | undefined): boolean {
  return (undoing?.finished_at ?? undoing?.given_up) !== undefined;
}

function violation(message: string): Violation {
  return new Violation("SIM-13", message);
}

function text(value: unknown): string {
  return JSON.stringify(value);
}
