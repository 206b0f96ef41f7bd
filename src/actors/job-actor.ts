/**
 * The single live owner of one active job inside a supervisor: feeds what happens into the state machine, commits the
 * state, then does what the machine says. It decides nothing itself.
 *
 * A1  One event after the other; what happens while a commit is in flight waits and is then committed together.
 * A2  Commit before effect: nothing is invoked, scheduled, told or released before the state that says so is stored. The
 *     first state of a job that nobody else can have submitted is stored as its submission.
 * A3  It writes only on the revision it has read or written last. If that fails, someone else has written: a job that
 *     has ended (it was cancelled) is settled, any other one has another owner, and the actor stops without a trace.
 *     Its own write whose answer was lost is recognised by `writer` and `version`.
 * A4  It begins nothing on a lease that may have run out, until its message is delivered to it again. So what was
 *     committed elsewhere while this process was paused or cut off does not run again.
 * A5  Its lease ends only when the next token (a durable timer) or the end of the job is stored.
 *
 * What every job goes through is done in callbacks (see `mux.ts`); what is rare is awaited.
 */
import { BriefWriter } from "../bus/brief-state.ts";
import type { Bus } from "../bus/connection.ts";
import type { EventLog } from "../bus/event-log.ts";
import { EncodedResults } from "../bus/invocation.ts";
import type { CommitOutcome, JobStore, StoredJob } from "../bus/job-store.ts";
import type { Tokens } from "../bus/tokens.ts";
import { isAsyncError } from "../job/errors.ts";
import { eventOf, isEndEvent, type JobEvent } from "../job/events.ts";
import { type Effect, type Event, placeSleep, reduce, type Transition } from "../job/machine.ts";
import { toJsonValue } from "../job/plain.ts";
import {
  currentFunction,
  type Failure,
  isEnded,
  type JobState,
  type LiveJob,
  unreachable,
  withoutPayloads,
} from "../job/state.ts";
import type { Attempt, AttemptListener } from "./attempt.ts";
import type { BacklogFeeder } from "./backlog-feeder.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Lease } from "./lease.ts";
import type { Lifecycle, ReleaseReason } from "./lifecycle.ts";
import { pause, untilDone } from "./retrying.ts";

export interface ActorContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
  eventLog: EventLog;
  dispatcher: Dispatcher;
  feeder: BacklogFeeder;
  lifecycle: Lifecycle;
  /** Unique to this process's supervisor. */
  writer: string;
  /** A wait longer than this is spent outside of memory. */
  parkAfterMs: number;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/** How long to set a timer for: it may go off early (by a rounding, or because none reaches that far) but not late. */
function timerMs(at: number): number {
  return Math.min(MAX_TIMER_MS, Math.max(0, at - Date.now()));
}

function failedBySize(state: JobState): boolean {
  return state.state === "failed" && state.error.code === "payload_too_large";
}

export class JobActor implements AttemptListener {
  readonly jobId: string;
  readonly lease: Lease;
  readonly #context: ActorContext;
  /** Undefined while nobody wants to know. */
  #goneListeners: (() => void)[] | undefined;
  /** The state as committed, and its revision: 0 while only the submission is stored. */
  #state: JobState;
  #revision: number;
  /** Of a long job, whose steps are stored and sent as they were encoded at their end. */
  readonly #brief: BriefWriter | undefined;
  readonly #results: EncodedResults | undefined;
  /** What has come while an event was being dealt with; undefined if nothing has. */
  #mailbox: Event[] | undefined;
  /** An event is being dealt with: what comes now has to wait. */
  #busy = false;
  #attempt: Attempt | undefined;
  #sleep: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #draining = false;
  /** Someone else may have written the job. */
  #inDoubt = false;
  #heldBack = false;
  #gone = false;

  /**
   * `state` is stored as `revision`; 0 if it is what the submission says.
   *
   * @param long whether it has so much in it that what stays the same is not encoded anew at each step
   */
  constructor(context: ActorContext, lease: Lease, state: JobState, revision: number, long: boolean) {
    this.#context = context;
    this.jobId = state.job_id;
    this.lease = lease;
    this.#state = state;
    this.#revision = revision;
    this.#brief = long ? new BriefWriter() : undefined;
    this.#results = long ? new EncodedResults(state.encoding) : undefined;
  }

