/**
 * The worker of one module in `async dev`: a process of its own, so that whatever a handler does leaves NATS, HTTP and the other
 * modules alone. It is started again when its files change, and when it ends by itself.
 *
 * DEV-1  There is one process of a module at a time: the new one is started when the old one has gone, so that ports which both
 *     open are free, and after a change no attempt begins with the old code.
 * DEV-2  A process that is stopped may end its attempts; one that does not end within its grace is killed, and that is said.
 * DEV-3  One that ends by itself is started again after a while that doubles, `MAX_RESTARTS` times in a row; then, and where the
 *     module cannot be loaded, the next change of its files is waited for. Jobs wait meanwhile.
 * DEV-4  None outlives `async dev`, however that ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { timerMs } from "../job/time.ts";
import { EXIT } from "./exit.ts";
import { type Changes, FileWatch } from "./file-watch.ts";
import { brief } from "./table.ts";
import { REPORT_FILES, readWorkerMessage } from "./worker-messages.ts";

const MAX_RESTARTS = 5;
const FIRST_DELAY_MS = 250;
/** Whoever has served for this long has not been started in vain. */
const SOUND_AFTER_MS = 30_000;
/** What one takes to end besides the grace for its attempts. */
const STOP_MS = 3_000;
/** Of one that has not begun to serve, so that nothing runs in it. */
const STOP_STARTING_LIMIT_MS = 2_000;

export interface DevWorkerOptions {
  /** As it was named by the user. */
  module: string;
  /** Further arguments of `async worker`, with the address of NATS. */
  args: string[];
  /** How long its attempts may take to end; among `args` too. */
  graceMs: number;
  /** For a line about what it does. */
  say: (line: string) => void;
}

type State =
  | { is: "starting"; child: ChildProcess; since: number; files: Set<string> }
  | { is: "serving"; child: ChildProcess; since: number; files: Set<string> }
  /** It was asked to end; then another one is started, or not. */
  | { is: "stopping"; child: ChildProcess; again: boolean }
  | { is: "resting"; timer: NodeJS.Timeout }
  /** For a change of its files. */
  | { is: "waiting" }
  | { is: "closed" };

export class DevWorker {
  readonly #options: DevWorkerOptions;
  readonly #watch: FileWatch;
  #state: State = { is: "waiting" };
  /** In a row. */
  #restarts = 0;
  #onClosed: () => void = () => {};

  constructor(options: DevWorkerOptions) {
    this.#options = options;
    this.#watch = new FileWatch((changes) => this.#onChange(changes));
  }

