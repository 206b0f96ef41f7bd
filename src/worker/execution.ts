/**
 * One attempt inside a worker: the handler's context, and the replies to the supervisor.
 *
 * EXECUTION-1  At most one final reply is sent, and no heartbeat after it.
 * EXECUTION-2  When the attempt is given up, here or by its supervisor, its signal fires and its outcome is not sent.
 * EXECUTION-3  When it is interrupted, because its worker drains, its signal fires, and its outcome is sent if it comes before
 *     `endInterrupted`. If it does not come, or is the reason of the signal, the reply says that it was interrupted. The newest
 *     progress is sent before: the next attempt goes on from there.
 * EXECUTION-4  When it is asked to stop, because its job undoes what it has done, its signal fires, and it goes on, with heartbeats,
 *     until its outcome is sent. If that is the reason of the signal, the reply says that it was interrupted: it may have been done.
 */
import type { Logger } from "pino";
import { ERROR_CODE_HEADER, ERROR_HEADER, HEARTBEAT_MS_HEADER, NO_ROOM_CODE, STATUS_HEADER } from "../api/headers.ts";
import { encodeGiven, encodeResult } from "../bus/messages/codec.ts";
import type { ReceivedInvocation, Request } from "../bus/messages/invocation.ts";
import { headersOf } from "../bus/wire/headers.ts";
import { describeThrown, isInstance, readProperty } from "../job/describe.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError, messageOf } from "../job/errors.ts";
import type { Failure } from "../job/failure.ts";
import { timerMs } from "../job/time.ts";
import type { Context, Handler } from "./context.ts";
import { FatalError, Interrupted, RetryAfter } from "./errors.ts";
import type { LogSpells } from "./log-spells.ts";

const PROGRESS_INTERVAL_MS = 100;
const NONE: readonly never[] = [];
const MAX_HEADER_LENGTH = 256;
/** Of the entries that a message names. */
const MAX_IDS = 20;
/** So deep an error may have the reason of a signal as its cause. */
const MAX_CAUSES = 5;

export class Execution implements Context {
  readonly jobId: string;
  readonly jobName: string;
  readonly data: unknown;
  readonly args: unknown;
  readonly attempt: number;
  readonly deadline: Date | undefined;
  readonly idempotencyKey: string;
  readonly error: Failure | undefined;
  readonly item: unknown;
  readonly itemIndex: number | undefined;
  readonly cursor: unknown;
  readonly isUndo: boolean;
  readonly undone: unknown;
  readonly undoOf: string | undefined;
  readonly uncertain: boolean;
  readonly failed: readonly (string | number)[];
  readonly lastProgress: unknown;
  readonly begunAt = performance.now();
  readonly #message: Request;
  readonly #encoding: Encoding;
  readonly #readResults: () => readonly unknown[];
  #results: readonly unknown[] | undefined;
  readonly #resultIds: readonly (string | null)[] | undefined;
  readonly #workerLog: Logger;
  readonly #troubles: LogSpells;
  readonly functionName: string;
  /** When nobody waited for its outcome any more. */
  givenUpAt: number | undefined;
  #timeout: NodeJS.Timeout | undefined;
  #abort: AbortController | undefined;
  /** Set when it is to end, and its outcome still counts. */
  #interruption: Interrupted | undefined;
  #log: Logger | undefined;
  readonly #heartbeatMs: number;
  /** It was most likely sent long ago. */
  readonly #isLate: boolean;
  #ended = false;
  #progress: { value: unknown } | undefined;
  #progressTimer: NodeJS.Timeout | undefined;
  #progressAt = Number.NEGATIVE_INFINITY;

  constructor(
    { body, encoding, results }: ReceivedInvocation,
    message: Request,
    log: Logger,
    troubles: LogSpells,
    heartbeatMs: number,
    lateUntil = Number.NEGATIVE_INFINITY,
  ) {
    this.jobId = body.job_id;
    this.jobName = body.job_name;
    this.data = body.data;
    this.args = body.args;
    this.attempt = body.attempt;
    this.idempotencyKey = body.idempotency_key ?? `${body.job_id}/${body.index}`;
    this.error = body.error;
    this.item = body.item;
    this.itemIndex = body.item_index;
    this.cursor = body.cursor;
    this.isUndo = body.undo === true;
    this.undone = body.result;
    this.undoOf = body.undo_of;
    this.uncertain = body.uncertain === true;
    this.failed = body.failed ?? NONE;
    this.lastProgress = body.last_progress;
    this.#resultIds = body.result_ids;
    this.functionName = body.function;
    this.#message = message;
    this.#encoding = encoding;
    this.#readResults = results;
    this.#workerLog = log;
    this.#troubles = troubles;
    this.#heartbeatMs = heartbeatMs;
    this.#isLate = this.begunAt < lateUntil;
    const timeoutMs = body.timeout_ms;
    if (timeoutMs === null || timeoutMs === undefined) return;
    this.deadline = new Date(Date.now() + timeoutMs);
    const onTimeout = () => this.#giveUp(new Error(`the attempt took longer than ${timeoutMs} ms`));
    this.#timeAfter(timeoutMs, onTimeout);
  }