  /** Calls `listener` once, when the job has left this actor for whatever reason. Listeners are called in order. */
  whenGone(listener: () => void): void {
    if (this.#gone) listener();
    else if (this.#goneListeners) this.#goneListeners.push(listener);
    else this.#goneListeners = [listener];
  }

  /** Takes over a job as it is. */
  resume(): void {
    this.#post({ type: "resumed" });
  }

  /** Goes on with the effects of the transition that made the job. */
  begin(effects: Effect[]): void {
    this.#busy = true;
    this.#goOn(effects);
  }

  /**
   * Lets the attempt in flight end and be committed, then hands the job over. One that only waits goes at once.
   * To be called again now and then: a worker may have refused the attempt in the meantime.
   */
  drain(): void {
    this.#draining = true;
    if (!this.#attempt?.inFlight && !this.#busy) this.handOver();
  }

  /** Gives the job to another supervisor now. An attempt in flight will be run again there. */
  handOver(): void {
    if (this.#gone) return;
    // One that has run out may be another supervisor's by now, whom this would take it from.
    if (!isEnded(this.#state) && this.lease.valid) this.lease.handOver();
    this.#leave("handed_over");
  }

  /** Looks whether someone else has written the job: after a nudge, or when we may have been deaf for a while. */
  verify(): void {
    this.#inDoubt = true;
    this.#turn();
  }

  /** An attempt was not sent, because the lease had run out: `verify` sends it if that has changed. */
  get heldBack(): boolean {
    return this.#heldBack;
  }

  /** Its lease ran out, and its message has not come again. */
  abandon(): void {
    this.#leave("superseded");
  }

  // --- what becomes of the attempt

  mayBegin(): boolean {
    this.#heldBack = !this.lease.valid;
    return !this.#heldBack;
  }

  onStarted({ current_function: index, attempt }: LiveJob): void {
    this.#post({ type: "started", index, attempt });
  }

  onProgress(job: LiveJob, progress: unknown): void {
    const { current_function: index, attempt } = job;
    const value = toJsonValue(progress, job.encoding);
    const about = { function: currentFunction(job).name, index, attempt };
    this.#context.lifecycle.emit("job", eventOf(job, Date.now(), { type: "progress", ...about, progress: value }));
  }

  onSucceeded({ current_function: index, attempt }: LiveJob, result: unknown): void {
    this.#post({ type: "succeeded", index, attempt, result });
  }

  onFailed(
    { current_function: index, attempt }: LiveJob,
    error: Failure,
    retryable: boolean,
    retryAfterMs: number | undefined,
  ): void {
    const after = retryAfterMs === undefined ? {} : { retryAfterMs };
    this.#post({ type: "failed", index, attempt, error, retryable, ...after, random: Math.random() });
  }

  onLost({ current_function: index, attempt }: LiveJob): void {
    this.#post({ type: "lost", index, attempt });
  }

  onNoRoom({ current_function: index, attempt }: LiveJob): void {
    this.#post({ type: "no_room", index, attempt });
  }

  // --- one event after the other (A1)

  #post(event: Event): void {
    if (this.#mailbox) this.#mailbox.push(event);
    else this.#mailbox = [event];
    this.#turn();
  }

  /** Deals with what has come, until that takes more than this turn. */
  #turn(): void {
    try {
      while (!this.#busy && !this.#gone) {
        if (this.#inDoubt) {
          this.#busy = true;
          this.#await(this.#look(), () => this.#goOn([]));
          return;
        }
        const events = this.#mailbox;
        if (!events) return;
        this.#busy = true;
        this.#mailbox = undefined;
        const { state, effects } = this.#reduceAll(events);
        if (state === this.#state) this.#perform(effects);
        else this.#commit(state, effects);
      }
    } catch (error) {
      this.#fault(error);
    }
  }

  /** Does what is left of the effects, then goes on with what has come meanwhile. */
  #goOn(effects: Effect[], from = 0): void {
    try {
      this.#perform(effects, from);
    } catch (error) {
      this.#fault(error);
      return;
    }
    this.#turn();
  }

  #await<T>(work: Promise<T>, then: (result: T) => void): void {
    work.then(then).catch((error) => this.#fault(error));
  }

  /**
   * What can fail is handled where it fails, so this is a fault of ours. It must not take other jobs along: this one is
   * left alone, and its lease, no longer extended, brings it to a fresh actor.
   */
  #fault(error: unknown): void {
    this.#trouble("unexpected failure", error);
    this.#leave("handed_over");
  }

  #reduceAll(events: Event[]): Transition {
    const now = Date.now();
    let state = this.#state;
    let effects: Effect[] = [];
    for (const event of events) {
      const next = reduce(state, event, now);
      // What was to be done next has been overtaken by the end.
      if (isEnded(next.state) && next.state !== state) effects = effects.filter((effect) => effect.type === "tell");
      state = next.state;
      effects = effects.length === 0 ? next.effects : [...effects, ...next.effects];
    }
    return placeSleep({ state, effects }, now, this.#context.parkAfterMs);
  }

  // --- commits (A2, A3)

  /** Stores the state, which must be a new object, and then does its effects. */
  #commit(next: JobState, effects: Effect[]): void {
    next.version = this.#state.version + 1;
    next.writer = this.#context.writer;
    const done = (outcome: CommitOutcome) => {
      if (outcome.type === "stored") {
        this.#committed(next, outcome.revision);
        this.#goOn(effects);
      } else this.#await(this.#sortOut(next, outcome), (stored) => this.#goOn(stored ? effects : []));
    };
    this.#context.store.put(next, this.#revision, done, this.#brief);
  }

  #committed(state: JobState, revision: number): void {
    this.#state = state;
    this.#revision = revision;
  }

  /** After a commit that is not known to be stored. Returns false if its effects are not to be done. */
  async #sortOut(state: JobState, first: CommitOutcome): Promise<boolean> {
    const { store, bus } = this.#context;
    let next = state;
    for (let failures = 0, outcome = first; !this.#gone; failures++) {
      if (failures > 0) outcome = await store.commit(next, this.#revision, this.#brief);
      switch (outcome.type) {
        case "stored":
          this.#committed(next, outcome.revision);
          return true;
        case "refused":
          if (!failedBySize(next)) {
            this.#mailbox = [...(this.#mailbox ?? []), this.#tooLarge(outcome.cause.message)];
            return false;
          }
          next = withoutPayloads(next);
          continue;
        case "unknown":
          if (failures === 0) this.#trouble("cannot commit", outcome.cause);
          await pause(bus, failures);
          break;
        case "conflict":
          break;
        default:
          return unreachable(outcome);
      }
      const found = await this.#compare(next, failures);
      if (found === "written") return true;
      if (found === "superseded") return false;
    }
    return false;
  }

  /** After a commit with an unclear outcome: what does the store say? */
  async #compare(next: JobState, failures: number): Promise<"written" | "unchanged" | "superseded" | "unreadable"> {
    try {
      const stored = await this.#context.store.get(this.jobId);
      if (this.#isOurs(stored)) return "unchanged";
      if (stored?.state?.writer === next.writer && stored.state.version === next.version) {
        this.#committed(next, stored.revision);
        return "written";
      }
      this.#superseded(stored);
      return "superseded";
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (failures === 0) this.#trouble("cannot read back a commit", error);
      await pause(this.#context.bus, failures);
      return "unreadable";
    }
  }

  #isOurs(stored: StoredJob | undefined): boolean {
    return (stored?.revision ?? 0) === this.#revision;
  }

  /** Compares the job with what is stored, for as long as it takes. */
  async #look(): Promise<void> {
    this.#inDoubt = false;
    await this.#insist("cannot read the job again", async () => {
      const stored = await this.#context.store.get(this.jobId);
      if (!this.#isOurs(stored)) this.#superseded(stored);
    });
    if (!this.#heldBack || this.#gone || !this.lease.valid) return;
    this.#heldBack = false;
    this.#invoke();
  }

  /** Someone else has written the job. */
  #superseded(stored: StoredJob | undefined): void {
    if (!stored?.state || !isEnded(stored.state)) {
      this.#leave("superseded");
      return;
    }
    // It was cancelled. The token is still ours, so it is for us to see to its end.
    this.#attempt?.cancel();
    this.#committed(stored.state, stored.revision);
    this.#mailbox = [{ type: "resumed" }];
  }

