/** Reads nats-server's log: when it is ready and on which port, and what a start failed with. Keeps only its end. */
import { AsyncError } from "../../job/errors.ts";
import type { GuardExit } from "./guard.ts";

const MAX_LINES = 50;
const MAX_LINE_CHARS = 500;
/** How much of the log an error message shows. */
const SHOWN_LINES = 10;

const LISTENING = /Listening for client connections on \S+:(\d+)/;
const READY = /Server is ready/;
const PORT_TAKEN = /listen tcp \S*?:(\d+): bind: address already in use/;
const STORE_FAILED = /Can't start JetStream: (could not create storage directory.*|storage directory.*)/;

export class ServerLog {
  /** The port, as soon as the server is ready. */
  readonly ready: Promise<number>;
  readonly #onLine: (line: string) => void;
  #lines: string[] = [];
  #port: number | undefined;
  #setReady: (port: number) => void = () => {};

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
    this.ready = new Promise((resolve) => {
      this.#setReady = resolve;
    });
  }

  /** The last lines, oldest first; at most 50, each cut at 500 characters. */
  get lastLines(): string[] {
    return [...this.#lines];
  }

  add(line: string): void {
    this.#lines.push(line.slice(0, MAX_LINE_CHARS));
    if (this.#lines.length > MAX_LINES) this.#lines.shift();
    const port = LISTENING.exec(line)?.[1];
    if (port !== undefined) this.#port = Number(port);
    if (READY.test(line) && this.#port !== undefined) this.#setReady(this.#port);
    this.#onLine(line);
  }

  /** Why a server that ended before it could be used did so. */
  explain({ code, signal }: GuardExit, storeDir: string): AsyncError {
    const text = this.#lines.join("\n");
    const port = PORT_TAKEN.exec(text)?.[1];
    if (port !== undefined) {
      const choices = "stop what listens there, or choose another port (0 takes a free one)";
      return new AsyncError("port_taken", `port ${port} is taken: ${choices}`);
    }
    const reason = STORE_FAILED.exec(text)?.[1];
    if (reason !== undefined) return storeNotWritable(storeDir, reason);
    const how = signal === null ? `with code ${code}` : `by ${signal}`;
    return this.failure(`nats-server ended ${how} before it was ready`);
  }

  /** `server_exited` with the end of the log. */
  failure(what: string, cause?: unknown): AsyncError {
    const shown = this.#lines.slice(-SHOWN_LINES).map((line) => `\n  ${line}`);
    const end = shown.length > 0 ? `its log ends with:${shown.join("")}` : "it logged nothing";
    return new AsyncError("server_exited", `${what}; ${end}`, { cause });
  }
}

export function storeNotWritable(storeDir: string, reason: string, cause?: unknown): AsyncError {
  const message = `the store folder ${storeDir} cannot be written: ${reason}; choose another one, or make it writable`;
  return new AsyncError("store_not_writable", message, { cause });
}
