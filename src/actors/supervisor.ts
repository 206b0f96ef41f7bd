/**
 * Takes submissions and wakes, as many as there is room for, and keeps the leases of the jobs they bring.
 *
 * SUPERVISOR-1  At most `maxLiveJobs` jobs are in memory; a tenth of that is kept for wakes, so that new jobs cannot keep
 *     parked ones out. What there is no room for stays in the streams. What one puller has asked for counts for the other.
 * SUPERVISOR-2  After it may have been deaf (a pause, a lost connection, a lease that ran out) it looks what has become of its
 *     jobs.
 * SUPERVISOR-3  Where someone has deleted the consumer of a stream it makes it anew.
 *
 * What a message stands for is decided in `arrivals.ts`.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterPrefix, CHANGED_PREFIX, changedSubject, ENDED_PREFIX } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readEnded } from "../bus/messages/nudges.ts";
import { ChildEnds } from "../bus/store/child-ends.ts";
import { Definitions } from "../bus/store/definitions.ts";
import { EventLog } from "../bus/store/event-log.ts";
import { StoredFunctionSettings } from "../bus/store/function-settings.ts";
import { JobList } from "../bus/store/job-list.ts";
import { DEFAULT_RETENTION_MS, JobStore } from "../bus/store/job-store.ts";
import { Signals } from "../bus/store/signals.ts";
import { Storage } from "../bus/store/storage.ts";
import { Awake } from "../bus/tokens/awake.ts";
import type { Delivery } from "../bus/tokens/delivery.ts";
import { Puller, type PullerOptions } from "../bus/tokens/puller.ts";
import { Tokens } from "../bus/tokens/tokens.ts";
import { ensureTopology, JOBS, mendConsumer, SUPERVISOR_CONSUMER, TIMERS, type Topology } from "../bus/topology.ts";
import { WriteProbe } from "../bus/write-probe.ts";
import { type ErrorCode, isAsyncError } from "../job/errors.ts";
import { isEndEvent } from "../job/events.ts";
import { requireLimit, timerMs } from "../job/time.ts";
import { TimeShare } from "../util/time-share.ts";
import type { ActorContext } from "./actor-context.ts";
import { Arrivals } from "./arrivals.ts";
import { BacklogFeeder } from "./backlog-feeder.ts";
import { ChildJobs } from "./child-jobs.ts";
import { Depths } from "./depths.ts";
import { Dispatcher } from "./dispatcher.ts";
import { DrainCount } from "./drain-count.ts";
import { FunctionSettings } from "./function-settings.ts";
import type { JobActor } from "./job-actor.ts";
import { JobControl } from "./job-control.ts";
import { keptRequests } from "./kept-requests.ts";
import { LARGE_SUBMISSION_BYTES, LargePace } from "./large-pace.ts";
import type { Lease } from "./lease.ts";
import { createLifecycle, type Lifecycle, type Trouble } from "./lifecycle.ts";
import { DEFAULT_MAX_MEMORY_BYTES, Memory } from "./memory.ts";
import { Parents } from "./parents.ts";
import { PartSweep } from "./part-sweep.ts";
import { RequestApi } from "./request-api.ts";
import { around } from "./retrying.ts";
import { SignalRequests } from "./signals.ts";
import { StorageWatch } from "./storage-watch.ts";
import { readSubmission } from "./submission.ts";
import { requireOptions, type SupervisorOptions } from "./supervisor-options.ts";
import { sweep } from "./sweep.ts";

export type { SupervisorOptions } from "./supervisor-options.ts";

export const DEFAULT_MAX_LIVE_JOBS = 2_000;

/** How often it is looked whether memory is full. */
const RELIEVE_MS = 500;
/** Soon after the start, when what was left behind by others has been delivered. */
const FIRST_SWEEP_MS = 5_000;
/** What comes though there is no room, from a pull that was given up too early, is looked at again after this time. */
const EXCESS_RETRY_MS = 250;
/** Between two windows of a sweep: so it takes a few percent of a core while it lasts, and holds no job up for long. */
const SWEEP_PAUSE_MS = 8;
/** Between two looks whether a consumer is there (SUPERVISOR-3); the longest that a look takes. */
const MEND_PAUSE_MS = 3_000;
/** No leader, no connection: whether it is gone is not known then. */
const PASSING = new Set<ErrorCode>([
  "bus_timeout",
  "not_connected",
  "no_responders",
  "jetstream_unavailable",
  "closed",
]);

