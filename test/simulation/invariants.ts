/**
 * What must be true at every step of every history, whatever fails. The names are those of ARCHITECTURE.md.
 *
 * SIM-1  A job ends once: an ended state never changes but by a retry. EVENTS has one event of each end that it keeps, never
 *     more, and nobody is told of an end that is not stored.
 * SIM-2  No function begins before the end of its predecessor is committed, nor is it invoked again after its own.
 * SIM-3  Executions never exceed the limit, but for what was lost or taken over.
 * SIM-4  No effect of a stale attempt or actor: a result belongs to the live attempt, and once another supervisor has begun an
 *     attempt, the one before commits nothing.
 * SIM-5  A live job always has a token, and its definition if its state names one; a submission goes only when a state, a rejection, or an earlier copy of it is stored.
 * SIM-6  All jobs end once faults stop, and none that was acknowledged is lost.
 * SIM-7  Whoever waits for a job's end is told of one that is stored, and with its result.
 * SIM-8  A job without a start waits for no clock before it begins, no clock ends it before its time, and nothing is parked
 *     twice for the same time, however the clocks differ.
 * SIM-10 Where there is no room, or no permission, nothing gets lost by it: no state of a live job expires, and none of an ended
 *     one so soon that its token could still come again; what is begun before it is stored is executed once until it is. Nobody
 *     is refused without being told. (SIM-6 says that all that was acknowledged ends when there is room and permission again.)
 * SIM-11 Of each live state that is stored it can be said why it waits, and that agrees with the state.
 */

import { isDeepStrictEqual } from "node:util";
import { functionSubject } from "../../src/api/subjects.ts";
import { decode } from "../../src/bus/messages/codec.ts";
import { type Brief, completed } from "../../src/bus/store/brief-state.ts";
import { isPart, ownerOfDefinition, readDefinition } from "../../src/bus/store/definition.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { isProbe } from "../../src/bus/write-probe.ts";
import { isAsyncError, JobFailedError } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import { isEnded, type JobState } from "../../src/job/state.ts";
import type { JetStream, Observer } from "./jetstream.ts";
import type { Connection, Packet } from "./network.ts";
import { reasonProblem } from "./reasons.ts";
import type { Stored } from "./stream.ts";

export class Violation extends Error {
  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.name = "Violation";
  }
}

/** What a handler returns: which execution it was. */
export interface Execution {
  jobId: string;
  index: number;
  attempt: number;
  number: number;
}

interface Seen {
  state: JobState;
  /** How often it has ended, and been retried by hand. */
  ends: number;
  retries: number;
  /** Commits by which a supervisor took it over. */
  takeovers: number;
  /** Those whose events stream EVENTS keeps. */
  keptEnds: number;
  endEvents: number;
  /** The supervisor that published the newest invocation. */
  invoker: string | undefined;
  /** It was cancelled or retried. */
  byHand: boolean;
  /** When the end of each function was committed, in virtual ms. */
  committedAt: Map<number, number>;
  /** For what it was parked last (SIM-8). */
  parkedFor: string | undefined;
  /** Which of the jobs that had this id it is: ended ones expire. */
  generation: number;
  /** When its newest state was stored, in virtual ms. */
  storedAt: number;
  /** It had begun before there was room to store it, was given back, and began once more (SIM-10). */
  begunInVain: boolean;
}

