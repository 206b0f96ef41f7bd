/**
 * What must be true of graphs: the invariants of `invariants.ts` for entries that follow each other in a partial order.
 *
 * SIM-2  No entry begins before the ends of all that it follows are committed, nor is it invoked again after its own, unless it is
 *     run again by hand. What is ready has begun: no state forgets a branch.
 * SIM-4  A result is of the live attempt of its own entry. What has ended never changes, and what has begun stays begun, but by a
 *     retry: so `when` is evaluated once. A retry runs again what it names, with all that follows, and nothing else.
 * SIM-8  No sleep ends before its time by the clock that it began by.
 */
import { isDeepStrictEqual } from "node:util";
import { type FunctionState, hasItems, kindOf } from "../../src/job/function-state.ts";
import { NOT_BEGUN } from "../../src/job/graph-step.ts";
import { firstOf, type Plan, planOf } from "../../src/job/plan.ts";
import { rest } from "../../src/job/rest.ts";
import { type Branch, type BranchWait, type Graph, isEnded, type LiveJob } from "../../src/job/state.ts";
import { certainlyBefore } from "./documents.ts";
import type { FamilyInvariants } from "./family-invariants.ts";
import type { ItemInvariants } from "./item-invariants.ts";
import { type Execution, type GraphMemory, type Seen, Violation } from "./seen.ts";

/** What a job that is as its submission says has begun with. */
export function firstBranches(plan: Plan): Branch[] {
  return firstOf(plan).map((index) => ({ index, attempt: 1, wait: "none", since: 0 }));
}

export function graphMemory(state: Graph): GraphMemory {
  const plan = planOf(state.functions);
  const before = Array.from({ length: plan.length }, (_, index) => certainlyBefore(plan, index));
  return {
    plan,
    before,
    everEnded: new Set(),
    asked: new Set(),
    resetAt: new Map(),
    runBeganAt: 0,
    asleep: new Map(),
    undoingSince: undefined,
    undoBegunAt: new Map(),
    takenOverAt: 0,
  };
}

export class GraphInvariants {
  readonly #now: () => number;
  readonly #family: FamilyInvariants;
  readonly #items: ItemInvariants;
  readonly #executionOf: (jobId: string, number: number | undefined) => Execution | undefined;

  constructor(
    now: () => number,
    executionOf: (jobId: string, number: number | undefined) => Execution | undefined,
    family: FamilyInvariants,
    items: ItemInvariants,
  ) {
    this.#now = now;
    this.#family = family;
    this.#items = items;
    this.#executionOf = executionOf;
  }

  /** @param before undefined if nothing was stored before */
  onState(seen: Seen, memory: GraphMemory, before: Graph | undefined, after: Graph): void {
    this.#requireSound(memory, after);
    const isRetry = before !== undefined && (after.retries ?? 0) > (before.retries ?? 0);
    if (isRetry) this.#compareRuns(memory, before, after);
    else this.#compare(memory, before, after);
    this.#noteSleeps(seen, memory, before, after);
    if (isRetry) memory.runBeganAt = this.#now();
    for (const [index, { finished_at }] of [...after.functions].entries()) {
      if (finished_at !== undefined) memory.everEnded.add(index);
    }
    if (isEnded(after)) return;
    requireRest(after);
  }

