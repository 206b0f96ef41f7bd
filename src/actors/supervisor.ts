/**
 * Takes submissions and wakes, hosts the actors of the jobs they belong to, and keeps their leases.
 *
 * V1  At most `maxLiveJobs` jobs are in memory; a tenth of that is kept for wakes, so that new jobs cannot keep
 *     parked ones out. What there is no room for stays in the streams.
 * V2  A job has at most one actor in a supervisor. A message for a job whose claim or departure is under way waits
 *     for its end.
 * V3  A message is acknowledged only when what it stands for is stored elsewhere: the job's end, a newer token, or
 *     (for a repeated submission) the token of the job that has the id.
 * V4  A token older than the state's goes only when the state's own is there, and is the cause to make it if it is not:
 *     so a crash between the commit, the token and the acknowledgement of a parking loses nothing.
 * V5  A token newer than the state's was made for a retry by hand that has not been committed. It is used up (the state
 *     takes its number, so that the late commit fails) before it goes.
 * V6  After it may have been deaf (a pause, a lost connection, a lease that ran out) it looks what has become of its
 *     jobs.
 * V7  A job that nobody else can have submitted (`isOnly`), and whose delivery is fresh, is begun before anything is stored of it but its submission. It
 *     is claimed by its first commit. Whoever gets the message next claims it before beginning anything, so that the
 *     first commit of the one before fails; and a submission that repeats another one gives way to it.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Awake } from "../bus/awake.ts";
import type { Bus } from "../bus/connection.ts";
import type { Delivery } from "../bus/delivery.ts";
import { EventLog } from "../bus/event-log.ts";
import { JobList } from "../bus/job-list.ts";
import { JobStore, type StoredJob } from "../bus/job-store.ts";
import { Puller } from "../bus/puller.ts";
import { readBatch } from "../bus/stream-read.ts";
import { afterPrefix, CHANGED_PREFIX, WAKE_PREFIX } from "../bus/subjects.ts";
import { timerNumberOf } from "../bus/timers.ts";
import { Tokens } from "../bus/tokens.ts";
import {
  ensureTopology,
  JOBS,
  SUPERVISOR_CONSUMER,
  TIMERS,
  type Topology,
  type TopologyOptions,
} from "../bus/topology.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { isEndEvent, type RejectedEvent } from "../job/events.ts";
import { placeSleep, reduce, type Transition } from "../job/machine.ts";
import { currentFunction, type EndedJob, isEnded, type JobState } from "../job/state.ts";
import { BacklogFeeder } from "./backlog-feeder.ts";
import { Dispatcher, type DispatcherOptions } from "./dispatcher.ts";
import { type ActorContext, JobActor } from "./job-actor.ts";
import { JobControl } from "./job-control.ts";
import { Lease } from "./lease.ts";
import { createLifecycle, type Lifecycle } from "./lifecycle.ts";
import { RequestApi } from "./request-api.ts";
import { pause, untilDone } from "./retrying.ts";
import { isOnly, isRepeated, jobIdOfWake, oversizedJob, readSubmission } from "./submission.ts";
import { corruptJob, sweep } from "./sweep.ts";

export interface SupervisorOptions extends DispatcherOptions {
  topology?: TopologyOptions;
  /**
   * Jobs in memory at a time; what is beyond waits in the streams. More cost memory, extensions of leases, and time to be
   * taken over when this process dies; fewer are too few where many long attempts run at once. Default 2,000.
   */
  maxLiveJobs?: number;
  /** A wait (backoff, start time) longer than this is spent outside of memory. Default 10 s. */
  parkAfterMs?: number;
  /** How long an ended job is kept. Default 7 days. */
  retentionMs?: number;
  /**
   * The steps of a job whose submission is at least this large are stored without what the submission says. Default
   * 2,048 bytes: below that it would save less than it costs.
   */
  briefAboveBytes?: number;
  /** How often it looks for jobs that nothing would ever bring back, besides soon after its start. Default 30 min. */
  sweepMs?: number;
}

