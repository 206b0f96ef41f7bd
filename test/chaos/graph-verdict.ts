/**
 * Judges a graph that has ended: each entry ended as follows from the document, in the order of the document; each execution was handed
 * what follows from it, and is accounted for.
 *
 * A graph may have several lives: it ends, is retried by hand, and some of its entries are run again.
 */
import type { FunctionState } from "../../src/job/function-state.ts";
import type { EndedJob } from "../../src/job/state.ts";
import { type Case, judgeEndEvents } from "./case.ts";
import type { Execution } from "./evidence.ts";
import { TRANSIT_MS } from "./excuses.ts";
import { type EntryEnd, endsOf, failuresOf, type Seen } from "./graph-end.ts";
import { ALWAYS, type Entry, fromOn, type Graph, MEND, neededBy, WORK, type Work } from "./graph-plan.ts";
import type { GraphPlan } from "./plan.ts";
import { judgeSignals } from "./signal-verdict.ts";

/** Clocks of one machine, read in ms. */
const SAME_TIME_MS = 5;

export class GraphJudge {
  readonly #plan: GraphPlan;
  readonly #graph: Graph;
  readonly #state: EndedJob;
  readonly #case: Case;
  /** What a retry by hand runs again. */
  readonly #again: ReadonlySet<number>;
  readonly #retries: number;
  /** How each entry ends in the first life, and in the last. */
  readonly #first: EntryEnd[];
  readonly #last: EntryEnd[];
  /** Times at which the job failed, by the events that are kept, ms since 1970. */
  readonly #failedAt: number[];
  /** It has used up the attempts that may be lost, with faults around: what follows from that is by contract. */
  readonly #givenUp: boolean;

  constructor(plan: GraphPlan, state: EndedJob, theCase: Case) {
    const { graph } = plan;
    this.#plan = plan;
    this.#graph = graph;
    this.#state = state;
    this.#case = theCase;
    this.#retries = state.retries ?? 0;
    this.#again = runAgain(graph);
    const seen = (index: number) => seenIn(state, index);
    const next = this.#retries > 0 ? graph.retry?.data : undefined;
    this.#first = endsOf(graph, () => graph.data, seen);
    this.#last = endsOf(graph, (index) => (next && this.#isOfLastLife(index) ? next : graph.data), seen);
    const events = theCase.evidence.events.get(plan.id) ?? [];
    this.#failedAt = events.filter(({ type }) => type === "failed").map(({ storedAt }) => storedAt);
    const lost = [...state.functions].some(({ caught, error }) =>
      [caught, error].some((failure) => failure?.code === "attempt_lost"),
    );
    this.#givenUp = lost && theCase.excuses.mayHaveLost(state.created_at, state.finished_at);
  }

  judge(): void {
    this.#judgeEnd();
    this.#judgeRetry();
    for (const [index, entry] of this.#graph.entries.entries()) {
      const fn = this.#state.functions.at(index);
      if (!fn) {
        this.#find("wrong", index, "it is not in the state");
        continue;
      }
      this.#judgeExecutions(index, entry, fn);
      this.#judgeOrder(index, fn);
      if (entry.action.type === "sleep") this.#judgeSleep(index, fn, entry.action.ms);
      if (!this.#givenUp) this.#judgeEntry(index, fn);
    }
    judgeSignals(this.#plan, this.#state, this.#case);
  }

  #find(kind: Parameters<Case["find"]>[0], index: number, details: string): void {
    this.#case.find(kind, `entry ${index}: ${details}`);
  }

  #executionsOf(index: number, call?: string): Execution[] {
    const { executions } = this.#case;
    return executions.filter((one) => one.index === index && (call === undefined || one.call === call));
  }

