import type { Failure } from "./failure.ts";
import { toJsonValue } from "./plain.ts";
import { type AttemptAddress, type EndedJob, functionAt, type JobState, unreachable } from "./state.ts";
import { iso } from "./time.ts";

/**
 * What happens to a job, as told to the outside on `job.event.<id>.<type>`. Times are ISO 8601.
 * A notice, never the record: the record is the state.
 */
export type JobEvent = { job_id: string; job_name: string; at: string } & JobEventBody;

export type JobEventBody =
  /** The submission became a job whose start is ahead. One that begins at once is told of by what comes next. */
  | { type: "accepted"; scheduled_at: string }
  /** An attempt is being executed. Told only of attempts that last longer than the supervisor's `recordStartMs`. */
  | ({ type: "started" } & AttemptRef)
  /** A worker reported how far it is. Not stored with the job. */
  | ({ type: "progress"; progress: unknown } & AttemptRef)
  /** A function returned. Told only if `started` was. */
  | ({ type: "succeeded" } & AttemptRef)
  /** An attempt ended without a result and there will be another one, not before `due_at`. */
  | ({ type: "retrying"; error: Failure; due_at: string } & AttemptRef)
  /** No worker of its current function has had room for a while: the job waits outside of memory until one has. */
  | ({ type: "waiting"; waiting_for: "worker" } & EntryRef)
  /** Someone wants the job, which had failed or was cancelled, to go on at this function. */
  | ({ type: "retried" } & EntryRef)
  /** The condition of an entry was not met. It is done. */
  | { type: "skipped"; index: number; id?: string }
  /** A signal has come that an entry waited for: the one with that number among those of that name. */
  | { type: "signalled"; name: string; number: number; index: number; id?: string }
  /** An item of an entry has failed for good. Told of the first hundred of an entry. */
  | { type: "item_failed"; index: number; id?: string; item: number; error: Failure }
  /** The job has failed, or is cancelled, and what it has done is being undone. */
  | { type: "undoing"; because: "failed" | "cancelled" | "completed"; error?: Failure }
  /** What an entry has done is undone. */
  | ({ type: "undone" } & EntryRef)
  /** It could not be. */
  | ({ type: "undo_failed"; error: Failure } & EntryRef)
  /** Who retried the job by hand has changed its data, or the args of entries: those with these ids, or indexes. */
  | { type: "edited"; by?: string; data?: true; args?: (string | number)[] }
  /** The job has not ended so long after its start. Told once. */
  | { type: "late"; warn_after_ms: number }
  /** `result_omitted` where the result is too large for an event; it is in the job. */
  | ({ type: "completed"; result: unknown; result_omitted?: true } & End)
  | ({ type: "failed"; error: Failure } & EntryRef & End)
  | ({ type: "cancelled" } & End);

/** Which run of the job has ended: 1, and one more for each retry by hand. */
export interface End {
  run: number;
}

/** An entry of the list of a job. */
export interface EntryRef {
  /** Null where it has none: it sleeps, or waits for a signal. Empty where the job has no entries, as it was no valid job. */
  function: string | null;
  index: number;
  id?: string;
}

/** An attempt, and the name of its function. */
export interface AttemptRef extends AttemptAddress, EntryRef {}

/** A submission that could not even be recorded as a failed job: `job.event.<id or seq-n>.rejected`. */
export interface RejectedEvent {
  type: "rejected";
  job_id: string;
  at: string;
  /** The subject it was published to. */
  subject: string;
  /** Its sequence in stream JOBS. */
  sequence: number;
  reason: string;
}

const SHORT_LENGTH = 1_000;

/** The event of an end, small enough for any message: without the result, or with the beginning of the error. */
export function shortened<E extends JobEvent | RejectedEvent>(event: E): E {
  if (event.type === "completed") return { ...event, result: null, result_omitted: true };
  if (event.type !== "failed") return event;
  const { code, name, message } = event.error;
  return { ...event, error: { code, name: name.slice(0, SHORT_LENGTH), message: message.slice(0, SHORT_LENGTH) } };
}

export function eventOf(state: JobState, at: number, body: JobEventBody): JobEvent {
  return { job_id: state.job_id, job_name: state.name, at: iso(at), ...body };
}

/** The event of a job's end. It depends on the state alone: told again after a crash it is the same. */
export function endEvent(state: EndedJob): JobEvent {
  const at = state.finished_at;
  const run = (state.retries ?? 0) + 1;
  switch (state.state) {
    case "completed": {
      const { result: last, apart } = functionAt(state, state.current_function);
      if (apart !== undefined)
        return eventOf(state, at, { type: "completed", run, result: null, result_omitted: true });
      const result = toJsonValue(last ?? null, state.encoding);
      return eventOf(state, at, { type: "completed", run, result });
    }
    case "failed":
      return eventOf(state, at, { type: "failed", run, error: state.error, ...failedEntry(state, state.error) });
    case "cancelled":
      return eventOf(state, at, { type: "cancelled", run });
    default:
      return unreachable(state);
  }
}

/**
 * The entry with which a job has failed. In a chain that is the current one. In a graph it is the one that has the error of the job;
 * where none has, as its time was over, the first that has not ended.
 */
function failedEntry(state: JobState, error: Failure): EntryRef {
  const entries = state.live ? [...state.functions] : [];
  const found = entries.findIndex((entry) => entry.finished_at === undefined && isSame(entry.error, error));
  const index = found < 0 ? state.current_function : found;
  const entry = state.functions.at(index);
  const id = entry?.id;
  // A name is empty where there is no function; an entry is missing where the job is none.
  return { function: entry?.name === "" ? null : (entry?.name ?? ""), index, ...(id !== undefined && { id }) };
}

function isSame(a: Failure | undefined, b: Failure): boolean {
  return a !== undefined && a.code === b.code && a.name === b.name && a.message === b.message;
}

type EventType = (JobEvent | RejectedEvent)["type"];

/** The types of all events of jobs; the compiler asks for each. */
export const EVENT_TYPES = Object.keys({
  accepted: true,
  started: true,
  progress: true,
  succeeded: true,
  retrying: true,
  waiting: true,
  retried: true,
  skipped: true,
  signalled: true,
  item_failed: true,
  undoing: true,
  undone: true,
  undo_failed: true,
  edited: true,
  late: true,
  completed: true,
  failed: true,
  cancelled: true,
  rejected: true,
} satisfies Record<EventType, true>) as readonly EventType[];

/** Whether the event tells of the end of its job. */
export function isEndEvent(event: JobEvent): boolean {
  return event.type === "completed" || event.type === "failed" || event.type === "cancelled";
}
