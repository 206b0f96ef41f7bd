/**
 * Tells supervisors what a worker says of its functions (`job/settings.ts`): once, when it starts. They store it, and it is the same for all
 * of them.
 *
 * REGISTRATION-1  It is begun before the worker takes anything, and waits for an answer for `FIRST_WAIT_MS` at most: a worker may start
 *     before there is a supervisor. It is tried until it is done.
 */
import type { Logger } from "pino";
import { ERROR_CODE_HEADER } from "../api/headers.ts";
import { type Registration as Body, MAX_REGISTERED } from "../api/kept.ts";
import { FUNCTION_REGISTER } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readJsonObject } from "../bus/messages/codec.ts";
import { AsyncError, InvalidInputError, isAsyncError, messageOf } from "../job/errors.ts";
import { type FunctionSettings, hasSettings, parseSettings } from "../job/settings.ts";
import type { Handler } from "./context.ts";

const FIRST_WAIT_MS = 1_000;
const TIMEOUT_MS = 3_000;
const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 30_000;
/** What is wrong with the registration itself: to try again would not help. */
const REFUSED = new Set(["invalid_request", "invalid_function_name", "settings_full", "permission_denied"]);

/** What `func` is called with besides the name. @throws AsyncError `invalid_option` with all that is wrong */
export function readDefinition(
  name: string,
  first: Handler | FunctionSettings,
  second: Handler | undefined,
): { handler: Handler; settings: FunctionSettings | undefined } {
  if (typeof first === "function") return { handler: first, settings: undefined };
  if (typeof second !== "function") {
    throw new AsyncError(
      "invalid_option",
      `function ${name} needs a handler: func(name, handler), or func(name, settings, handler)`,
    );
  }
  const settings = checkedSettings(name, first);
  return { handler: second, settings: hasSettings(settings) ? settings : undefined };
}

function checkedSettings(name: string, settings: unknown): FunctionSettings {
  try {
    return parseSettings(settings);
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    const text = error.reasons.map(({ path, message }) => `${path || "/"} ${message}`).join("; ");
    throw new AsyncError("invalid_option", `the settings of function ${name}: ${text}`, { cause: error });
  }
}

export class Registration {
  readonly #bus: Bus;
  readonly #log: Logger;
  readonly #bodies: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  /** @param served those that have settings are registered */
  constructor(
    bus: Bus,
    log: Logger,
    worker: string,
    served: readonly { name: string; settings: FunctionSettings | undefined }[],
  ) {
    this.#bus = bus;
    this.#log = log;
    const functions = served.flatMap(({ name, settings }) => (settings ? [{ name, settings }] : []));
    for (let from = 0; from < functions.length; from += MAX_REGISTERED) {
      const body: Body = { functions: functions.slice(from, from + MAX_REGISTERED), worker };
      this.#bodies.push(JSON.stringify(body));
    }
  }

  /** Returns when it is done, or goes on by itself (REGISTRATION-1). */
  async begin(): Promise<void> {
    if (this.#bodies.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_WAIT_MS);
    });
    await Promise.race([this.#register(), late]);
    clearTimeout(timer);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#wake?.();
  }

  async #register(): Promise<void> {
    for (let failures = 0; this.#bodies.length > 0 && !this.#closed; ) {
      const problem = await this.#send(this.#bodies[0] ?? "");
      if (problem === undefined || REFUSED.has(problem.code)) {
        this.#bodies.shift();
        if (problem) this.#log.error({ code: problem.code }, `what is set at functions is refused: ${problem.message}`);
        continue;
      }
      if (this.#closed) return;
      if (failures === 1) {
        this.#log.warn({ code: problem.code }, `what is set at functions is not stored yet: ${problem.message}`);
      }
      await this.#pause(Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures));
      failures += 1;
    }
  }

  async #send(body: string): Promise<{ code: string; message: string } | undefined> {
    try {
      const reply = await this.#bus.mux.request(FUNCTION_REGISTER, body, TIMEOUT_MS);
      if (!reply.headers?.has(ERROR_CODE_HEADER)) return undefined;
      const { code, message } = readJsonObject(reply.data) ?? {};
      return { code: String(code), message: String(message) };
    } catch (error) {
      return { code: isAsyncError(error) ? error.code : "internal", message: messageOf(error) };
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = setTimeout(resolve, ms);
    });
  }
}