export const DEFAULT_MAX_LIVE_JOBS = 2_000;

/** How often it is looked whether memory is full. */
const RELIEVE_MS = 500;
/** Soon after the start, when what was left behind by others has been delivered. */
const FIRST_SWEEP_MS = 5_000;
/** Between two pages of a sweep: so it takes a few percent of a core at most while it lasts. */
const SWEEP_PAUSE_MS = 100;

/** A message that stands for a job: a submission, which can make it (`first`), or the wake of a parked one. */
interface Arrival {
  jobId: string;
  lease: Lease;
  delivery: Delivery;
  first?: (now: number) => Transition;
}

export class Supervisor {
  readonly id = randomBytes(6).toString("hex");
  /** Tells what happens in here; see `LifecycleEvents`. */
  readonly lifecycle: Lifecycle = createLifecycle();
  readonly topology: Topology;
  readonly store: JobStore;
  readonly #bus: Bus;
  readonly #maxLiveJobs: number;
  readonly #context: ActorContext;
  readonly #dispatcher: Dispatcher;
  readonly #feeder: BacklogFeeder;
  readonly #tokens: Tokens;
  readonly #api: RequestApi;
  readonly #actors = new Map<string, JobActor>();
  /** Jobs whose first read or write is under way. */
  readonly #claiming = new Map<string, { lease: Lease; done: Promise<void> }>();
  readonly #pullers: Puller[];
  readonly #timers: NodeJS.Timeout[];
  readonly #stops: (() => void)[];
  readonly #ackWaitMs: number;
  readonly #awake: Awake;
  #newestSubmission = 0;
  #uncertainUntil = 0;
  readonly #sweepMs: number;
  readonly #briefAboveBytes: number;
  #nextSweep: NodeJS.Timeout | undefined;
  #stopped = false;

