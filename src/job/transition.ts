/** What happens to a job, and what the state machine makes of it. */
import type { JobEvent } from "./events.ts";
import type { Failure } from "./failure.ts";
import type { FailedAttempt } from "./outcome.ts";
import type { RetryPatch } from "./retry-patch.ts";
import type { AttemptAddress, JobState } from "./state.ts";

export type Event =
  /**
   * An actor has taken the job over from the store; whatever was in flight before is not ours. `firedAt`: when its wake was
   * stored, by the clock of the server, if that is what it was taken over with.
   */
  | { type: "resumed"; firedAt?: number }
  /** The attempt has been executing for a while. */
  | ({ type: "started" } & AttemptAddress)
  | ({ type: "succeeded"; result: unknown } & AttemptAddress)
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
  /** Its state does not fit into a message, whatever of what has come is left out. */
  | { type: "unstorable"; why: string }
  /** Someone wants it to end now. */
  | { type: "cancelled" }
  /** Someone wants a failed or cancelled job to go on at the function it had reached; with other `data` or `args`. */
  | ({ type: "retried" } & RetryPatch);

/** Those that are not dealt with for all live jobs alike. */
export type EventOfEntries = Exclude<Event, { type: "expired" | "refused" | "unstorable" | "cancelled" }>;

export interface Transition<S extends JobState = JobState> {
  /** To be committed before anything that follows from it is done. */
  state: S;
  /** What to tell of it then, in order. The end of the job is not among them: `endEvent` makes it of the state. */
  events: JobEvent[];
}
