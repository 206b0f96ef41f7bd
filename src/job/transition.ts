/** What happens to a job, and what the state machine makes of it. */
import type { JobEvent } from "./events.ts";
import type { Failure } from "./failure.ts";
import type { ItemsState } from "./items-state.ts";
import type { FailedAttempt } from "./outcome.ts";
import type { RetryPatch } from "./retry-patch.ts";
import type { AttemptAddress, JobState, UndoSummary } from "./state.ts";

export type Event =
  /**
   * An actor has taken the job over from the store; whatever was in flight before is not ours. `firedAt`: when its wake was
   * stored, by the clock of the server, if that is what it was taken over with.
   */
  | { type: "resumed"; firedAt?: number }
  /** The attempt has been executing for a while. */
  | ({ type: "started" } & AttemptAddress)
  /** `bytes` is how many its answer had, if these are more than `APART_BYTES`. */
  | ({ type: "succeeded"; result: unknown; bytes?: number } & AttemptAddress)
  | ({ type: "failed" } & FailedAttempt & AttemptAddress)
  /** The worker of the attempt went silent; `progress` is what it told last of it. */
  | ({ type: "lost"; progress?: unknown } & AttemptAddress)
  /** A signal that is kept for the entry: the first of its name that was not used yet. */
  | {
      type: "signalled";
      index: number;
      number: number;
      payload: unknown;
      /** Its payload cannot be kept: the entry fails with that. */
      unfit?: Failure;
    }
  /** No worker had room for the attempt for so long that the job had better wait outside of memory. */
  | ({ type: "no_room" } & AttemptAddress)
  /** The time that a job in memory waited for has come. */
  | { type: "due" }
  /** The job's own deadline has passed. */
  | { type: "expired" }
  /** The token on which it was to wait cannot be made, now or ever. */
  | { type: "refused"; why: string }
  /** Its state does not fit into a message, whatever of what has come is left out; `again`: nor does what was made of that. */
  | { type: "unstorable"; why: string; again?: true }
  /** Someone wants it to end now; what was done is undone before, or left as it is. */
  | { type: "cancelled"; undo?: "skip" }
  /** An attempt that was to stop had not been sent to anybody. */
  | ({ type: "unsent" } & AttemptAddress)
  /** A child job has ended, in the run that `attempt` says; or has been undone. */
  | ({ type: "child_ended"; outcome: ChildOutcome } & AttemptAddress)
  /** The items of an entry have got on, in the run that `attempt` says. */
  | ({ type: "items"; report: ItemsReport } & AttemptAddress)
  /** Someone wants a completed job to undo what it has done: its parent. */
  | { type: "undo_wanted" }
  /** Someone wants a failed or cancelled job to go on at the function it had reached; with other `data` or `args`. */
  | ({ type: "retried" } & RetryPatch);

/** Those that are not dealt with for all live jobs alike. */
export type EventOfEntries = Exclude<
  Event,
  { type: "expired" | "refused" | "unstorable" | "cancelled" | "undo_wanted" }
>;

/** How a child has ended. */
export type ChildOutcome =
  | { state: "completed"; result: unknown; undo?: UndoSummary }
  | { state: "failed" | "cancelled"; error: Failure };

/** What those who see to the items of an entry tell of them. */
export interface ItemsReport {
  items: ItemsState;
  /** For what the entry waits now. Absent: for the same as before. */
  wait?: { type: "items" | "worker" | "child" } | { type: "backoff"; due_at: number };
  /** Items that have failed since the last report, to be told of: at most `MAX_ITEM_EVENTS` of an entry. */
  failures?: { item: number; error: Failure }[];
  /** All have ended: with that result; or with one that is in their parts, and has so many bytes. Or too many have failed. */
  end?: { result: unknown } | { apart: number } | { error: Failure };
  /** They were to stop, and have. Or they were to be undone: how many could not be. */
  stopped?: true;
  undone?: { failed: number; error?: Failure };
}

/** Most items of an entry whose failure is told of. */
export const MAX_ITEM_EVENTS = 100;

export interface Transition<S extends JobState = JobState> {
  /** To be committed before anything that follows from it is done. */
  state: S;
  /** What to tell of it then, in order. The end of the job is not among them: `endEvent` makes it of the state. */
  events: JobEvent[];
}
