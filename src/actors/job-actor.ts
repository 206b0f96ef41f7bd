/**
 * The single live owner of one active job inside a supervisor: feeds what happens into the state machine, commits the
 * state, then does what follows from it. It decides nothing itself.
 *
 * Its parts: a `Mailbox` for what has come, `Commits` for what is stored, and a mode that says what it is at. What is to be
 * done next is not kept anywhere but follows from the state that is stored (`rest`), whatever led to it.
 *
 * Example: a worker replies. `onSucceeded` posts the event. The machine makes the next state of it, which is committed; the
 * mode is `busy` until the server has confirmed that. Then `rest` says "attempt 1 of function 1", which goes to the
 * dispatcher, and the actor is `ready` again.
 *
 * ACTOR-1  One event after the other; what happens while it is busy waits and is then committed together.
 * ACTOR-2  Commit before effect: nothing is invoked, scheduled, told or released before the state that it follows from is
 *     stored. The first state of a job that nobody else can have submitted is stored as its submission.
 * ACTOR-3  If someone else has written the job it is settled if it has ended (it was cancelled). Any other one has another
 *     owner, and the actor stops without a trace.
 * ACTOR-4  It begins nothing on a lease that may have run out, until its message is delivered to it again. So what was
 *     committed elsewhere while this process was paused or cut off does not run again.
 * ACTOR-5  Its lease ends only when the next token (a durable timer, a place in a backlog) or the end of the job is stored.
 * What every job goes through is done in callbacks (see `mux.ts`); what is rare is awaited.
 */
import { EncodedResults } from "../bus/messages/invocation.ts";
import { endEvent, type JobEvent } from "../job/events.ts";
import type { Failure } from "../job/failure.ts";
import { reduce } from "../job/machine.ts";
import { onNextToken, type Parked, rest, toBeParked } from "../job/rest.ts";
import {
  type AttemptAddress,
  type EndedJob,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type LiveJob,
} from "../job/state.ts";
import type { Event, Transition } from "../job/transition.ts";
import { MissingValue } from "../job/values.ts";
import type { ActorContext, ActorMode, GraphHost } from "./actor-context.ts";
import { ActorTimers } from "./actor-timers.ts";
import type { Attempt, AttemptListener, FailureDetails } from "./attempt.ts";
import { Attempts, failedEvent, lostEvent, noRoomEvent, startedEvent, succeededEvent } from "./attempts.ts";
import { type CommitResult, Commits, type CommitsOwner, type Found, type Long } from "./commits.ts";
import { Footprint } from "./footprint.ts";
import { GraphWork } from "./graph-work.ts";
import type { Lease } from "./lease.ts";
import type { ReleaseReason } from "./lifecycle.ts";
import { gainsFirst, Mailbox } from "./mailbox.ts";
import { Progress } from "./progress.ts";
import { unstorable, withoutLargest } from "./refusal.ts";
import { FULL_RETRY_MS, untilDone, untilPlaced } from "./retrying.ts";

export class JobActor implements AttemptListener, CommitsOwner, GraphHost {
  readonly jobId: string;
  readonly lease: Lease;
  readonly #context: ActorContext;
  readonly #commits: Commits;
  readonly #mailbox = new Mailbox();
  #mode: ActorMode = "ready";
  readonly #footprint: Footprint;
  readonly attempts = new Attempts();
  /** Of a graph, as soon as it is needed. */
  #graph: GraphWork | undefined;
  /** The results of a long job, as they are sent. */
  readonly #results: EncodedResults | undefined;
  // Made when they are needed.
  #timers: ActorTimers | undefined;
  #progress: Progress | undefined;
  #goneListeners: (() => void)[] | undefined;

