/**
 * One history: supervisors, workers, a client and jobs under a seed, with faults for a while and none after that. The code
 * is the real one, from `Supervisor` down to the mux; only nats-server, the network and time are models.
 */
import type { NatsConnection, NodeConnectionOptions } from "nats";
import { pino } from "pino";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { isEnded } from "../../src/job/state.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { Worker } from "../../src/worker/worker.ts";
import { Customer } from "./customer.ts";
import { Faults } from "./faults.ts";
import { ACK_WAIT_MS, Invariants, Violation } from "./invariants.ts";
import { JetStream } from "./jetstream.ts";
import { BEHAVIOURS, wait } from "./kinds.ts";
import { Network } from "./network.ts";
import { executedOf } from "./seen.ts";
import type { Jobs } from "./surroundings.ts";
import { NOBODY, SimProcess, World } from "./world.ts";

export interface Report {
  seed: number;
  jobs: number;
  executions: number;
  events: number;
  /** Virtual. */
  ms: number;
  /** States of jobs that have parked, and are stored without their definition. */
  definitions: number;
  /** How often each kind of fault struck. */
  faults: Record<string, number>;
  failure?: Error;
  /** What happened, in order; only the end of it unless all was asked for. */
  trace: string[];
}

const silent = pino({ level: "silent" });
const HEARTBEAT_MS = 200;
/** No job takes longer once the faults have stopped. */
const LIMIT_MS = 180_000;
const TRACE_TAIL = 60;
/** Not before that is it quiet: all submissions, changes and signals that are planned have been made. */
const CALM_MS = 6_500;

/** Runs the history of a seed. Never rejects: what goes wrong is the report's `failure`. */
export async function runHistory(
  seed: number,
  { fullTrace = false, jobs = "any" }: { fullTrace?: boolean; jobs?: Jobs } = {},
): Promise<Report> {
  const history = new History(seed, fullTrace, jobs);
  return history.run();
}

/** Whether what a handler has thrown is heard, and says that it has not done what it was to do. */
function isAnswer({ aborted, reason }: AbortSignal, thrown: unknown): boolean {
  return !aborted || (thrown !== reason && (reason as Error).name === "Interrupted");
}

class History {
  readonly #seed: number;
  readonly #world: World;
  readonly #network: Network;
  readonly #jetStream: JetStream;
  readonly #invariants: Invariants;
  readonly #trace: { at: number; line: string }[] = [];
  readonly #fullTrace: boolean;
  readonly #writers = new Map<string, string>();
  readonly #supervisors: SimProcess[] = [];
  readonly #workers: SimProcess[] = [];
  #client: SimProcess | undefined;
  #customer: Customer | undefined;
  readonly #buses = new Map<SimProcess, Bus>();
  /** Who is asked whether he hears replies, once all jobs have ended. */
  #asked = false;
  readonly #unanswered = new Set<string>();
  #processes = 0;
  #executions = 0;
  #failure: Error | undefined;
  /** The bucket of states is too small for all jobs, so that ended ones have to expire. */
  readonly #crowded: boolean;
  readonly #faults: Faults;
  readonly #jobs: Jobs;

