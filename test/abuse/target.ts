/** What is attacked: a nats-server, supervisors in processes of their own, one of them with the bridge, and an innocent with its worker. */
import { existsSync, readFileSync } from "node:fs";
import { Bus } from "../../src/bus/connection.ts";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { Client } from "../../src/client/client.ts";
import { startTestServer } from "../support/nats.ts";
import { type Running, startCli, startProcess } from "../support/process.ts";
import { within } from "../support/waiting.ts";
import type { Seen } from "./innocent.ts";

export interface TargetOptions {
  /** Default 2. */
  supervisors?: number;
  /** Further configuration of nats-server. */
  natsConfig?: string;
  storeDir?: string;
  /** Further flags of `async server`. */
  flags?: string[];
  /** In MiB. Default 512, as that of `async server`. */
  maxMemory?: number;
  /** Listeners that throw at each event, and functions that throw or return oddities, in the process of the second supervisor. */
  hostileProcess?: boolean;
}

const END_LIMIT_MS = 90_000;

/** Users for who attacks with permissions; without a user everything is permitted. */
const USERS = `
authorization {
  users: [
    { user: all, password: x }
    { user: limited, password: x, permissions: {
      publish: { allow: ["job.submit", "_INBOX.>"] }, subscribe: { allow: ["_INBOX.>", "_INBOX_async.>"] } } }
    { user: deaf, password: x, permissions: { subscribe: { deny: ["_INBOX_async.>", "fn.>"] } } }
  ]
}
no_auth_user: all
`;

export class Target {
  readonly options: TargetOptions;
  readonly bus: Bus;
  readonly client: Client;
  readonly supervisors: Running[] = [];
  /** Lines of nats-server that tell of trouble. */
  readonly natsTroubles: string[];
  #nats: EmbeddedServer;
  #innocent: Running | undefined;
  #http = "";
  readonly #quietMs: number[] = [];

  private constructor(options: TargetOptions, nats: EmbeddedServer, bus: Bus, natsTroubles: string[]) {
    this.options = options;
    this.#nats = nats;
    this.bus = bus;
    this.client = new Client(bus);
    this.natsTroubles = natsTroubles;
  }

  static async start(options: TargetOptions = {}): Promise<Target> {
    const target = await Target.startWithoutSupervisors(options);
    try {
      await target.startSupervisors();
    } catch (error) {
      await target.close();
      throw error;
    }
    return target;
  }

  /** So that something can wait for them. */
  static async startWithoutSupervisors(options: TargetOptions = {}): Promise<Target> {
    const troubles: string[] = [];
    const { natsConfig = "", storeDir } = options;
    const nats = await startTestServer({
      extraConfig: USERS + natsConfig,
      ...(storeDir !== undefined && { storeDir }),
      onLog: (line) => {
        if (/slow consumer|\[ERR\]|\[FTL\]|panic/i.test(line)) troubles.push(line);
      },
    });
    const bus = await Bus.open({ url: nats.url, name: "attacker" });
    return new Target(options, nats, bus, troubles);
  }

  get url(): string {
    return this.#nats.url;
  }

  get http(): string {
    return this.#http;
  }

  get natsPid(): number {
    return this.#nats.pid;
  }

  async startSupervisors(): Promise<void> {
    const { supervisors = 2, flags = [], maxMemory = 512, hostileProcess } = this.options;
    const server = (http: string[]) =>
      startCli(["server", "--nats", this.url, "--max-memory", String(maxMemory), ...flags, ...http]);
    const first = await server(["--http", "127.0.0.1:0"]);
    this.supervisors.push(first);
    if (hostileProcess) this.supervisors.push(await startProcess("test/abuse/hostile-supervisor.ts", [this.url]));
    else for (let i = 1; i < supervisors; i++) this.supervisors.push(await server(["--no-http"]));
    for (const one of this.supervisors) await one.line("supervisor is running");
    const listening = await first.line("Server listening at");
    this.#http = /http:\/\/[\d.]+:\d+/.exec(listening)?.[0] ?? "";
    this.#innocent = await startProcess("test/abuse/innocent.ts", [this.url, this.#http]);
    await this.#innocent.line("innocent is ready");
  }

  /** A supervisor more, without a bridge. */
  async addSupervisor(): Promise<Running> {
    const { flags = [], maxMemory = 512 } = this.options;
    const all = ["server", "--nats", this.url, "--max-memory", String(maxMemory), "--no-http", ...flags];
    const added = await startCli(all);
    this.supervisors.push(added);
    await added.line("supervisor is running");
    return added;
  }

  /** Stops nats-server, for who starts another one on the same store. */
  async stopNats(): Promise<void> {
    await this.#nats.close();
  }

  async restartNats(): Promise<void> {
    const { storeDir, natsConfig = "" } = this.options;
    if (storeDir === undefined) throw new Error("only a store in a folder of its own survives its server");
    const port = this.#nats.port;
    await this.#nats.close();
    this.#nats = await startTestServer({ extraConfig: USERS + natsConfig, storeDir, port });
  }

  /** From now on the innocent is measured. */
  begin(): void {
    this.#tell("begin");
  }

  /** What the innocent has seen since. */
  async end(): Promise<Seen> {
    const innocent = this.#innocent;
    if (!innocent) throw new Error("the innocent is not there yet");
    const before = innocent.output().split("\n").filter(isSeen).length;
    this.#tell("end");
    const line = await within(
      END_LIMIT_MS,
      "what the innocent has seen",
      (async () => {
        for (;;) {
          const lines = innocent.output().split("\n").filter(isSeen);
          if (lines.length > before) return lines.at(-1) ?? "";
          if (innocent.child.exitCode !== null) throw new Error(`the innocent has ended:\n${innocent.output()}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      })(),
    );
    return JSON.parse(line.slice("seen ".length)) as Seen;
  }

  /** The worst latency of an innocent job while nothing else is going on. */
  async quiet(ms = 700): Promise<number> {
    this.begin();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const { latenciesMs } = await this.end();
    this.#quietMs.push(Math.max(...latenciesMs));
    return Math.max(...latenciesMs);
  }

  /** The most memory each supervisor has had, in MiB; none where the system does not tell. */
  peaksMiB(): number[] {
    return this.supervisors.flatMap(({ child }) => peakMiB(child.pid ?? 0) ?? []);
  }

  /** Supervisors that are not there any more, with what they have said. */
  dead(): string[] {
    const gone = this.supervisors.filter(({ child }) => child.exitCode !== null || child.signalCode !== null);
    return gone.map(({ output }) => output().slice(-4_000));
  }

  /** What supervisors and the bridge have logged that no stranger should be able to bring about. */
  faults(): string[] {
    const isFault = (line: string) =>
      /"level":[456]0/.test(line) && /TypeError|RangeError|ReferenceError|unexpected failure|"level":60/.test(line);
    return this.supervisors.flatMap(({ output }) => output().split("\n").filter(isFault));
  }

  async close(): Promise<void> {
    await this.#innocent?.kill();
    for (const one of this.supervisors) await one.kill();
    await this.bus.close();
    await this.#nats.close();
  }

  #tell(what: string): void {
    this.#innocent?.child.stdin?.write(`${what}\n`);
  }
}

const isSeen = (line: string) => line.startsWith("seen ");

/** The most resident memory that the process has had; undefined where there is no /proc. */
export function peakMiB(pid: number): number | undefined {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return undefined;
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(file, "utf8"))?.[1] ?? 0) / 1_024;
}