  /** Whether it reads the data that the retry brought. */
  #isOfLastLife(index: number): boolean {
    return this.#again.has(index);
  }

  #judgeEnd(): void {
    const { verdict, find } = this.#case;
    const state = this.#state;
    const failing = this.#last.find(({ how }) => how === "failed");
    const firstFails = this.#first.some(({ how }) => how === "failed");
    if (this.#givenUp) verdict.givenUp += 1;
    else {
      judgeEndEvents(this.#plan.id, state, firstFails ? 1 : 0, this.#case);
      const code = failing && codeOfJob(failing);
      const isRight = failing ? state.state === "failed" && state.error.code === code : state.state === "completed";
      const error = state.state === "failed" ? ` by ${state.error.code}` : "";
      if (!isRight) find("wrong", `${state.state}${error}, not ${failing ? `failed by ${code}` : "completed"}`);
      verdict[state.state === "completed" ? "completed" : "failed"] += 1;
    }
  }

  #judgeRetry(): void {
    const outcome = this.#case.evidence.retries.get(this.#plan.id);
    const { find } = this.#case;
    if (outcome === "answered" && this.#retries === 0)
      find("lost", "a retry by hand was answered, and has not been done");
    if (outcome === "answered" && this.#retries > 1) find("unexplained", `${this.#retries} retries, one was asked for`);
    if (outcome === undefined && this.#retries > 0) find("unexplained", "retries, and none was asked for");
  }

  /** The entry as the state has it. */
  #judgeEntry(index: number, fn: FunctionState): void {
    const end = this.#last[index] as EntryEnd;
    const isFailing = this.#last.some(({ how }) => how === "failed");
    if (fn.finished_at === undefined) {
      // Where one fails, what runs beside it is stopped.
      const mayBeOpen = isFailing && (end.how === "failed" || end.how === "unreached" || !this.#isBeforeFailed(index));
      if (!mayBeOpen) this.#find("wrong", index, `it has not ended, and was to be ${end.how}`);
      return;
    }
    const how = howOf(fn, this.#graph.entries[index] as Entry);
    if (how !== end.how) this.#find("wrong", index, `it was ${how}, not ${end.how}`);
    else if (JSON.stringify(fn.result) !== JSON.stringify(end.value)) {
      this.#find("wrong", index, `its result is ${JSON.stringify(fn.result)}, not ${JSON.stringify(end.value)}`);
    }
    if (fn.caught && fn.caught.code !== end.code) this.#find("wrong", index, `${fn.caught.code}, not ${end.code}`);
  }

  #isBeforeFailed(index: number): boolean {
    const failed = this.#last.findIndex(({ how }) => how === "failed");
    return failed >= 0 && index !== failed && fromOn(this.#graph, index).has(failed);
  }

  #judgeExecutions(index: number, { action, onError }: Entry, fn: FunctionState): void {
    const { verdict } = this.#case;
    const all = this.#executionsOf(index);
    const work = this.#executionsOf(index, WORK);
    const mend = this.#executionsOf(index, MEND);
    const ends = [this.#first[index] as EntryEnd, this.#last[index] as EntryEnd];
    this.#judgeInputs(
      index,
      work,
      ends.map(({ input }) => input),
    );
    this.#judgeInputs(
      index,
      mend,
      ends.map(({ mendInput }) => mendInput),
    );

    const lives = this.#again.has(index) ? 1 + this.#retries : 1;
    const most = action.type === "work" ? this.#mostOf(action, lives) : { throws: 0, others: 0 };
    this.#judgeCounts(index, WORK, work, most);
    const canMend = typeof onError === "object" || this.#givenUp;
    const mendThrows = typeof onError === "object" && onError.fails ? lives : 0;
    this.#judgeCounts(index, MEND, mend, { throws: mendThrows, others: canMend ? lives : 0 });

    const accepted = Math.min(all.length, all.filter((one) => this.#isAccounted(one)).length);
    verdict.accepted += accepted;
    verdict.wasted += all.length - accepted;
    verdict.lostAttempts += fn.lost ?? 0;
    this.#judgeFoundations(index, fn, action, work, mend);
    this.#judgeRepetitions(index, all);
  }

  #isAccounted({ outcome }: Execution): boolean {
    return outcome === "returned" || outcome === "threw";
  }

  /** Every one, also those that do not count. */
  #judgeInputs(index: number, executions: Execution[], inputs: (number | undefined)[]): void {
    for (const { input, attempt, call } of executions) {
      if (input !== undefined && inputs.includes(input)) continue;
      this.#find("wrong input", index, `${call} in attempt ${attempt} got ${input}, not ${inputs.join(" or ")}`);
    }
  }

  /** How many executions of its own function may count. */
  #mostOf(work: Work, lives: number): { throws: number; others: number } {
    const { data, retry } = this.#graph;
    const failures = failuresOf(work, data);
    const failing = failures >= ALWAYS;
    const livesOfFailing = work.failures === "data" && retry ? 1 : lives;
    const perLife = work.fatal ? 1 : work.retryLimit;
    return {
      throws: failing ? perLife * livesOfFailing : failures,
      others: failing && work.failures !== "data" ? 0 : lives,
    };
  }

  #judgeCounts(index: number, call: string, executions: Execution[], most: { throws: number; others: number }): void {
    const unhit = executions.filter((one) => !this.#case.excuses.wasHit(one) && !this.#wasStopped(one));
    const threw = unhit.filter(({ outcome }) => outcome === "threw").length;
    const others = unhit.length - threw;
    if (threw > most.throws) {
      this.#find(
        "unexplained",
        index,
        `${threw} attempts of ${call} threw and no fault hit them, at most ${most.throws} count`,
      );
    }
    if (others > most.others) {
      this.#find(
        "unexplained",
        index,
        `${others} executions of ${call} did not throw and no fault hit them, at most ${most.others} count`,
      );
    }
  }

  /** It ran when the job failed, and so was to stop. */
  #wasStopped({ begun, ended }: Execution): boolean {
    return this.#failedAt.some((at) => begun <= at + TRANSIT_MS && (ended ?? begun) >= at - TRANSIT_MS);
  }

  /** What the state says has happened in an execution that was written down. */
  #judgeFoundations(
    index: number,
    fn: FunctionState,
    action: Entry["action"],
    work: Execution[],
    mend: Execution[],
  ): void {
    const { handling, caught, finished_at, retry_count, skipped } = fn;
    if (finished_at === undefined || skipped) {
      if (skipped && this.#retries === 0 && work.length + mend.length > 0)
        this.#find("unfounded", index, "it was skipped, and executed");
      return;
    }
    const hasReturned = (list: Execution[]) =>
      list.some(({ attempt, outcome }) => attempt === retry_count && outcome === "returned");
    if (handling && !hasReturned(mend))
      this.#find("unfounded", index, `attempt ${retry_count} of ${MEND} did not return`);
    if (action.type !== "work") return;
    if (!caught && !hasReturned(work))
      this.#find("unfounded", index, `attempt ${retry_count} of ${WORK} did not return`);
    if (caught?.code === "function_failed") {
      const threw = new Set(work.filter(({ outcome }) => outcome === "threw").map(({ attempt }) => attempt)).size;
      const least = action.fatal ? 1 : action.retryLimit;
      if (threw < least)
        this.#find("unfounded", index, `it failed after ${threw} attempts that threw, not after ${least}`);
    }
  }

  /** None begins once its end is stored: at the latest when one that follows it has begun. */
  #judgeRepetitions(index: number, executions: Execution[]): void {
    const { excuses, storedAt } = this.#case;
    const since = this.#again.has(index) ? (this.#state.retried_at ?? 0) : 0;
    const following = this.#case.executions.filter(
      (one) => one.begun >= since && neededBy(this.#graph, one.index).includes(index),
    );
    const committedAt = Math.min(storedAt, ...following.map(({ begun }) => begun));
    for (const one of executions) {
      if (one.begun <= committedAt || excuses.wasHeldUp(one, committedAt) || excuses.wasHit(one)) continue;
      // Another entry has failed while its invocation was on its way.
      if (this.#state.functions.at(index)?.finished_at === undefined && this.#wasStopped(one)) continue;
      this.#find("begun again", index, `at ${one.begun}, committed by ${committedAt}`);
    }
  }

  /** By the record of executions, by the times in the state, and by the order of completion there. */
  #judgeOrder(index: number, fn: FunctionState): void {
    const since = this.#retries > 0 ? (this.#state.retried_at ?? 0) : 0;
    const begun = this.#executionsOf(index).filter(
      (one) => one.begun >= since && !(since > 0 && this.#case.excuses.wasHit(one)),
    );
    for (const before of neededBy(this.#graph, index)) {
      const needed = this.#state.functions.at(before);
      const endedAt = this.#endedAt(before, needed);
      const early = begun.find((one) => one.begun < endedAt - SAME_TIME_MS);
      if (early) this.#find("out of order", index, `begun at ${early.begun}, entry ${before} ended at ${endedAt}`);
      if (fn.rank !== undefined && !((needed?.rank ?? Number.POSITIVE_INFINITY) < fn.rank)) {
        this.#find("out of order", index, `it ended as number ${fn.rank}, entry ${before} as number ${needed?.rank}`);
      }
    }
  }

  /** When it had ended at the earliest: by the state, and by the first execution with an end that may have counted. */
  #endedAt(index: number, fn: FunctionState | undefined): number {
    const ends = this.#executionsOf(index).flatMap(({ ended, outcome }) =>
      ended !== undefined && (outcome === "returned" || outcome === "threw") ? [ended] : [],
    );
    const executed = ends.length > 0 ? Math.min(...ends) : 0;
    return Math.max(executed, fn?.finished_at ?? Number.POSITIVE_INFINITY);
  }

  #judgeSleep(index: number, { finished_at, skipped }: FunctionState, ms: number): void {
    if (finished_at === undefined || skipped || (this.#again.has(index) && this.#retries > 0)) return;
    const before = neededBy(this.#graph, index).map((one) => this.#state.functions.at(one)?.finished_at ?? 0);
    const begun = Math.max(this.#state.scheduled_at, ...before);
    // The start of the job is a time of the server, and what it needs may have been run again meanwhile.
    if (this.#retries === 0 && finished_at < begun + ms - SAME_TIME_MS) {
      this.#find("too early", index, `it slept ${finished_at - begun} ms, not ${ms}`);
    }
  }
}

/** The error of a job that fails by that entry. */
function codeOfJob({ code, mendInput }: EntryEnd): string | undefined {
  return mendInput === undefined ? code : "function_failed";
}

/** What the planned retry runs again: what has failed, or an entry, and all that follow. */
function runAgain(graph: Graph): ReadonlySet<number> {
  const from = graph.retry?.from;
  if (from === undefined) return new Set();
  if (from !== "failed") return fromOn(graph, from);
  const failed = graph.entries.findIndex(({ action }) => action.type === "work" && action.failures === "data");
  return fromOn(graph, failed);
}

/** Of an entry that waits for a signal: what came, by the state. */
function seenIn(state: EndedJob, index: number): Seen {
  const fn = state.functions.at(index);
  if (fn === undefined) return "unknown";
  if (fn.caught?.code === "signal_timeout" || fn.error?.code === "signal_timeout") return "timed out";
  return fn.finished_at === undefined ? "unknown" : { payload: fn.result };
}

function howOf({ skipped, caught, handling }: FunctionState, { action }: Entry): EntryEnd["how"] {
  if (skipped) return "skipped";
  if (handling) return "mended";
  if (caught) return "passed over";
  if (action.type === "sleep") return "slept";
  return action.type === "wait" ? "signalled" : "returned";
}