  constructor(seed: number, fullTrace: boolean, jobs: Jobs) {
    this.#seed = seed;
    this.#jobs = jobs;
    this.#fullTrace = fullTrace;
    this.#world = new World(seed);
    this.#network = new Network(this.#world);
    this.#invariants = new Invariants(
      () => this.#world.now,
      (line) => this.#note(line),
      (process) => this.#writers.get(process),
    );
    const checked = {
      onStored: this.#guarded(this.#invariants.onStored.bind(this.#invariants)),
      onRemoved: this.#guarded(this.#invariants.onRemoved.bind(this.#invariants)),
      onDelivered: this.#guarded(this.#invariants.onDelivered.bind(this.#invariants)),
    };
    // Half of the histories keep the events of all ends.
    this.#jetStream = new JetStream(this.#network, checked, ACK_WAIT_MS, this.#world.random.chance(1 / 2));
    this.#invariants.watch(this.#jetStream);
    this.#crowded = this.#world.random.chance(1 / 12);
    this.#invariants.signals.crowded = this.#crowded;
    const bucketBytes = this.#crowded ? this.#world.random.int(16_000, 30_000) : Number.POSITIVE_INFINITY;
    this.#jetStream.stream("KV_jobs").maxBytes = bucketBytes;
    this.#faults = new Faults({
      world: this.#world,
      network: this.#network,
      jetStream: this.#jetStream,
      supervisors: this.#supervisors,
      workers: this.#workers,
      client: () => this.#client,
      bucketBytes,
      replace: (victim) => this.#replace(victim),
      note: (line) => this.#note(line),
    });
    this.#network.onPacket = this.#guarded(this.#invariants.onPacket.bind(this.#invariants));
  }

  async run(): Promise<Report> {
    const world = this.#world;
    const restore = world.install();
    const onFault = (error: unknown) => this.#fail(error);
    process.on("unhandledRejection", onFault);
    process.on("uncaughtException", onFault);
    try {
      this.#begin();
      await world.run(LIMIT_MS, () => this.#failure !== undefined || this.#quiet());
      if (!this.#failure) this.#guarded(() => this.#finish())();
    } catch (error) {
      this.#fail(error);
    } finally {
      restore();
      process.off("unhandledRejection", onFault);
      process.off("uncaughtException", onFault);
    }
    return {
      seed: this.#seed,
      jobs: this.#invariants.jobs.size,
      executions: this.#executions,
      events: world.events,
      ms: world.now,
      definitions: this.#invariants.definitionsUsed,
      faults: this.#network.struck,
      trace: this.#trace.map(({ at, line }) => `${at.toFixed(1).padStart(9)} ${line}`),
      ...(this.#failure && { failure: this.#failure }),
    };
  }

  #finish(): void {
    const { struck } = this.#network;
    const wasFull = ["refused as full", "refused by the account", "told storage_full"].some((what) => struck[what]);
    this.#invariants.finish(this.#faults.untilMs === 0, wasFull);
    const [deaf] = [...this.#deaf, ...this.#unanswered];
    if (deaf !== undefined) throw new Violation("SIM-10", `${deaf} hears nothing, which is permitted again`);
  }

  #begin(): void {
    const { random } = this.#world;
    for (let i = 0; i < 2; i++) this.#startSupervisor();
    for (let i = 0; i < 2; i++) this.#startWorker();
    this.#startClient();
    // One history in eight has no faults at all: there the limits are exact.
    if (!random.chance(1 / 8)) {
      this.#faults.plan(random.between(2_000, 6_000));
      this.#invariants.repeats = this.#network.faults.repeat > 0;
      this.#invariants.signals.calmAt = this.#faults.untilMs;
      this.#invariants.undo.calmAt = this.#faults.untilMs;
      this.#invariants.undo.repeats = this.#invariants.repeats;
    } else this.#faults.raiseLater();
  }

  // --- processes

  #process(kind: string): SimProcess {
    const { random } = this.#world;
    this.#processes += 1;
    const process = new SimProcess(`${kind}-${this.#processes}`);
    const most = random.chance(0.2) ? 30_000 : 3_000;
    if (random.chance(0.3)) process.skewMs = random.int(-most, most);
    return process;
  }

  #connector(process: SimProcess): (options: NodeConnectionOptions) => Promise<NatsConnection> {
    return async () => this.#network.connect(process) as unknown as NatsConnection;
  }

  #startSupervisor(): void {
    const { random } = this.#world;
    const process = this.#process("supervisor");
    this.#supervisors.push(process);
    const options = {
      heartbeatMs: HEARTBEAT_MS,
      parkAfterMs: random.pick([100, 400, 10_000]),
      roomWaitMs: random.pick([300, 30_000]),
      relieveAfterMs: 200,
      maxLiveJobs: random.pick([3, 10, 10_000]),
      recordStartMs: 100,
      briefAboveBytes: random.pick([0, 2_048]),
      // In a bucket that is too small, all has to end within the limit of a history.
      retentionMs: this.#crowded ? 20_000 : 7 * 24 * 3_600_000,
    };
    // One in three executes functions itself.
    const executes = random.chance(1 / 3);
    this.#launch(process, async () => {
      const bus = await Bus.open({ name: process.name, connect: this.#connector(process) });
      this.#buses.set(process, bus);
      const { storesCompleted } = this.#jetStream;
      const supervisor = Supervisor.on(bus, { replicas: 1, storesCompleted, ackWaitMs: ACK_WAIT_MS }, options);
      this.#writers.set(process.name, supervisor.id);
      supervisor.lifecycle.on("claimed", (jobId, how) => this.#invariants.claimed(jobId, process.name, how));
      supervisor.lifecycle.on("trouble", ({ what, jobId, error }) => {
        this.#note(`${process.name}: ${what} ${jobId ?? ""} ${error ?? ""}`);
        if (!isAsyncError(error) && error instanceof Error) this.#fail(error);
      });
      if (executes) await this.#serve(process, bus);
    });
  }

  #startWorker(): void {
    const process = this.#process("worker");
    this.#workers.push(process);
    this.#launch(process, () => this.#serve(process, { connect: this.#connector(process) }));
  }

  /** A worker that may not serve is started again later, as an operator does. */
  async #serve(process: SimProcess, bus: NonNullable<WorkerOptions["bus"]>): Promise<void> {
    try {
      await this.#worker(process, bus).start();
    } catch (error) {
      if (!isAsyncError(error, "permission_denied")) throw error;
      this.#note(`${process.name} cannot serve: ${error}`);
      await wait(1_000);
      await this.#serve(process, bus);
    }
  }

  #worker(process: SimProcess, bus: NonNullable<WorkerOptions["bus"]>): Worker {
    const { random } = this.#world;
    const options = { name: process.name, log: silent, concurrency: random.int(1, 3), heartbeatMs: HEARTBEAT_MS, bus };
    const worker = new Worker(options);
    // Nobody serves `rare` for the first seconds.
    for (const [name, behave] of Object.entries(BEHAVIOURS)) {
      if (name === "rare" && this.#world.now < 1_500) continue;
      worker.func(name, async (context) => {
        const { jobId, attempt, idempotencyKey } = context;
        this.#executions += 1;
        const execution = { jobId, attempt, ...executedOf(idempotencyKey), number: this.#executions };
        const { args, error } = context;
        this.#guarded(() => this.#invariants.begun(execution, name, { args, error }))();
        let made: unknown;
        try {
          made = await behave(context, this.#world);
        } catch (thrown) {
          const how = isAnswer(context.signal, thrown) ? "failed" : "stopped";
          this.#guarded(() => this.#invariants.finished(execution, how))();
          throw thrown;
        }
        this.#guarded(() => this.#invariants.finished(execution, "done"))();
        // What a function lists is nothing else.
        return name === "lister" ? made : { ...execution, ...(made as object | undefined) };
      });
    }
    return worker;
  }

  #launch(process: SimProcess, start: () => Promise<void>): void {
    this.#note(`${process.name} starts`);
    this.#world.after(0, () => void start().catch((error) => this.#fail(error)), process);
  }

  #replace(victim: SimProcess): void {
    for (const crew of [this.#supervisors, this.#workers]) {
      const index = crew.indexOf(victim);
      if (index >= 0) crew.splice(index, 1);
    }
    if (victim.name.startsWith("supervisor")) this.#startSupervisor();
    else this.#startWorker();
  }

  // --- jobs

  #startClient(): void {
    const process = this.#process("client");
    this.#client = process;
    this.#launch(process, async () => {
      const bus = await Bus.open({ name: process.name, connect: this.#connector(process) });
      this.#buses.set(process, bus);
      this.#customer = new Customer(bus, {
        world: this.#world,
        network: this.#network,
        invariants: this.#invariants,
        process,
        crowded: this.#crowded,
        jobs: this.#jobs,
        note: (line) => this.#note(line),
        fail: (error) => this.#fail(error),
        check: (check) => this.#guarded(check)(),
      });
      this.#customer.begin();
      // Workers of the function that nobody has served yet.
      this.#world.after(2_000, () => this.#startWorker(), NOBODY);
      this.#world.after(Math.max(CALM_MS, this.#faults.untilMs), () => this.#sendSignals(), NOBODY);
    });
  }

  /** At last somebody sends what jobs wait for. */
  #sendSignals(): void {
    this.#guarded(() => this.#customer?.sendWhatIsMissing())();
    this.#world.after(500, () => this.#sendSignals(), NOBODY);
  }

  // --- the end

  /** All jobs have ended, and nothing is left of them but their states. */
  #quiet(): boolean {
    const { jobs, expired } = this.#invariants;
    if (this.#world.now < Math.max(CALM_MS, this.#faults.untilMs) || !this.#customer?.isDone) return false;
    if (this.#jetStream.stream("JOBS").messages.size > 0) return false;
    // A timer that is left of a graph fires when it would have looked around itself, and stands for nothing.
    for (const { subject } of this.#jetStream.stream("TIMERS").messages.values()) {
      if (!subject.startsWith("job.timer.") || jobs.get(subject.slice("job.timer.".length))?.graph === undefined)
        return false;
    }
    for (const [jobId, seen] of [...jobs, ...expired]) {
      if (!isEnded(seen.state) || !this.#invariants.areEndsTold(jobId, seen)) return false;
    }
    return this.#isAllHeard();
  }

  /** SIM-10: what was not permitted for a time is heard again, and replies are: nobody has to be restarted for that. */
  #isAllHeard(): boolean {
    if (!this.#asked) {
      this.#asked = true;
      for (const [process, bus] of this.#buses) if (process.state !== "dead") this.#ask(process, bus);
    }
    return this.#unanswered.size === 0 && this.#deaf.length === 0;
  }

  #ask(process: SimProcess, bus: Bus): void {
    this.#unanswered.add(process.name);
    const ask = () =>
      bus.mux.request("$JS.API.STREAM.INFO.KV_jobs", "", 2_000).then(
        () => this.#unanswered.delete(process.name),
        () => this.#world.after(500, ask, process),
      );
    this.#world.after(0, ask, process);
  }

  /** Who does not hear what he has subscribed to. What may have been given up meanwhile does not count. */
  get #deaf(): string[] {
    const deaf: string[] = [];
    for (const { process, missing } of this.#network.connections) {
      if (process.state === "dead") continue;
      for (const name of missing) if (!/^(job\.event|\$SRV)\./.test(name)) deaf.push(`${process.name} on ${name}`);
    }
    return deaf;
  }

  /** A check that ends the history when it fails, but not the code that happened to be running. */
  #guarded<A extends unknown[]>(check: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      try {
        check(...args);
      } catch (error) {
        this.#fail(error);
      }
    };
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Violation("thrown", String(error));
    this.#note(`FAILED ${failure.message}`);
    this.#failure ??= failure;
  }

  #note(line: string): void {
    this.#trace.push({ at: this.#world.now, line });
    if (!this.#fullTrace && this.#trace.length > 2 * TRACE_TAIL) this.#trace.splice(0, TRACE_TAIL);
  }
}
