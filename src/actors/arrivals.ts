/**
 * Decides what each message that a supervisor gets stands for: a new job, one that goes on, or nothing; and makes the
 * actor of the job.
 *
 * ARRIVALS-2  A job has at most one actor in a supervisor. A message for a job whose claim or departure is under way waits
 *     for its end.
 * ARRIVALS-3  A message is acknowledged only when what it stands for is stored elsewhere: the job's end, a newer token, or
 *     (for a repeated submission) the token of the job that has the id. So a second wake of the token that an actor has is not.
 * ARRIVALS-4  A token that is older than the state's is acknowledged only when the state's own token is there; if it is missing,
 *     it is made first. So a crash between the commit, the token and the acknowledgement of a parking loses nothing.
 * ARRIVALS-5  A token newer than the state's was made for a retry by hand that has not been committed. It is used up (the state
 *     takes its number, so that the late commit fails) before it goes.
 * ARRIVALS-7  A job that nobody else can have submitted (`isOnly`), and whose delivery is fresh, is begun before anything is stored
 *     of it but its submission; its first commit claims it. Whoever gets the message next claims it before beginning
 *     anything, so that the first commit of the one before fails; and a submission that repeats another one gives way.
 * ARRIVALS-8  A job that a newer version has stored, or submitted (`FORMAT_HEADER`), is left alone, and its message given back for
 *     others to take.
 * ARRIVALS-9  An id may be used again. A wake of another job than the one that has its id stands for nothing. Stream JOBS may
 *     be made anew, and its sequences with it: a submission is what made a job only if it was also stored at that time; and
 *     a job whose id is made from its sequence takes the place of an ended one from before, or waits for its end.
 * ARRIVALS-10  A graph may wait for several things under one token, and what comes first takes it along. What comes after that, while it
 *     is live, is a second wake: whoever gets it leaves the job to its owner.
 * ARRIVALS-11  The job of a submission that names a definition is stored with what that says before anything of it is begun, and no state
 *     of it leans on the submission (BRIEF-1), which does not say what its functions are.
 */

import { WAKE_PREFIX } from "../api/subjects.ts";
import type { Definitions } from "../bus/store/definitions.ts";
import type { StoredJob } from "../bus/store/job-store.ts";
import { readBatch } from "../bus/store/stream-read.ts";
import type { Awake } from "../bus/tokens/awake.ts";
import type { Delivery } from "../bus/tokens/delivery.ts";
import { isTokenOf, timerNumberOf } from "../bus/tokens/timers.ts";
import { hasOlderWake } from "../bus/tokens/wakes.ts";
import { JOBS } from "../bus/topology.ts";
import { isProbe } from "../bus/write-probe.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import type { RejectedEvent } from "../job/events.ts";
import { isAsSubmitted, reduce } from "../job/machine.ts";
import { FORMAT } from "../job/record.ts";
import { type EndedJob, isEnded, isGraph, type JobState, type LiveJob, type Parent } from "../job/state.ts";
import type { Transition } from "../job/transition.ts";
import { Limiter } from "../util/limiter.ts";
import { Registry } from "../util/registry.ts";
import type { ActorContext } from "./actor-context.ts";
import { type Arrival, commitsAhead, holderBefore, type NamedSubmission, undefinedYet } from "./arrival.ts";
import { JobActor } from "./job-actor.ts";
import { Lease } from "./lease.ts";
import type { Trouble } from "./lifecycle.ts";
import { footprintOf } from "./memory.ts";
import { placed } from "./placing.ts";
import { around, FULL_RETRY_MS, pause, untilDone, untilPlaced } from "./retrying.ts";
import {
  isMadeBy,
  isOnly,
  isPredecessor,
  isRepeated,
  jobIdOfWake,
  labelOf,
  mayHaveBegun,
  newerFormatOf,
  oversizedJob,
  readSubmission,
} from "./submission.ts";
import { corruptJob } from "./sweep.ts";