  private constructor(bus: Bus, topology: Topology, options: SupervisorOptions) {
    this.#bus = bus;
    this.topology = topology;
    this.#ackWaitMs = topology.ackWaitMs;
    this.#awake = new Awake(bus, topology.ackWaitMs / 10);
    this.#sweepMs = options.sweepMs ?? 30 * 60_000;
    this.#briefAboveBytes = options.briefAboveBytes ?? 2_048;
    this.#maxLiveJobs = options.maxLiveJobs ?? DEFAULT_MAX_LIVE_JOBS;
    const retention = options.retentionMs === undefined ? {} : { retentionMs: options.retentionMs };
    this.store = new JobStore(bus, { replicas: topology.replicas, ...retention });
    this.#tokens = new Tokens(bus);
    this.#dispatcher = new Dispatcher(bus, this.lifecycle, { onHungry: (name) => this.#feeder.feed(name) }, options);
    this.#feeder = new BacklogFeeder({
      bus,
      backlog: this.#tokens.backlog,
      dispatcher: this.#dispatcher,
      room: () => this.#room(),
      onTrouble: (what, error) => this.#trouble(what, error),
    });
    const eventLog = new EventLog(bus);
    this.lifecycle.on("job", (event) => {
      if (event.type !== "rejected" && !isEndEvent(event)) eventLog.publish(event);
    });
    this.#context = {
      bus,
      store: this.store,
      tokens: this.#tokens,
      eventLog,
      dispatcher: this.#dispatcher,
      feeder: this.#feeder,
      lifecycle: this.lifecycle,
      writer: this.id,
      parkAfterMs: options.parkAfterMs ?? 10_000,
    };
    const list = new JobList(bus, this.store, (submission) => readSubmission(submission).jobId);
    const control = new JobControl({ ...this.#context, list });
    this.#api = new RequestApi(bus, list, control);
    this.#pullers = [
      this.#pull(
        JOBS,
        () => this.#room(),
        (delivery) => this.#onSubmission(delivery),
      ),
      this.#pull(
        TIMERS,
        () => this.#maxLiveJobs - this.liveJobs,
        (delivery) => this.#onWake(delivery),
      ),
    ];
    const changed = bus.nc.subscribe(`${CHANGED_PREFIX}.*`, {
      callback: (_, message) => this.#actors.get(afterPrefix(message.subject, CHANGED_PREFIX) ?? "")?.verify(),
    });
    this.#stops = [() => changed.unsubscribe(), bus.onReconnected(() => this.#onReconnected())];
    this.#timers = [
      setInterval(() => this.#extendLeases(), topology.ackWaitMs / 3),
      setInterval(() => {
        if (this.#room() === 0) this.#dispatcher.relieve(this.#maxLiveJobs);
      }, RELIEVE_MS),
    ];
    void this.#feeder.look();
    this.#planSweep(FIRST_SWEEP_MS);
  }

  /**
   * Makes the streams if they are missing and begins to take jobs.
   *
   * @throws AsyncError `topology_mismatch`, `jetstream_unavailable`
   */
  static async start(bus: Bus, options: SupervisorOptions = {}): Promise<Supervisor> {
    return Supervisor.on(bus, await ensureTopology(bus, options.topology), options);
  }

  /** The same on streams that are known to exist. */
  static on(bus: Bus, topology: Topology, options: Omit<SupervisorOptions, "topology"> = {}): Supervisor {
    return new Supervisor(bus, topology, options);
  }

  /** How many jobs are in memory. */
  get liveJobs(): number {
    return this.#actors.size + this.#claiming.size;
  }

  /**
   * Stops taking jobs, lets attempts in flight end for up to `graceMs`, and hands the other jobs over. Jobs whose
   * attempt takes longer are handed over too; that attempt will be run again elsewhere.
   */
  async close({ graceMs = 10_000 } = {}): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await Promise.all(this.#pullers.map((puller) => puller.stop()));
    const end = performance.now() + graceMs;
    do {
      for (const actor of [...this.#actors.values()]) actor.drain();
      if (this.liveJobs > 0) await delay(Math.min(20, graceMs));
    } while (this.liveJobs > 0 && performance.now() < end);
    for (const actor of [...this.#actors.values()]) actor.handOver();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#nextSweep);
    for (const stop of this.#stops) stop();
    this.#awake.close();
    this.#feeder.close();
    this.#dispatcher.close();
    await this.#api.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** How many more new jobs there is room for (V1). */
  #room(): number {
    return Math.max(0, Math.ceil(this.#maxLiveJobs * 0.9) - this.liveJobs);
  }

  #pull(stream: string, room: () => number, onDelivery: (delivery: Delivery) => void): Puller {
    return new Puller(this.#bus, {
      stream,
      consumer: SUPERVISOR_CONSUMER,
      room,
      onDelivery,
      onTrouble: (reason) => this.lifecycle.emit("trouble", { what: `pulling from ${stream}: ${reason}` }),
    });
  }

  #onSubmission(delivery: Delivery): void {
    const read = readSubmission(delivery);
    if (read.type === "rejected") {
      void this.#reject(delivery, read.jobId, read.reason);
      return;
    }
    const { jobId, first } = read;
    const arrival: Arrival = { jobId, lease: new Lease(0, delivery.receipt, this.#ackWaitMs), delivery, first };
    if (!this.#isFresh(delivery) || !isOnly(delivery, jobId) || !this.#begin(arrival, first)) this.#enter(arrival);
  }

  /** V7: it was sent just now, and not before. First deliveries come in the order of their sequences. */
  #isFresh({ sequence }: Delivery): boolean {
    const isNew = sequence > this.#newestSubmission;
    if (isNew) this.#newestSubmission = sequence;
    return this.#awake.look() && isNew;
  }

  /**
   * V7: begins a job that nobody else can have submitted, without storing what its submission says already. Returns
   * false if more than that must be stored before anything is done.
   */
  #begin(arrival: Arrival, first: (now: number) => Transition): boolean {
    const { jobId, lease } = arrival;
    if (this.#actors.has(jobId) || this.#claiming.has(jobId)) return false;
    const now = Date.now();
    const { state, effects } = placeSleep(this.#unlessJammed(first(now), now), now, this.#context.parkAfterMs);
    if (isEnded(state) || state.token !== lease.number) return false;
    state.writer = this.id;
    this.lifecycle.emit("claimed", jobId, "new");
    this.#host(arrival, state, 0).begin(effects);
    return true;
  }

  #onWake(delivery: Delivery): void {
    try {
      const jobId = jobIdOfWake(delivery, WAKE_PREFIX);
      this.#enter({
        jobId,
        lease: new Lease(timerNumberOf(delivery.data), delivery.receipt, this.#ackWaitMs),
        delivery,
      });
    } catch (error) {
      // Only supervisors may publish here, so this is a stranger's message: it stands for no job.
      this.#trouble(`dropped a message on ${delivery.subject}`, error);
      delivery.ack();
    }
  }

  /** V2: one claim per job at a time, and none for a job that has an actor. */
  #enter(arrival: Arrival): void {
    const { jobId } = arrival;
    const actor = this.#actors.get(jobId);
    if (actor) {
      this.#meet(actor, arrival);
      return;
    }
    const before = this.#claiming.get(jobId);
    if (before) {
      void before.done.then(() => this.#enter(arrival));
      return;
    }
    const done = this.#claim(arrival)
      .catch((error) => this.#trouble("cannot claim", error, jobId))
      .then(() => {
        this.#claiming.delete(jobId);
        this.#refill();
      });
    this.#claiming.set(jobId, { lease: arrival.lease, done });
  }

  /** A message for a job that is live here. */
  #meet(actor: JobActor, arrival: Arrival): void {
    const { lease, delivery } = arrival;
    if (actor.lease.adopt(lease.number, delivery.receipt)) {
      actor.verify(); // V6: it had run out, and someone else may have had it meanwhile
      return;
    }
    // The timer of a job that is just being parked has fired already: it begins anew when that is through.
    if (lease.number > actor.lease.number) actor.whenGone(() => this.#enter(arrival));
    else this.#drop(arrival);
  }

  /** A message that stands for nothing: the job it names has another token, or has ended. */
  #drop({ jobId, delivery, first }: Arrival): void {
    if (first) this.lifecycle.emit("repeated", jobId);
    delivery.ack();
  }

  async #claim(arrival: Arrival): Promise<void> {
    const { jobId, delivery, first } = arrival;
    // A first delivery is most likely a new job: then reading is a waste.
    let mayExist = delivery.deliveries > 1 || !first || isRepeated(delivery);
    let revision = 0;
    let tooLarge: string | undefined;
    for (let failures = 0; !this.#stopped; failures++) {
      if (mayExist) {
        const stored = await this.#read(jobId);
        if (stored?.problem !== undefined) {
          if (await this.#replaceCorrupt(stored.revision, stored.problem, arrival)) return;
          continue;
        }
        if (stored?.state) {
          if (await this.#takeOver(stored.state, stored.revision, arrival)) return;
          continue;
        }
        if (!first) {
          this.#drop(arrival); // the job was deleted by hand, or its retention is over
          return;
        }
        if (isRepeated(delivery) && (await this.#waitsBefore(delivery))) {
          this.#drop(arrival);
          return;
        }
        revision = stored?.revision ?? 0;
      }
      if (!first) throw new TypeError("a wake cannot make a job");
      const now = Date.now();
      const transition = placeSleep(this.#unlessJammed(first(now), now), now, this.#context.parkAfterMs);
      const { state, effects } = tooLarge === undefined ? transition : oversizedJob(transition, tooLarge, now);
      const stamped: JobState = { ...state, version: 1, writer: this.id };
      const outcome = await this.store.commit(stamped, revision);
      mayExist = true;
      if (outcome.type === "stored") {
        this.lifecycle.emit("claimed", jobId, "new");
        this.#host(arrival, stamped, outcome.revision).begin(effects);
        return;
      }
      if (outcome.type === "refused") tooLarge = outcome.cause.message;
      if (outcome.type === "unknown") {
        if (failures === 0) this.#trouble("cannot commit a new job", outcome.cause, jobId);
        await pause(this.#bus, failures);
      }
    }
    delivery.nak(); // we are closing: another supervisor shall have it at once
  }

  /** Where so many jobs of its function wait that it would be sent to the backlog, a new job goes there at once. */
  #unlessJammed(first: Transition, now: number): Transition {
    const { state, effects } = first;
    const { current_function: index, attempt } = state;
    if (isEnded(state) || effects.at(-1)?.type !== "invoke") return first;
    if (!this.#dispatcher.jammed(currentFunction(state).name)) return first;
    const queued = reduce(state, { type: "no_room", index, attempt }, now);
    return { state: queued.state, effects: [...effects.slice(0, -1), ...queued.effects] };
  }

  /** Decides what a message means for a job that is in the store. Returns false if the store has changed meanwhile. */
  async #takeOver(state: JobState, revision: number, arrival: Arrival): Promise<boolean> {
    const { jobId, lease, delivery, first } = arrival;
    if (first && state.sequence !== delivery.sequence) {
      this.#drop(arrival);
      return true;
    }
    if (isEnded(state) && lease.number > state.token) return this.#useUp(state, revision, arrival);
    if (!isEnded(state) && lease.number < state.token) {
      const restore = () => this.#tokens.restore(state);
      if (await this.#insist("cannot set the timer again", jobId, restore)) delivery.ack(); // V4
      return true;
    }
    this.lifecycle.emit("claimed", jobId, "resumed");
    this.#host(arrival, state, revision).resume();
    return true;
  }

  /** V5. Returns false if the store has changed meanwhile. */
  async #useUp(state: EndedJob, revision: number, { lease, delivery }: Arrival): Promise<boolean> {
    const used: EndedJob = { ...state, token: lease.number, version: state.version + 1, writer: this.id };
    if ((await this.#commitOnce(used, revision)) === undefined) return false;
    delivery.ack();
    return true;
  }

  /** A job whose state cannot be read has failed. Returns false if the store has changed meanwhile. */
  async #replaceCorrupt(revision: number, problem: string, arrival: Arrival): Promise<boolean> {
    const { jobId, lease, delivery, first } = arrival;
    const { state, effects } = corruptJob(jobId, problem, Date.now());
    const sequence = first ? delivery.sequence : 0;
    const stamped: JobState = { ...state, sequence, token: lease.number, version: 1, writer: this.id };
    const stored = await this.#commitOnce(stamped, revision);
    if (stored === undefined) return false;
    this.#host(arrival, stamped, stored).begin(effects);
    return true;
  }

  /** The new revision; undefined if it is not known to be stored: the caller reads again. */
  async #commitOnce(state: JobState, revision: number): Promise<number | undefined> {
    const outcome = await this.store.commit(state, revision);
    if (outcome.type === "stored") return outcome.revision;
    if (outcome.type !== "conflict") await pause(this.#bus, 0);
    return undefined;
  }

  #host({ lease, delivery, first }: Arrival, state: JobState, revision: number): JobActor {
    const brief = first !== undefined && delivery.data.length >= this.#briefAboveBytes;
    const actor = new JobActor(this.#context, lease, state, revision, brief);
    this.#actors.set(state.job_id, actor);
    actor.whenGone(() => {
      this.#actors.delete(state.job_id);
      this.#refill();
    });
    return actor;
  }

  /** Records that a submission cannot even be recorded as a failed job, then drops it. */
  async #reject(delivery: Delivery, jobId: string, reason: string): Promise<void> {
    const { subject, sequence, storedAt } = delivery;
    const at = new Date(storedAt).toISOString();
    const event: RejectedEvent = { type: "rejected", job_id: jobId, at, subject, sequence, reason };
    this.lifecycle.emit("job", event);
    if (await this.#insist("cannot record a rejection", jobId, () => this.#context.eventLog.record(event)))
      delivery.ack();
  }

  /** V7: whether the submission that this one repeats is still there. */
  async #waitsBefore({ subject, sequence }: Delivery): Promise<boolean> {
    const { messages } = await this.#patiently(() =>
      readBatch(this.#bus, JOBS, { filter: subject, from: 1, batch: 1 }),
    );
    return (messages[0]?.sequence ?? sequence) < sequence;
  }

  #read(jobId: string): Promise<StoredJob | undefined> {
    return this.#patiently(() => this.store.get(jobId), jobId);
  }

  /** @throws AsyncError `closed` if the supervisor stops meanwhile */
  async #patiently<T>(call: () => Promise<T>, jobId?: string): Promise<T> {
    for (let failures = 0; !this.#stopped; failures++) {
      try {
        return await call();
      } catch (error) {
        if (!isAsyncError(error)) throw error;
        if (failures === 0) this.#trouble("cannot read a job", error, jobId);
        await pause(this.#bus, failures);
      }
    }
    throw new AsyncError("closed", "the supervisor is closing");
  }

  #insist(what: string, jobId: string, call: () => Promise<void>): Promise<boolean> {
    return untilDone(
      this.#bus,
      () => this.#stopped,
      (error) => this.#trouble(what, error, jobId),
      call,
    );
  }

  /** If it fails it is tried again with the next round; what is not extended ceases to be valid. */
  async #extend(lease: Lease): Promise<void> {
    try {
      await lease.extend(this.#bus.mux);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#becomeUncertain();
    }
  }

  /**
   * The server was away, or is: it may give jobs of ours to others, earlier than we know of, and confirms extensions to
   * who has lost a message. So for two leases the states are read again with each round (V6).
   */
  #becomeUncertain(): void {
    this.#uncertainUntil = performance.now() + 2 * this.#ackWaitMs;
  }

  #extendLeases(): void {
    if (!this.#bus.connected) return;
    const uncertain = performance.now() < this.#uncertainUntil;
    // One that has run out is not made valid again by extending it: its job may have gone on elsewhere.
    for (const { lease } of this.#claiming.values()) if (lease.valid) void this.#extend(lease);
    for (const actor of this.#actors.values()) {
      if (uncertain) actor.verify();
      if (actor.lease.valid && !actor.heldBack) void this.#extend(actor.lease);
      else if (actor.lease.valid || !actor.lease.missRound()) actor.verify();
      else actor.abandon();
    }
  }

  /** At a random time around the given one, so that supervisors started together do not look together. */
  #planSweep(aroundMs: number): void {
    this.#nextSweep = setTimeout(() => void this.#sweep(), aroundMs * (0.5 + Math.random()));
  }

  async #sweep(): Promise<void> {
    void this.#feeder.look();
    try {
      const stopped = () => this.#stopped;
      const skip = (jobId: string) => this.#actors.has(jobId) || this.#claiming.has(jobId);
      const { stranded } = await sweep(
        { ...this.#context, writer: `${this.id}/sweep` },
        { fix: true, pauseMs: SWEEP_PAUSE_MS, skip, stopped },
      );
      for (const { jobId, problem } of stranded) this.#trouble(`a job was stranded: ${problem}`, undefined, jobId);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#trouble("cannot look for stranded jobs", error);
    }
    if (!this.#stopped) this.#planSweep(this.#sweepMs);
  }

  /** V6 */
  #onReconnected(): void {
    this.#becomeUncertain();
    for (const actor of this.#actors.values()) actor.verify();
  }

  #refill(): void {
    for (const puller of this.#pullers) puller.refill();
  }

  #trouble(what: string, error: unknown, jobId?: string): void {
    this.lifecycle.emit("trouble", { what, error, ...(jobId !== undefined && { jobId }) });
  }
}