  /** SIM-2, of an invocation that reaches the server. @param staleMs for how long it may have been on its way */
  requireFollows({ state }: Seen, { before, resetAt }: GraphMemory, index: number, staleMs: number): void {
    for (const one of before[index] ?? []) {
      if (state.functions.at(one)?.finished_at !== undefined) continue;
      if (this.#now() - (resetAt.get(one) ?? Number.NEGATIVE_INFINITY) < staleMs) continue;
      throw new Violation(
        "SIM-2",
        `entry ${index} of ${state.job_id} is invoked before the end of ${one} is committed`,
      );
    }
  }

  /** SIM-2, and that it has been handed what it is due (SIM-4). */
  begun({ state, retries }: Seen, { before, everEnded }: GraphMemory, execution: Execution, given: Given): void {
    const { index } = execution;
    for (const one of before[index] ?? []) {
      if (!everEnded.has(one)) {
        throw new Violation("SIM-2", `entry ${index} of ${state.job_id} has begun, but ${one} has not ended`);
      }
    }
    if (retries > 0) return; // what it was given may be of an earlier run
    const fn = state.functions.at(index);
    const text = (fn?.args as { seen?: { $?: string } } | undefined)?.seen?.$;
    if (text === undefined || fn?.handling || given.error) return;
    const id = /^results\.(\w+)$/.exec(text)?.[1];
    const expected =
      id === undefined ? (state.data as { n: number }).n : [...state.functions].find((one) => one.id === id)?.result;
    const { seen } = given.args as { seen: unknown };
    if (!isDeepStrictEqual(seen, expected)) {
      throw new Violation("SIM-4", `entry ${index} of ${state.job_id} was given ${JSON.stringify(seen)} for ${text}`);
    }
  }

  /** What a state of a graph must be, whatever was before. */
  #requireSound({ plan, before }: GraphMemory, job: Graph): void {
    const { job_id: jobId, functions, live } = job;
    const hasEnded = (index: number) => functions.at(index)?.finished_at !== undefined;
    const ranks = [...functions].flatMap(({ finished_at, rank }) => (finished_at === undefined ? [] : [rank ?? 0]));
    ranks.sort((a, b) => a - b);
    if (job.ended_count !== ranks.length || ranks.some((rank, place) => rank !== place + 1)) {
      throw new Violation("SIM-4", `${jobId} counts ${job.ended_count} ends, and their ranks are ${ranks}`);
    }
    const lowest = [...functions].findIndex(({ finished_at }) => finished_at === undefined);
    if (job.current_function !== (lowest === -1 ? functions.length - 1 : lowest)) {
      throw new Violation(
        "SIM-2",
        `${jobId} is at ${job.current_function}, and the first that has not ended is ${lowest}`,
      );
    }
    const begun = new Set(live.map(({ index }) => index));
    if (begun.size < live.length) throw new Violation("SIM-4", `${jobId} has two branches of an entry`);
    for (const { index, undo } of live) {
      if (undo || index === plan.length) continue; // SIM-13
      if (hasEnded(index)) throw new Violation("SIM-4", `entry ${index} of ${jobId} has ended, and is live`);
      const open = before[index]?.find((one) => !hasEnded(one));
      if (open !== undefined)
        throw new Violation("SIM-2", `entry ${index} of ${jobId} has begun before the end of ${open}`);
    }
    const isOpened = live.length > 0 || ranks.length > 0;
    if (isEnded(job) || !isOpened || job.state === "undoing") return;
    for (let index = 0; index < plan.length; index++) {
      if (hasEnded(index) || begun.has(index) || !before[index]?.every(hasEnded)) continue;
      throw new Violation("SIM-2", `entry ${index} of ${jobId} is ready, and has been forgotten`);
    }
  }