export class Supervisor {
  readonly id = randomBytes(6).toString("hex");
  /** Tells what happens in here; see `LifecycleEvents`. */
  readonly lifecycle: Lifecycle = createLifecycle();
  readonly topology: Topology;
  /** @internal */
  readonly store: JobStore;
  readonly #bus: Bus;
  readonly #maxLiveJobs: number;
  readonly #memory: Memory;
  readonly #context: ActorContext;
  readonly #settings: FunctionSettings;
  readonly #dispatcher: Dispatcher;
  readonly #feeder: BacklogFeeder;
  readonly #tokens: Tokens;
  readonly #storage: Storage;
  readonly #storageWatch: StorageWatch;
  readonly #api: RequestApi;
  readonly #depths: Depths;
  readonly #arrivals: Arrivals;
  #submissions: Puller | undefined;
  #wakes: Puller | undefined;
  /** Who asks first: not the one that had more room than it could use. */
  #wakesFirst = false;
  readonly #pace = new LargePace();
  readonly #timers: NodeJS.Timeout[];
  readonly #stops: (() => void)[];
  readonly #ackWaitMs: number;
  readonly #awake: Awake;
  #uncertainUntil = 0;
  /** By stream: when it may next be asked whether its consumer is there, monotonic ms. */
  readonly #mendAgainAt = new Map<string, number>();
  readonly #sweepMs: number;
  #nextSweep: NodeJS.Timeout | undefined;
  #sweptTo = 1;
  /** It takes no more jobs. */
  #stopped = false;
  #closed: Promise<void> | undefined;
  /** It has got the last of them, and hands over what has not begun. */
  #draining = false;

