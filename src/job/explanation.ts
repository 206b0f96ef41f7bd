/** Why a job waits, as it is told to whoever asks. `explain.ts` makes it. */
import type { EntryKind } from "./function-state.ts";
import type { ItemsView } from "./record.ts";
import type { FunctionSettings } from "./settings.ts";
import type { StateName } from "./state.ts";

/** What is known of a function, of all jobs together. */
export interface Facts {
  /** Workers that serve it, and their attempts at a time; those are shared with whatever else a worker serves. */
  workers: number;
  slots: number;
  /** Jobs that wait for a worker of it, as far as is known. */
  waiting: number;
  /** Invocations that have been sent and not been answered. */
  in_flight: number;
  /** Jobs wait, and nobody serves it, as far as can be seen. */
  unserved?: true;
}

/** What is stored of the items of open parts, which the record of their job does not count yet. */
export interface OpenItems {
  done: number;
  failed: number;
  /** So many are to be tried again, the first at `until` (ms since 1970). */
  backoff: number;
  until: number;
}

export type ExplainReason =
  /** Nobody serves its function. */
  | "no_worker"
  /** Somebody does, and all who do have enough to do. */
  | "workers_full"
  /** An attempt is due, and it is not known who serves its function. */
  | "worker"
  /** An attempt is due or has just begun, and workers have room; or what needs no worker begins. */
  | "starting"
  | "running"
  | "backoff"
  | "sleep"
  | "signal"
  /** Its items are under way. */
  | "items"
  /** It waits for a child job, or for those of its items. */
  | "child"
  /** The job undoes: what ran was told to stop, and has not answered yet. */
  | "stopping"
  /** Other entries have to end before it. */
  | "needs"
  /** The start of the job is ahead. */
  | "scheduled"
  /** No supervisor has taken the job: they are full, or there is none. */
  | "not_taken";

/** An error in short. */
export interface ExplainedError {
  code: string;
  message: string;
}

/** What the text says, as values. Which of them there are depends on the reason. */
export interface ExplainDetail extends Partial<Facts> {
  /** The function that is due, running, or tried again. */
  function?: string;
  /** How many executions of those that `of` limits there have been with the one that runs or comes next. */
  attempt?: number;
  of?: number;
  /** What is set at the function: it counts where the job does not say it. */
  settings?: FunctionSettings;
  /** Of the newest attempt that failed. */
  error?: ExplainedError;
  /** The name of the signal. */
  signal?: string;
  /** The id of the child job, and its state, if that could be asked. */
  child?: string;
  child_state?: StateName;
  /** How many items there are, and how many of them have ended. */
  items?: ItemsView;
  /** Ids, or indexes where there is none, of what has to end before it; and how many there are besides. */
  needs?: (string | number)[];
  needs_omitted?: number;
}

/** Why an entry has not ended. Times are ISO 8601. */
export interface ExplainedEntry {
  /** One more than that of the last entry: what is called once the job has failed. */
  index: number;
  /** The entry is being undone. */
  undo?: true;
  id?: string;
  kind: EntryKind;
  /** Of the function; null where the entry has none. */
  name: string | null;
  reason: ExplainReason;
  /** The reason in words, on one line. */
  text: string;
  since?: string;
  until?: string;
  detail?: ExplainDetail;
}

/** How a job has ended. */
export interface ExplainedEnd {
  at: string;
  text: string;
  /** The entry with which it has failed, where it was one. */
  index?: number;
  id?: string;
  error?: ExplainedError;
}

export interface Explanation {
  job_id: string;
  /** As lists show it; but a job is `pending` only until a supervisor has taken it. */
  state: StateName;
  /** When it was looked at, ISO 8601. */
  at: string;
  /**
   * Of the entries that have not ended: first those that wait or run, then those that need others. Of a job that undoes, those that
   * were told to stop, or the one that is undone. None if the job has ended.
   */
  entries: ExplainedEntry[];
  /** How many entries there are besides. */
  omitted?: number;
  /** Of a job that has ended. */
  ended?: ExplainedEnd;
}
