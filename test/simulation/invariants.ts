/**
 * What must be true at every step of every history, whatever fails. The names are those of ARCHITECTURE.md.
 *
 * SIM-1  A job ends once: an ended state never changes but by a retry. EVENTS has one event of each end that it keeps, never
 *     more, and nobody is told of an end that is not stored.
 * SIM-2  No entry begins before the ends of all that it follows are committed, nor is it invoked again after its own. In a chain
 *     that is the function before it; for graphs see `graph-invariants.ts`.
 * SIM-3  Executions of an entry never exceed its limit (`executions.ts`).
 * SIM-4  No effect of a stale attempt or actor: a result belongs to the live attempt of its entry, and once another supervisor has
 *     begun an attempt, the one before commits nothing. What has ended never changes but by a retry.
 * SIM-5  A live job always has a token, and its definition if its state names one; a submission goes only when a state, a rejection,
 *     or an earlier copy of it is stored. A graph that nobody holds has a token for all that it waits for (`token-invariants.ts`).
 * SIM-6  All jobs end once faults stop, and none that was acknowledged is lost.
 * SIM-7  Whoever waits for a job's end is told of one that is stored, and with its result.
 * SIM-8  A job without a start waits for no clock before it begins, no clock ends it before its time, and nothing is parked
 *     twice for the same time, however the clocks differ. (A graph that waits for workers or signals may be woken by these, in vain.)
 * SIM-10 Where there is no room, or no permission, nothing gets lost by it: no state of a live job expires, and none of an ended
 *     one so soon that its token could still come again; what is begun before it is stored is executed once until it is. Nobody
 *     is refused without being told. (SIM-6 says that all that was acknowledged ends when there is room and permission again.)
 * SIM-11 Of each live state that is stored it can be said why it waits, and that agrees with the state.
 * SIM-12 Signals are used once, and not lost (`signal-invariants.ts`).
 * SIM-13 What was done, or may have been, is undone once, in reverse order (`undo-invariants.ts`).
 * SIM-14 A job ends after its children (`family-invariants.ts`).
 * SIM-15 Items end once, and are counted once (`item-invariants.ts`).
 */

import { isDeepStrictEqual } from "node:util";
import { functionSubject } from "../../src/api/subjects.ts";
import { decode } from "../../src/bus/messages/codec.ts";
import { type Brief, completed } from "../../src/bus/store/brief-state.ts";
import { isPart, ownerOfDefinition, readDefinition } from "../../src/bus/store/definition.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { isProbe } from "../../src/bus/write-probe.ts";
import { parseSubmission } from "../../src/job/check.ts";
import { isAsyncError, JobFailedError } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import { planOf } from "../../src/job/plan.ts";
import type { Submission } from "../../src/job/schema.ts";
import { type Graph, isEnded, isGraph, type JobState } from "../../src/job/state.ts";
import { requireNoClock } from "./clock-invariants.ts";
import { Executions } from "./executions.ts";
import { FamilyInvariants } from "./family-invariants.ts";
import { firstBranches, type Given, GraphInvariants, graphMemory } from "./graph-invariants.ts";
import { ItemInvariants } from "./item-invariants.ts";
import type { JetStream, Observer } from "./jetstream.ts";
import type { Connection, Packet } from "./network.ts";
import { reasonProblem } from "./reasons.ts";
import { type Execution, noteEnds, partKey, type Seen, type SentSignal, Violation, whereOf } from "./seen.ts";
import { SignalInvariants } from "./signal-invariants.ts";
import type { Stored } from "./stream.ts";
import { requireToken } from "./token-invariants.ts";
import { executedBy, type Invoked, isForward, UndoInvariants } from "./undo-invariants.ts";

export { type Execution, Violation } from "./seen.ts";

/** Of the consumers. */
export const ACK_WAIT_MS = 1_500;
/** How long an invocation may have been on its way, and a lease have run out because its extensions were lost. */
const STALE_MS = 2_000;

/** How long an ended job must be kept: by then somebody else has had its token, unless nobody could. */
export const KEPT_MS = 3 * ACK_WAIT_MS;

/** What a submission says. */
const NOTHING_YET = { current_function: 0, attempt: 1, functions: [] };

const END_EVENTS = new Set(["completed", "failed", "cancelled"]);