export interface ArrivalsContext extends ActorContext {
  awake: Awake;
  ackWaitMs: number;
  definitions: Definitions;
  /** See `SupervisorOptions`. */
  briefAboveBytes: number;
  isStopped: () => boolean;
  /** A job has left memory, or a message has turned out to stand for none. */
  onLeft: () => void;
}

/** The number of the token that a submission is. */
const SUBMISSION = 0;
/**
 * A job of a newer version is looked at again `around` this time. After the same time each time, as long as a pull of all supervisors
 * lives, the server would give a lone message to the same older one again and again.
 */
const NEWER_RETRY_MS = 5_000;
/** Whether a job from before has ended is looked at again after this time (ARRIVALS-9). */
const PREDECESSOR_RETRY_MS = 5_000;
/**
 * A second message of the token that an actor has is looked at again after this time. It is not acknowledged: who has the other one may
 * be taken for dead, and acknowledge that for the sake of this one.
 */
const DOUBLE_RETRY_MS = 5_000;
/** Stored jobs that are read at a time: each may be as large as a message. */
const MAX_READS = 8;
const MAX_READS_CROWDED = 2;
/** Of a job that was read the length is not known: it is looked into. */
const LONG = 1_024;
/** From so many commits to come on it is worth one more message to store the definition of a job besides its state. */
const WORTH_DEFINING = 3;

/**
 * A token that is further ahead of its state than this is none of ours: one of a retry, or of a state that was restored from a
 * backup, is a few ahead. Taken over, it could be so large that the job could not count on.
 */
const MAX_AHEAD = 1_000_000;

export class Arrivals {
  /** The jobs in memory. */
  readonly actors = new Registry<JobActor>();
  /** Jobs whose first read or write is under way. */
  readonly claiming = new Registry<{ lease: Lease; done: Promise<void> }>();
  readonly #context: ArrivalsContext;
  readonly #reads: Limiter;
  #newestSubmission = 0;
  /** When a job of a newer version was met last, monotonic ms. */
  #leftAloneAt = Number.NEGATIVE_INFINITY;

  constructor(context: ArrivalsContext) {
    this.#context = context;
    this.#reads = new Limiter(() => (context.memory.crowded ? MAX_READS_CROWDED : MAX_READS));
  }

  /** A message of stream JOBS. */
  onSubmission(delivery: Delivery): void {
    const newer = newerFormatOf(delivery);
    if (newer !== undefined) {
      this.#leaveAlone(labelOf(delivery), delivery, "submitted", newer);
      return;
    }
    const read = readSubmission(delivery);
    if (read.type === "rejected") {
      if (isProbe(delivery.subject)) delivery.ack();
      else void this.#reject(delivery, read.jobId, read.reason);
      return;
    }
    const { jobId } = read;
    const parent = read.parent && { parent: read.parent };
    const lease = new Lease(0, delivery.receipt, this.#context.ackWaitMs);
    if (read.type === "named") {
      this.#enter({ jobId, lease, delivery, first: undefinedYet, named: read, ...parent });
      return;
    }
    const { first } = read;
    const arrival: Arrival = { jobId, lease, delivery, first, ...parent };
    if (!this.#isFresh(delivery) || !isOnly(delivery, jobId) || !this.#begin(arrival, first)) this.#enter(arrival);
  }

  /** ARRIVALS-7: it was sent just now, and not before. First deliveries come in the order of their sequences. */
  #isFresh({ sequence }: Delivery): boolean {
    const isNew = sequence > this.#newestSubmission;
    if (isNew) this.#newestSubmission = sequence;
    return this.#context.awake.check() && isNew;
  }

  /**
   * ARRIVALS-7: begins a job that nobody else can have submitted, without storing what its submission says already. Returns
   * false if more than that must be stored before anything is done.
   */
  #begin(arrival: Arrival, first: (now: number) => Transition): boolean {
    const { jobId, lease } = arrival;
    if (this.actors.has(jobId) || this.claiming.has(jobId)) return false;
    const now = Date.now();
    const { state, events } = this.#placed(first(now), now, arrival);
    if (isEnded(state) || state.token !== lease.number || !isAsSubmitted(state)) return false;
    state.writer = this.#context.writer;
    this.#context.lifecycle.emit("claimed", jobId, "new");
    this.#host(arrival, state, 0).begin(events);
    return true;
  }