  private constructor(bus: Bus, topology: Topology, options: SupervisorOptions) {
    requireOptions(options);
    this.#bus = bus;
    this.topology = topology;
    this.#ackWaitMs = topology.ackWaitMs;
    this.#awake = new Awake(bus, topology.ackWaitMs / 10, () => this.#becomeUncertain());
    this.#sweepMs = options.sweepMs ?? 30 * 60_000;
    this.#maxLiveJobs = options.maxLiveJobs ?? DEFAULT_MAX_LIVE_JOBS;
    this.#memory = new Memory(options.maxMemoryBytes ?? DEFAULT_MAX_MEMORY_BYTES);
    const { retentionMs = DEFAULT_RETENTION_MS } = options;
    this.store = new JobStore(bus, { replicas: topology.replicas, retentionMs, ackWaitMs: topology.ackWaitMs });
    this.#storageWatch = new StorageWatch(this.lifecycle, new WriteProbe(bus), retentionMs);
    this.#storage = new Storage(bus, {
      retentionMs,
      ackWaitMs: topology.ackWaitMs,
      onRetention: (ms) => {
        this.store.keepEndedFor(ms);
        this.#storageWatch.onRetention(ms);
      },
      onFull: (full, fill) => this.#onFull(full, fill),
      onTrouble: (error) => this.#trouble("cannot ask how full the bucket of states is", error),
    });
    this.store.storage = this.#storage;
    this.#tokens = new Tokens(bus);
    const storedSettings = new StoredFunctionSettings(bus, this.store);
    const settings = new FunctionSettings(bus, storedSettings, {
      onLoaded: () => this.#refill(),
      onTrouble: (error) => this.#trouble("cannot read what is set at functions", error),
    });
    this.#settings = settings;
    const onRoom = (name: string) => this.#feeder.feed(name);
    this.#dispatcher = new Dispatcher(bus, this.lifecycle, { onRoom, settings }, options);
    this.#feeder = new BacklogFeeder({
      bus,
      backlog: this.#tokens.backlog,
      dispatcher: this.#dispatcher,
      // Without room for new jobs, what is parked is all that there is to do.
      room: () => {
        const room = this.#storage.full ? this.#maxLiveJobs - this.liveJobs : this.#room();
        return Math.min(room, this.#memory.roomLike(this.#arrivals.actors.size));
      },
      onTrouble: (what, error) => this.#trouble(what, error, { kind: "cannot call jobs that wait for a worker" }),
    });
    const eventLog = new EventLog(bus, topology);
    this.lifecycle.on("job", (event) => {
      if (event.type !== "rejected" && !isEndEvent(event)) eventLog.publish(event);
    });
    const definitions = new Definitions(bus, this.store);
    const list = new JobList(bus, this.store, (submission) => readSubmission(submission).jobId);
    const ends = new ChildEnds(this.store);
    const localParent = (jobId: string) => this.#arrivals.actors.get(jobId);
    const shared = {
      bus,
      store: this.store,
      tokens: this.#tokens,
      eventLog,
      lifecycle: this.lifecycle,
      writer: this.id,
    };
    const parents = new Parents({ ...shared, ends, localParent });
    const control = new JobControl({ ...shared, list, definitions, parents });
    const signals = new Signals(bus, this.store, (jobId, problem) => this.#trouble(problem, undefined, { jobId }));
    this.#context = {
      ...shared,
      parents,
      evaluations: new TimeShare(),
      childJobs: new ChildJobs({ ...shared, ends, parents, control }),
      signals,
      dispatcher: this.#dispatcher,
      feeder: this.#feeder,
      settings,
      memory: this.#memory,
      parkAfterMs: options.parkAfterMs ?? 10_000,
      isDraining: () => this.#draining,
    };
    this.#arrivals = new Arrivals({
      ...this.#context,
      definitions,
      awake: this.#awake,
      ackWaitMs: topology.ackWaitMs,
      briefAboveBytes: options.briefAboveBytes ?? 2_048,
      isStopped: () => this.#stopped,
      onLeft: () => this.#refill(),
    });
    this.#depths = new Depths(bus, this.#dispatcher, this.store, settings);
    const find = (jobId: string) => control.find(jobId);
    const signalRequests = new SignalRequests({ bus, signals, tokens: this.#tokens, find });
    const kept = keptRequests({ definitions, settings, stored: storedSettings, lifecycle: this.lifecycle });
    const answering = { bus, list, control, depths: this.#depths, signals: signalRequests, definitions, settings };
    this.#api = new RequestApi(answering, kept);
    this.#submissions = this.#pull(JOBS, {
      room: () => this.#roomForSubmissions(),
      roomBytes: () => this.#roomForBytes(),
      onDelivery: (delivery) => {
        if (delivery.data.length < LARGE_SUBMISSION_BYTES) this.#arrivals.onSubmission(delivery);
        else this.#onLarge(delivery);
      },
      onUnused: () => this.#refillFirst("wakes"),
    });
    this.#wakes = this.#pull(TIMERS, {
      room: () => this.#roomForWakes(),
      onDelivery: (delivery) => this.#arrivals.onWake(delivery),
      onUnused: () => this.#refillFirst("submissions"),
    });
    const changed = bus.subscribe(`${CHANGED_PREFIX}.*`, ({ subject }) =>
      this.#arrivals.actors.get(afterPrefix(subject, CHANGED_PREFIX) ?? "")?.verify(),
    );
    const ended = bus.subscribe(`${ENDED_PREFIX}.*`, ({ subject, data }) =>
      this.#arrivals.actors.get(afterPrefix(subject, ENDED_PREFIX) ?? "")?.childEnded(readEnded(data)),
    );
    const partSweep = new PartSweep(this.#context, (error) =>
      this.#trouble("cannot remove items of jobs that are gone", error),
    );
    this.#stops = [
      () => partSweep.close(),
      () => changed.unsubscribe(),
      () => ended.unsubscribe(),
      bus.onReconnected(() => this.#onReconnected()),
      bus.onFault(({ what, error, count }) => this.#trouble(`${what} (${count} so far)`, error, { kind: what })),
      // A spell for each subject.
      bus.onDenied(({ error }) => this.#trouble("permission denied", error, { kind: error.message })),
    ];
    this.#timers = [
      setInterval(() => this.#extendLeases(), topology.ackWaitMs / 3),
      setInterval(() => {
        if (this.#roomForSubmissions() <= 0) this.#dispatcher.relieve(this.#maxLiveJobs);
        else if (this.#memory.crowded) this.#dispatcher.relieve(this.liveJobs);
        if (this.#memory.full) this.#submissions?.refill();
      }, RELIEVE_MS),
    ];
    void this.#feeder.discover();
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
    return this.#arrivals.actors.size + this.#arrivals.claiming.size;
  }

  /**
   * Stops taking jobs, lets attempts in flight end for up to `graceMs`, and hands the other jobs over. Jobs whose
   * attempt takes longer are handed over too; that attempt will be run again elsewhere. Again: waits for the first call.
   */
  async close({ graceMs = 10_000 } = {}): Promise<void> {
    requireLimit("graceMs", graceMs);
    this.#closed ??= this.#close(graceMs);
    await this.#closed;
  }

  async #close(graceMs: number): Promise<void> {
    this.#stopped = true;
    const count = new DrainCount(this.lifecycle, this.liveJobs);
    await Promise.all([this.#submissions?.stop(), this.#wakes?.stop()]);
    this.#draining = true;
    const end = performance.now() + graceMs;
    do {
      for (const actor of [...this.#arrivals.actors.values()]) actor.drain();
      if (this.liveJobs > 0) await delay(Math.min(20, graceMs));
    } while (this.liveJobs > 0 && performance.now() < end);
    for (const actor of [...this.#arrivals.actors.values()]) actor.handOver();
    count.end();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#nextSweep);
    for (const stop of this.#stops) stop();
    this.#awake.close();
    this.#feeder.close();
    this.#storage.close();
    this.#storageWatch.close();
    this.#dispatcher.close();
    this.#depths.close();
    this.#settings.close();
    await this.#api.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** How many more new jobs there is room for (SUPERVISOR-1). */
  #room(): number {
    return Math.max(0, Math.ceil(this.#maxLiveJobs * 0.9) - this.liveJobs);
  }

  /** What is kept for wakes, or what they have been asked for if that is more, is not for new jobs. */
  #roomForSubmissions(): number {
    if (this.#storage.full || !this.#settings.loaded) return 0;
    return Math.min(this.#room(), this.#maxLiveJobs - this.liveJobs - (this.#wakes?.outstanding ?? 0));
  }

  /** While memory is full one message is asked for at a time: large ones are given back unread, so small ones pass (PACE-1). */
  #roomForBytes(): number {
    const { roomBytes, overfull } = this.#memory;
    return overfull ? 0 : Math.max(1, roomBytes);
  }

  #onLarge(delivery: Delivery): void {
    const deferMs = this.#pace.deferMs(this.#memory.full);
    if (deferMs !== undefined) {
      delivery.nak(deferMs);
      return;
    }
    const begun = performance.now();
    this.#arrivals.onSubmission(delivery);
    this.#pace.took(performance.now() - begun);
  }

  /** At most a quarter of what is left, as long as that is more than what is kept for them. */
  #roomForWakes(): number {
    if (!this.#settings.loaded) return 0;
    const free = this.#maxLiveJobs - this.liveJobs - (this.#submissions?.outstanding ?? 0);
    return Math.min(free, Math.max(this.#keptForWakes, Math.ceil(free / 4)));
  }

  get #keptForWakes(): number {
    return this.#maxLiveJobs - Math.ceil(this.#maxLiveJobs * 0.9);
  }

  /** How much room nobody has asked for yet. */
  get #unasked(): number {
    const asked = (this.#submissions?.outstanding ?? 0) + (this.#wakes?.outstanding ?? 0);
    return this.#maxLiveJobs - this.liveJobs - asked;
  }

  #pull(
    stream: string,
    { onDelivery, ...options }: Pick<PullerOptions, "room" | "roomBytes" | "onDelivery"> & { onUnused: () => void },
  ): Puller {
    return new Puller(this.#bus, {
      ...options,
      stream,
      consumer: SUPERVISOR_CONSUMER,
      isTight: () => this.#unasked <= this.#keptForWakes,
      onDelivery: (delivery) => {
        if (this.liveJobs < this.#maxLiveJobs) onDelivery(delivery);
        else delivery.nak(EXCESS_RETRY_MS);
      },
      onTrouble: (reason) =>
        this.#trouble(`pulling from ${stream}: ${reason}`, undefined, { kind: `pulling from ${stream}` }),
      onBroken: () => this.#becomeUncertain(),
      onNoConsumer: () => void this.#mendConsumer(stream),
    });
  }

  /** SUPERVISOR-3 */
  async #mendConsumer(stream: string): Promise<void> {
    const now = performance.now();
    if (this.#stopped || now < (this.#mendAgainAt.get(stream) ?? 0)) return;
    this.#mendAgainAt.set(stream, now + MEND_PAUSE_MS);
    const kind = `the consumer of stream ${stream} is gone`;
    try {
      if (!(await mendConsumer(this.#bus, stream, this.#ackWaitMs))) return;
      this.#becomeUncertain();
      this.#trouble(`the consumer of stream ${stream} was gone, and is made anew`, undefined, { kind });
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (!PASSING.has(error.code)) this.#trouble(kind, error, { kind });
    }
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
   * The server was away, or has another leader, or this process did not listen for a while. So jobs of ours may have been given
   * to others, earlier than we know of; and the server confirms an extension even to a supervisor that does not have the lease
   * any more. So for two leases the states are read again with each round (SUPERVISOR-2).
   */
  #becomeUncertain(): void {
    this.#uncertainUntil = performance.now() + 2 * this.#ackWaitMs;
  }

  #extendLeases(): void {
    if (!this.#bus.connected) return;
    const uncertain = performance.now() < this.#uncertainUntil;
    // One that has run out is not made valid again by extending it: its job may have gone on elsewhere.
    for (const { lease } of this.#arrivals.claiming.values()) if (lease.valid) void this.#extend(lease);
    for (const actor of this.#arrivals.actors.values()) {
      if (uncertain) actor.verify();
      if (actor.lease.valid && !actor.heldBack) void this.#extend(actor.lease);
      else if (actor.lease.valid || !actor.lease.missRound()) actor.verify();
      else this.#abandon(actor);
    }
  }

  /**
   * Its message is another's, who may not know that the job was taken over here: then its attempt in flight counts for nothing, and
   * nobody would begin the next one before that ends.
   */
  #abandon(actor: JobActor): void {
    actor.abandon();
    this.#bus.nc.publish(changedSubject(actor.jobId));
  }

  /** At a random time around the given one, so that supervisors started together do not look together. */
  #planSweep(aroundMs: number): void {
    this.#nextSweep = setTimeout(() => void this.#sweep(), timerMs(around(aroundMs)));
  }

  async #sweep(): Promise<void> {
    void this.#feeder.discover();
    try {
      const stopped = () => this.#stopped;
      const skip = (jobId: string) => this.#arrivals.actors.has(jobId) || this.#arrivals.claiming.has(jobId);
      const { stranded, next } = await sweep(
        { ...this.#context, writer: `${this.id}/sweep` },
        { fix: true, from: this.#sweptTo, pauseMs: SWEEP_PAUSE_MS, skip, stopped },
      );
      this.#sweptTo = next;
      const kind = "jobs were stranded";
      for (const { jobId, problem } of stranded) {
        this.#trouble(`a job was stranded: ${problem}`, undefined, { kind, jobId });
      }
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      this.#trouble("cannot look for stranded jobs", error);
    }
    if (!this.#stopped) this.#planSweep(this.#sweepMs);
  }

  /** SUPERVISOR-2 */
  #onReconnected(): void {
    this.#becomeUncertain();
    for (const actor of this.#arrivals.actors.values()) actor.verify();
  }

  /** New jobs wait in stream JOBS while there is no room for their states; those that are live go on, and end. */
  #onFull(full: boolean, fill: number): void {
    this.#storageWatch.onFull(full, fill, () => this.#storage.full);
    if (!full) this.#refill();
  }

  #refill(): void {
    if (this.#wakesFirst) this.#wakes?.refill();
    this.#submissions?.refill();
    if (!this.#wakesFirst) this.#wakes?.refill();
  }

  #refillFirst(first: "submissions" | "wakes"): void {
    this.#wakesFirst = first === "wakes";
    this.#refill();
  }

  #trouble(what: string, error: unknown, more: Pick<Trouble, "kind" | "jobId"> = {}): void {
    this.lifecycle.emit("trouble", { what, error, ...more });
  }
}
