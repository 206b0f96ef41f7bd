import type { Msg } from "nats";
import type { Placed } from "../bus/bag.ts";
import type { EncodedResults } from "../bus/invocation.ts";
import type { Ticket, Waiter } from "../bus/mux.ts";
import type { Failure, LiveJob } from "../job/state.ts";

/**
 * What becomes of an attempt. At most one of `onSucceeded`, `onFailed`, `onLost` and `onNoRoom` is called, once. `job` is
 * the state that the attempt was dispatched with, and so names it.
 */
export interface AttemptListener {
  /** Asked right before it is sent: whether its job is still ours for sure. If not, it is dropped, without an outcome. */
  mayBegin(): boolean;
  /** It has been executing for a while. */
  onStarted(job: LiveJob): void;
  onProgress(job: LiveJob, progress: unknown): void;
  onSucceeded(job: LiveJob, result: unknown): void;
  onFailed(job: LiveJob, error: Failure, retryable: boolean, retryAfterMs: number | undefined): void;
  /** Its worker went silent. */
  onLost(job: LiveJob): void;
  /** It was never begun: there has been no worker for the function for too long. */
  onNoRoom(job: LiveJob): void;
}

/** The line that an attempt was sent from. */
export interface AttemptLine {
  /** Returns true when this was the last reply to be waited for. */
  onReply(attempt: Attempt, message: Msg): boolean;
  /** It was given up while it was in flight; `reply` is the reply subject of its invocation. */
  onAbandoned(attempt: Attempt, reply: string): void;
}

/** One attempt from its dispatch to its outcome. Times are monotonic ms. */
export class Attempt implements Waiter, Placed {
  readonly job: LiveJob;
  /** Of a job of many functions: its results as they are sent. */
  readonly results: EncodedResults | undefined;
  listener: AttemptListener | undefined;
  started = false;
  sentAt = 0;
  /** When the worker was last heard of; the sending counts as the first time. */
  heardAt = 0;
  timeoutMs: number | undefined;
  /** How often it was sent to a worker without room. */
  refusals = 0;
  /** Among those in flight. */
  place: number | undefined;
  readonly enqueuedAt = performance.now();
  #ticket: Ticket | undefined;
  #line: AttemptLine | undefined;

  constructor(job: LiveJob, listener: AttemptListener, results?: EncodedResults) {
    this.job = job;
    this.results = results;
    this.listener = listener;
  }

  get cancelled(): boolean {
    return this.listener === undefined;
  }

  /** A worker may be executing it. */
  get inFlight(): boolean {
    return this.#ticket !== undefined;
  }

  /** It is on its way; `ticket` is the open request. */
  sent(line: AttemptLine, ticket: Ticket, timeoutMs: number | undefined): void {
    this.#line = line;
    this.#ticket = ticket;
    this.timeoutMs = timeoutMs;
    this.sentAt = this.heardAt = performance.now();
  }

  onReply(message: Msg): boolean {
    return this.#line?.onReply(this, message) ?? true;
  }

  onTimeout(): void {
    // It has none on the bus: the dispatcher looks after its time.
  }

  start(): void {
    this.started = true;
    this.listener?.onStarted(this.job);
  }

  /** Nobody waits for its outcome any more; replies that still come are dropped. */
  cancel(): void {
    this.listener = undefined;
    this.abandon();
  }

  /** Closes it before its end: whoever executes it may stop. */
  abandon(): void {
    const ticket = this.#ticket;
    this.close();
    if (ticket) this.#line?.onAbandoned(this, ticket.reply);
  }

  close(): void {
    this.#ticket?.cancel();
    this.#ticket = undefined;
  }
}