  /** In several steps, where one timer does not reach that far. */
  #timeAfter(ms: number, onTimeout: () => void): void {
    const step = timerMs(ms);
    this.#timeout = setTimeout(step < ms ? () => this.#timeAfter(ms - step, onTimeout) : onTimeout, step);
  }

  /** Names the attempt on the bus. */
  get reply(): string {
    return this.#message.reply ?? "";
  }

  get results(): readonly unknown[] {
    this.#results ??= this.#readResults();
    return this.#results;
  }

  /** Made when it is asked for, so that handlers can take it out of the context. Reads no result before it is called. */
  get result(): (id: string) => unknown {
    return (id) => {
      const ids = this.#resultIds ?? [];
      const at = ids.indexOf(id);
      if (at === -1) throw new AsyncError("no_entry", noResult(id, ids));
      return this.results[at] ?? null;
    };
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  get log(): Logger {
    const { jobId, attempt } = this;
    this.#log ??= this.#workerLog.child({ jobId, fn: this.functionName, attempt });
    return this.#log;
  }

  /** A property, so that handlers can take it out of the context. */
  readonly heartbeat = (progress?: unknown): void => {
    if (this.#ended) return;
    this.#progress = { value: progress };
    if (this.#progressTimer) return;
    const wait = this.#progressAt + PROGRESS_INTERVAL_MS - performance.now();
    if (wait <= 0) this.sendHeartbeat();
    else this.#progressTimer = setTimeout(() => this.sendHeartbeat(), wait);
  };

  /** Tells the supervisor that the worker is alive, with the newest progress if there is any. */
  sendHeartbeat(): void {
    if (this.#ended) return;
    clearTimeout(this.#progressTimer);
    this.#progressTimer = undefined;
    const progress = this.#progress;
    this.#progress = undefined;
    if (progress) this.#progressAt = performance.now();
    try {
      const body = progress?.value === undefined ? new Uint8Array() : encodeGiven(progress.value, this.#encoding);
      const heartbeat = { [STATUS_HEADER]: "heartbeat", [HEARTBEAT_MS_HEADER]: String(this.#heartbeatMs) };
      this.#message.respond(body, { headers: headersOf(heartbeat) });
    } catch (error) {
      const about = { jobId: this.jobId, fn: this.functionName, attempt: this.attempt, err: describeThrown(error) };
      this.#troubles.error("progress cannot be sent", about);
    }
  }

  /**
   * Executes the handler to its end, calls `onEnd`, then replies, then calls `onReplied` with what the handler threw, if it
   * did. A handler that returns no promise has come to its end, and has been replied for, when this returns.
   */
  run(handler: Handler, onEnd: () => void, onReplied: (failed: { error: unknown } | undefined) => void): void {
    const succeed = (result: unknown) => {
      onEnd();
      if (!this.#ended) {
        this.#end();
        this.#succeed(result);
      }
      onReplied(undefined);
    };
    const fail = (thrown: unknown) => {
      onEnd();
      const interruption = this.#interruption;
      const error = interruption && isBecauseOf(interruption, thrown) ? interruption : thrown;
      if (!this.#ended) {
        if (error === interruption) this.#sendNewestProgress();
        this.#end();
        this.#fail(error);
      }
      onReplied({ error });
    };
    let returned: unknown;
    let waits = true;
    try {
      returned = handler(this);
      // What is returned may be anything, too: to look for `then` may call code of its own.
      if (isThenable(returned)) returned = Promise.resolve(returned).then(succeed, fail);
      else waits = false;
    } catch (error) {
      fail(error);
      return;
    }
    if (!waits) succeed(returned);
  }

  /** Tells the handler to stop (EXECUTION-3). */
  interrupt(graceMs: number): void {
    if (this.#ended) return;
    const why = `the worker was told to stop, and the attempt did not end within its grace period of ${graceMs} ms`;
    this.#interruptFor(why);
  }

  /** Tells the handler that it may stop, and goes on until it has: its supervisor waits for what it says (EXECUTION-4). */
  askToStop(): void {
    if (!this.#ended) this.#interruptFor("the job has failed or was cancelled, and undoes what it has done");
  }

  #interruptFor(why: string): void {
    if (this.#interruption) return;
    this.#interruption = new Interrupted(why);
    this.#abort ??= new AbortController();
    this.#abort.abort(this.#interruption);
  }

  /** Tells the supervisor to have an interrupted attempt run elsewhere: its handler has not stopped. */
  endInterrupted(): void {
    const interruption = this.#interruption;
    if (this.#ended || !interruption) return;
    this.#sendNewestProgress();
    this.#giveUp(interruption);
    this.#fail(interruption);
  }

  #sendNewestProgress(): void {
    if (this.#progress) this.sendHeartbeat();
  }

  /** Nobody waits for its outcome any more. */
  stop(): void {
    this.#giveUp(new Error("the attempt was given up: its job was cancelled, has timed out, or goes on elsewhere"));
  }

  #giveUp(reason: Error): void {
    if (this.#ended) return;
    this.#end();
    this.givenUpAt = performance.now();
    this.#abort ??= new AbortController();
    this.#abort.abort(reason);
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#timeout);
    clearTimeout(this.#progressTimer);
  }

  #succeed(result: unknown): void {
    try {
      const body = result === undefined || result === null ? new Uint8Array() : encodeResult(result, this.#encoding);
      const promise = this.#promise();
      if (promise) this.#message.respond(body, { headers: headersOf(promise) });
      else this.#message.respond(body);
    } catch (error) {
      const why = messageOf(error);
      this.#fail(new FatalError(`the result cannot be sent: ${why}`, { cause: error }));
    }
  }

  #fail(error: unknown): void {
    try {
      respondError(this.#message, error, undefined, this.#promise());
    } catch (failure) {
      const about = { jobId: this.jobId, fn: this.functionName, attempt: this.attempt, err: describeThrown(failure) };
      this.#troubles.error("a reply cannot be sent", about);
    }
  }

  /** Headers of a reply that comes when a heartbeat should have come: that it does come, if late. */
  #promise(): Record<string, string> | undefined {
    if (!this.#isLate && performance.now() - this.begunAt < this.#heartbeatMs) return undefined;
    return { [HEARTBEAT_MS_HEADER]: String(this.#heartbeatMs) };
  }
}

function noResult(id: string, ids: readonly (string | null)[]): string {
  const known = ids.flatMap((one) => (one === null ? [] : JSON.stringify(one)));
  const more = known.length > MAX_IDS ? `, and ${known.length - MAX_IDS} more` : "";
  const there = known.length === 0 ? "none has" : `those that have are ${known.slice(0, MAX_IDS).join(", ")}${more}`;
  return `no result that was handed over has the id ${JSON.stringify(id)} (${there}): add it to \`needs\` of the entry that asks`;
}

/** Whether a handler threw that because its signal had fired for that reason, unless it says itself what is to follow. */
function isBecauseOf(reason: Interrupted, thrown: unknown): boolean {
  if (isInstance(thrown, FatalError) || isInstance(thrown, RetryAfter)) return false;
  let cause = thrown;
  for (let depth = 0; depth <= MAX_CAUSES; depth++) {
    // What Node and most packages throw: not the reason itself, and not all of them name it as the cause.
    if (cause === reason || readProperty(cause, "name") === "AbortError") return true;
    cause = readProperty(cause, "cause");
  }
  return false;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** "No room now": the supervisor sends the invocation to another worker; it counts as no attempt. */
export function respondNoRoom(message: Request): void {
  message.respond(new Uint8Array(), {
    headers: headersOf({ [ERROR_CODE_HEADER]: NO_ROOM_CODE, [ERROR_HEADER]: "no room" }),
  });
}

/** Where a whole description does not fit into a message, so much of it does. */
const SHORT_LENGTH = 256;

/** @throws Error if nothing can be sent at all */
export function respondError(message: Request, thrown: unknown, code = "500", more?: Record<string, string>): void {
  const { name, message: text, stack } = describeThrown(thrown);
  const interrupted = isInstance(thrown, Interrupted);
  const body = {
    name,
    message: text,
    ...(stack !== undefined && !interrupted && { stack }), // that of an interruption would be the worker's own
    ...(interrupted && { interrupted }),
    ...(isInstance(thrown, FatalError) && { retryable: false }),
    ...retryAfterOf(thrown),
  };
  const headline = `${name}: ${text}`.replaceAll(/\s+/g, " ").slice(0, MAX_HEADER_LENGTH);
  const options = { headers: headersOf({ [ERROR_CODE_HEADER]: code, [ERROR_HEADER]: headline, ...more }) };
  try {
    message.respond(JSON.stringify(body), options);
  } catch {
    const { stack: _, ...short } = { ...body, message: text.slice(0, SHORT_LENGTH) };
    message.respond(JSON.stringify(short), options);
  }
}

function retryAfterOf(thrown: unknown): { retry_after_ms?: number } {
  const delayMs = isInstance(thrown, RetryAfter) ? readProperty(thrown, "delayMs") : undefined;
  return typeof delayMs === "number" && Number.isFinite(delayMs) ? { retry_after_ms: delayMs } : {};
}
