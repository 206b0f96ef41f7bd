/**
 * One history: supervisors, workers, a client and jobs under a seed, with faults for a while and none after that. The code
 * is the real one, from `Supervisor` down to the mux; only nats-server, the network and time are models.
 */
import type { NatsConnection, NodeConnectionOptions } from "nats";
import { pino } from "pino";
import { Supervisor } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { type ErrorCode, isAsyncError } from "../../src/job/errors.ts";
import { isEnded } from "../../src/job/state.ts";
import type { Context } from "../../src/worker/context.ts";
import { FatalError } from "../../src/worker/errors.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { Worker } from "../../src/worker/worker.ts";
import { ACK_WAIT_MS, Invariants, Violation } from "./invariants.ts";
import { JetStream, RELIABLE } from "./jetstream.ts";
import { type Connection, Network, NO_FAULTS } from "./network.ts";
import { NOBODY, SimProcess, World } from "./world.ts";

export interface Report {
  seed: number;
  jobs: number;
  executions: number;
  events: number;
  /** Virtual. */
  ms: number;
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

/** Runs the history of a seed. Never rejects: what goes wrong is the report's `failure`. */
export async function runHistory(seed: number, { fullTrace = false } = {}): Promise<Report> {
  const history = new History(seed, fullTrace);
  return history.run();
}

class History {
  readonly #seed: number;
  readonly #world: World;
  readonly #network: Network;
  readonly #jetStream: JetStream;
  readonly #invariants: Invariants;
  readonly #trace: string[] = [];
  readonly #fullTrace: boolean;
  readonly #writers = new Map<string, string>();
  readonly #supervisors: SimProcess[] = [];
  readonly #workers: SimProcess[] = [];
  #client: SimProcess | undefined;
  #submitted = 0;
  #processes = 0;
  #executions = 0;
  #openRequests = 0;
  #faultsUntil = 0;
  #failure: Error | undefined;
  /** The bucket of states is too small for all jobs, so that ended ones have to expire. */
  readonly #crowded: boolean;
  readonly #bucketBytes: number;
  /** What has filled it at the moment. */
  #fillings = 0;

  constructor(seed: number, fullTrace: boolean) {
    this.#seed = seed;
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
    this.#crowded = this.#world.random.chance(1 / 6);
    this.#bucketBytes = this.#crowded ? this.#world.random.int(16_000, 30_000) : Number.POSITIVE_INFINITY;
    this.#jetStream.stream("KV_jobs").maxBytes = this.#bucketBytes;
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
      if (!this.#failure) this.#guarded(() => this.#invariants.finish(this.#faultsUntil === 0))();
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
      faults: this.#network.struck,
      trace: this.#trace,
      ...(this.#failure && { failure: this.#failure }),
    };
  }

  #begin(): void {
    const { random } = this.#world;
    for (let i = 0; i < 2; i++) this.#startSupervisor();
    for (let i = 0; i < 2; i++) this.#startWorker();
    this.#startClient();
    // One history in eight has no faults at all: there the limits are exact.
    if (!random.chance(1 / 8)) this.#planFaults(random.between(2_000, 6_000));
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
        const index = Number(idempotencyKey.split("/")[1]);
        this.#executions += 1;
        const execution = { jobId, index, attempt, number: this.#executions };
        this.#guarded(() => this.#invariants.begun(execution, name))();
        await behave(context, this.#world);
        return execution;
      });
    }
    return worker;
  }

