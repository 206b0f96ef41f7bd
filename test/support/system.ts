/** A server, a supervisor and a client for one suite, and what the tests of it need to watch them. */
import { readFile } from "node:fs/promises";
import { type Logger, pino } from "pino";
import { Supervisor, type SupervisorOptions } from "../../src/actors/supervisor.ts";
import { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { Client } from "../../src/client/client.ts";
import type { JobEvent, RejectedEvent } from "../../src/job/events.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { Worker } from "../../src/worker/worker.ts";
import { startTestServer } from "./nats.ts";
import { within } from "./waiting.ts";

export const silent: Logger = pino({ level: "silent" });

/** The job files of the original system, copied into the tests. */
export async function seedJob(
  name: "job_chain" | "job_retry" | "job_simple" | "test",
): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(new URL(`../../examples/jobs/${name}.json`, import.meta.url), "utf8"));
}

export class System {
  readonly server: EmbeddedServer;
  readonly bus: Bus;
  readonly client: Client;
  readonly events: (JobEvent | RejectedEvent)[] = [];
  #supervisor: Supervisor | undefined;
  readonly #workers: Worker[] = [];

  private constructor(server: EmbeddedServer, bus: Bus) {
    this.server = server;
    this.bus = bus;
    this.client = new Client(bus);
  }

  static async start(options: SupervisorOptions | "without supervisor" = {}): Promise<System> {
    const server = await startTestServer();
    const system = new System(server, await Bus.open({ url: server.url, name: "test" }));
    if (options !== "without supervisor") await system.startSupervisor(options);
    return system;
  }

  get url(): string {
    return this.server.url;
  }

  get supervisor(): Supervisor {
    if (!this.#supervisor) throw new Error("the system runs without a supervisor");
    return this.#supervisor;
  }

  async startSupervisor(options: SupervisorOptions = {}): Promise<Supervisor> {
    const supervisor = await Supervisor.start(this.bus, options);
    supervisor.lifecycle.on("job", (event) => this.events.push(event));
    this.#supervisor = supervisor;
    return supervisor;
  }

  /** A started worker; closed with the system. */
  async worker(define: (worker: Worker) => Worker, options: WorkerOptions = {}): Promise<Worker> {
    const worker = define(new Worker({ url: this.url, log: silent, ...options }));
    this.#workers.push(worker);
    return worker.start();
  }

  /** The types of the events of a job, in order. */
  told(jobId: string): string[] {
    return this.events.filter((event) => event.job_id === jobId).map((event) => event.type);
  }

  /** The next event that fits; one that has been told already counts unless `fresh`. */
  async event<T extends JobEvent | RejectedEvent = JobEvent>(
    fits: (event: JobEvent | RejectedEvent) => boolean,
  ): Promise<T> {
    const past = this.events.find(fits);
    if (past) return past as T;
    const { lifecycle } = this.supervisor;
    return within(
      10_000,
      "the event",
      new Promise<T>((resolve) => {
        const listener = (event: JobEvent | RejectedEvent) => {
          if (!fits(event)) return;
          lifecycle.off("job", listener);
          resolve(event as T);
        };
        lifecycle.on("job", listener);
      }),
    );
  }

  async close(): Promise<void> {
    for (const worker of this.#workers) await worker.close({ graceMs: 100 });
    await this.#supervisor?.close({ graceMs: 100 });
    await this.bus.close();
    await this.server.close();
  }
}