  start(): void {
    const { module } = this.#options;
    this.#watch.processStarts();
    this.#watch.add([resolve(module)]);
    const args = [...process.execArgv, mainFile(), "worker", module, ...this.#options.args];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"], env: environment() });
    this.#state = { is: "starting", child, since: performance.now(), files: new Set([resolve(module)]) };
    child.on("message", (message) => this.#onMessage(child, message));
    child.once("exit", (code, signal) => this.#onExit(child, code, signal));
    child.once("error", (error) => {
      // It could not be started, or not be told something: the former has no `exit`.
      if (child.pid === undefined) this.#ended(`cannot be started: ${error.message}`);
    });
  }

  /** Lets the attempts of its process end. */
  async close(): Promise<void> {
    this.#watch.close();
    const state = this.#state;
    switch (state.is) {
      case "starting":
      case "serving":
      case "stopping": {
        const closed = new Promise<void>((resolve) => {
          this.#onClosed = resolve;
        });
        if (state.is === "stopping") this.#state = { ...state, again: false };
        else this.#stop(state, false);
        await closed;
        break;
      }
      case "resting":
        clearTimeout(state.timer);
        break;
      case "waiting":
      case "closed":
        break;
      default:
        state satisfies never;
    }
    this.#state = { is: "closed" };
  }

  #onMessage(child: ChildProcess, raw: unknown): void {
    const message = readWorkerMessage(raw);
    const state = this.#state;
    if (!message || !("child" in state) || state.child !== child) return;
    if (message.is === "draining") {
      const { attempts } = message;
      if (attempts > 0)
        this.#say(`waits for ${count(attempts, "attempt")}, at most ${this.#options.graceMs / 1_000} s`);
    } else if (state.is === "stopping") {
      return;
    } else if (message.is === "loading") {
      const files = message.files.filter(isOfProject);
      for (const file of files) state.files.add(file);
      this.#watch.add(files);
    } else if (state.is === "starting") {
      this.#watch.keepOnly(state.files);
      this.#state = { ...state, is: "serving", since: performance.now() };
      this.#say(`serves ${brief(message.functions.join(", "))}; starts again when ${filesOf(state.files)} changes`);
    }
  }

  #onChange({ files, folders }: Changes): void {
    const state = this.#state;
    const cause = files.length > 0 ? files : folders;
    const what = `${cause.slice(0, 3).map(shown).join(", ")}${cause.length > 3 ? ", …" : ""} changed`;
    switch (state.is) {
      case "starting":
      case "serving":
        if (files.length === 0) return; // something that it has not loaded
        this.#restarts = 0;
        this.#say(`${what}: starting again`);
        this.#stop(state, true);
        return;
      case "resting":
      case "waiting":
        // What could not be loaded may have been made only now.
        if (state.is === "resting") clearTimeout(state.timer);
        this.#restarts = 0;
        this.#say(`${what}: starting again`);
        this.start();
        return;
      case "stopping": // what is started next sees it
      case "closed":
        return;
      default:
        state satisfies never;
    }
  }

  /** DEV-2 */
  #stop({ is, child }: Extract<State, { is: "starting" | "serving" }>, again: boolean): void {
    this.#state = { is: "stopping", child, again };
    child.kill("SIGTERM");
    const limit = setTimeout(
      () => {
        this.#say("does not end, and is killed");
        child.kill("SIGKILL");
      },
      is === "serving" ? timerMs(this.#options.graceMs + STOP_MS) : STOP_STARTING_LIMIT_MS,
    );
    child.once("exit", () => clearTimeout(limit));
  }

  #onExit(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    const state = this.#state;
    if (!("child" in state) || state.child !== child) return;
    if (state.is === "stopping") {
      if (state.again) this.start();
      else this.#onClosed();
      return;
    }
    if (state.is === "starting" && code === EXIT.usage) {
      this.#state = { is: "waiting" };
      this.#say("cannot be used as it is; starts again when its files change");
      return;
    }
    if (state.is === "serving" && performance.now() - state.since > SOUND_AFTER_MS) this.#restarts = 0;
    this.#ended(signal ? `was ended by ${signal}` : `ended by itself with exit code ${code}`);
  }

  /** DEV-3 */
  #ended(how: string): void {
    if (this.#restarts >= MAX_RESTARTS) {
      this.#state = { is: "waiting" };
      this.#say(`${how}, after ${MAX_RESTARTS} restarts in a row; starts again when its files change`);
      return;
    }
    const delayMs = FIRST_DELAY_MS * 2 ** this.#restarts;
    this.#restarts += 1;
    this.#say(`${how}; starts again in ${delayMs / 1_000} s (${this.#restarts} of ${MAX_RESTARTS})`);
    this.#state = { is: "resting", timer: setTimeout(() => this.start(), delayMs) };
  }

  /** Ends its process at once (DEV-4). */
  kill(): void {
    if ("child" in this.#state) this.#state.child.kill("SIGKILL");
  }

  #say(what: string): void {
    this.#options.say(`${this.#options.module}: ${what}`);
  }
}

function mainFile(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.js", import.meta.url));
}

/** The server of `async dev` knows no logins, so those of the environment are for another one. */
function environment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("ASYNC_NATS_") || name === "ASYNC_NATS_SERVER",
  );
  return { ...Object.fromEntries(own), ...REPORT_FILES };
}

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));

/** What a user changes: nothing that was installed, and nothing of ours. */
function isOfProject(file: string): boolean {
  if (file.split(sep).includes("node_modules")) return false;
  return !["src", "dist"].some((folder) => file.startsWith(`${PACKAGE}${folder}${sep}`));
}

function filesOf(files: ReadonlySet<string>): string {
  return files.size === 1 ? "it" : `it or ${count(files.size - 1, "file")} that it imports`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

/** As a user would name it. */
function shown(file: string): string {
  const path = relative(process.cwd(), file);
  return path === "" ? "." : path.startsWith("..") ? file : path;
}
