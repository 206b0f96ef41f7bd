/**
 * A worker: serves functions from the queue group of each, at most `concurrency` attempts at a time.
 *
 * WORKER-1  While it is full it is not in the queue groups, so that invocations go to workers with room. The few that
 *     arrive in between are answered 429, which costs no attempt. Being full counts at the end of a turn of the event
 *     loop: of many invocations that arrive at once, short ones make room for each other. In a cluster it counts when
 *     it has lasted a while, see LEAVE_AFTER_MS.
 * WORKER-2  It is back in the queue groups before the reply that makes room is sent: the supervisor that gets the reply can
 *     send the next invocation at once.
 *     With several functions it is back in the groups of those only whose turn it is, see `turns.ts`.
 * WORKER-3  Every attempt in execution sends a heartbeat each `heartbeatMs`.
 * WORKER-4  An attempt that nobody waits for any more is told to stop.
 * WORKER-5  Closing loses nothing: what is in execution may end within the grace period. What does not is interrupted: it is told
 *     to stop, what it answers at once still counts, else its supervisor hears that it is to be begun again elsewhere.
 * WORKER-6  A handler that does not end when its attempt was given up does not keep its slot for ever (`handler-watch.ts`).
 */
import { hostname } from "node:os";
import { setImmediate as endOfTurn } from "node:timers/promises";
import { type Logger, pino } from "pino";
import { ROOM, STOP } from "../api/subjects.ts";
import { withEnvironment } from "../bus/address.ts";
import { Bus, type Denial } from "../bus/connection.ts";
import { logConnection } from "../bus/connection-log.ts";
import { type ReceivedInvocation, type Request, readInvocation } from "../bus/messages/invocation.ts";
import { encodeRooms, readStop } from "../bus/messages/nudges.ts";
import { endpointOf } from "../bus/messages/served-functions.ts";
import { Service, type ServiceEndpoint } from "../bus/messages/service.ts";
import { describeThrown, isInstance } from "../job/describe.ts";
import { AsyncError, messageOf } from "../job/errors.ts";
import { functionNameProblem } from "../job/names.ts";
import type { FunctionSettings } from "../job/settings.ts";
import { requireInterval, requireLimit, timerMs } from "../job/time.ts";
import { Registry } from "../util/registry.ts";
import { VERSION } from "../version.ts";
import type { Handler } from "./context.ts";
import { Interrupted } from "./errors.ts";
import { Execution, respondError, respondNoRoom } from "./execution.ts";
import { HandlerWatch } from "./handler-watch.ts";
import { LogSpells } from "./log-spells.ts";
import { concurrencyFrom, requireName, type WorkerOptions } from "./options.ts";
import { QueueGroups } from "./queue-groups.ts";
import { Registration, readDefinition } from "./registration.ts";
import { Turns, type TurnTaker, turnMsFor } from "./turns.ts";

const DEFAULT_HEARTBEAT_MS = 1_500;
const DEFAULT_ABANDONED_AFTER_MS = 60_000;
/** Room is announced when it has lasted this long: mostly the supervisor that freed it has filled it by then. */
const ANNOUNCE_AFTER_MS = 5;
/**
 * How long a worker of a cluster is full before it leaves. A server that has passed an invocation on to ours, not knowing
 * yet that we have left, gets no answer from it: the invocation is gone until its silence is noticed. So we leave when
 * the supervisors have heard our refusals and nothing is likely to be on its way. On a single server nothing gets lost.
 */
const LEAVE_AFTER_MS = 100;
/** How long what is interrupted may take to end by itself when its signal has fired. */
const INTERRUPTED_MS = 250;

/** Of the functions of a worker so many are named in its log. */
const LOGGED_FUNCTIONS = 50;

type Phase = "new" | "serving" | "draining" | "closed";

interface Arrived {
  served: Served;
  message: Request;
}

interface Served extends TurnTaker {
  name: string;
  handler: Handler;
  settings: FunctionSettings | undefined;
  endpoint: ServiceEndpoint;
}

/**
 * @example
 * export default new Worker().func<number[]>("sum", ({ args }) => args.reduce((a, b) => a + b, 0));
 */
