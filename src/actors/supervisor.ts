/**
 * Takes submissions and wakes, hosts the actors of the jobs they belong to, and keeps their leases.
 *
 * V1  At most `maxLiveJobs` jobs are in memory; a tenth of that is kept for wakes, so that new jobs cannot keep
 *     parked ones out. What there is no room for stays in the streams.
 * V2  A job has at most one actor in a supervisor. A message for a job whose claim or departure is under way waits
 *     for its end.
 * V3  A message is acknowledged only when what it stands for is stored elsewhere: the job's end, a newer token, or
 *     (for a repeated submission) the token of the job that has the id.
 * V4  A token older than the state's is answered by setting the state's timer again (which changes nothing if it was
 *     set) before it goes: so a crash between the commit, the timer and the acknowledgement of a parking loses nothing.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Bus } from "../bus/connection.ts";
import type { Delivery } from "../bus/delivery.ts";
import { EventLog } from "../bus/event-log.ts";
import { JobList } from "../bus/job-list.ts";
import { JobStore, type StoredJob } from "../bus/job-store.ts";
import { Puller } from "../bus/puller.ts";
import { WAKE_PREFIX } from "../bus/subjects.ts";
import { Timers, timerNumberOf } from "../bus/timers.ts";
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
import { placeSleep, type Transition } from "../job/machine.ts";
import { dueAt, isEnded, type JobState } from "../job/state.ts";
import { Dispatcher, type DispatcherOptions } from "./dispatcher.ts";
import { type ActorContext, JobActor } from "./job-actor.ts";
import { Lease } from "./lease.ts";
import { createLifecycle, type Lifecycle } from "./lifecycle.ts";
import { RequestApi } from "./request-api.ts";
import { pause, untilDone } from "./retrying.ts";
import { jobIdOfWake, oversizedJob, readSubmission } from "./submission.ts";

export interface SupervisorOptions extends DispatcherOptions {
  topology?: TopologyOptions;
  /** Jobs in memory at a time. Default 10,000. */
  maxLiveJobs?: number;
  /** A wait (backoff, start time) longer than this is spent outside of memory. Default 10 s. */
  parkAfterMs?: number;
  /** How long a job without a worker is parked before it is tried again. Default 30 s. */
  roomRetryMs?: number;
  /** How long an ended job is kept. Default 7 days. */
  retentionMs?: number;
}

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
  readonly #api: RequestApi;
  readonly #actors = new Map<string, JobActor>();
  /** Jobs whose first read or write is under way. */
  readonly #claiming = new Map<string, Promise<void>>();
  readonly #pullers: Puller[];
  readonly #leaseTimer: NodeJS.Timeout;
  #stopped = false;

  private constructor(bus: Bus, topology: Topology, options: SupervisorOptions) {
    this.#bus = bus;
    this.topology = topology;
    this.#maxLiveJobs = options.maxLiveJobs ?? 10_000;
    const retention = options.retentionMs === undefined ? {} : { retentionMs: options.retentionMs };
    this.store = new JobStore(bus, { replicas: topology.replicas, ...retention });
    this.#dispatcher = new Dispatcher(bus, this.lifecycle, options);
    const eventLog = new EventLog(bus);
    this.lifecycle.on("job", (event) => {
      if (event.type !== "rejected" && !isEndEvent(event)) eventLog.publish(event);
    });
    this.#context = {
      bus,
      store: this.store,
      timers: new Timers(bus),
      eventLog,
      dispatcher: this.#dispatcher,
      lifecycle: this.lifecycle,
      writer: this.id,
      parkAfterMs: options.parkAfterMs ?? 10_000,
      roomRetryMs: options.roomRetryMs ?? 30_000,
    };
    this.#api = new RequestApi(bus, this.store, new JobList(bus));
    this.#pullers = [
      this.#pull(JOBS, Math.ceil(this.#maxLiveJobs * 0.9), (delivery) => this.#onSubmission(delivery)),
      this.#pull(TIMERS, this.#maxLiveJobs, (delivery) => this.#onWake(delivery)),
    ];
    this.#leaseTimer = setInterval(() => this.#extendLeases(), topology.ackWaitMs / 4);
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
    clearInterval(this.#leaseTimer);
    this.#dispatcher.close();
    await this.#api.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #pull(stream: string, limit: number, onDelivery: (delivery: Delivery) => void): Puller {
    return new Puller(this.#bus, {
      stream,
      consumer: SUPERVISOR_CONSUMER,
      room: () => Math.max(0, limit - this.liveJobs),
      onDelivery,
      onTrouble: (reason) => this.lifecycle.emit("trouble", { what: `pulling from ${stream}: ${reason}` }),
    });
  }

  #onSubmission(delivery: Delivery): void {
    const read = readSubmission(delivery);
    if (read.type === "rejected") void this.#reject(delivery, read.jobId, read.reason);
    else this.#enter({ jobId: read.jobId, lease: new Lease(0, delivery), delivery, first: read.first });
  }

  #onWake(delivery: Delivery): void {
    try {
      const jobId = jobIdOfWake(delivery, WAKE_PREFIX);
      this.#enter({ jobId, lease: new Lease(timerNumberOf(delivery.data), delivery), delivery });
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
      void before.then(() => this.#enter(arrival));
      return;
    }
    const claiming = this.#claim(arrival)
      .catch((error) => this.#trouble("cannot claim", error, jobId))
      .then(() => {
        this.#claiming.delete(jobId);
        this.#refill();
      });
    this.#claiming.set(jobId, claiming);
  }

  /** A message for a job that is live here. */
  #meet(actor: JobActor, arrival: Arrival): void {
    const { lease, delivery } = arrival;
    if (actor.lease.adopt(delivery)) return;
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
    const { jobId, lease, delivery, first } = arrival;
    // A first delivery is most likely a new job: then reading is a waste.
    let mayExist = delivery.deliveries > 1 || !first;
    let revision = 0;
    let tooLarge: string | undefined;
    for (let failures = 0; !this.#stopped; failures++) {
      if (mayExist) {
        const stored = await this.#read(jobId);
        if (stored?.state) {
          await this.#takeOver(stored.state, stored.revision, arrival);
          return;
        }
        if (!first) {
          this.#drop(arrival); // the job was deleted by hand, or its retention is over
          return;
        }
        revision = stored?.revision ?? 0;
      }
      if (!first) throw new TypeError("a wake cannot make a job");
      const now = Date.now();
      const transition = placeSleep(first(now), now, this.#context.parkAfterMs);
      const { state, effects } = tooLarge === undefined ? transition : oversizedJob(transition, tooLarge, now);
      const stamped: JobState = { ...state, version: 1, writer: this.id };
      const outcome = await this.store.commit(stamped, revision);
      mayExist = true;
      if (outcome.type === "stored") {
        this.lifecycle.emit("claimed", jobId, "new");
        this.#host(lease, stamped, outcome.revision).begin(effects);
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

  /** Decides what a message means for a job that is in the store. */
  async #takeOver(state: JobState, revision: number, arrival: Arrival): Promise<void> {
    const { jobId, lease, delivery, first } = arrival;
    if (first && state.sequence !== delivery.sequence) {
      this.#drop(arrival);
    } else if (lease.number < state.token && !isEnded(state)) {
      const reset = () => this.#context.timers.schedule(jobId, dueAt(state), state.token);
      if (await this.#insist("cannot set the timer again", jobId, reset)) delivery.ack(); // V4
    } else {
      this.lifecycle.emit("claimed", jobId, "resumed");
      this.#host(lease, state, revision).resume();
    }
  }

  #host(lease: Lease, state: JobState, revision: number): JobActor {
    const actor = new JobActor(this.#context, lease, state, revision);
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

  /** @throws AsyncError `undecodable` if what is stored makes no sense, `closed` if the supervisor stops meanwhile */
  async #read(jobId: string): Promise<StoredJob | undefined> {
    for (let failures = 0; !this.#stopped; failures++) {
      try {
        return await this.store.get(jobId);
      } catch (error) {
        if (!isAsyncError(error) || error.code === "undecodable") throw error;
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

  #extendLeases(): void {
    if (!this.#bus.connected) return;
    for (const actor of this.#actors.values()) actor.lease.extend();
  }

  #refill(): void {
    for (const puller of this.#pullers) puller.refill();
  }

  #trouble(what: string, error: unknown, jobId?: string): void {
    this.lifecycle.emit("trouble", { what, error, ...(jobId !== undefined && { jobId }) });
  }
}
