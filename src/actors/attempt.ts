import type { Ticket } from "../bus/mux.ts";
import type { Failure, LiveJob } from "../job/state.ts";

/** What becomes of an attempt. At most one of `onSucceeded`, `onFailed`, `onLost` and `onNoRoom` is called, once. */
export interface AttemptListener {
  /** Asked right before it is sent: whether its job is still ours for sure. If not, it is dropped, without an outcome. */
  mayBegin(): boolean;
  /** It has been executing for a while. */
  onStarted(): void;
  onProgress(progress: unknown): void;
  onSucceeded(result: unknown): void;
  onFailed(error: Failure, retryable: boolean, retryAfterMs: number | undefined): void;
  /** Its worker went silent. */
  onLost(): void;
  /** It was never begun: there has been no worker for the function for too long. */
  onNoRoom(): void;
}

/** One attempt from its dispatch to its outcome. Times are monotonic ms. */
export class Attempt {
  readonly job: LiveJob;
  listener: AttemptListener | undefined;
  started = false;
  sentAt = 0;
  /** When the worker was last heard of; the sending counts as the first time. */
  heardAt = 0;
  timeoutMs: number | undefined;
  /** How often it was sent to a worker without room. */
  refusals = 0;
  readonly enqueuedAt = performance.now();
  #ticket: Ticket | undefined;
  /** How to leave the line; set by the line it is in. */
  leave: (() => void) | undefined;
  /** Told the reply subject of an invocation whose outcome is not waited for any more. */
  onAbandoned: ((reply: string) => void) | undefined;

  constructor(job: LiveJob, listener: AttemptListener) {
    this.job = job;
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
  sent(ticket: Ticket, timeoutMs: number | undefined): void {
    this.#ticket = ticket;
    this.timeoutMs = timeoutMs;
    this.sentAt = this.heardAt = performance.now();
  }

  start(): void {
    this.started = true;
    this.listener?.onStarted();
  }

  /** Nobody waits for its outcome any more; replies that still come are dropped. */
  cancel(): void {
    this.listener = undefined;
    this.leave?.();
    this.abandon();
  }

  /** Closes it before its end: whoever executes it may stop. */
  abandon(): void {
    const ticket = this.#ticket;
    this.close();
    if (ticket) this.onAbandoned?.(ticket.reply);
  }

  close(): void {
    this.#ticket?.cancel();
    this.#ticket = undefined;
  }
}