  #launch(process: SimProcess, start: () => Promise<void>): void {
    this.#note(`${process.name} starts`);
    this.#world.after(0, () => void start().catch((error) => this.#fail(error)), process);
  }

  #crash(process: SimProcess): void {
    this.#note(`${process.name} is killed`);
    this.#world.kill(process);
    for (const connection of this.#network.connections) if (connection.process === process) connection.drop();
  }

  // --- jobs

  #startClient(): void {
    const { random } = this.#world;
    const process = this.#process("client");
    this.#client = process;
    this.#launch(process, async () => {
      const client = new Client(await Bus.open({ name: process.name, connect: this.#connector(process) }));
      const count = this.#crowded ? random.int(8, 20) : random.int(2, 5);
      for (let i = 0; i < count; i++) {
        const kind = random.pick(["chosen", "chosen", "made up", "run"] as const);
        if (kind === "chosen") this.#planJob(client, process, `j${i}`);
        else if (kind === "made up") this.#planMadeUp(client, process, `m${i}`);
        else this.#planRun(client, process, `r${i}`);
      }
      // Workers of the function that nobody has served yet.
      this.#world.after(2_000, () => this.#startWorker(), NOBODY);
    });
  }

  /** A job with an id of its own, which may be submitted again and again. */
  #planJob(client: Client, process: SimProcess, jobId: string): void {
    const { random } = this.#world;
    const { at, submit } = this.#planSubmission(process, `submit ${jobId}`, async (job, encoding) => {
      await client.submit(job as unknown, { jobId, encoding, timeoutMs: SUBMIT_LIMIT_MS });
      this.#invariants.acknowledged.add(jobId);
    });
    while (random.chance(0.25)) this.#world.after(at + random.between(0, 4_000), submit, process);
    this.#planChanges(client, process, jobId, at);
  }

  /** A job whose id the client makes up: it is begun before anything is stored of it. */
  #planMadeUp(client: Client, process: SimProcess, label: string): void {
    this.#planSubmission(process, `submit ${label}`, async (job, encoding) => {
      const { job_id } = await client.submit(job as unknown, { encoding, timeoutMs: SUBMIT_LIMIT_MS });
      this.#invariants.acknowledged.add(job_id);
      this.#planChanges(client, process, job_id, 0);
    });
  }

  /** The same for somebody who waits for the result. */
  #planRun(client: Client, process: SimProcess, label: string): void {
    this.#planSubmission(process, `run ${label}`, async (job, encoding) => {
      let id = label;
      const onSubmitted = (jobId: string) => {
        id = jobId;
        this.#invariants.acknowledged.add(jobId);
        this.#planChanges(client, process, jobId, 0);
      };
      try {
        const result = await client.run(job, { encoding, timeoutMs: RUN_LIMIT_MS, onSubmitted });
        this.#guarded(() => this.#invariants.ran(id, result))();
      } catch (error) {
        if (id === label && isAsyncError(error) && REFUSALS.has(error.code)) throw error;
        this.#guarded(() => this.#invariants.ranInVain(id, error))();
        throw error;
      }
    });
  }

  /** Returns when it is submitted, and how to do so once more. */
  #planSubmission(
    process: SimProcess,
    what: string,
    ask: (job: object, encoding: Encoding) => Promise<void>,
  ): { at: number; submit: () => void } {
    const world = this.#world;
    const { random } = world;
    this.#submitted += 1;
    const job = this.#randomJob();
    const encoding = random.pick(["json", "msgpack"] as const);
    const submit = () =>
      this.#request(what, async () => {
        try {
          await ask(job, encoding);
        } catch (error) {
          // Whoever is told that there is no room or no permission tries again later.
          if (isAsyncError(error) && REFUSALS.has(error.code)) {
            this.#network.strikes(`told ${error.code}`, 1);
            world.after(random.between(300, 1_500), submit, process);
          } else if (isAsyncError(error) && !MAY_BE_STORED.has(error.code)) {
            this.#fail(new Violation("SIM-10", `${what}: refused with ${error.code}, which does not say what to do`));
          }
          throw error;
        }
      });
    const at = random.between(10, 2_000);
    this.#world.after(at, submit, process);
    return { at, submit };
  }

  /** It may be cancelled, and retried by hand, some time after `at`, in ms from now. */
  #planChanges(client: Client, process: SimProcess, jobId: string, at: number): void {
    const world = this.#world;
    const { random } = world;
    if (random.chance(0.2)) {
      const cancel = () => this.#request(`cancel ${jobId}`, () => client.cancel(jobId));
      world.after(at + random.between(0, 3_000), cancel, process);
    }
    if (random.chance(0.25)) {
      const again = () =>
        this.#request(`retry ${jobId}`, () => client.retry(jobId, random.chance(0.5) ? { data: "new" } : {}));
      world.after(at + random.between(500, 6_000), again, process);
    }
  }

  #randomJob() {
    const { random } = this.#world;
    const functions = Array.from({ length: random.int(1, 3) }, () => ({
      name: random.pick(Object.keys(BEHAVIOURS)),
      ...(this.#crowded && { args: "x".repeat(random.int(100, 500)) }),
      ...(random.chance(0.7) && {
        retry_options: {
          retry_limit: random.int(1, 4),
          backoff: { type: "fixed" as const, delay_ms: random.pick([0, 20, 300, 1_200]), jitter: random.float() },
        },
      }),
      // What hangs ends by its timeout.
      timeout_ms: random.int(200, 3_000),
    }));
    return {
      name: "simulated",
      data: random.int(0, 9),
      functions,
      ...(random.chance(0.15) && { timeout_ms: random.int(500, 8_000) }),
      ...(random.chance(0.15) && {
        scheduled_at: new Date(this.#world.wallClock + random.int(-1_000, 3_000)).toISOString(),
      }),
    };
  }

  /** A request of the client: it may fail, as NATS or the supervisors may be away, or because it comes too late. */
  #request(what: string, ask: () => Promise<unknown>): void {
    this.#note(what);
    this.#openRequests += 1;
    ask()
      .then(() => this.#note(`${what}: done`))
      .catch((error) => {
        if (!isAsyncError(error)) this.#fail(error);
        this.#note(`${what}: ${error}`);
      })
      .finally(() => {
        this.#openRequests -= 1;
      });
  }

  // --- faults

  #planFaults(untilMs: number): void {
    const world = this.#world;
    const { random } = world;
    this.#faultsUntil = untilMs;
    const some = (most: number) => (random.chance(0.4) ? random.float() * most : 0);
    this.#network.faults = { drop: some(0.05), repeat: some(0.1), reorder: some(0.1), delay: some(0.05) };
    this.#invariants.repeats = this.#network.faults.repeat > 0;
    this.#jetStream.faults = {
      lostAck: some(0.15),
      refuse: some(0.1),
      redeliver: some(0.2),
      refuseSchedule: random.chance(0.2) ? 0.3 : 0,
    };
    const kinds = FAULTS.filter(() => random.chance(0.5));
    for (let at = random.between(50, 800); kinds.length > 0 && at < untilMs; at += random.between(100, 1_500)) {
      const kind = random.pick(kinds);
      world.after(at, () => this.#strike(kind), NOBODY);
    }
    world.after(untilMs, () => this.#endFaults(), NOBODY);
  }

  #strike(kind: (typeof FAULTS)[number]): void {
    const world = this.#world;
    const { random } = world;
    this.#network.strikes(kind, 1);
    const crew = random.chance(0.6) ? this.#supervisors : this.#workers;
    const victim = random.pick(crew);
    switch (kind) {
      case "kill":
        if (victim.state === "dead") return;
        this.#crash(victim);
        world.after(random.between(50, 1_000), () => this.#replace(victim), NOBODY);
        break;
      case "pause":
        this.#pause(victim, random.between(50, 4_000), false);
        break;
      case "suspend":
        this.#pause(victim, random.between(50, 4_000), true);
        break;
      case "cut":
        this.#note(`${victim.name} is cut off`);
        this.#cut((connection) => connection.process === victim, random.between(20, 4_000));
        break;
      case "server":
        this.#note("the server is killed");
        this.#jetStream.forgetPulls();
        this.#cut(() => true, random.between(20, 1_500));
        break;
      case "full":
        this.#fill(random.between(100, 6_000));
        break;
      case "permission":
        this.#deny(random.chance(0.8) ? victim : (this.#client ?? victim), random.between(50, 4_000));
        break;
      case "account":
        this.#setExhausted(true);
        world.after(random.between(100, 4_000), () => this.#setExhausted(false), NOBODY);
        break;
      case "leader":
        this.#note("no leader");
        this.#jetStream.away = true;
        this.#jetStream.forgetPulls();
        world.after(random.between(20, 1_500), () => this.#elect(), NOBODY);
        break;
    }
  }

  /** As if something else took all of the room. */
  #fill(ms: number): void {
    const bucket = this.#jetStream.stream("KV_jobs");
    this.#fillings += 1;
    this.#note("the bucket is full");
    bucket.maxBytes = Math.max(1, bucket.bytes);
    const empty = () => {
      this.#fillings -= 1;
      if (this.#fillings > 0) return;
      this.#note("the bucket has room");
      bucket.maxBytes = this.#bucketBytes;
    };
    this.#world.after(ms, empty, NOBODY);
  }

  /** Of all its connections, those that it makes meanwhile aside. */
  #deny({ name }: SimProcess, ms: number): void {
    const needed = this.#world.random.pick(NEEDED[name.split("-")[0] ?? ""] ?? []);
    if (!needed) return;
    this.#note(`${name} may not ${needed.join(" ")}`);
    const denied = [...this.#network.connections].filter(({ process }) => process.name === name);
    const permits = denied.map((connection) => connection.deny(...needed));
    const permit = () => {
      this.#note(`${name} may ${needed.join(" ")} again`);
      for (const one of permits) one();
    };
    this.#world.after(ms, permit, NOBODY);
  }

  #setExhausted(exhausted: boolean): void {
    this.#note(exhausted ? "the account has no storage left" : "the account has storage");
    this.#jetStream.exhausted = exhausted;
  }

  #cut(which: (connection: Connection) => boolean, ms: number): void {
    const cut = [...this.#network.connections].filter(which);
    for (const connection of cut) connection.drop();
    this.#world.after(
      ms,
      () => {
        for (const connection of cut) connection.restore();
      },
      NOBODY,
    );
  }

  #replace(victim: SimProcess): void {
    for (const crew of [this.#supervisors, this.#workers]) {
      const index = crew.indexOf(victim);
      if (index >= 0) crew.splice(index, 1);
    }
    if (victim.name.startsWith("supervisor")) this.#startSupervisor();
    else this.#startWorker();
  }

  /** Its process, or the whole of its machine: then its monotonic clock stands still meanwhile. */
  #pause(victim: SimProcess, ms: number, isMachine: boolean): void {
    if (victim.state !== "running") return;
    this.#note(`${victim.name} is ${isMachine ? "suspended" : "paused"}`);
    this.#world.pause(victim);
    const goOn = () => {
      if (isMachine) victim.suspendedMs += ms;
      this.#continue(victim);
    };
    this.#world.after(ms, goOn, NOBODY);
  }

  #continue(victim: SimProcess): void {
    this.#note(`${victim.name} goes on`);
    this.#world.resume(victim);
  }

  #elect(): void {
    this.#note("a leader");
    this.#jetStream.away = false;
  }

  #endFaults(): void {
    this.#note("faults stop");
    this.#network.faults = NO_FAULTS;
    this.#jetStream.faults = RELIABLE;
  }

  // --- the end

  /** All jobs have ended, and nothing is left of them but their states. */
  #quiet(): boolean {
    const { jobs, acknowledged, expired } = this.#invariants;
    if (this.#world.now < Math.max(6_500, this.#faultsUntil) || this.#openRequests > 0) return false;
    if (acknowledged.size < this.#submitted) return false;
    if (this.#jetStream.stream("JOBS").messages.size + this.#jetStream.stream("TIMERS").messages.size > 0) return false;
    for (const { state, keptEnds, endEvents } of [...jobs.values(), ...expired.values()]) {
      if (!isEnded(state) || keptEnds !== endEvents) return false;
    }
    return true;
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
    this.#trace.push(`${this.#world.now.toFixed(1).padStart(9)} ${line}`);
    if (!this.#fullTrace && this.#trace.length > 2 * TRACE_TAIL) this.#trace.splice(0, TRACE_TAIL);
  }
}

const SUBMIT_LIMIT_MS = 60_000;
/** Far more than any job takes, faults included. */
const RUN_LIMIT_MS = 300_000;

const FAULTS = ["kill", "pause", "suspend", "cut", "server", "leader", "full", "account", "permission"] as const;

/** What a process needs to be permitted, of each kind: it is taken away for a time. */
const NEEDED: Record<string, ["publish" | "subscription", string][]> = {
  supervisor: [
    ["publish", "fn.>"],
    ["publish", "fn.quick"],
    ["publish", "$KV.jobs.>"],
    ["publish", "$JS.ACK.>"],
    ["publish", "$JS.API.>"],
    ["publish", "job.timer.>"],
    ["publish", "job.wait.>"],
    ["publish", "job.event.>"],
    ["publish", "job.ctl.>"],
    ["subscription", "_INBOX_async.>"],
    ["subscription", "job.ctl.>"],
    ["subscription", "job.get.>"],
  ],
  worker: [
    ["publish", "_INBOX_async.>"],
    ["subscription", "fn.>"],
    ["subscription", "fn.flaky"],
    ["subscription", "job.ctl.>"],
    ["subscription", "$SRV.>"],
  ],
  client: [
    ["publish", "job.submit.>"],
    ["publish", "job.get.>"],
    ["subscription", "_INBOX_async.>"],
    ["subscription", "job.notify.>"],
    ["subscription", "job.event.>"],
  ],
};

/** What is told to who submits where there is no room, or no permission. */
const REFUSALS = new Set<ErrorCode>(["storage_full", "jobs_full", "permission_denied"]);
/** What else becomes of a submission, or of the waiting for the end of the job. */
const MAY_BE_STORED = new Set<ErrorCode>([
  "bus_timeout",
  "not_connected",
  "jetstream_unavailable",
  "job_failed",
  "job_cancelled",
  "job_not_found", // it has expired (SIM-7)
]);

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const untilAborted = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

const BEHAVIOURS: Record<string, (context: Context, world: World) => Promise<unknown>> = {
  quick: async () => {},
  slow: (_, { random }) => wait(random.between(20, 1_200)),
  flaky: async (_, { random }) => {
    await wait(random.between(0, 50));
    if (random.chance(0.5)) throw new Error("flaky");
  },
  fatal: async (_, { random }) => {
    if (random.chance(0.3)) throw new FatalError("fatal");
  },
  hangs: ({ signal }, { random }) => (random.chance(0.3) ? untilAborted(signal) : wait(10)),
  rare: async () => {},
};
