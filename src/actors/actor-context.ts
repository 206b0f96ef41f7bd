/** What the actors of a supervisor share, and what one of them can be at. */
import type { EventLog } from "../bus/store/event-log.ts";
import type { Signals } from "../bus/store/signals.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import type { BacklogFeeder } from "./backlog-feeder.ts";
import type { CommitsContext } from "./commits.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Memory } from "./memory.ts";

export interface ActorContext extends CommitsContext {
  tokens: Tokens;
  signals: Signals;
  eventLog: EventLog;
  dispatcher: Dispatcher;
  feeder: BacklogFeeder;
  lifecycle: Lifecycle;
  memory: Memory;
  /** A wait longer than this is spent outside of memory. */
  parkAfterMs: number;
  /** The supervisor closes: what has not begun is handed over. */
  isDraining: () => boolean;
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