export class Worker {
  readonly #options: WorkerOptions;
  readonly #functions = new Map<string, Served>();
  /** By the reply subject of the invocation, which names an attempt. */
  readonly #running = new Registry<Execution>();
  #phase: Phase = "new";
  #bus: Bus | undefined;
  #service: Service | undefined;
  #log: Logger;
  #troubles: LogSpells;
  #concurrency: number;
  #heartbeatMs = DEFAULT_HEARTBEAT_MS;
  #groups: QueueGroups<Served> | undefined;
  /** Of several functions; a single one needs none. */
  #turns: Turns<Served> | undefined;
  #announcement: NodeJS.Timeout | undefined;
  #settling: NodeJS.Immediate | undefined;
  /** Runs while a worker of a cluster is full. */
  #leaving: NodeJS.Timeout | undefined;
  /** What arrived in this turn of the event loop while full. */
  #overflow: Arrived[] = [];
  #watch: HandlerWatch | undefined;
  #exitWhenStuck = false;
  #onIdle: (() => void) | undefined;
  #starting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  /** What ends with it. */
  readonly #closes: (() => Promise<void> | void)[] = [];

  constructor(options: WorkerOptions = {}) {
    this.#options = options;
    this.#concurrency = concurrencyFrom(options.concurrency);
    this.#log = options.log ?? pino({ name: "async-worker" });
    this.#troubles = new LogSpells(this.#log);
    requireName(options.name);
  }

