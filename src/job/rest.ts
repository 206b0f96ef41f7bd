/**
 * How a job waits for what comes next. Nothing says so but its state: it follows from the phase, the token and the times, so
 * whoever has the state knows what to do, also after a crash.
 *
 * A job is *held* while a supervisor has its token, an un-acked message, and rests in the supervisor's memory. When the wait
 * is long, the state is given its next token (`token` is counted up) and rests outside of memory: that token is made,
 * a timer or a place in the backlog of a function, and the held message is acknowledged.
 *
 * Example: attempt 1 has failed and the next one is due in 5 s. A supervisor that holds token 0 of a state with token 0
 * keeps the job in memory for 5 s. If it is due in an hour, `toBeParked` says so, the state is committed with token 1, and
 * to the holder of token 0 it now rests as timer 1. Who gets the wake of that timer holds token 1: an attempt is due.
 */
import { functionAt, isEnded, type JobState, type LiveJob, unreachable } from "./state.ts";

export type Rest =
  /** That attempt is to be executed, now. */
  | { type: "attempt"; index: number; attempt: number }
  /** In memory, until then (ms since 1970). */
  | { type: "memory"; until: number }
  | Parked;

/** Outside of memory, on the token that the state names. */
export type Parked =
  | { type: "timer"; until: number }
  /** In the backlog of a function until one of its workers has room, but not beyond `until`. */
  | { type: "place"; functionName: string; until: number | undefined };

/**
 * @param held number of the token that its holder has
 * @param now ms since 1970
 */
export function rest(job: LiveJob, held: number, now: number): Rest {
  if (held < job.token) return restParked(job);
  const due = dueAt(job);
  if (due <= now) return { type: "attempt", index: job.current_function, attempt: job.attempt };
  return { type: "memory", until: untilDeadline(job, due) };
}

/** How a job rests outside of memory: on its token, which is not its submission, and which nobody holds. */
export function restParked(job: LiveJob): Parked {
  if (job.state === "waiting" && job.waiting_for === "worker") {
    const { name: functionName } = functionAt(job, job.current_function);
    return { type: "place", functionName, until: job.deadline_at };
  }
  return { type: "timer", until: wakeAt(job) };
}

/** When a job that nobody holds is to be woken at the latest: when it is due, or at its deadline. A time that has passed is "at once". */
export function wakeAt(job: LiveJob): number {
  return untilDeadline(job, dueAt(job));
}

/** The job on its next token, if it would rest in memory for longer than `parkAfterMs`; else the same object. */
export function toBeParked(job: JobState, held: number, now: number, parkAfterMs: number): JobState {
  if (isEnded(job)) return job;
  const how = rest(job, held, now);
  return how.type === "memory" && how.until - now > parkAfterMs ? onNextToken(job) : job;
}

/** The same job with its next token, under which it rests outside of memory. */
export function onNextToken(job: LiveJob): LiveJob {
  return { ...job, token: job.token + 1 };
}

/**
 * Since when a job could have been executed by a worker, ms since 1970; undefined where the state does not say that: of a later
 * attempt of a function it says when the first was due.
 */
export function dueSince(job: LiveJob): number | undefined {
  if (job.attempt !== 1) return job.state === "waiting" && job.waiting_for === "backoff" ? job.due_at : undefined;
  const before = job.current_function > 0 ? functionAt(job, job.current_function - 1).finished_at : undefined;
  return Math.max(job.scheduled_at, job.retried_at ?? 0, before ?? 0);
}

/** When nothing is to be done before it: the start time, the end of the wait, or 0 for "now". */
function dueAt(job: LiveJob): number {
  switch (job.state) {
    case "scheduled":
      return job.scheduled_at;
    case "waiting":
      return job.waiting_for === "backoff" ? job.due_at : 0;
    case "pending":
    case "running":
      return 0;
    default:
      return unreachable(job);
  }
}

/** At the deadline there is nothing left to try. */
function untilDeadline(job: LiveJob, at: number): number {
  return Math.min(at, job.deadline_at ?? at);
}