export class Invariants implements Observer {
  readonly jobs = new Map<string, Seen>();
  readonly executions = new Executions();
  readonly acknowledged = new Set<string>();
  /** Those of which nothing is kept any more, the last of each id. */
  readonly expired = new Map<string, Seen>();
  /** Whether a message may be delivered to a worker twice. */
  repeats = false;
  /** Virtual ms, by the sequence of the submission. */
  readonly #submittedAt = new Map<number, number>();
  /** How many there were, by subject. */
  readonly #submissions = new Map<string, number>();
  /** Who has begun jobs of which nothing but the submission was stored. */
  readonly #beginners = new Map<string, string>();
  /** The process of each writer that has claimed a job. */
  readonly #processes = new Map<string, string>();
  /** The process that has claimed the job last. */
  readonly #owners = new Map<string, string>();
  readonly #now: () => number;
  readonly #log: (line: string) => void;
  /** The writer of a process, as it signs states. */
  readonly #writerOf: (process: string) => string | undefined;
  readonly #graphs: GraphInvariants;
  readonly signals: SignalInvariants;
  readonly undo: UndoInvariants;
  readonly #family: FamilyInvariants;
  readonly #items: ItemInvariants;
  #jetStream: JetStream | undefined;

  constructor(now: () => number, log: (line: string) => void, writerOf: (process: string) => string | undefined) {
    this.#now = now;
    this.#log = log;
    this.#writerOf = writerOf;
    const executionOf = (jobId: string, number: number | undefined) => this.executions.find(jobId, number);
    this.#family = new FamilyInvariants(this.jobs, this.expired);
    this.#items = new ItemInvariants(now, executionOf);
    this.#graphs = new GraphInvariants(now, executionOf, this.#family, this.#items);
    this.undo = new UndoInvariants(now, this.#family);
    this.signals = new SignalInvariants(now, (jobId) => (this.#submissions.get(`job.submit.${jobId}`) ?? 0) > 1);
  }

  /** States that lean on a definition. */
  definitionsUsed = 0;

  watch(jetStream: JetStream): void {
    this.#jetStream = jetStream;
  }

  onStored(stream: string, message: Stored): void {
    if (isProbe(message.subject)) return; // stands for no job
    if (stream === "JOBS") this.#submittedAt.set(message.sequence, this.#now());
    if (stream === "JOBS") this.#submissions.set(message.subject, (this.#submissions.get(message.subject) ?? 0) + 1);
    if (stream === "KV_jobs" && isPart(keyOf(message))) this.#onPart(message);
    else if (stream === "KV_jobs") this.#onState(message);
    else if (stream === "EVENTS") this.#onEvent(message);
    else this.#log(`${stream} + ${message.subject} #${message.sequence}`);
  }

  #onPart(message: Stored): void {
    this.#log(`${message.subject} #${message.sequence}`);
    const key = keyOf(message);
    const [jobId = "", kind, ...part] = key.split(".");
    const seen = this.jobs.get(jobId);
    this.#items.onPart(key, message.data, seen);
    if (seen && kind === "items") this.executions.written(jobId, seen.generation, part.join("."));
  }

  onRemoved(stream: string, message: Stored): void {
    if (isProbe(message.subject)) return;
    const owner = stream === "KV_jobs" ? ownerOfDefinition(keyOf(message)) : undefined;
    if (owner !== undefined) this.#requireUnnamed(owner, message);
    else if (stream === "KV_jobs" && !isPart(keyOf(message))) this.#onStateGone(message);
    if (stream !== "JOBS" && stream !== "TIMERS") return;
    this.#log(`${stream} - ${message.subject} #${message.sequence}`);
    const jobId = message.subject.split(".").at(-1) ?? "";
    const seen = this.jobs.get(jobId);
    const isRejected = this.#jetStream?.stream("EVENTS").newest.has(`job.event.${jobId}.rejected`) === true;
    if (stream === "JOBS" && !seen && !this.expired.has(jobId) && !this.#isSubmitted(jobId) && !isRejected) {
      throw new Violation("SIM-5", `the submission of ${jobId} went, but there is no state`);
    }
    if (seen) requireToken(this.#jetStream, seen.state, `after ${message.subject} went`);
  }

  onDelivered(stream: string, message: Stored, to: string): void {
    this.#log(`${stream} > ${message.subject} #${message.sequence} to ${to}`);
  }

  /** A supervisor has read the job, to be its owner from now on. */
  claimed(jobId: string, process: string, how: "new" | "resumed"): void {
    this.#log(`${process} claims ${jobId} (${how})`);
    // It has made the job, but before it heard of that another one has taken it over.
    const stored = this.jobs.get(jobId)?.state;
    const writer = this.#writerOf(process);
    if (writer !== undefined) this.#processes.set(writer, process);
    if (how === "new" && stored && stored.writer !== writer) return;
    this.#owners.set(jobId, process);
  }

  /** Everything that reaches the server. */
  onPacket(packet: Packet, from: Connection): void {
    if (packet.subject.startsWith("job.notify.")) this.#onNotice(decode(packet.data) as JobEvent);
    if (!packet.subject.startsWith("fn.")) return;
    const invocation = decode(packet.data) as Invoked;
    const { job_id, attempt } = invocation;
    const seen = this.#find(job_id);
    const executed = executedBy(invocation, seen?.state.functions.length);
    const { index } = executed;
    if (!seen) this.#requireFirst(job_id, index, attempt);
    this.#log(`invoke ${job_id} ${partKey(executed)} attempt ${attempt} by ${from.process.name}`);
    if (!seen) {
      this.#beginners.set(job_id, from.process.name);
      return;
    }
    const since = seen.committedAt.get(partKey(executed));
    // Who has a job that is cancelled by hand hears of it by a nudge, which a network that drops messages may swallow.
    if (since !== undefined && !seen.byHand && this.#now() - since > STALE_MS) {
      throw new Violation(
        "SIM-2",
        `function ${partKey(executed)} of ${job_id} is invoked again ${this.#now() - since} ms after its end`,
      );
    }
    if (seen.graph && isForward(executed) && !seen.byHand) {
      this.#graphs.requireFollows(seen, seen.graph, index, STALE_MS);
    }
    if (seen.graph) this.#items.invoked(seen, executed, STALE_MS);
    if (seen.graph) this.undo.invoked(seen, seen.graph, executed, invocation, STALE_MS);
    // One that does not know yet that the job goes on elsewhere may begin an attempt too: it is not the owner for that.
    if (this.#owners.get(job_id) === from.process.name) seen.invoker = this.#writerOf(from.process.name);
  }

  begun(execution: Execution, functionName: string, given: Given): void {
    const { jobId, index, attempt } = execution;
    this.#log(`begin ${jobId} ${partKey(execution)} attempt ${attempt} (${functionSubject(functionName)})`);
    const seen = this.#find(jobId);
    const state = seen?.state;
    const generation = seen?.generation ?? this.#nextGeneration(jobId);
    if (!state) {
      this.#requireFirst(jobId, index, attempt);
      if (this.executions.count(jobId, generation, execution) > 0 && !this.repeats) {
        throw new Violation("SIM-10", `${jobId}, which is not stored, is executed twice`);
      }
    } else if (seen?.graph) {
      if (isForward(execution)) this.#graphs.begun(seen, seen.graph, execution, given);
    } else if (state.current_function < index) {
      throw new Violation("SIM-2", `function ${index} of ${jobId} has begun, stored is ${state.current_function}`);
    }
    this.executions.add(execution, generation);
    this.undo.begun(execution, generation, state);
  }

  /** A handler has come to its end. */
  finished(execution: Execution, how: "done" | "failed" | "stopped"): void {
    this.#log(`${how} ${execution.jobId} ${partKey(execution)} attempt ${execution.attempt}`);
    this.undo.finished(execution, how);
  }

  /** A client that ran the job has its result. */
  ran(jobId: string, result: unknown): void {
    const seen = this.#find(jobId);
    if (!seen?.results.some((one) => isDeepStrictEqual(one, result))) {
      throw new Violation(
        "SIM-7",
        `${jobId}, which is ${seen?.state.state}, was run with the result ${JSON.stringify(result)}`,
      );
    }
  }

  /** A client that ran the job has been told why it has none. */
  ranInVain(jobId: string, error: unknown): void {
    if (isAsyncError(error, "permission_denied")) return;
    if (isAsyncError(error, "job_not_found") && this.expired.has(jobId)) return;
    if (!(error instanceof JobFailedError)) throw new Violation("SIM-7", `the end of ${jobId} is not found: ${error}`);
    if (!this.#find(jobId)?.ends) throw new Violation("SIM-7", `${error.message}, which is not stored`);
  }

  /** When faults have stopped and everything is quiet. */
  finish(faultless: boolean, wasFull: boolean): void {
    for (const jobId of this.acknowledged) {
      if (!this.jobs.has(jobId) && !this.expired.has(jobId))
        throw new Violation("SIM-6", `the acknowledged job ${jobId} is lost`);
    }
    for (const [jobId, seen] of [...this.jobs, ...this.expired]) {
      if (!isEnded(seen.state)) throw new Violation("SIM-6", `job ${jobId} is still ${seen.state.state}`);
      if (!this.areEndsTold(jobId, seen)) {
        const ends = `${seen.keptEnds} of ${seen.ends} ends`;
        throw new Violation("SIM-1", `of job ${jobId}, ${ends} are to be kept, and ${seen.endEvents} events are`);
      }
      this.executions.requireLimits(jobId, seen, faultless, wasFull);
    }
  }

  #onState(message: Stored): void {
    const jobId = message.subject.split(".").at(-1) ?? "";
    const state = this.#stateIn(jobId, message);
    const before = this.jobs.get(jobId);
    this.#log(
      `state ${jobId} ${state.state} ${whereOf(state)} token ${state.token} v${state.version} by ${state.writer}`,
    );
    const seen = before ?? {
      state,
      ends: 0,
      retries: 0,
      takeovers: 0,
      keptEnds: 0,
      endEvents: 0,
      results: [] as unknown[],
      invoker: undefined,
      byHand: false,
      committedAt: new Map(),
      parkedFor: undefined,
      generation: this.#nextGeneration(jobId),
      storedAt: 0,
      begunInVain: new Set<number>(),
      graph: isGraph(state) ? graphMemory(state) : undefined,
    };
    requireNoClock(seen, before?.state, state, this.#now() - (this.#submittedAt.get(state.sequence) ?? 0));
    if (!isEnded(state) && message.headers?.get("Nats-TTL")) {
      throw new Violation("SIM-10", `${jobId} is ${state.state}, and its state may expire`);
    }
    if (before) this.#compare(seen, before.state, state);
    else {
      if (!isGraph(state)) this.#requireLive(NOTHING_YET, state);
      seen.begunInVain = this.#unbegun(state, seen.generation);
      const beginner = this.#beginners.get(jobId);
      if (beginner !== undefined && this.#writerOf(beginner) !== state.writer) {
        seen.takeovers += 1;
        this.#owners.delete(jobId); // whoever has written it claims it when he hears that it is stored
      }
    }
    if (isGraph(state) && seen.graph && before?.state.version !== state.version) {
      this.#graphs.onState(seen, seen.graph, before?.state as Graph | undefined, state);
      this.undo.onState(seen, seen.graph, before?.state as Graph | undefined, state);
      this.signals.compare(seen, before?.state as Graph | undefined, state);
    }
    this.#family.onState(before?.state, state);
    const problem = isEnded(state) ? undefined : reasonProblem(state, this.#now());
    if (problem !== undefined) throw new Violation("SIM-11", `${jobId}: ${problem}`);
    if (isEnded(state) && (!before || !isEnded(before.state) || isRetried(before.state, state))) {
      seen.ends += 1;
      if (state.state === "completed") {
        const { functions } = state;
        seen.results.push(functions.at(functions.length - 1)?.result);
      }
      if (state.state !== "completed" || this.#jetStream?.storesCompleted) seen.keptEnds += 1;
    }
    if (before && state.writer !== before.state.writer) {
      seen.takeovers += 1;
      this.executions.takenOver(jobId, seen.generation);
      seen.invoker = undefined; // whoever invokes next is the owner
      // Who has written it last has it, also if one before hears only now that it had made it.
      const owner = this.#processes.get(state.writer);
      if (owner !== undefined) this.#owners.set(jobId, owner);
    }
    seen.byHand ||= state.writer.includes("/");
    noteEnds(seen, state, this.#now());
    seen.state = state;
    seen.storedAt = this.#now();
    this.jobs.set(jobId, seen);
    requireToken(this.#jetStream, state, "when its state was stored");
  }

  /** SIM-5: what a live state leans on is there. */
  #requireUnnamed(jobId: string, { sequence }: Stored): void {
    const kept = this.#jetStream?.stream("KV_jobs");
    const newest = kept?.messages.get(kept.newest.get(`$KV.jobs.${jobId}`) ?? 0);
    const brief = newest && storedJob(jobId, newest.sequence, newest.data).brief;
    if (brief?.leansOn !== "definition" || brief.sequence !== sequence) return;
    throw new Violation("SIM-5", `the definition of ${jobId} went, but its state names it`);
  }

  /** SIM-10 */
  #onStateGone(message: Stored): void {
    const jobId = message.subject.split(".").at(-1) ?? "";
    const seen = this.jobs.get(jobId);
    const jetStream = this.#jetStream;
    if (!seen || !jetStream || jetStream.stream("KV_jobs").newest.has(message.subject)) return; // it was replaced
    const keptMs = this.#now() - seen.storedAt;
    this.#log(`state ${jobId} expires after ${keptMs} ms`);
    if (!isEnded(seen.state)) throw new Violation("SIM-10", `the state of ${jobId}, which is live, has expired`);
    if (jetStream.stream("JOBS").messages.has(seen.state.sequence) && keptMs < KEPT_MS) {
      throw new Violation("SIM-10", `the state of ${jobId} expired after ${keptMs} ms, its submission is still there`);
    }
    this.jobs.delete(jobId);
    this.expired.set(jobId, seen);
  }

  /** The job as it is, or was when it expired; not one from before, if the id was submitted again. */
  #find(jobId: string): Seen | undefined {
    return this.jobs.get(jobId) ?? (this.#isSubmitted(jobId) ? undefined : this.expired.get(jobId));
  }

  #nextGeneration(jobId: string): number {
    return (this.expired.get(jobId)?.generation ?? 0) + 1;
  }

  #stateIn(jobId: string, { data, sequence }: Stored): JobState {
    const { state, problem, brief } = storedJob(jobId, sequence, data);
    if (state) return state;
    const stream = brief?.leansOn === "definition" ? "KV_jobs" : "JOBS";
    const rest = brief && this.#jetStream?.stream(stream).messages.get(brief.sequence)?.data;
    const submission = rest && brief.leansOn === "definition" ? readDefinition(rest)?.submission : rest;
    const whole = submission
      ? completed(brief as Brief, submission)
      : { problem: problem ?? "what it leans on is gone" };
    if (brief?.leansOn === "definition") this.definitionsUsed += 1;
    if ("problem" in whole) throw new Violation("SIM-1", `a state that is none was stored: ${whole.problem}`);
    return whole.state;
  }

  #compare(seen: Seen, before: JobState, after: JobState): void {
    const { job_id: jobId } = after;
    const isSameRun = after.retries === before.retries && after.created_at === before.created_at;
    if (isSameRun && !isDeepStrictEqual(after.data, before.data)) {
      throw new Violation("SIM-4", `the data of ${jobId} is another without a retry`);
    }
    if (isEnded(before)) {
      // What follows by then may end it at once.
      if (!isEnded(after) || isRetried(before, after)) {
        if (after.token !== before.token + 1)
          throw new Violation("SIM-1", `job ${jobId} lives again without a new token`);
        seen.retries += 1;
        return;
      }
      if (after.state !== before.state || after.finished_at !== before.finished_at) {
        throw new Violation("SIM-1", `job ${jobId} ended as ${before.state} and again as ${after.state}`);
      }
      return;
    }
    if (after.writer === before.writer && seen.invoker !== undefined && seen.invoker !== after.writer) {
      throw new Violation("SIM-4", `${after.writer} has committed ${jobId} after ${seen.invoker} had begun an attempt`);
    }
    if (!isGraph(after)) this.#requireLive(before, after);
  }

  /** SIM-4: what is new of results is of the attempt that was live. */
  #requireLive(before: Pick<JobState, "current_function" | "attempt" | "functions">, after: JobState): void {
    for (const [index, fn] of [...after.functions].entries()) {
      const earlier = before.functions.at(index);
      if (!("result" in fn) || (earlier && "result" in earlier)) continue;
      const result = fn.result as { number?: number } | null;
      const execution = this.executions.find(after.job_id, result?.number);
      if (!execution || execution.index !== before.current_function || execution.attempt !== before.attempt) {
        throw new Violation(
          "SIM-4",
          `the result of ${after.job_id} ${index} is of attempt ${execution?.attempt}, live was ${before.attempt}`,
        );
      }
    }
  }

  /** SIM-2: a job of which nothing is stored but its submission begins with the first attempt of its first function. */
  #requireFirst(jobId: string, index: number, attempt: number): void {
    const first = this.#submission(jobId)?.functions;
    const isFirst = first && firstBranches(planOf(first)).some((branch) => branch.index === index);
    if (this.#isSubmitted(jobId) && (isFirst ?? index === 0) && attempt === 1) return;
    throw new Violation("SIM-2", `attempt ${attempt} of function ${index} of ${jobId}, which is not stored`);
  }

  #isSubmitted(jobId: string): boolean {
    return this.#submission(jobId) !== undefined;
  }

  #submission(jobId: string): Submission | undefined {
    for (const { subject, data } of this.#jetStream?.stream("JOBS").messages.values() ?? []) {
      if (subject === `job.submit.${jobId}`) return parseSubmission(decode(data));
    }
    return undefined;
  }

