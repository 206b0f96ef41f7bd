/**
 * A place for a supervisor or a worker, and the process of the `async` command that is in it.
 *
 * MEMBER-1  A process that cannot start, because NATS is away, is followed by the next one, as an orchestrator would do it.
 * MEMBER-2  A process that ends without being asked to, or with an error when it was asked politely, is a complaint.
 * MEMBER-3  No process outlives this one: they end when the channel to their parent is gone.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EXECUTION_LOG_ENV } from "./execution-log.ts";
import type { Target } from "./target.ts";

const POLL_MS = 50;
const START_LIMIT_MS = 60_000;
const BETWEEN_STARTS_MS = 500;
/** Grace periods are 10 s; an outage of NATS may come on top. */
const DRAIN_LIMIT_MS = 40_000;

export interface MemberOptions {
  role: "supervisor" | "worker";
  /** Its name among those of its role. */
  number: string | number;
  /** The `async` command that it runs. Default: that of this checkout. */
  command?: string;
  /** Arguments of the `async` command. */
  args: string[];
  /** What it logs when it can be used. */
  readyText: string;
  /** Where logs go. */
  folder: string;
  onComplaint: (what: string) => void;
}

export class Member implements Target {
  readonly role: "supervisor" | "worker";
  busy = false;
  readonly #options: MemberOptions;
  #starts = 0;
  #child: ChildProcess | undefined;
  /** Why the process may end; undefined while it may not. */
  #ending: "starting" | "killed" | "terminated" | undefined;
  #closed = false;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.role = options.role;
  }

  get process(): string {
    return `${this.role}-${this.#options.number}.${this.#starts}`;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.process} was never started`);
    return pid;
  }

  async start(): Promise<void> {
    const end = performance.now() + START_LIMIT_MS;
    while (!this.#closed && !(await this.#startOnce())) {
      if (performance.now() > end) throw new Error(`${this.process} did not start, see ${this.#logFile}`);
      await delay(BETWEEN_STARTS_MS);
    }
  }

  async kill(): Promise<void> {
    this.#ending = "killed";
    await this.#signal("SIGKILL");
  }

  async terminate(): Promise<void> {
    this.#ending = "terminated";
    const { process } = this;
    const late = setTimeout(() => {
      this.#options.onComplaint(`${process} had not drained ${DRAIN_LIMIT_MS} ms after SIGTERM`);
      void this.kill();
    }, DRAIN_LIMIT_MS);
    await this.#signal("SIGTERM");
    clearTimeout(late);
  }

  /** Ends the process for good. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#child) await this.kill();
  }

  get #logFile(): string {
    return join(this.#options.folder, `${this.process}.log`);
  }

  /** MEMBER-1: false if it has gone again. */
  async #startOnce(): Promise<boolean> {
    this.#starts += 1;
    this.#ending = "starting";
    const log = openSync(this.#logFile, "a");
    const { command = "dist/cli/main.js", args } = this.#options;
    const child = spawn(process.execPath, [command, ...args], {
      // With a channel, so that it notices when we are gone.
      stdio: ["ignore", "ignore", log, "ipc"],
      env: {
        ...process.env,
        NO_COLOR: "1",
        ASYNC_LOG_LEVEL: "debug",
        [EXECUTION_LOG_ENV]: join(this.#options.folder, `${this.process}.executions`),
      },
    });
    closeSync(log);
    this.#child = child;
    const name = this.process;
    child.once("exit", (code, signal) => this.#onExit(name, code, signal));
    while (isRunning(child)) {
      if ((await readFile(this.#logFile, "utf8")).includes(this.#options.readyText)) {
        this.#ending = undefined;
        return true;
      }
      await delay(POLL_MS);
    }
    return false;
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || !isRunning(child)) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  #onExit(name: string, code: number | null, signal: NodeJS.Signals | null): void {
    const expected = this.#ending === "terminated" ? code === 0 : this.#ending !== undefined;
    if (!expected) this.#options.onComplaint(`${name} ended by itself, with ${signal ?? `exit code ${code}`}`);
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
