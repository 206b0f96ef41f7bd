/** What a supervisor does, as typed events inside its process: the logger, the notices on the bus and tests listen. */
import { messageOf } from "../job/errors.ts";
import type { JobEvent, RejectedEvent } from "../job/events.ts";
import { guardedEmitter } from "../util/guarded-emitter.ts";

export type LifecycleEvents = {
  /** Something happened to a job; the same is told on `job.event.<id>.<type>`. */
  job: (event: JobEvent | RejectedEvent) => void;
  /** A job became live in this supervisor: new, or taken over from the store. */
  claimed: (jobId: string, how: "new" | "resumed", from?: Predecessor) => void;
  /** A job left this supervisor's memory. */
  released: (jobId: string, why: ReleaseReason) => void;
  /** A submission repeated the id of a job that exists; it was dropped. */
  repeated: (jobId: string) => void;
  /** Something went wrong that will be tried again. */
  trouble: (trouble: Trouble) => void;
  /** Something that is worth knowing has happened, and needs nobody to do anything. */
  notice: (notice: Notice) => void;
};

/** Who had a job before, where it was delivered again: the id of another supervisor, or "unknown" if nothing is stored of it. */
export type Predecessor = string;

export type ReleaseReason =
  /** it has ended */
  | "ended"
  /** a durable timer, or its place in a backlog, brings it back */
  | "parked"
  /** another supervisor has written its state */
  | "superseded"
  /** given back for another supervisor to take */
  | "handed_over";

export interface Trouble {
  what: string;
  jobId?: string;
  error?: unknown;
  /** What is of one kind is logged once per spell. Default: `what`, which says so of many jobs. */
  kind?: string;
  /** Whether it is over by now; absent where that is not known. */
  isOver?: () => boolean;
}

export interface Notice {
  what: string;
  about?: Record<string, unknown>;
}

type EventName = keyof LifecycleEvents;

/** An EventEmitter that knows these events: declared here, so that it reads the same under every kind of resolution. */
export interface Lifecycle {
  on<E extends EventName>(event: E, listener: LifecycleEvents[E]): this;
  once<E extends EventName>(event: E, listener: LifecycleEvents[E]): this;
  off<E extends EventName>(event: E, listener: LifecycleEvents[E]): this;
  emit<E extends EventName>(event: E, ...args: Parameters<LifecycleEvents[E]>): boolean;
  listenerCount(event: EventName): number;
}

/** Its listeners are anybody's: one that throws is trouble, and harms neither jobs nor other listeners. */
export function createLifecycle(): Lifecycle {
  const lifecycle = guardedEmitter((event, error) => {
    const what = `a listener of "${event}" failed`;
    // One that cannot take trouble cannot be told of this.
    if (event === "trouble") process.emitWarning(`${what}: ${messageOf(error)}`, "AsyncWarning");
    else lifecycle.emit("trouble", { what, error });
  }) as Lifecycle;
  return lifecycle;
}
