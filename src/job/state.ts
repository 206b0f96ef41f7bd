/**
 * The state of a job, as bucket `jobs` keeps it. Times are ms since 1970. Its fields are declared here as types, and in
 * `record.ts` once more as values, from which they are stored, read, checked and shown: the compiler holds the two together.
 */
import type { Encoding } from "./encoding.ts";
import type { Failure } from "./failure.ts";
import { callOf, type FunctionState, namedCall } from "./function-state.ts";
import type { Functions } from "./functions.ts";
import type { CallEntry } from "./schema.ts";

export interface JobFields {
  /** The format of its record, where that is not the first: older versions leave it alone. */
  format?: 2;
  job_id: string;
  name: string;
  data: unknown;
  functions: Functions;
  /** Index of the function being run; stays at the last one when the job is done. */
  current_function: number;
  /** Number, from 1, of the attempt of the current function that is live or comes next. */
  attempt: number;
  encoding: Encoding;
  created_at: number;
  scheduled_at: number;
  started_at?: number;
  /** When it was last retried by hand, and how often. Absent: never. */
  retried_at?: number;
  retries?: number;
  timeout_ms?: number;
  deadline_at?: number;
  /**
   * Present in graphs only: the entries that have begun and have not ended, by index. `current_function` is the lowest index of
   * an entry that has not ended then, and `attempt` says nothing. Kept when the job ends without being completed, for a retry.
   */
  live?: readonly Branch[];
  /** Of a graph: how many of its entries have ended. */
  ended_count?: number;
  /** Of a graph, by the name of a signal: the number of the last one that was used. */
  signals?: Readonly<Record<string, number>>;
  /** Of a graph: when it left memory last. */
  parked_at?: number;
  tags?: Readonly<Record<string, string>>;
  /** How long it is kept once it has ended, at most. */
  keep_ms?: number;
  warn_after_ms?: number;
  /** When it was told that it is late. */
  late_at?: number;
  /** Of a graph: it has ended with more than fits into a message, so its entries are left without what they were to do. */
  truncated?: true;
  /** What is called once it has failed, and how that went. */
  on_failure?: string | CallEntry;
  failing?: FunctionState;
  /** Present while it is `undoing`: how it will end. */
  outcome?: Outcome;
  /** Of one that undoes, or has undone: what was live when that began. A retry by hand goes on with it. */
  halted?: readonly Branch[];
  /** What has become of the undoing, once it has ended. Also of a completed child that was undone. */
  undo?: UndoSummary;
  /** Whose child it is. */
  parent?: Parent;
  /** Who is told of the end besides those who listen to events. */
  notify?: string;
  /** Sequence of the submission in stream JOBS: tells its redelivery from another submission with the same id. */
  sequence: number;
  /** Which token keeps the job alive: 0 is the submission, n the n-th timer or place in a backlog. */
  token: number;
  /** Number of commits so far, and who made the last: together they tell one's own lost ack from a stranger's write. */
  version: number;
  writer: string;
}

/** How a job that undoes will end: as it would have at once, if there had been nothing to undo. */
export interface Outcome {
  state: EndPhase["state"];
  /** Of one that has failed. */
  error?: Failure;
  /** When it began to undo, ms since 1970. */
  at: number;
  /** What is not undone yet is left as it is. */
  skip?: true;
}

export interface UndoSummary {
  /** `done`: all that had to be undone is. `failed`: some of it could not be. `skipped`: somebody did not want it. */
  state: "done" | "failed" | "skipped";
  undone: number;
  failed: number;
  /** Entries that were left as they are. */
  not_undone: number;
  /** Why it was broken off, where the job could not be kept any longer. */
  error?: Failure;
}

export interface Parent {
  job_id: string;
  /** By this it is told from another job with its id. */
  created_at: number;
  /** The entry of it, and the item of that. */
  index: number;
  item?: number;
  /** How many jobs it is in, from 1. */
  depth: number;
}

/** An entry of a graph that has begun and has not ended, or is being undone. */
export interface Branch extends AttemptAddress {
  wait: BranchWait;
  /** Since when it waits for that, ms since 1970. */
  since: number;
  /**
   * When a backoff or a sleep ends; of a signal, when it is not waited for any longer. Of what waits for a worker, when it is tried
   * again; and once it has been, that stays.
   */
  due_at?: number;
}

/**
 * What it waits for. `none`: an attempt of it is due, in line or in flight. `items`: its items are at it, in memory. `child`: a child job,
 * or those of its items. `stopping`: the job undoes; its attempt, its items or its child were told to stop, and have not answered yet.
 */
export type BranchWait = "none" | "worker" | "backoff" | "sleep" | "signal" | "items" | "child" | "stopping";
/** In the order of their numbers in the record. */
export const BRANCH_WAITS: readonly BranchWait[] = [
  ...["none", "worker", "backoff", "sleep", "signal", "items", "child", "stopping"],
] as BranchWait[];

/** A job whose entries do not simply follow each other, or do more than run a function. */
export type Graph = JobState & { live: readonly Branch[] };

export function isGraph<J extends JobState>(job: J): job is J & { live: readonly Branch[] } {
  return job.live !== undefined;
}

