/** What the actors of a supervisor share, and what one of them can be at. */
import type { EventLog } from "../bus/store/event-log.ts";
import type { Signals } from "../bus/store/signals.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import type { JobState } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import type { TimeShare } from "../util/time-share.ts";
import type { Attempts } from "./attempts.ts";
import type { BacklogFeeder } from "./backlog-feeder.ts";
import type { ChildJobs } from "./child-jobs.ts";
import type { CommitsContext } from "./commits.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { SettingsOf } from "./function-settings.ts";
import type { Lease } from "./lease.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Memory } from "./memory.ts";
import type { Parents } from "./parents.ts";

export interface ActorContext extends CommitsContext {
  tokens: Tokens;
  signals: Signals;
  eventLog: EventLog;
  dispatcher: Dispatcher;
  feeder: BacklogFeeder;
  lifecycle: Lifecycle;
  settings: SettingsOf;
  memory: Memory;
  /** Of jobs that are children. */
  parents: Parents;
  childJobs: ChildJobs;
  /** The time of the process that expressions of items have. */
  evaluations: TimeShare;
  /** A wait longer than this is spent outside of memory. */
  parkAfterMs: number;
  /** The supervisor closes: what has not begun is handed over. */
  isDraining: () => boolean;
}

/** The actor, of a graph, as its parts see it. */
export interface GraphHost {
  readonly jobId: string;
  readonly lease: Lease;
  readonly isGone: boolean;
  /** The newest state that is stored; it may have ended. */
  readonly job: JobState;
  readonly attempts: Attempts;
  post(event: Event): void;
  /** Repeats a call until it succeeds. Returns false if the job has left meanwhile. */
  insist(what: string, call: () => Promise<void>): Promise<boolean>;
  onTrouble(what: string, error: unknown, isOver?: () => boolean): void;
  onFault(error: unknown): void;
}

/** What an actor is at. */
export type ActorMode =
  /** It waits for an outcome, a timer or a nudge, and deals with it when it comes. */
  | "ready"
  /** The same, but an attempt is due that must not begin, because the lease has run out (ACTOR-4). */
  | "held back"
  /** A commit, a read or the making of a token is under way: what comes has to wait. */
  | "busy"
  /** The job has left. Nothing is done any more. */
  | "gone";