  /**
   * `state` is stored as `revision`; 0 if it is what the submission says.
   *
   * @param measured what it takes in memory, and how many bytes it had as a message
   */
  constructor(
    context: ActorContext,
    lease: Lease,
    state: JobState,
    revision: number,
    long: Long | undefined,
    measured: { footprint: number; bytes: number },
  ) {
    this.#context = context;
    this.jobId = state.job_id;
    this.lease = lease;
    this.#results = long ? new EncodedResults(state.encoding) : undefined;
    this.#footprint = new Footprint(context.memory, measured.footprint);
    this.#commits = new Commits(context, this, state, revision, long, measured.bytes);
  }

  /** Calls `listener` once, when the job has left this actor. Listeners are called in order. */
  whenGone(listener: () => void): void {
    if (this.#mode === "gone") listener();
    else if (this.#goneListeners) this.#goneListeners.push(listener);
    else this.#goneListeners = [listener];
  }

  /** Takes over a job as it is; `firedAt` as in the event. */
  resume(firedAt?: number): void {
    const resumed: Event = firedAt === undefined ? { type: "resumed" } : { type: "resumed", firedAt };
    const job = this.#commits.state;
    if (isEnded(job) || !isGraph(job) || !this.#work(job).isDue(job)) this.post(resumed);
    else this.#dealAfter(this.#work(job).look(job), [resumed]);
  }

  /** Goes on with a job as it was made; `events` tell of that. */
  begin(events: JobEvent[]): void {
    this.#proceed(events);
  }

  /**
   * Lets the attempt in flight end and be committed, then hands the job over. One that only waits goes at once.
   * To be called again now and then while the supervisor drains: a worker may have refused the attempt in the meantime.
   */
  drain(): void {
    this.#graph?.drain();
    if (!this.attempts.inFlight && !this.#graph?.inFlight && this.#mode !== "busy") this.handOver();
  }

  /** Gives the job to another supervisor, at once or after a time. An attempt in flight will be run again there. */
  handOver(delayMs?: number): void {
    if (this.#mode === "gone") return;
    // A lease that has run out may be another supervisor's by now, whom this would take it from.
    if (!isEnded(this.#commits.state) && this.lease.valid) this.lease.handOver(delayMs);
    this.#leave("handed_over");
  }

  /** Reads the job again, as someone else may have written it: after a nudge, or when we may have been deaf for a while. */
  verify(): void {
    this.#graph?.doubt();
    this.#mailbox.postDoubt();
    this.#turn();
  }

  /** A child of the job has ended, as somebody says. */
  childEnded(childId: string): void {
    this.#graph?.childEnded(childId);
  }

  /** An attempt was not sent, because the lease had run out: `verify` sends it if that has changed. */
  get heldBack(): boolean {
    return this.#mode === "held back" || this.#graph?.heldBack === true;
  }

  get isGone(): boolean {
    return this.#mode === "gone";
  }

  /** The newest state that is stored. */
  get job(): JobState {
    return this.#commits.state;
  }

  /** Its lease ran out, and its message has not come again. */
  abandon(): void {
    this.#leave("superseded");
  }

  // --- what becomes of the attempt

  mayBegin(attempt: AttemptAddress): boolean {
    if (this.lease.valid) return !this.#graph?.withhold(attempt);
    this.attempts.delete(attempt);
    if (this.#mode === "ready") this.#mode = "held back"; // if it is busy, what comes after that holds it back
    return false;
  }

  onStarted(address: AttemptAddress): void {
    this.post(startedEvent(address));
  }

  onProgress(attempt: Attempt, progress: unknown): void {
    this.#progress ??= new Progress(this.#context.lifecycle);
    if (this.#progress.tell(attempt, progress)) attempt.progress = progress;
  }

  onSucceeded(address: AttemptAddress, result: unknown, bytes: number): void {
    this.post(succeededEvent(address, result, bytes));
  }

  onFailed(attempt: Attempt, error: Failure, retryable: boolean, details?: FailureDetails): void {
    this.post(failedEvent(attempt, error, retryable, details, this.#context.settings.of(attempt.functionName)));
  }

  onLost(attempt: Attempt): void {
    this.post(lostEvent(attempt));
  }

  onNoRoom(address: AttemptAddress): void {
    this.post(noRoomEvent(address));
  }

  // --- one event after the other (ACTOR-1)

  post(event: Event): void {
    this.#mailbox.post(event);
    this.#turn();
  }

  /** Deals with what has come, until that takes more than this turn. */
  #turn(): void {
    try {
      while (this.#mode === "ready" || this.#mode === "held back") {
        const mail = this.#mailbox.take();
        if (mail === undefined) return;
        this.#mode = "busy";
        const job = this.#commits.state;
        if (mail === "doubt") this.#reread();
        else if (isGraph(job) && this.#work(job).isLastCall(job, mail, Date.now()))
          this.#dealAfter(this.#work(job).look(job), mail);
        else this.#deal(mail);
      }
    } catch (error) {
      this.onFault(error);
    }
  }

  #deal(mail: Event[], now = Date.now()): void {
    let next: Transition;
    try {
      next = this.#reduceAll(mail, now);
    } catch (error) {
      if (!(error instanceof MissingValue) || !isGraph(this.job)) throw error;
      this.#dealAfter(this.#work(this.job).results.loadFor(this.job, error), mail);
      return;
    }
    const { state, events } = next;
    const done = (result: CommitResult) => this.#committed(result, events, mail);
    // What changes nothing is no proof that the job is still ours: nothing is begun before a doubt about that is settled.
    if (state === this.#commits.state && this.#mailbox.hasDoubt) this.#mode = "ready";
    else if (state === this.#commits.state) this.#act(events);
    else if (isGraph(state)) this.#work(state).results.commit(state, mail, done);
    else this.#commits.commit(state, done);
  }

  #reduceAll(mail: Event[], now: number): Transition {
    let { state } = this.#commits;
    let events: JobEvent[] = [];
    const plan = isGraph(state) ? this.#work(state).plan : undefined;
    for (const event of isGraph(state) ? gainsFirst(mail) : mail) {
      // Not before: until its outcome is dealt with it is under way, else it would be begun again.
      if ("attempt" in event && event.type !== "started") this.attempts.delete(event);
      const next = reduce(state, event, now, plan);
      state = next.state;
      events = events.length === 0 ? next.events : [...events, ...next.events];
    }
    if (isEnded(state) || this.#isUnderWay(state)) return { state, events };
    if (isGraph(state)) {
      // It does not leave memory before it is known that no signal has come. When it is stored that it leaves, it is looked again.
      if (this.#work(state).isDue(state)) return { state, events };
      const before = this.#commits.state;
      // It rests on a token that somebody else may have made by now, for a time that is not the right one any more.
      if (state !== before && before.token > this.lease.number) return { state: onNextToken(state), events };
    }
    return { state: toBeParked(state, this.lease.number, now, this.#context.parkAfterMs), events };
  }

  #committed(result: CommitResult, events: JobEvent[], mail: Event[]): void {
    if (this.#mode === "gone") return;
    if (result === "stored") this.#proceed(events);
    else if (result === "full") this.handOver(FULL_RETRY_MS);
    else if (typeof result === "string") this.#writtenByOthers(result, mail);
    // It does not fit into a message: the largest of what has come cannot be kept.
    else this.#dealNow(withoutLargest(mail, result.why, result.overBytes) ?? [unstorable(mail, result.why)]);
  }

  /** Deals with these before what waits, then with that. */
  #dealNow(mail: Event[]): void {
    if (this.#mode === "gone") return;
    this.#mode = "busy";
    try {
      this.#deal(mail);
    } catch (error) {
      this.onFault(error);
    }
    this.#turn();
  }

  #reread(): void {
    let found: Found | undefined;
    const reading = this.insist("cannot read the job again", async () => {
      found = await this.#commits.compare();
    });
    this.#await(reading, () => {
      if (found) this.#writtenByOthers(found, []);
      else this.#proceed([]);
    });
  }

  /** ACTOR-3 */
  #writtenByOthers(found: Found, mail: Event[]): void {
    if (found === "superseded") this.#leave("superseded");
    else if (found === "undoing") this.#dealNow(mail);
    else {
      this.attempts.cancel();
      this.#proceed([]);
    }
  }

  // --- what follows from the state (ACTOR-2)

  /** Does what follows from the state that is stored now, then goes on with what has come meanwhile. */
  #proceed(events: JobEvent[]): void {
    this.#mode = this.#mode === "gone" ? "gone" : "busy";
    try {
      this.#act(events);
    } catch (error) {
      this.onFault(error);
    }
    this.#turn();
  }

  #act(events: JobEvent[]): void {
    if (this.#mode === "gone") return;
    for (const event of events) this.#tell(event);
    const job = this.#commits.state;
    if (isEnded(job)) {
      this.#mode = "busy";
      this.#end(job);
      return;
    }
    if (isGraph(job)) {
      const work = this.#work(job);
      work.tend(job);
      if (work.isDue(job)) {
        this.#dealAfter(work.look(job), []);
        return;
      }
    }
    // The wall clock may have gone backwards since: what has begun is not waited for again.
    if (this.#isUnderWay(job)) {
      this.#mode = "ready";
      return;
    }
    const how = rest(job, this.lease.number, Date.now());
    // What was found when it was looked for ends is dealt with before it leaves: nobody tells of that again.
    this.#mode = how.type === "parked" && this.#mailbox.isEmpty ? "busy" : "ready";
    if (how.type === "parked") {
      if (this.#mode === "ready") return;
      this.#await(this.#park(job, how), (refused) =>
        refused === undefined ? this.#proceed([]) : this.#dealNow([{ type: "refused", why: refused }]),
      );
      return;
    }
    if (this.#context.isDraining()) {
      // What has come meanwhile is dealt with first: it would be lost, and its attempt executed again.
      if (this.#mailbox.isEmpty) this.drain();
    } else if (how.type === "attempt") this.#execute(job, how);
    else if (how.type === "memory") this.#timersOf().dueAt(how.until);
    else if (isGraph(job)) this.#goOn(job, how.attempts, how.until);
  }

  /** The attempt that a chain is at is in line or in flight. */
  #isUnderWay(job: LiveJob): boolean {
    const { current_function: index, attempt, token } = job;
    return !isGraph(job) && token <= this.lease.number && this.attempts.has({ index, attempt });
  }

  /** A graph: begins what is due and not under way yet, and waits for what is due next. */
  #goOn(job: LiveJob & Graph, attempts: readonly AttemptAddress[], until: number | undefined): void {
    if (until !== undefined) this.#timersOf().dueAt(until);
    const due = attempts.filter((address) => !this.attempts.has(address));
    if (due.length > 0 && this.#footprint.mustWait) {
      // All in one commit: a fan of a thousand would else be stored a thousand times, each time that it is woken.
      for (const address of due) this.#mailbox.post(noRoomEvent(address));
      this.#turn();
      return;
    }
    const { results } = this.#work(job);
    const missing = results.missing(job, due);
    if (missing.length > 0) {
      this.#dealAfter(results.load(job, missing), []);
      return;
    }
    for (const address of due) {
      if (this.#mode !== "ready") return; // one of them has been held back, or has failed already
      const unfit = results.unfit(job, address);
      if (unfit) this.post(unfit);
      else this.#execute(job, address);
    }
    results.forget(job);
  }

  #work(job: Graph): GraphWork {
    this.#graph ??= new GraphWork(this.#context, this, job, this.#commits, this.#footprint);
    return this.#graph;
  }

  /** Deals with what has come from outside by then, and with that. */
  #dealAfter(work: Promise<Event[]>, mail: Event[]): void {
    this.#mode = "busy";
    this.#await(work, (found) => this.#dealNow([...found, ...mail]));
  }

  #execute(job: LiveJob, address: AttemptAddress): void {
    if (!isGraph(job) && this.#footprint.mustWait) {
      this.#footprint.pass();
      this.onNoRoom(address);
      return;
    }
    if (job.deadline_at !== undefined) this.#timersOf().watchDeadline(job.deadline_at);
    const plan = isGraph(job) ? this.#work(job).plan : undefined;
    this.attempts.dispatch(this.#context.dispatcher, job, address, this, this.#results, plan);
  }

  #timersOf(): ActorTimers {
    this.#timers ??= new ActorTimers(
      () => this.post({ type: "due" }),
      () => this.post({ type: "expired" }),
    );
    return this.#timers;
  }

  /** ACTOR-5. Returns why the token cannot be made, if that is for good. */
  async #park(job: LiveJob, how: Parked): Promise<string | undefined> {
    const { bus, tokens, feeder } = this.#context;
    this.#footprint.pass();
    const tell = (error: unknown, isOver?: () => boolean) => this.onTrouble("cannot set the timer", error, isOver);
    const place = () => tokens.place(job, job.token, how);
    const placed = await untilPlaced(bus, () => this.isGone, tell, place);
    if (typeof placed === "object") return placed.refused;
    if (!placed || !this.#mailbox.isEmpty) return undefined; // what has come while that was sent
    this.lease.release();
    this.#leave("parked");
    for (const name of how.functionNames) feeder.filled(name);
    return undefined;
  }

  /** The state is the record of the end; events that are kept are stored before the token goes (ACTOR-5). */
  #end(job: EndedJob): void {
    const { eventLog, parents, tokens } = this.#context;
    const event = endEvent(job);
    const settle = () => {
      if (this.#mode === "gone") return;
      try {
        this.#commits.removeDefinition();
        if (isGraph(job)) this.#await(Promise.all([this.#work(job).ended(job), tokens.removeTimer(job)]), () => {});
        this.lease.release();
        this.#leave("ended");
      } catch (error) {
        this.onFault(error);
      }
    };
    const tellParent = () => {
      if (!job.parent) settle();
      else this.#insistThen("cannot tell its parent", () => parents.tellOfEnd(job), settle);
    };
    this.#tell(event);
    eventLog.recordFirst(event, job.notify, (recorded) => {
      if (recorded) tellParent();
      else this.#insistThen("cannot record the end", () => eventLog.record(event, job.notify), tellParent);
    });
  }

  #tell(event: JobEvent): void {
    // A change that someone else has made was told there.
    if (this.#commits.state.writer === this.#context.writer) this.#context.lifecycle.emit("job", event);
  }

  #await<T>(work: Promise<T>, then: (result: T) => void): void {
    work.then(then).catch((error) => this.onFault(error));
  }

  #insistThen(what: string, call: () => Promise<void>, then: () => void): void {
    this.#await(this.insist(what, call), then);
  }

  /** Returns false if the job has left meanwhile. */
  insist(what: string, call: () => Promise<void>): Promise<boolean> {
    const onTrouble = (error: unknown, isOver: () => boolean) => this.onTrouble(what, error, isOver);
    return untilDone(this.#context.bus, () => this.isGone, onTrouble, call);
  }

  /**
   * What can fail is handled where it fails, so this is a fault of ours. It must not take other jobs along: this one is
   * left alone, and its lease, no longer extended, brings it to a fresh actor.
   */
  onFault(error: unknown): void {
    this.onTrouble("unexpected failure", error);
    this.#leave("handed_over");
  }

  #leave(why: ReleaseReason): void {
    if (this.#mode === "gone") return;
    this.#mode = "gone";
    this.#footprint.release();
    this.#timers?.close();
    this.#progress?.close();
    this.#graph?.close(why);
    this.attempts.cancel();
    this.#context.lifecycle.emit("released", this.jobId, why);
    for (const listener of this.#goneListeners ?? []) listener();
  }

  onGrown(next: JobState, bytes: number): void {
    this.#footprint.measure(next, bytes);
  }

  onTrouble(what: string, error: unknown, isOver?: () => boolean): void {
    this.#context.lifecycle.emit("trouble", { what, jobId: this.jobId, error, ...(isOver && { isOver }) });
  }
}
