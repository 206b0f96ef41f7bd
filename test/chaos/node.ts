/** A nats-server in its place: it comes back on the same port, with the same store and configuration. */
import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { EmbeddedServer } from "../../src/bus/server/embedded-server.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { startTestServer } from "../support/nats.ts";
import type { Target } from "./target.ts";

/** How often a start is tried while something else of this machine has taken the port. */
const PORT_TRIES = 20;
const PORT_PAUSE_MS = 500;

export interface NodeOptions {
  /** From 1. */
  number: number;
  /** Where its store and its log go. */
  folder: string;
  /** The cluster block, where there is one. */
  extraConfig: string;
  /** Resolves when the others have nothing more to tell it. */
  untilCurrent: () => Promise<void>;
}

export class Node implements Target {
  readonly role = "server";
  busy = false;
  readonly #options: NodeOptions;
  readonly #log: WriteStream;
  #starts = 0;
  #server: EmbeddedServer | undefined;
  #port = 0;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#log = createWriteStream(join(options.folder, `nats-${options.number}.log`));
  }

  get process(): string {
    return `nats-${this.#options.number}.${this.#starts}`;
  }

  get pid(): number {
    return this.#running.pid;
  }

  get url(): string {
    return this.#running.url;
  }

  async start(): Promise<void> {
    this.#starts += 1;
    const again = this.#port !== 0;
    const { folder, number, extraConfig, untilCurrent } = this.#options;
    const onLog = (line: string) => void this.#log.write(`${line}\n`);
    const options = { storeDir: join(folder, `store-${number}`), extraConfig, onLog };
    for (let tries = 1; ; tries++) {
      try {
        this.#server = await startTestServer({ ...options, port: this.#port });
        break;
      } catch (error) {
        if (!isAsyncError(error, "port_taken") || tries === PORT_TRIES) throw error;
        await delay(PORT_PAUSE_MS);
      }
    }
    this.#port = this.#running.port;
    if (again) await untilCurrent();
  }

  async kill(): Promise<void> {
    process.kill(this.pid, "SIGKILL");
    await this.#running.exited;
  }

  async terminate(): Promise<void> {
    await this.#running.close();
  }

  async close(): Promise<void> {
    await this.#server?.close();
    await new Promise<void>((resolve) => this.#log.end(resolve));
  }

  get #running(): EmbeddedServer {
    if (!this.#server) throw new Error(`${this.process} was never started`);
    return this.#server;
  }
}
