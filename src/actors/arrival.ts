/** What a message that a supervisor gets stands for, as far as it is known. `arrivals.ts` deals with it. */
import type { Delivery } from "../bus/tokens/delivery.ts";
import { functionAt, isGraph, type JobState, type LiveJob, type Parent } from "../job/state.ts";
import type { Transition } from "../job/transition.ts";
import type { Lease } from "./lease.ts";
import type { ReadSubmission } from "./submission.ts";

/** A message that stands for a job: a submission, which can make it (`first`), or the wake of a parked one. */
export interface Arrival {
  jobId: string;
  lease: Lease;
  delivery: Delivery;
  /** What its job takes in memory, if it is new. */
  footprint?: number;
  /** That is counted while its first state is stored. */
  isHeld?: true;
  first?: (now: number, mayHaveBegun?: boolean) => Transition;
  /** Whose child it is, if it is new. */
  parent?: Parent;
  /** Of a submission that names a definition; `first` is made of that. */
  named?: NamedSubmission;
  /** How many bytes it has together with what its definition says, when that is known. */
  bytes?: number;
}

export type NamedSubmission = Extract<ReadSubmission, { type: "named" }>;

/** What makes the first state of a submission that names a definition, as long as that has not been read. */
export function undefinedYet(): never {
  throw new TypeError("its definition has not been read");
}

/** How many commits of a live job are likely to come, at least: one for each function, and one for each execution that it may have. */
export function commitsAhead(job: LiveJob): number {
  const { retry_options, failures = 0 } = functionAt(job, job.current_function);
  const executions = Math.max(1, (retry_options?.retry_limit ?? 1) - failures);
  if (isGraph(job)) return job.functions.length - (job.ended_count ?? 0) - 1 + executions;
  return job.functions.length - job.current_function - 1 + executions;
}

/** Whose job it was, if its message was delivered before: undefined if it was that of `ours`. */
export function holderBefore({ writer }: JobState, { deliveries }: Delivery, ours: string): string | undefined {
  const [id = ""] = writer.split("/");
  return deliveries > 1 && id !== ours ? id : undefined;
}