export type LivePhase =
  | { state: "scheduled" }
  | { state: "pending" }
  | { state: "running" }
  | { state: "waiting"; waiting_for: "backoff"; due_at: number }
  | { state: "waiting"; waiting_for: "worker" }
  | { state: "undoing" };

export type EndPhase =
  | { state: "completed"; finished_at: number }
  | { state: "failed"; finished_at: number; error: Failure }
  | { state: "cancelled"; finished_at: number };

export type WaitReason = "backoff" | "worker" | "sleep" | "signal" | "child";

/** The fields of all phases. */
export interface AnyPhase {
  state: StateName;
  waiting_for?: WaitReason;
  due_at?: number;
  finished_at?: number;
  error?: Failure;
}

export type LiveJob = JobFields & LivePhase;
export type EndedJob = JobFields & EndPhase;
export type JobState = LiveJob | EndedJob;
export type StateName = JobState["state"];

export const STATE_NAMES: readonly StateName[] = [
  "scheduled",
  "pending",
  "running",
  "waiting",
  "undoing",
  "completed",
  "failed",
  "cancelled",
];

/** Names an attempt within its job: outcomes, dispatch and invocations carry it. */
export interface AttemptAddress {
  /** Of its function, from 0. One more than the last: what is called once the job has failed. */
  index: number;
  /** Its number among the attempts of that function, from 1. */
  attempt: number;
  /** Which item of the entry it is for, from 0. */
  item?: number | undefined;
  /** It undoes the entry, or the item. */
  undo?: true | undefined;
}

/** Whether both are the same attempt. */
export function isSameAttempt(a: AttemptAddress, b: AttemptAddress): boolean {
  return a.index === b.index && a.attempt === b.attempt && a.item === b.item && a.undo === b.undo;
}

export function isEnded(job: JobState): job is EndedJob {
  return isEndState(job.state);
}

export function isEndState(state: StateName): state is EndPhase["state"] {
  return state === "completed" || state === "failed" || state === "cancelled";
}

/** The function with that index. @throws RangeError if the job has none */
export function functionAt(job: JobState, index: number): FunctionState {
  const fn = job.functions.at(index);
  if (!fn) throw new RangeError(`job ${job.job_id} has no function ${index}`);
  return fn;
}

/** The function whose attempts have that address: that of the entry, of its undo, or of what is called once the job has failed. */
export function trialOf(job: JobState, { index, undo }: Pick<AttemptAddress, "index" | "undo">): FunctionState {
  if (index === job.functions.length && job.failing) return job.failing;
  const fn = functionAt(job, index);
  return undo && fn.undoing ? fn.undoing : fn;
}

/** What an attempt with that address calls, and how. */
export function callAt(
  job: JobState,
  address: Pick<AttemptAddress, "index" | "undo">,
): Pick<FunctionState, keyof CallEntry> {
  return callOf(trialOf(job, address));
}

/** The job without anything that users put into it but names: what is left when it does not fit into a message. */
export function withoutPayloads<S extends JobState>(job: S): S {
  if (isGraph(job)) return truncated(job);
  const functions = job.functions.map(({ args: _args, result: _result, last_progress: _progress, ...fn }) => fn);
  return { ...job, data: null, functions };
}

/** What each entry does, and how it failed, may be as large as the document is: a graph keeps no more than where it came. */
function truncated<S extends JobState>(job: S): S {
  const length = Math.min(HEAD_LENGTH, Math.floor(HEADS_LENGTH / job.functions.length));
  const functions = job.functions.map((fn): FunctionState => {
    const { id, name, retry_count, finished_at, rank, skipped, error, caught, runs, apart } = fn;
    return {
      ...(id !== undefined && { id }),
      name,
      retry_count,
      ...(finished_at !== undefined && { finished_at, result: null }),
      ...(rank !== undefined && { rank }),
      ...(apart !== undefined && { apart, ...(runs !== undefined && { runs }) }), // it can still be had by itself
      ...(skipped && { skipped }),
      ...(error && { error: headOf(error, length) }),
      ...(caught && { caught: headOf(caught, length) }),
    };
  });
  const { on_failure, failing } = job;
  return {
    ...job,
    data: null,
    functions,
    live: [],
    truncated: true,
    ...(on_failure !== undefined && { on_failure: namedCall(on_failure).name }),
    ...(failing && { failing: headOfRun(failing, length) }),
  };
}

/** How what was called at the end went. */
function headOfRun(run: FunctionState, length: number): FunctionState {
  const { name, retry_count, finished_at, given_up, skipped, error } = run;
  return {
    name,
    retry_count,
    ...(finished_at !== undefined && { finished_at, result: null }),
    ...(given_up && { given_up }),
    ...(skipped && { skipped }),
    ...(error && { error: headOf(error, length) }),
  };
}

/** Most characters of a text of an error, and of those of all entries: they must fit into a message besides ids and names. */
const HEAD_LENGTH = 100;
const HEADS_LENGTH = 20_000;

/** Anything may be stored. */
function headOf({ code, name, message }: Failure, length: number): Failure {
  const head = (text: unknown) => String(text ?? "").slice(0, length);
  return { code, name: head(name), message: head(message) };
}

/** The compiler's proof that a switch is complete; throws if a value from outside gets here all the same. */
export function unreachable(value: never): never {
  throw new TypeError(`unexpected value ${JSON.stringify(value)}`);
}
