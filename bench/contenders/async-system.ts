/** The real thing: its own processes, as a user starts them, and a client that submits, waits and checks. */
import { setTimeout as delay } from "node:timers/promises";
import { EVENTS, JOBS, KV_JOBS, TIMERS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { checkStates, jobIdOf, type Ledger, type Problem } from "../check.ts";
import { type Round, type Setup, WrongResults } from "../contender.ts";
import { type ProcessHandle, type StartedProcess, startNode } from "../process.ts";
import { submitBulk } from "../submissions.ts";
import { POLL_MS, STALL_MS } from "../until-none-left.ts";
import { type NatsServer, Observer } from "./nats.ts";

const COMMAND = "dist/cli/main.js";

export const BENCH_WORKER = "bench/worker.ts";

export function startSupervisor(url: string, args: string[] = ["--no-http"]): Promise<StartedProcess> {
  return startNode({
    role: "supervisor",
    args: [COMMAND, "server", ...args],
    env: { NATS_URL: url },
    ready: "supervisor is running",
  });
}

export function startWorker(url: string, concurrency: number, module = BENCH_WORKER): Promise<StartedProcess> {
  return startNode({
    role: "worker",
    args: [COMMAND, "worker", module, "--concurrency", String(concurrency)],
    env: { NATS_URL: url },
    ready: "serving",
  });
}

/** Jobs that are submitted at once, and what must become of them. */
export interface Batch {
  jobs: number;
  /** The job with a number from 0 on, without an id. */
  job(number: number): object;
  problem: Problem;
  /** How they are to end, if not by completing. */
  end?: "failed";
}

/** How far each stream was at some moment: what comes after it is newer. */
export type Mark = Record<typeof JOBS | typeof KV_JOBS | typeof EVENTS | typeof TIMERS, number>;

export class AsyncSystem {
  readonly observer: Observer;
  readonly client: Client;
  readonly #server: NatsServer;
  readonly #started: StartedProcess[] = [];

  private constructor(server: NatsServer, observer: Observer) {
    this.#server = server;
    this.observer = observer;
    this.client = new Client(observer.bus);
  }

  /** With no processes of its own yet. */
  static async on(server: NatsServer): Promise<AsyncSystem> {
    return new AsyncSystem(server, await Observer.on(server.url));
  }

  /** `module` is what the workers serve. */
  static async start(server: NatsServer, setup: Setup, module?: string): Promise<AsyncSystem> {
    const system = await AsyncSystem.on(server);
    try {
      for (let i = 0; i < setup.supervisors; i++) await system.startSupervisor();
      for (let i = 0; i < setup.workers; i++) await system.startWorker(setup.concurrency, module);
      return system;
    } catch (error) {
      await system.close();
      throw error;
    }
  }

  get processes(): ProcessHandle[] {
    const living = this.#started.filter(({ child }) => child.exitCode === null && child.signalCode === null);
    return [...living, ...this.#server.processes, { role: "client", pid: process.pid }];
  }

  async startSupervisor(args?: string[]): Promise<StartedProcess> {
    return this.adopt(await startSupervisor(this.#server.url, args));
  }

  async startWorker(concurrency: number, module?: string): Promise<StartedProcess> {
    return this.adopt(await startWorker(this.#server.url, concurrency, module));
  }

  /** From now on the process belongs to this system, and is stopped with it. */
  adopt(started: StartedProcess): StartedProcess {
    this.#started.push(started);
    return started;
  }

  async run(batch: Batch): Promise<Round> {
    const mark = await this.mark();
    const begun = performance.now();
    const ledger = await this.submit(batch);
    const submittedMs = performance.now() - begun;
    await this.untilEnded(ledger, mark);
    const doneMs = performance.now() - begun;
    return { submittedMs, doneMs, check: () => this.check(ledger, mark, batch.problem, batch.end) };
  }

  /** All of them in bulk. */
  async submit({ jobs, job }: Pick<Batch, "jobs" | "job">): Promise<Ledger> {
    const ids = await submitBulk(this.client, jobs, job);
    return new Map(ids.map((id, number) => [id, number]));
  }

  async mark(): Promise<Mark> {
    const [jobs, states, events, timers] = await Promise.all(
      [JOBS, KV_JOBS, EVENTS, TIMERS].map((stream) => this.observer.lastSequence(stream)),
    );
    return { [JOBS]: jobs ?? 0, [KV_JOBS]: states ?? 0, [EVENTS]: events ?? 0, [TIMERS]: timers ?? 0 };
  }

  /**
   * Until no stream holds a token of one of the jobs any more: they have ended, and the ends are stored. A job's next
   * token is stored before the one before goes, and never in an earlier stream of these two.
   */
  async untilEnded(ledger: Ledger, mark: Mark): Promise<void> {
    for (const stream of [JOBS, TIMERS] as const) {
      let oldest = mark[stream];
      for (let movedAt = performance.now(); ; await delay(POLL_MS)) {
        const now = await this.observer.firstFrom(stream, oldest + 1, (subject) => ledger.has(jobIdOf(subject)));
        if (now === undefined) break;
        if (now - 1 > oldest) movedAt = performance.now();
        oldest = now - 1;
        if (performance.now() - movedAt > STALL_MS) throw new WrongResults("jobs do not end");
      }
    }
  }

  /** @throws WrongResults */
  async check(ledger: Ledger, mark: Mark, problem: Problem, end?: Batch["end"]): Promise<void> {
    await checkStates(this.observer.messages(KV_JOBS, mark[KV_JOBS] + 1), ledger, problem, end);
  }

  /** Bytes of all streams, jobs of others included. */
  storedBytes(): Promise<number> {
    return this.observer.bytes([JOBS, KV_JOBS, EVENTS, TIMERS]);
  }

  async close(): Promise<void> {
    for (let one = this.#started.pop(); one; one = this.#started.pop()) await one.stop();
    await this.observer.close();
  }
}