/** Functions, and which of the jobs that had the id it is. */
function functionKey(jobId: string, generation: number, index: number): string {
  return `${jobId}~${generation}/${index}`;
}

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
  readonly executions = new Map<string, Execution>();
  /** Executions per job and function. */
  readonly #counts = new Map<string, number>();
  readonly acknowledged = new Set<string>();
  /** Those of which nothing is kept any more, the last of each id. */
  readonly expired = new Map<string, Seen>();
  /** Whether a message may be delivered to a worker twice. */
  repeats = false;
  /** Virtual ms, by the sequence of the submission. */
  readonly #submittedAt = new Map<number, number>();
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
  #jetStream: JetStream | undefined;

  constructor(now: () => number, log: (line: string) => void, writerOf: (process: string) => string | undefined) {
    this.#now = now;
    this.#log = log;
    this.#writerOf = writerOf;
  }

  /** States that lean on a definition. */
  definitionsUsed = 0;

  watch(jetStream: JetStream): void {
    this.#jetStream = jetStream;
  }

  onStored(stream: string, message: Stored): void {
    if (isProbe(message.subject)) return; // stands for no job
    if (stream === "JOBS") this.#submittedAt.set(message.sequence, this.#now());
    if (stream === "KV_jobs" && isPart(keyOf(message))) this.#log(`${message.subject} #${message.sequence}`);
    else if (stream === "KV_jobs") this.#onState(message);
    else if (stream === "EVENTS") this.#onEvent(message);
    else this.#log(`${stream} + ${message.subject} #${message.sequence}`);
  }

  onRemoved(stream: string, message: Stored): void {
    if (isProbe(message.subject)) return;
    const owner = stream === "KV_jobs" ? ownerOfDefinition(keyOf(message)) : undefined;
    if (owner !== undefined) this.#requireUnnamed(owner, message);
    else if (stream === "KV_jobs") this.#onStateGone(message);
    if (stream !== "JOBS" && stream !== "TIMERS") return;
    this.#log(`${stream} - ${message.subject} #${message.sequence}`);
    const jobId = message.subject.split(".").at(-1) ?? "";
    const seen = this.jobs.get(jobId);
    if (stream === "JOBS" && !seen && !this.expired.has(jobId) && !this.#isSubmitted(jobId)) {
      throw new Violation("SIM-5", `the submission of ${jobId} went, but there is no state`);
    }
    if (seen) this.#requireToken(jobId, seen.state, `after ${message.subject} went`);
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
    const { job_id, index, attempt } = decode(packet.data) as { job_id: string; index: number; attempt: number };
    const seen = this.#find(job_id);
    if (!seen) this.#requireFirst(job_id, index, attempt);
    this.#log(`invoke ${job_id} ${index} attempt ${attempt} by ${from.process.name}`);
    if (!seen) {
      this.#beginners.set(job_id, from.process.name);
      return;
    }
    const since = seen.committedAt.get(index);
    // Who has a job that is cancelled by hand hears of it by a nudge, which a network that drops messages may swallow.
    if (since !== undefined && !seen.byHand && this.#now() - since > STALE_MS) {
      throw new Violation(
        "SIM-2",
        `function ${index} of ${job_id} is invoked again ${this.#now() - since} ms after its end`,
      );
    }
    // One that does not know yet that the job goes on elsewhere may begin an attempt too: it is not the owner for that.
    if (this.#owners.get(job_id) === from.process.name) seen.invoker = this.#writerOf(from.process.name);
  }

  begun(execution: Execution, functionName: string): void {
    const { jobId, index } = execution;
    this.#log(`begin ${jobId} ${index} attempt ${execution.attempt} (${functionSubject(functionName)})`);
    const seen = this.#find(jobId);
    const state = seen?.state;
    const key = functionKey(jobId, seen?.generation ?? this.#nextGeneration(jobId), index);
    if (!state) {
      this.#requireFirst(jobId, index, execution.attempt);
      if (this.#counts.has(key) && !this.repeats) {
        throw new Violation("SIM-10", `${jobId}, which is not stored, is executed twice`);
      }
    } else if (state.current_function < index) {
      throw new Violation("SIM-2", `function ${index} of ${jobId} has begun, stored is ${state.current_function}`);
    }
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.executions.set(`${jobId}#${execution.number}`, execution);
  }

  /** A client that ran the job has its result. */
  ran(jobId: string, result: unknown): void {
    const state = this.#find(jobId)?.state;
    const stored = state?.functions.at(state.functions.length - 1)?.result as Execution | undefined;
    if (state?.state !== "completed" || stored?.number !== (result as Execution).number) {
      throw new Violation(
        "SIM-7",
        `${jobId}, which is ${state?.state}, was run with the result ${JSON.stringify(result)}`,
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
      if (seen.endEvents !== seen.keptEnds) {
        const ends = `${seen.keptEnds} of ${seen.ends} ends`;
        throw new Violation("SIM-1", `of job ${jobId}, ${ends} are to be kept, and ${seen.endEvents} events are`);
      }
      for (const [index, fn] of [...seen.state.functions].entries()) {
        const most =
          (fn.retry_options?.retry_limit ?? 1) * (1 + seen.retries) +
          (wasFull && seen.begunInVain && index === 0 ? 1 : 0) +
          (faultless ? 0 : seen.takeovers + 5 * (1 + seen.retries));
        const count = this.#counts.get(functionKey(jobId, seen.generation, index)) ?? 0;
        if (count > most)
          throw new Violation("SIM-3", `function ${index} of ${jobId} was executed ${count} times of ${most}`);
      }
    }
  }

  #onState(message: Stored): void {
    const jobId = message.subject.split(".").at(-1) ?? "";
    const state = this.#stateIn(jobId, message);
    const before = this.jobs.get(jobId);
    this.#log(
      `state ${jobId} ${state.state} fn ${state.current_function} attempt ${state.attempt} token ${state.token} v${state.version} by ${state.writer}`,
    );
    const seen = before ?? {
      state,
      ends: 0,
      retries: 0,
      takeovers: 0,
      keptEnds: 0,
      endEvents: 0,
      invoker: undefined,
      byHand: false,
      committedAt: new Map(),
      parkedFor: undefined,
      generation: this.#nextGeneration(jobId),
      storedAt: 0,
      begunInVain: false,
    };
    this.#requireNoClock(seen, before?.state, state);
    if (!isEnded(state) && message.headers?.get("Nats-TTL")) {
      throw new Violation("SIM-10", `${jobId} is ${state.state}, and its state may expire`);
    }
    const problem = isEnded(state) ? undefined : reasonProblem(state, this.#now());
    if (problem !== undefined) throw new Violation("SIM-11", `${jobId}: ${problem}`);
    if (before) this.#compare(seen, before.state, state);
    else {
      this.#requireLive(NOTHING_YET, state);
      const isUnbegun = !isEnded(state) && state.current_function === 0 && state.functions.at(0)?.retry_count === 0;
      seen.begunInVain = isUnbegun && this.#counts.has(functionKey(jobId, seen.generation, 0));
      const beginner = this.#beginners.get(jobId);
      if (beginner !== undefined && this.#writerOf(beginner) !== state.writer) {
        seen.takeovers += 1;
        this.#owners.delete(jobId); // whoever has written it claims it when he hears that it is stored
      }
    }
    if (isEnded(state) && (!before || !isEnded(before.state))) {
      seen.ends += 1;
      if (state.state !== "completed" || this.#jetStream?.storesCompleted) seen.keptEnds += 1;
    }
    if (before && state.writer !== before.state.writer) {
      seen.takeovers += 1;
      seen.invoker = undefined; // whoever invokes next is the owner
      // Who has written it last has it, also if one before hears only now that it had made it.
      const owner = this.#processes.get(state.writer);
      if (owner !== undefined) this.#owners.set(jobId, owner);
    }
    seen.byHand ||= state.writer.includes("/");
    this.#noteEnds(seen, state);
    seen.state = state;
    seen.storedAt = this.#now();
    this.jobs.set(jobId, seen);
    this.#requireToken(jobId, state, "when its state was stored");
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
      if (!isEnded(after)) {
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
    this.#requireLive(before, after);
  }

  /** SIM-4: what is new of results is of the attempt that was live. */
  #requireLive(before: Pick<JobState, "current_function" | "attempt" | "functions">, after: JobState): void {
    for (const [index, fn] of [...after.functions].entries()) {
      const earlier = before.functions.at(index);
      if (!("result" in fn) || (earlier && "result" in earlier)) continue;
      const result = fn.result as { number?: number } | null;
      const execution = this.executions.get(`${after.job_id}#${result?.number}`);
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
    if (this.#isSubmitted(jobId) && index === 0 && attempt === 1) return;
    throw new Violation("SIM-2", `attempt ${attempt} of function ${index} of ${jobId}, which is not stored`);
  }

  #isSubmitted(jobId: string): boolean {
    for (const { subject } of this.#jetStream?.stream("JOBS").messages.values() ?? []) {
      if (subject === `job.submit.${jobId}`) return true;
    }
    return false;
  }

  /** SIM-8 */
  #requireNoClock(seen: Seen, before: JobState | undefined, state: JobState): void {
    const { job_id: jobId, timeout_ms: timeoutMs = 0, sequence, token } = state;
    if (state.scheduled_at === state.created_at) {
      if (state.state === "scheduled") throw new Violation("SIM-8", `${jobId} waits for a start that it was not given`);
      const passedMs = this.#now() - (this.#submittedAt.get(sequence) ?? 0);
      const isAlone = seen.takeovers === 0 && seen.retries === 0 && (!before || before.writer === state.writer);
      // Those who take it over have a clock of their own. One that waits beyond its deadline has nothing to lose.
      const isWaiting = before?.state === "waiting" && before.waiting_for === "backoff";
      if (
        state.state === "failed" &&
        state.error.code === "job_timeout" &&
        isAlone &&
        !isWaiting &&
        passedMs < timeoutMs - 1
      ) {
        throw new Violation("SIM-8", `${jobId} has ended after ${passedMs} ms, and has ${timeoutMs}`);
      }
    }
    if (isEnded(state) || !before || token === before.token) return;
    const isTimed = state.state === "scheduled" || (state.state === "waiting" && state.waiting_for === "backoff");
    const until = isTimed ? `${state.state} ${"due_at" in state ? state.due_at : state.scheduled_at}` : undefined;
    const isBroughtBack = state.writer.endsWith("/sweep"); // its token had got lost
    if (until !== undefined && until === seen.parkedFor && !isBroughtBack)
      throw new Violation("SIM-8", `${jobId} is parked again: ${until}`);
    seen.parkedFor = until;
  }

  #noteEnds({ committedAt }: Seen, state: JobState): void {
    const open = isEnded(state) ? state.functions.length : state.current_function;
    for (let index = 0; index < state.functions.length; index++) {
      if (index >= open) committedAt.delete(index);
      else if (!committedAt.has(index)) committedAt.set(index, this.#now());
    }
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
    // Of the other ends a retry by hand may have made a live job again.
    if (!seen?.ends || (type === "completed" && seen.state.state !== type)) {
      throw new Violation("SIM-7", `${jobId} is ${type} for whom it notifies, but it is ${seen?.state.state}`);
    }
  }

  /** SIM-5. Any message that leads to the job will do: an older token is the cause to make the newer one. */
  #requireToken(jobId: string, state: JobState, when: string): void {
    if (isEnded(state)) return;
    const jetStream = this.#jetStream;
    if (!jetStream || jetStream.stream("JOBS").messages.has(state.sequence)) return;
    const timers = jetStream.stream("TIMERS");
    if (timers.newest.has(`job.timer.${jobId}`) || timers.newest.has(`job.wake.${jobId}`)) return;
    for (const { subject } of timers.messages.values()) {
      if (subject.startsWith("job.wait.") && subject.endsWith(`.${jobId}`)) return;
    }
    throw new Violation("SIM-5", `live job ${jobId} has no token ${when}`);
  }
}

function keyOf({ subject }: Stored): string {
  return subject.slice("$KV.jobs.".length);
}