  /** What had been executed before this first state was stored, which knows of nothing. */
  #unbegun(state: JobState, generation: number): Set<number> {
    const fns = [...state.functions];
    if (isEnded(state) || fns.some(({ retry_count }) => retry_count > 0)) return new Set();
    return new Set(
      fns.flatMap((_, index) => (this.executions.count(state.job_id, generation, { index }) > 0 ? index : [])),
    );
  }

  #onEvent(message: Stored): void {
    const [, , jobId = "", type = ""] = message.subject.split(".");
    if (!END_EVENTS.has(type)) return;
    this.#log(`event ${jobId} ${type}`);
    const seen = this.#find(jobId);
    if (!seen) throw new Violation("SIM-1", `the end of ${jobId} was told, which is not stored`);
    seen.endEvents += 1;
    if (seen.endEvents > seen.keptEnds) throw new Violation("SIM-1", `the end of ${jobId} was told twice`);
  }

  #onNotice({ job_id: jobId, type }: JobEvent): void {
    this.#log(`notice ${jobId} ${type}`);
    const seen = this.#find(jobId);
    // A retry by hand may have made a live job of it again.
    if (!seen?.ends || (type === "completed" && seen.results.length === 0)) {
      throw new Violation("SIM-7", `${jobId} is ${type} for whom it notifies, but it is ${seen?.state.state}`);
    }
  }

  /** A client asks for a retry from that entry on. */
  asks(jobId: string, from: number): void {
    this.#find(jobId)?.graph?.asked.add(from);
  }

  /**
   * Whether what is to be kept of its ends is kept. The end of one that was cancelled, where it could not be told at once, is told when
   * its timer fires (CONTROL-1), which may be a day ahead; by then it may have expired.
   */
  areEndsTold(jobId: string, { state, byHand, endEvents, keptEnds }: Seen): boolean {
    if (endEvents === keptEnds) return true;
    if (!byHand || state.state !== "cancelled" || endEvents < keptEnds - 1) return false;
    return this.expired.has(jobId) || this.#jetStream?.stream("TIMERS").newest.has(`job.timer.${jobId}`) === true;
  }

  /** A client has been told that its signal is stored. */
  signalled(signal: SentSignal, number: number, sentAt: number): void {
    const seen = this.#find(signal.jobId);
    this.signals.answered(signal, number, sentAt, seen, seen?.generation ?? this.#nextGeneration(signal.jobId));
  }

  /** The signals that jobs wait for without end, and that nobody has sent. */
  missingSignals(): [jobId: string, name: string][] {
    return this.signals.missing(this.jobs.values());
  }
}

/** From the end of a run, by hand. */
function isRetried(before: JobState, after: JobState): boolean {
  return after.created_at === before.created_at && (after.retries ?? 0) > (before.retries ?? 0);
}

function keyOf({ subject }: Stored): string {
  return subject.slice("$KV.jobs.".length);
}