  /** The state does not fit into a message: the result that made it grow cannot be kept, so the attempt has failed. */
  #tooLarge(why: string): Event {
    const { current_function: index, attempt } = this.#state;
    const message = `the state of the job with this result does not fit into a message: ${why}`;
    const error: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message };
    return { type: "failed", index, attempt, error, retryable: false, random: 0 };
  }

  // --- effects

  /** Does the effects one after the other. Where one has to be waited for, what is left is done after it. */
  #perform(effects: Effect[], from = 0): void {
    for (let index = from; index < effects.length && !this.#gone; index++) {
      const effect = effects[index] as Effect;
      switch (effect.type) {
        case "invoke":
          this.#invoke();
          break;
        case "sleep":
          this.#sleepUntil(effect.until);
          break;
        case "park":
        case "enqueue":
          this.#await(this.#park(), () => this.#goOn(effects, index + 1));
          return;
        case "tell":
          this.#tell(effect.event);
          if (!isEndEvent(effect.event)) break;
          this.#record(effect.event, () => this.#goOn(effects, index + 1));
          return;
        case "settle":
          this.lease.release();
          this.#leave("ended");
          break;
        default:
          unreachable(effect);
      }
    }
    this.#busy = false;
  }

  #invoke(): void {
    if (isEnded(this.#state)) return;
    if (this.#draining) {
      this.handOver();
      return;
    }
    this.#watchDeadline(this.#state);
    this.#attempt = this.#context.dispatcher.dispatch(this.#state, this, this.#results);
  }

  #sleepUntil(until: number): void {
    if (this.#draining) {
      this.handOver();
      return;
    }
    this.#sleep = setTimeout(() => this.#post({ type: "due" }), timerMs(until));
  }

  #watchDeadline(job: LiveJob): void {
    const deadline = job.deadline_at;
    if (deadline === undefined || this.#deadline) return;
    this.#deadline = setTimeout(() => {
      this.#deadline = undefined;
      if (Date.now() >= deadline) this.#post({ type: "expired" });
      else if (!this.#gone) this.#watchDeadline(job);
    }, timerMs(deadline));
  }

  async #park(): Promise<void> {
    const job = this.#state;
    if (isEnded(job)) return;
    const { tokens, feeder } = this.#context;
    if (!(await this.#insist("cannot set the timer", () => tokens.place(job)))) return;
    this.lease.release();
    this.#leave("parked");
    if (job.state === "waiting" && job.waiting_for === "worker") feeder.filled(currentFunction(job).name);
  }

  #tell(event: JobEvent): void {
    // A change that someone else has made was told there.
    if (this.#state.writer === this.#context.writer) this.#context.lifecycle.emit("job", event);
  }

  /** The end of a job is recorded before its token goes; for all else, telling the listeners is enough. */
  #record(event: JobEvent, then: () => void): void {
    const { eventLog } = this.#context;
    const { notify } = this.#state;
    eventLog.recordFirst(event, notify, (recorded) => {
      if (recorded) then();
      else
        this.#await(
          this.#insist("cannot record the end", () => eventLog.record(event, notify)),
          then,
        );
    });
  }

  #insist(what: string, call: () => Promise<void>): Promise<boolean> {
    return untilDone(
      this.#context.bus,
      () => this.#gone,
      (error) => this.#trouble(what, error),
      call,
    );
  }

  #leave(why: ReleaseReason): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#mailbox = undefined;
    clearTimeout(this.#sleep);
    clearTimeout(this.#deadline);
    this.#attempt?.cancel();
    this.#context.lifecycle.emit("released", this.jobId, why);
    for (const listener of this.#goneListeners ?? []) listener();
  }

  #trouble(what: string, error: unknown): void {
    this.#context.lifecycle.emit("trouble", { what, jobId: this.jobId, error });
  }
}
