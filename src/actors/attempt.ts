import type { Msg } from "nats";
import type { EncodedResults, GivenInput } from "../bus/messages/invocation.ts";
import type { Ticket, Waiter } from "../bus/wire/mux.ts";
import type { AsyncError } from "../job/errors.ts";
import type { Failure } from "../job/failure.ts";
import type { Plan } from "../job/plan.ts";
import type { CallEntry } from "../job/schema.ts";
import { type AttemptAddress, isSameAttempt, type LiveJob } from "../job/state.ts";
import type { Bagged } from "../util/bag.ts";

/** What becomes of an attempt. At most one of `onSucceeded`, `onFailed`, `onLost` and `onNoRoom` is called, once. */
export interface AttemptListener {
  /** Asked right before it is sent: whether its job is still ours for sure. If not, it is dropped, without an outcome. */
  mayBegin(attempt: Attempt): boolean;
  /** It has been executing for a while. */
  onStarted(attempt: Attempt): void;
  onProgress(attempt: Attempt, progress: unknown): void;
  /** @param bytes how many its answer had */
  onSucceeded(attempt: Attempt, result: unknown, bytes: number): void;
  onFailed(attempt: Attempt, error: Failure, retryable: boolean, more?: FailureDetails): void;
  /** Its worker went silent. */
  onLost(attempt: Attempt): void;
  /** It was never begun: there has been no worker for the function for too long. */
  onNoRoom(attempt: Attempt): void;
}

/** What else a worker said of a failure. */
export interface FailureDetails {
  retryAfterMs?: number | undefined;
  /** The worker had to stop. */
  interrupted?: true | undefined;
}

/** The line that an attempt was sent from. */
export interface AttemptLine {
  /** Returns true when this was the last reply to be waited for. */
  onReply(attempt: Attempt, message: Msg): boolean;
  /** The server did not let it be sent, or what is answered be heard. */
  onDenied(attempt: Attempt, error: AsyncError, wasSent: boolean): void;
  /** It was given up while it was in flight; `reply` is the reply subject of its invocation. */
  onAbandoned(attempt: Attempt, reply: string): void;
  /** It may stop, and its answer is waited for. */
  onStopWanted(attempt: Attempt, reply: string): void;
}

/** One attempt from its dispatch to its outcome. Times are monotonic ms. */
export class Attempt implements AttemptAddress, Waiter, Bagged {
  readonly index: number;
  readonly attempt: number;
  readonly item: number | undefined;
  readonly undo: true | undefined;
  readonly functionName: string;
  /** What it calls. */
  readonly call: CallEntry;
  /** What it is handed, where that does not follow from the job: of an item. */
  given: GivenInput | undefined;
  /** Of a job of many functions: its results as they are sent. */
  results: EncodedResults | undefined;
  /** Of a graph: how its entries follow each other. */
  plan: Plan | undefined;
  /** What it told last of its progress. */
  progress: unknown;
  listener: AttemptListener | undefined;
  started = false;
  sentAt = 0;
  /** When the worker was last heard of; the sending counts as the first time. */
  heardAt = 0;
  /** Its worker has sent a heartbeat. */
  heard = false;
  /**
   * How often its worker sends heartbeats; three missing ones are a lost attempt. Until it has sent one: as often as all that
   * are known to serve the function. Undefined where silence shows nothing.
   */
  heartbeatMs: number | undefined;
  timeoutMs: number | undefined;
  /** How often it was sent to a worker without room. */
  refusals = 0;
  /** Among those in flight. */
  bagIndex: number | undefined;
  readonly enqueuedAt = performance.now();
  #job: LiveJob | undefined;
  #ticket: Ticket | undefined;
  #line: AttemptLine | undefined;

  constructor(
    job: LiveJob,
    { index, attempt, item, undo }: AttemptAddress,
    call: CallEntry,
    listener: AttemptListener,
    results?: EncodedResults,
    plan?: Plan,
    given?: GivenInput,
  ) {
    this.#job = job;
    this.index = index;
    this.attempt = attempt;
    this.item = item;
    this.undo = undo;
    this.call = call;
    this.functionName = call.name;
    this.results = results;
    this.plan = plan;
    this.given = given;
    this.listener = listener;
  }

  /** As it was when the attempt was dispatched. Not to be asked for once it is cancelled. */
  get job(): LiveJob {
    if (!this.#job) throw new TypeError("a cancelled attempt has let go of its job");
    return this.#job;
  }

  /** Whether that is its address. */
  has(address: AttemptAddress): boolean {
    return isSameAttempt(this, address);
  }

  get cancelled(): boolean {
    return this.listener === undefined;
  }

  /** A worker may be executing it. */
  get inFlight(): boolean {
    return this.#ticket !== undefined;
  }

  /** It is on its way; `ticket` is the open request. */
  sent(line: AttemptLine, ticket: Ticket, timeoutMs: number | undefined, heartbeatMs: number | undefined): void {
    this.#line = line;
    this.#ticket = ticket;
    this.timeoutMs = timeoutMs;
    this.heartbeatMs = heartbeatMs;
    this.heard = false;
    this.sentAt = this.heardAt = performance.now();
  }

  onReply(message: Msg): boolean {
    return this.#line?.onReply(this, message) ?? true;
  }

  onDenied(error: AsyncError, wasSent: boolean): void {
    this.#line?.onDenied(this, error, wasSent);
  }

  onTimeout(): void {
    // It has none on the bus: the dispatcher looks after its time.
  }

  start(): void {
    this.started = true;
    this.listener?.onStarted(this);
  }

  /** Nobody waits for its outcome any more; replies that still come are dropped. It may stay in a line, so it lets go of its job. */
  cancel(): void {
    this.listener = undefined;
    this.abandon();
    this.#job = undefined;
    this.results = undefined;
    this.plan = undefined;
    this.given = undefined;
  }

  /** Who executes it may stop. Its answer is waited for, for as long as whoever asks says, and not until its own time is over. */
  askToStop(): void {
    this.timeoutMs = undefined;
    const reply = this.#ticket?.reply;
    if (reply !== undefined) this.#line?.onStopWanted(this, reply);
  }

  /** Closes it before its end: whoever executes it may stop. */
  abandon(): void {
    const ticket = this.#ticket;
    this.close();
    if (ticket) this.#line?.onAbandoned(this, ticket.reply);
  }

  /** The subject that its replies come to, while it is in flight. */
  get reply(): string | undefined {
    return this.#ticket?.reply;
  }

  close(): void {
    this.#ticket?.cancel();
    this.#ticket = undefined;
  }
}
