/** What a run is judged by, and what is found. */
import type { JobState } from "../../src/job/state.ts";
import type { CancelRecord } from "./canceller.ts";
import type { Execution, OwnerChange, StoredEvent } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { JobPlan } from "./plan.ts";
import type { SignalRecord } from "./signaller.ts";

export interface Evidence {
  plans: JobPlan[];
  acknowledged: ReadonlyMap<string, number>;
  states: ReadonlyMap<string, JobState>;
  /** When they were stored, ms since 1970. */
  storedAt: ReadonlyMap<string, number>;
  /** What is stored as a job and is none. */
  problems: ReadonlyMap<string, string>;
  events: ReadonlyMap<string, StoredEvent[]>;
  executions: ReadonlyMap<string, Execution[]>;
  owners: ReadonlyMap<string, OwnerChange[]>;
  faults: Fault[];
  /** What was sent to jobs, by job id. */
  signals: ReadonlyMap<string, SignalRecord[]>;
  /** What was answered to retries by hand, by job id: `answered`, or the code of an error. */
  retries: ReadonlyMap<string, string>;
  /** What was asked for by hand, by job id. */
  cancels: ReadonlyMap<string, CancelRecord[]>;
  /** The children of each job, by its id. */
  children: ReadonlyMap<string, JobState[]>;
  /** What is stored apart, by `<job id>/<index>`. */
  results: ReadonlyMap<string, unknown>;
  /** The keys of what is stored besides states, after a sweep. */
  parts: ReadonlySet<string>;
}

export const FINDINGS = {
  lost: "acknowledged, and not there",
  unfinished: "not ended",
  wrong: "ended otherwise than planned",
  "ended twice": "more than one end event",
  "end not told": "no end event, or another one than the state says",
  unfounded: "an outcome without an execution that had it",
  unexplained: "an execution neither counted nor hit by a fault",
  "begun again": "a committed step begun again, and no fault around",
  "too early": "begun before its start time, or gone on before the end of a sleep",
  "out of order": "an entry begun before all that it follows had ended",
  "wrong input": "an execution that was handed something else than follows from the document",
  "not undone": "something that was done, or may have been, and its job has undone what it did",
  "undone twice": "an undo that returned more than once, and no fault around",
  "undone too early": "an undo begun while an attempt of what it undoes ran",
  "undone out of order": "an undo before that of what had ended later, or beside another",
  "child later": "a child that ended after its parent",
  "left over": "something stored besides a job that is not there, or has ended without need of it",
  "signal lost": "a signal that was answered, and not used although an entry waited for it",
  "signal used twice": "the result of more than one entry, or stored under two numbers",
} as const;

export type FindingKind = keyof typeof FINDINGS;

export interface Finding {
  kind: FindingKind;
  job: string;
  details: string;
}

export interface Verdict {
  findings: Finding[];
  completed: number;
  /** As planned. */
  failed: number;
  cancelled: number;
  /** Failed since five attempts of one step were lost, each with a fault around: by contract. */
  givenUp: number;
  executions: number;
  /** Attempts that threw as planned, and so had to be repeated, included. */
  accepted: number;
  /** Not accepted, and hit by a fault. */
  wasted: number;
  /** As the states count them. */
  lostAttempts: number;
}