  /**
   * Adds a function. To be called before `start`. Settings count where a job does not say it; they are registered when the worker starts.
   *
   * @example worker.func<number[]>("sum", ({ args }) => args.reduce((a, b) => a + b, 0));
   * @example worker.func("charge", { retry_limit: 5, timeout_ms: 30_000 }, ({ args }) => charge(args));
   * @throws AsyncError `invalid_function_name`, `duplicate_function`, `invalid_option`
   */
  // biome-ignore-start lint/suspicious/noExplicitAny: the border of the codec: the handler says what args and data it expects
  func<Args = any, Data = any>(name: string, handler: Handler<Args, Data>): this;
  func<Args = any, Data = any>(name: string, settings: FunctionSettings, handler: Handler<Args, Data>): this;
  func(name: string, ...[first, second]: [Handler<any, any>] | [FunctionSettings, Handler<any, any>]): this {
    // biome-ignore-end lint/suspicious/noExplicitAny: as above
    const problem = functionNameProblem(name);
    if (problem !== undefined)
      throw new AsyncError("invalid_function_name", `function name ${JSON.stringify(name)} ${problem}`);
    if (this.#functions.has(name)) throw new AsyncError("duplicate_function", `function ${name} is there already`);
    if (this.#phase !== "new") throw new AsyncError("closed", "add functions before the worker is started");
    const { settings, handler } = readDefinition(name, first, second);
    const endpoint = endpointOf(name, this.#functions.size, settings);
    this.#functions.set(name, { name, handler, settings, endpoint, wanted: false, turn: 0 });
    return this;
  }

  /** Unique among all services; the `ID` of the list of workers. Undefined before `start`. */
  get id(): string | undefined {
    return this.#service?.id;
  }

  get functions(): string[] {
    return [...this.#functions.keys()];
  }

  /** Attempts in execution. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Connects and begins to serve. `override` takes precedence over the constructor's options. If it fails it can be tried again.
   *
   * @throws AsyncError `not_connected`, `server_too_old`, `invalid_option`, `permission_denied`
   */
  async start(override: WorkerOptions = {}): Promise<this> {
    if (this.#phase !== "new") throw new AsyncError("closed", "a worker can be started once");
    if (this.#functions.size === 0) throw new AsyncError("invalid_option", "a worker needs a function: see func()");
    const options = { ...this.#options, ...override };
    this.#concurrency = concurrencyFrom(options.concurrency);
    this.#phase = "serving";
    try {
      this.#starting = this.#start(options);
      await this.#starting;
      return this;
    } catch (error) {
      this.#phase = "new";
      await this.#groups?.leaveAll();
      await this.#release();
      throw error;
    } finally {
      this.#starting = undefined;
    }
  }

  async #start(options: WorkerOptions): Promise<void> {
    this.#log = options.log ?? this.#log;
    this.#troubles = new LogSpells(this.#log);
    this.#closes.push(() => this.#troubles.close());
    const { name = "async-worker", heartbeatMs = DEFAULT_HEARTBEAT_MS } = options;
    requireInterval("heartbeatMs", heartbeatMs);
    requireLimit("abandonedAfterMs", options.abandonedAfterMs);
    this.#heartbeatMs = heartbeatMs;
    const bus = await this.#connect(name, options);
    this.#bus = bus;
    this.#service = new Service(bus, {
      name,
      version: VERSION,
      description: "async: a worker",
      metadata: () => ({
        concurrency: String(this.#concurrency),
        running: String(this.#running.size),
        abandoned: String(this.#watch?.count ?? 0),
        state: this.#stateName(),
        heartbeat_ms: String(this.#heartbeatMs),
        host: hostname(),
        pid: String(process.pid),
      }),
      endpoints: () => [...this.#functions.values()].map((served) => served.endpoint),
    });
    const denials: Denial[] = [];
    const { abandonedAfterMs = DEFAULT_ABANDONED_AFTER_MS, exitWhenStuck = false } = options;
    this.#exitWhenStuck = exitWhenStuck;
    this.#watch = new HandlerWatch({ heartbeatMs: this.#heartbeatMs, abandonedAfterMs, log: this.#log });
    const heartbeats = setInterval(() => this.#beat(), this.#heartbeatMs);
    const stops = bus.subscribe(STOP, (message) => this.#onStop(message.data));
    this.#closes.push(
      () => clearInterval(heartbeats),
      bus.onReconnected(() => this.#announce()),
      bus.onFault(({ what, error, count }) => this.#log.error({ err: describeThrown(error), count }, what)),
      bus.onDenied((denial) => {
        denials.push(denial);
        const { subject, error } = denial;
        this.#troubles.error(error.message, { subject, code: error.code }); // a spell for each subject
      }),
      () => stops.unsubscribe(),
    );
    const served = [...this.#functions.values()];
    this.#groups = new QueueGroups(
      bus,
      ({ endpoint }) => endpoint.subject,
      (one, message) => this.#onInvocation(one, message),
    );
    this.#closes.push(() => this.#groups?.leaveAll());
    if (served.length > 1) {
      const turnMs = turnMsFor(await bus.roundTripMs());
      this.#turns = new Turns(served, turnMs, (admitted) => this.#admit(admitted));
      this.#closes.push(() => this.#turns?.close());
    }
    const registration = new Registration(bus, this.#log, `${name} ${this.id}`, served);
    this.#closes.push(() => registration.close());
    await registration.begin();
    this.#groups.join(served);
    this.#announce();
    await bus.flush();
    await endOfTurn(); // what the server has refused is told by then
    const own = new Set(served.map(({ endpoint }) => endpoint.subject));
    const refused = denials.find(({ operation, subject }) => operation === "subscription" && own.has(subject));
    if (refused) throw refused.error;
    const omitted = this.#functions.size - LOGGED_FUNCTIONS;
    const functions = this.functions.slice(0, LOGGED_FUNCTIONS);
    const about = { worker: this.id, functions, ...(omitted > 0 && { omitted }), concurrency: this.#concurrency };
    this.#log.info(about, "serving");
  }

  /**
   * Leaves the queue groups, lets attempts end for up to `graceMs`, interrupts the others, and disconnects. Again: waits for the
   * first call.
   */
  async close({ graceMs = 10_000 } = {}): Promise<void> {
    requireLimit("graceMs", graceMs);
    // Whether it could be started is told to who started it.
    await this.#starting?.catch(() => {});
    if (this.#phase === "new") return;
    this.#closed ??= this.#close(graceMs);
    await this.#closed;
  }

  async #close(graceMs: number): Promise<void> {
    this.#phase = "draining";
    this.#log.info({ worker: this.id, attempts: this.#running.size, graceMs }, "draining");
    this.#turns?.close();
    await this.#leave();
    if (!(await this.#whenIdle(graceMs))) await this.#interrupt(graceMs);
    this.#phase = "closed";
    await this.#release();
    this.#log.info({ worker: this.id }, "closed");
  }

  /** WORKER-5 */
  async #interrupt(graceMs: number): Promise<void> {
    this.#log.warn({ attempts: this.#running.size }, "the grace period is over; what still runs is told to stop");
    for (const execution of this.#running.values()) execution.interrupt(graceMs);
    if (await this.#whenIdle(INTERRUPTED_MS)) return;
    this.#log.warn({ attempts: this.#running.size }, "handlers go on; their attempts are begun again elsewhere");
    for (const execution of this.#running.values()) execution.endInterrupted();
  }

  /** Ends what it has begun. */
  async #release(): Promise<void> {
    clearTimeout(this.#announcement);
    clearImmediate(this.#settling);
    this.#announcement = undefined;
    this.#settling = undefined;
    this.#service?.close();
    if (this.#phase === "closed") this.#tellRoom(this.functions, 0); // who serves them is asked again
    for (let one = this.#closes.pop(); one; one = this.#closes.pop()) await one();
  }

  /** Calls `listener` if its connection ends for good without being closed by us. To be called after `start`. */
  onLost(listener: (error: AsyncError) => void): void {
    const bus = this.#bus;
    if (bus) this.#closes.push(bus.onLost(listener));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Starts, serves until the process gets SIGTERM, SIGINT or SIGHUP, and closes: for programs that are nothing but a worker.
   *
   * @throws AsyncError as {@link start}; `not_connected` if the connection ends for good
   */
  async run(override: WorkerOptions = {}): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, () => resolve());
    });
    await this.start(override);
    const lost = new Promise<AsyncError>((resolve) => this.onLost(resolve));
    const why = await Promise.race([stopped, lost]);
    await this.close();
    if (why) throw why;
  }

  /** Opens a connection of its own, unless it was given one. */
  async #connect(name: string, { bus, url }: WorkerOptions): Promise<Bus> {
    if (bus && "mux" in bus) return bus.requireOpen();
    const own = await Bus.open({ name, ...withEnvironment({ ...(url !== undefined && { url }), ...bus }) });
    this.#closes.push(() => own.close(), logConnection(own, this.#log));
    return own;
  }

  #onInvocation(served: Served, message: Request): void {
    if (!message.reply) return; // not a request: there is nobody to tell a result
    if (this.#phase !== "serving") {
      respondNoRoom(message);
      return;
    }
    if (this.#running.size >= this.#concurrency || this.#turns?.admits(served) === false) {
      this.#overflow.push({ served, message });
      this.#settleAtEndOfTurn();
      return;
    }
    let invocation: ReceivedInvocation;
    try {
      invocation = readInvocation(message);
    } catch (error) {
      respondError(message, error, "400");
      return;
    }
    const lateUntil = this.#watch?.lateUntil;
    this.#execute(served, new Execution(invocation, message, this.#log, this.#troubles, this.#heartbeatMs, lateUntil));
  }

  #execute(served: Served, execution: Execution): void {
    const { name, handler } = served;
    this.#log.debug({ fn: name, jobId: execution.jobId, attempt: execution.attempt }, "executing");
    this.#running.set(execution.reply, execution);
    if (this.#turns) this.#taken(this.#turns, served);
    if (this.#running.size >= this.#concurrency) this.#settleAtEndOfTurn();
    execution.run(
      handler,
      () => this.#ended(execution, served),
      (failed) => this.#replied(served, execution, failed),
    );
  }

  #replied({ name, endpoint }: Served, execution: Execution, failed: { error: unknown } | undefined): void {
    const { jobId, attempt, begunAt } = execution;
    const tookMs = performance.now() - begunAt;
    this.#watch?.ended(execution, tookMs);
    this.#service?.count(endpoint.name, tookMs, failed && messageOf(failed.error));
    const about = { fn: name, jobId, attempt };
    if (failed && isInstance(failed.error, Interrupted)) this.#log.info(about, "interrupted");
    else if (failed) this.#log.warn({ ...about, err: describeThrown(failed.error) }, "failed");
    else this.#log.debug(about, "done");
  }

  /** Called before the reply goes out (WORKER-2). */
  #ended(execution: Execution, served: Served): void {
    if (this.#running.delete(execution.reply)) this.#slotFreed(served);
  }

  #slotFreed(served: Served): void {
    clearTimeout(this.#leaving);
    this.#leaving = undefined;
    if (this.#phase === "serving") {
      if (this.#turns) {
        if (!this.#turns.open) this.#admit(this.#turns.slotFreed(), served);
      } else if (this.#groups?.empty) {
        this.#groups.join([served]);
        this.#announcement ??= setTimeout(() => this.#announce(), ANNOUNCE_AFTER_MS);
      }
    }
    if (this.#running.size === 0) this.#onIdle?.();
  }

  /** These may take a slot now as well. The supervisor of `ended`, if that is among them, hears of it by its reply. */
  #admit(admitted: readonly Served[], ended?: Served): void {
    this.#groups?.join(admitted);
    if (this.#turns?.open) {
      if (ended) this.#announcement ??= setTimeout(() => this.#announce(), ANNOUNCE_AFTER_MS);
      else this.#announce();
      return;
    }
    const functions = admitted.flatMap((one) => (one === ended ? [] : one.name));
    this.#tellRoom(functions, 1);
  }

  #taken(turns: Turns<Served>, served: Served): void {
    const over = turns.taken(served);
    // In a cluster it refuses them, see LEAVE_AFTER_MS.
    if (over.length > 0 && !this.#bus?.nc.info?.cluster) void this.#groups?.leave(over);
  }

  /** What the server has sent before it hears of this still arrives, and is answered. */
  async #leave(): Promise<void> {
    clearTimeout(this.#leaving);
    this.#leaving = undefined;
    await this.#groups?.leaveAll();
  }

  /** WORKER-1: if there is room by now, what arrived while full begins, as far as it fits; else it is refused and we leave. */
  #settleAtEndOfTurn(): void {
    this.#settling ??= setImmediate(() => {
      this.#settling = undefined;
      const full = this.#running.size >= this.#concurrency;
      for (const { served, message } of this.#overflow.splice(0)) {
        if (!full && this.#turns?.admits(served) !== false) this.#onInvocation(served, message);
        else {
          served.wanted = true;
          respondNoRoom(message);
        }
      }
      if (!full) return;
      this.#turns?.full();
      if (!this.#bus?.nc.info?.cluster) void this.#leave();
      else this.#leaving ??= setTimeout(() => void this.#leave(), LEAVE_AFTER_MS);
    });
  }

  #announce(): void {
    this.#announcement = undefined;
    const slots = this.#concurrency - this.#running.size;
    if (this.#phase !== "serving" || slots <= 0) return;
    this.#tellRoom(this.#turns ? this.#turns.admitted.map(({ name }) => name) : this.functions, slots);
  }

  #tellRoom(functions: string[], slots: number): void {
    if (functions.length === 0 || !this.#bus?.connected) return;
    const { nc, maxPayload } = this.#bus;
    const room = { functions, slots, heartbeatMs: this.#heartbeatMs };
    for (const body of encodeRooms(room, maxPayload)) nc.publish(ROOM, body);
  }

  #beat(): void {
    this.#lookAfterHandlers();
    if (!this.#bus?.connected) return;
    for (const execution of this.#running.values()) execution.sendHeartbeat();
  }

  /** WORKER-6 */
  #lookAfterHandlers(): void {
    const watch = this.#watch;
    if (!watch) return;
    watch.look(this.#running.values());
    if (this.#phase !== "serving") return;
    if (!this.#exitWhenStuck) {
      for (const { reply, functionName } of watch.release()) {
        const served = this.#functions.get(functionName);
        if (this.#running.delete(reply) && served) this.#slotFreed(served);
      }
    } else if (watch.holds(this.#concurrency)) {
      this.#log.fatal(
        { worker: this.id },
        "stuck: handlers whose attempts were given up have all slots; the process ends",
      );
      process.exit(1);
    }
  }

  /** WORKER-4. Anyone may publish on the subject, but nobody knows the reply subjects of others. */
  #onStop(data: Uint8Array): void {
    const stop = readStop(data);
    const execution = stop && this.#running.get(stop.reply);
    if (stop?.answer) execution?.askToStop();
    else execution?.stop();
  }

  /** Whether nothing runs any more, at the latest after `graceMs`. */
  #whenIdle(graceMs: number): Promise<boolean> {
    if (this.#running.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timerMs(graceMs));
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  #stateName(): string {
    if (this.#phase !== "serving") return this.#phase;
    if (this.#running.size === 0) return "idle";
    return this.#running.size < this.#concurrency ? "busy" : "full";
  }
}