  /** From one state of a run to the next. */
  #compare({ plan }: GraphMemory, before: Graph | undefined, after: Graph): void {
    const { job_id: jobId } = after;
    const branches = new Map(
      forward(before?.live ?? firstBranches(plan), plan).map((branch) => [branch.index, branch]),
    );
    const hadBegun = new Set(halted(before).map(({ index }) => index));
    const isLive = new Set(halted(after).map(({ index }) => index));
    for (const [index, fn] of [...after.functions].entries()) {
      const earlier = before?.functions.at(index);
      if (earlier?.finished_at !== undefined) {
        if (isDeepStrictEqual(withoutUndo(fn), withoutUndo(earlier))) continue;
        throw new Violation(
          "SIM-4",
          `entry ${index} of ${jobId} had ended, and has changed: ${JSON.stringify([earlier, fn])}`,
        );
      }
      const branch = branches.get(index);
      if (hadBegun.has(index) && fn.finished_at === undefined && !isLive.has(index)) {
        throw new Violation("SIM-2", `entry ${index} of ${jobId} had begun, and has been forgotten`);
      }
      if (hadBegun.has(index) && fn.skipped)
        throw new Violation("SIM-4", `entry ${index} of ${jobId} had begun, and is skipped`);
      if (fn.finished_at !== undefined) this.#requireResult(after, index, earlier, fn, branch);
    }
    for (const { index, attempt } of forward(after.live, plan)) {
      // That of items is the number of their run, which is none of attempts of the function that deals with their failure.
      const earlier = before?.functions.at(index);
      const isOfItems = earlier !== undefined && hasItems(earlier) && after.functions.at(index)?.handling === true;
      const least = isOfItems ? earlier.retry_count + 1 : (branches.get(index)?.attempt ?? 0);
      if (attempt === NOT_BEGUN || attempt >= least) continue;
      throw new Violation("SIM-4", `entry ${index} of ${jobId} goes back to attempt ${attempt}`);
    }
    if (before?.late_at !== undefined && after.late_at !== before.late_at) {
      throw new Violation("SIM-8", `${jobId} was late, and is late again`);
    }
  }

  /** SIM-4: a new result is of the attempt that was live, or of none where none was needed. */
  #requireResult(
    job: Graph,
    index: number,
    earlier: FunctionState | undefined,
    fn: FunctionState,
    branch: Branch | undefined,
  ): void {
    const { job_id: jobId } = job;
    if (kindOf(fn) === "job" && fn.for_each === undefined && !fn.skipped && !fn.caught) {
      this.#family.requireResult(job, index, fn);
      return;
    }
    if (fn.for_each !== undefined && !fn.skipped && !fn.caught) {
      this.#items.requireResult(job, index);
      return;
    }
    const isOfFunction = fn.handling || (kindOf(fn) === "function" && !fn.skipped && !fn.caught);
    if (!isOfFunction) {
      const isNull = fn.result === null || (kindOf(fn) === "wait" && !fn.skipped && !fn.caught);
      const isDue = fn.skipped === undefined || fn.when !== undefined;
      const isCaught = fn.caught === undefined || fn.on_error === "continue";
      if (isNull && isDue && isCaught) return;
      throw new Violation("SIM-4", `entry ${index} of ${jobId} has ended without reason: ${JSON.stringify(fn)}`);
    }
    const execution = this.#executionOf(jobId, (fn.result as { number?: number } | null)?.number);
    const isOfBranch =
      execution?.index === index && execution.attempt === branch?.attempt && OF_ATTEMPTS.has(branch.wait);
    if (isOfBranch && (!fn.handling || earlier?.handling)) return;
    throw new Violation(
      "SIM-4",
      `the result of entry ${index} of ${jobId} is of attempt ${execution?.attempt} of ${execution?.index}, live was ${JSON.stringify(branch)}`,
    );
  }

  /** From the end of a run to the next run: what is run again, and what stays. */
  #compareRuns({ before: follows, resetAt, asked }: GraphMemory, before: Graph, after: Graph): void {
    const { job_id: jobId } = after;
    const again = new Set<number>();
    const fns = [...after.functions];
    for (const [index, fn] of fns.entries()) {
      const { rank: _rank, ...earlier } = withoutUndo(before.functions.at(index) as FunctionState);
      if (earlier.finished_at === undefined) continue;
      const { rank: _newRank, ...now } = withoutUndo(fn);
      if (isDeepStrictEqual(now, earlier)) continue;
      again.add(index);
      resetAt.set(index, this.#now());
    }
    for (const [index, { finished_at }] of fns.entries()) {
      if (finished_at === undefined || again.has(index)) continue;
      const one = follows[index]?.find((other) => again.has(other));
      if (one !== undefined && before.functions.at(index)?.finished_at !== undefined) {
        throw new Violation("SIM-4", `entry ${one} of ${jobId} is run again, but not ${index}, which follows it`);
      }
    }
    for (const { index } of before.live) {
      const fn = after.functions.at(index);
      const isUndecided = before.functions.at(index)?.error?.code === "expression_error";
      // One that had only begun is run again without a trace, and so is one that was undone.
      const isUndone = before.functions.at(index)?.undoing?.finished_at !== undefined;
      const isRunAgain =
        isUndone || asked.has(index) || follows[index]?.some((other) => again.has(other) || asked.has(other));
      if (!fn?.skipped || isUndecided || isRunAgain) continue;
      throw new Violation("SIM-4", `entry ${index} of ${jobId} had begun, and is skipped by a retry`);
    }
  }

  /** SIM-8 */
  #noteSleeps(seen: Seen, { asleep }: GraphMemory, before: Graph | undefined, after: Graph): void {
    const { takeovers } = seen;
    for (const [index, { dueAt, ...begun }] of asleep) {
      const fn = after.functions.at(index);
      if (after.live.some((branch) => branch.index === index && branch.wait === "sleep")) continue;
      asleep.delete(index);
      // One that has been parked was woken by the clock of the server.
      const isOfOneClock = begun.takeovers === takeovers && after.token === 0 && after.writer === before?.writer;
      if (!isOfOneClock || fn?.finished_at === undefined || fn.finished_at >= dueAt) continue;
      throw new Violation("SIM-8", `entry ${index} of ${after.job_id} slept until ${fn.finished_at}, not ${dueAt}`);
    }
    for (const { index, wait, due_at: dueAt = 0 } of isEnded(after) ? [] : after.live) {
      if (wait === "sleep") asleep.set(index, { dueAt, takeovers });
    }
  }
}

/** While an attempt is waited for, its branch waits for one of these. */
const OF_ATTEMPTS = new Set<BranchWait>(["none", "stopping"]);

/** What of that is of entries themselves, and not of what undoes them. */
function forward(live: readonly Branch[], plan: Plan): Branch[] {
  return live.filter(({ index, undo }) => !undo && index < plan.length);
}

/** What has begun and has not ended, also while the job undoes. */
function halted(job: Graph | undefined): readonly Branch[] {
  return job?.halted ?? job?.live ?? [];
}

/** Undone or not: what an entry has come to stays. Of items it is noted in their count how far their undo has come. */
function withoutUndo({ undoing: _undoing, items, ...fn }: FunctionState): FunctionState {
  if (!items) return fn;
  const { unwound: _unwound, rested: _rested, ...counted } = items;
  return { ...fn, items: counted };
}

/** What a handler was handed. */
export interface Given {
  args: unknown;
  error: unknown;
}

/** MACHINE-6: it goes on by itself, unless it waits for signals or children and nothing else. */
function requireRest(job: LiveJob & Graph): void {
  const how = rest(job, job.token, job.created_at);
  const waits = job.live.some(({ wait, due_at }) => FROM_OUTSIDE.has(wait) && due_at === undefined);
  if (how.type !== "attempts" || how.attempts.length > 0 || how.until !== undefined || waits) return;
  throw new Violation("SIM-5", `${job.job_id} is live, and nothing makes it go on`);
}

const FROM_OUTSIDE = new Set<BranchWait>(["signal", "child", "items", "stopping"]);