  /** A wake of stream TIMERS. */
  onWake(delivery: Delivery): void {
    try {
      const jobId = jobIdOfWake(delivery, WAKE_PREFIX);
      this.#enter({
        jobId,
        lease: new Lease(timerNumberOf(delivery.data), delivery.receipt, this.#context.ackWaitMs),
        delivery,
      });
    } catch (error) {
      // Only supervisors may publish here, so this is a stranger's message: it stands for no job.
      this.#trouble(`dropped a message on ${delivery.subject}`, error, undefined, { kind: "dropped a message" });
      delivery.ack();
    }
  }

  /** ARRIVALS-2: one claim per job at a time, and none for a job that has an actor. */
  #enter(arrival: Arrival): void {
    const { jobId } = arrival;
    const actor = this.actors.get(jobId);
    if (actor) {
      this.#meet(actor, arrival);
      return;
    }
    const before = this.claiming.get(jobId);
    if (before) {
      void before.done.then(() => this.#enter(arrival));
      return;
    }
    const done = this.#claim(arrival)
      .catch((error) => this.#trouble("cannot claim", error, jobId))
      .then(() => {
        if (arrival.isHeld) this.#context.memory.releasePassing(arrival.footprint ?? 0);
        this.claiming.delete(jobId);
        this.#context.onLeft();
      });
    this.claiming.set(jobId, { lease: arrival.lease, done });
  }

  /** A message for a job that is live here. */
  #meet(actor: JobActor, arrival: Arrival): void {
    const { lease, delivery, first } = arrival;
    if (!first && !isTokenOf(actor.job, delivery.data)) {
      this.#drop(arrival); // ARRIVALS-9
      return;
    }
    if (actor.lease.adopt(lease.number, delivery.receipt)) {
      actor.verify(); // SUPERVISOR-2: it had run out, and someone else may have had it meanwhile
      return;
    }
    // The timer of a job that is just being parked has fired already: it begins anew when that is through.
    if (lease.number > actor.lease.number) actor.whenGone(() => this.#enter(arrival));
    else if (lease.number < actor.lease.number || first) this.#drop(arrival);
    else delivery.nak(DOUBLE_RETRY_MS); // ARRIVALS-3
  }

  /** A message that stands for nothing: the job it names has another token, or has ended. */
  #drop({ jobId, delivery, first }: Arrival): void {
    if (first) this.#context.lifecycle.emit("repeated", jobId);
    delivery.ack();
  }

  async #claim(arrival: Arrival): Promise<void> {
    const { jobId, delivery, first } = arrival;
    // A first delivery is most likely a new job: then reading is a waste.
    let mayExist = delivery.deliveries > 1 || !first || isRepeated(delivery);
    let revision = 0;
    let tooLarge: string | undefined;
    for (let failures = 0; !this.#context.isStopped(); failures++) {
      if (mayExist) {
        const stored = await this.#read(jobId);
        if (stored?.newer !== undefined) {
          this.#leaveAlone(jobId, delivery, "stored", stored.newer);
          return;
        }
        if (stored?.problem !== undefined) {
          if (await this.#replaceCorrupt(stored.revision, stored.problem, arrival)) return;
          continue;
        }
        if (stored?.state && first && isPredecessor(stored.state, jobId, delivery)) {
          if (!isEnded(stored.state)) {
            this.#trouble("the id is that of a live job from before stream JOBS was made anew", undefined, jobId);
            delivery.nak(PREDECESSOR_RETRY_MS);
            return;
          }
        } else if (stored?.state) {
          if (await this.#takeOver(stored.state, stored.revision, stored.definition, arrival)) return;
          continue;
        }
        if (!first) {
          this.#drop(arrival); // the job was deleted by hand, or its retention is over
          return;
        }
        if (isRepeated(delivery) && (await this.#waitsBefore(arrival))) {
          this.#drop(arrival);
          return;
        }
        revision = stored?.revision ?? 0;
      }
      if (!arrival.first) throw new TypeError("a wake cannot make a job");
      if (arrival.parent && !(await this.#isAwaited(jobId, arrival.parent))) {
        await this.#reject(delivery, jobId, "its parent does not wait for it (any more)");
        return;
      }
      if (arrival.named && !(await this.#lookUp(arrival, arrival.named))) return;
      const now = Date.now();
      const transition = this.#placed(arrival.first(now, mayHaveBegun(delivery, jobId)), now, arrival);
      if (!arrival.isHeld) this.#context.memory.holdPassing(arrival.footprint ?? 0);
      arrival.isHeld = true;
      const { state, events } = tooLarge === undefined ? transition : oversizedJob(transition, tooLarge, now);
      const stamped: JobState = { ...state, version: 1, writer: this.#context.writer };
      const outcome = await this.#context.store.commit(stamped, revision);
      mayExist = true;
      if (outcome.type === "stored") {
        const isAgain = delivery.deliveries > 1 && delivery.storedAt + this.#context.ackWaitMs <= now;
        this.#context.lifecycle.emit("claimed", jobId, "new", isAgain ? "unknown" : undefined);
        const definition = arrival.named && (await this.#define(stamped, arrival));
        this.#host(arrival, stamped, outcome.revision, definition).begin(events);
        return;
      }
      if (outcome.type === "refused") tooLarge = outcome.cause.message;
      if (outcome.type === "full") {
        delivery.nak(FULL_RETRY_MS);
        return;
      }
      if (outcome.type === "unknown") {
        if (failures === 0) this.#trouble("cannot commit a new job", outcome.cause, jobId);
        await pause(this.#context.bus, failures);
      }
    }
    delivery.nak(); // we are closing: another supervisor shall have it at once
  }

  /** ARRIVALS-11: what its definition says. Returns false if it is left alone. */
  async #lookUp(arrival: Arrival, { jobId, name, from }: NamedSubmission): Promise<boolean> {
    const definition = await this.#patiently(jobId, () => this.#reads.run(() => this.#context.definitions.get(name)));
    if (definition && definition.format > FORMAT) {
      this.#leaveAlone(jobId, arrival.delivery, "defined", definition.format);
      return false;
    }
    arrival.first = from(definition).first;
    arrival.bytes = arrival.delivery.data.length + (definition?.document.length ?? 0);
    return true;
  }

  /** The first transition of a job, with the place where it waits if it has to. */
  #placed(first: Transition, now: number, arrival: Arrival): Transition {
    arrival.footprint ??= footprintOf(first.state, arrival.bytes ?? arrival.delivery.data.length);
    return placed(this.#context, first, SUBMISSION, now, arrival.footprint);
  }

  /** ARRIVALS-8. It comes again, to us or to a supervisor that can read its job. */
  #leaveAlone(jobId: string, delivery: Delivery, how: "stored" | "submitted" | "defined", format: number): void {
    delivery.nak(around(NEWER_RETRY_MS));
    const now = performance.now();
    const isNews = now - this.#leftAloneAt > 10 * NEWER_RETRY_MS;
    this.#leftAloneAt = now;
    if (!isNews) return;
    const what = `left alone: a newer version has ${how} the job (format ${format}, ours is ${FORMAT}); upgrade this supervisor`;
    this.#trouble(what, undefined, jobId);
  }

  /** Decides what a message means for a job that is in the store. Returns false if the store has changed meanwhile. */
  async #takeOver(state: JobState, revision: number, named: number | undefined, arrival: Arrival): Promise<boolean> {
    const { jobId, lease, delivery, first } = arrival;
    if (first ? !isMadeBy(state, delivery) : !isTokenOf(state, delivery.data)) {
      this.#drop(arrival); // a repetition, or ARRIVALS-9
      return true;
    }
    if (lease.number - state.token > MAX_AHEAD) {
      this.#trouble("dropped a wake with a number that is none of ours", undefined, jobId, {
        kind: "dropped a message",
      });
      delivery.ack();
      return true;
    }
    if (isEnded(state) && lease.number > state.token) return this.#useUp(state, revision, arrival);
    if (!isEnded(state) && lease.number < state.token) {
      const restored = await this.#restore(state);
      if (typeof restored === "object") return this.#failRefused(state, revision, arrival, restored.refused);
      if (restored) delivery.ack(); // ARRIVALS-4
      return true;
    }
    if (!first && isGraph(state) && lease.number === state.token && (await this.#isDouble(state, delivery))) {
      delivery.nak(DOUBLE_RETRY_MS); // ARRIVALS-10
      return true;
    }
    // A state that is older than its token was restored from a backup. It takes that number, so that its next one is newer.
    const held = lease.number > state.token ? { ...state, token: lease.number } : state;
    const definition = named ?? (await this.#define(held, arrival));
    this.#context.lifecycle.emit("claimed", jobId, "resumed", holderBefore(state, delivery, this.#context.writer));
    this.#host(arrival, held, revision, definition).resume(first ? undefined : delivery.storedAt);
    return true;
  }

  #isDouble(state: JobState, { sequence }: Delivery): Promise<boolean> {
    const { job_id: jobId, token } = state;
    return this.#patiently(jobId, () => hasOlderWake(this.#context.bus, state, token, sequence));
  }

  /**
   * A job that has parked has no submission any more, and one whose submission names a definition had none that says all: if there are
   * steps enough to come, what it is defined to be is stored for them.
   */
  async #define(state: JobState, { named }: Arrival): Promise<number | undefined> {
    if (isEnded(state) || (state.token === SUBMISSION && !named)) return undefined;
    if (commitsAhead(state) < WORTH_DEFINING) return undefined;
    try {
      return await this.#context.store.define(state, this.#context.briefAboveBytes);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return undefined; // it is stored in full
    }
  }

  #restore(state: LiveJob): Promise<boolean | { refused: string }> {
    const { bus, tokens, isStopped } = this.#context;
    const onTrouble = (error: unknown, isOver?: () => boolean) =>
      this.#trouble("cannot set the timer again", error, state.job_id, isOver && { isOver });
    return untilPlaced(bus, isStopped, onTrouble, () => tokens.restore(state));
  }

  /** A job whose next token cannot be made has failed. Returns false if the store has changed meanwhile. */
  async #failRefused(before: LiveJob, revision: number, arrival: Arrival, why: string): Promise<boolean> {
    const { state, events } = reduce(before, { type: "refused", why }, Date.now());
    const failed: JobState = { ...state, version: before.version + 1, writer: this.#context.writer };
    const stored = await this.#commitOnce(failed, revision);
    if (stored === undefined) return false;
    this.#host(arrival, failed, stored).begin(events);
    return true;
  }

  /** ARRIVALS-5. Returns false if the store has changed meanwhile. */
  async #useUp(state: EndedJob, revision: number, { lease, delivery }: Arrival): Promise<boolean> {
    const used: EndedJob = { ...state, token: lease.number, version: state.version + 1, writer: this.#context.writer };
    if ((await this.#commitOnce(used, revision)) === undefined) return false;
    delivery.ack();
    return true;
  }

  /** A job whose state cannot be read has failed. Returns false if the store has changed meanwhile. */
  async #replaceCorrupt(revision: number, problem: string, arrival: Arrival): Promise<boolean> {
    const { jobId, lease, delivery, first } = arrival;
    const { state, events } = corruptJob(jobId, problem, Date.now());
    const sequence = first ? delivery.sequence : 0;
    const made = { sequence, created_at: first ? delivery.storedAt : state.created_at };
    const stamped: JobState = { ...state, ...made, token: lease.number, version: 1, writer: this.#context.writer };
    const stored = await this.#commitOnce(stamped, revision);
    if (stored === undefined) return false;
    this.#host(arrival, stamped, stored).begin(events);
    return true;
  }

  /** The new revision; undefined if it is not known to be stored: the caller reads again. */
  async #commitOnce(state: JobState, revision: number): Promise<number | undefined> {
    const outcome = await this.#context.store.commit(state, revision);
    if (outcome.type === "stored") return outcome.revision;
    if (outcome.type !== "conflict") await pause(this.#context.bus, 0);
    return undefined;
  }

  /** @param definition its sequence, if it is stored */
  #host(
    { lease, delivery, first, footprint, named, bytes = delivery.data.length }: Arrival,
    state: JobState,
    revision: number,
    definition?: number,
  ): JobActor {
    // A graph says much of each entry that does not change: it pays for small ones, too.
    const leans = first !== undefined && !named; // ARRIVALS-11
    const isLong = leans && (isGraph(state) || bytes >= this.#context.briefAboveBytes);
    const long = isLong || definition !== undefined ? { definition } : undefined;
    const measured = { footprint: footprint ?? footprintOf(state, Math.max(LONG, bytes)), bytes };
    const actor = new JobActor(this.#context, lease, state, revision, long, measured);
    this.actors.set(state.job_id, actor);
    actor.whenGone(() => {
      this.actors.delete(state.job_id);
      this.#context.onLeft();
    });
    return actor;
  }

  /** Records that a submission cannot even be recorded as a failed job, then drops it. */
  async #reject(delivery: Delivery, jobId: string, reason: string): Promise<void> {
    const { subject, sequence, storedAt } = delivery;
    const at = new Date(storedAt).toISOString();
    const event: RejectedEvent = { type: "rejected", job_id: jobId, at, subject, sequence, reason };
    this.#context.lifecycle.emit("job", event);
    if (await this.#insist("cannot record a rejection", jobId, () => this.#context.eventLog.record(event)))
      delivery.ack();
  }

  /** ARRIVALS-7: whether the submission that this one repeats is still there. */
  async #waitsBefore({ jobId, delivery: { subject, sequence } }: Arrival): Promise<boolean> {
    const query = { filter: subject, from: 1, batch: 1 };
    const { messages } = await this.#patiently(jobId, () => readBatch(this.#context.bus, JOBS, query));
    return (messages[0]?.sequence ?? sequence) < sequence;
  }

  /** PARENTS-4 */
  #isAwaited(jobId: string, parent: Parent): Promise<boolean> {
    return this.#patiently(jobId, () => this.#context.parents.awaits(jobId, parent));
  }

  #read(jobId: string): Promise<StoredJob | undefined> {
    return this.#patiently(jobId, () => this.#reads.run(() => this.#context.store.get(jobId)));
  }

  /** @throws AsyncError `closed` if the supervisor stops meanwhile */
  async #patiently<T>(jobId: string, read: () => Promise<T>): Promise<T> {
    let found: { value: T } | undefined;
    await this.#insist("cannot read a job", jobId, async () => {
      found = { value: await read() };
    });
    if (!found) throw new AsyncError("closed", "the supervisor is closing");
    return found.value;
  }

  #insist(what: string, jobId: string, call: () => Promise<void>): Promise<boolean> {
    return untilDone(
      this.#context.bus,
      () => this.#context.isStopped(),
      (error, isOver) => this.#trouble(what, error, jobId, { isOver }),
      call,
    );
  }

  #trouble(what: string, error: unknown, jobId?: string, more: Pick<Trouble, "kind" | "isOver"> = {}): void {
    this.#context.lifecycle.emit("trouble", { what, error, ...(jobId !== undefined && { jobId }), ...more });
  }
}
