/**
 * The state of a job, as bucket `jobs` keeps it (`bus/stored-state.ts`). Times are ms since 1970.
 * What users see is made from it by `view.ts`.
 */
import type { Encoding } from "./encoding.ts";
import type { Functions } from "./functions.ts";
import { type FunctionSpec, isRecord } from "./schema.ts";

/** Why a function, an attempt or a job failed. `code` is stable; `name` and `message` are the worker's own words. */
export interface Failure {
  code: FailureCode;
  name: string;
  message: string;
  stack?: string;
}

export type FailureCode =
  /** the handler threw, or the service answered with an error */
  | "function_failed"
  /** the attempt took longer than the function's timeout */
  | "attempt_timeout"
  /** workers kept disappearing in the middle of attempts of this function */
  | "attempt_lost"
  /** the job took longer than its timeout */
  | "job_timeout"
  /** an invocation, a result or the state of the job would be larger than the server's limit */
  | "payload_too_large"
  /** the submission could not be decoded or is not a valid job */
  | "invalid_submission"
  /** what was stored of the job could not be read any more */
  | "corrupt_state";

export interface FunctionState extends FunctionSpec {
  /** Executions begun, as far as is recorded: 1 after a first success. */
  retry_count: number;
  /** Attempts that ended in a failure; `retry_limit` limits these. Absent is 0. */
  failures?: number;
  /** Attempts whose worker disappeared; these use up no retry but have a limit of their own. Absent is 0. */
  lost?: number;
  started_at?: number;
  finished_at?: number;
  result?: unknown;
  /** The failure of the newest attempt that failed; gone after a success. */
  error?: Failure;
}

export interface JobFields {
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
  /** When it was last retried by hand, and how often. Absent is never. */
  retried_at?: number;
  retries?: number;
  timeout_ms?: number;
  deadline_at?: number;
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

export type LivePhase =
  | { state: "scheduled" }
  | { state: "pending" }
  | { state: "running" }
  | { state: "waiting"; waiting_for: "backoff"; due_at: number }
  | { state: "waiting"; waiting_for: "worker" };

export type EndPhase =
  | { state: "completed"; finished_at: number }
  | { state: "failed"; finished_at: number; error: Failure }
  | { state: "cancelled"; finished_at: number };

export type WaitReason = "backoff" | "worker";

export type LiveJob = JobFields & LivePhase;
export type EndedJob = JobFields & EndPhase;
export type JobState = LiveJob | EndedJob;
export type StateName = JobState["state"];

export const STATE_NAMES: readonly StateName[] = [
  "scheduled",
  "pending",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
];

export function isEnded(job: JobState): job is EndedJob {
  return job.state === "completed" || job.state === "failed" || job.state === "cancelled";
}

/** What makes a decoded value something else than the state of a job; undefined if nothing does. */
export function stateProblem(value: unknown): string | undefined {
  if (!isRecord(value)) return "value is no map";
  for (const field of ["job_id", "name", "writer"]) {
    if (typeof value[field] !== "string") return `${field} is no text`;
  }
  for (const field of COUNTS) {
    if (!Number.isSafeInteger(value[field]) || (value[field] as number) < 0) return `${field} is no count`;
  }
  if (value.encoding !== "json" && value.encoding !== "msgpack") return "encoding is unknown";
  if (!Array.isArray(value.functions) || !value.functions.every(isFunctionState))
    return "functions are no list of them";
  return phaseProblem(value, value.functions.length);
}

const COUNTS = ["current_function", "attempt", "created_at", "scheduled_at", "sequence", "token", "version"] as const;

function isFunctionState(value: unknown): boolean {
  return isRecord(value) && typeof value.name === "string" && Number.isSafeInteger(value.retry_count);
}

function phaseProblem(value: Record<string, unknown>, functions: number): string | undefined {
  const { state } = value;
  if (!STATE_NAMES.includes(state as StateName)) return "state is unknown";
  const ended = state === "completed" || state === "failed" || state === "cancelled";
  if (ended && !Number.isSafeInteger(value.finished_at)) return "finished_at is no time";
  if (state === "failed" && !isRecord(value.error)) return "error is missing";
  const sleeping = state === "waiting" && value.waiting_for === "backoff";
  if (sleeping && !Number.isSafeInteger(value.due_at)) return "due_at is no time";
  // Only a submission that was no valid job has no functions, and it has failed.
  const inRange = (value.current_function as number) < functions || (functions === 0 && ended);
  return inRange ? undefined : "current_function does not exist";
}

/**
 * The job in a phase; the fields of another one do not linger. Written out, because an object spread into which further
 * fields are put takes V8 thirty times as long, and most of what a supervisor does to a job is this.
 */
export function inPhase<P extends LivePhase | EndPhase>(job: JobFields, phase: P): JobFields & P {
  const next: JobFields & AnyPhase = {
    job_id: job.job_id,
    name: job.name,
    state: phase.state,
    data: job.data,
    functions: job.functions,
    current_function: job.current_function,
    attempt: job.attempt,
    encoding: job.encoding,
    created_at: job.created_at,
    scheduled_at: job.scheduled_at,
    sequence: job.sequence,
    token: job.token,
    version: job.version,
    writer: job.writer,
  };
  if (job.started_at !== undefined) next.started_at = job.started_at;
  if (job.retried_at !== undefined) next.retried_at = job.retried_at;
  if (job.retries !== undefined) next.retries = job.retries;
  if (job.timeout_ms !== undefined) next.timeout_ms = job.timeout_ms;
  if (job.deadline_at !== undefined) next.deadline_at = job.deadline_at;
  if (job.notify !== undefined) next.notify = job.notify;
  const { finished_at, error, waiting_for, due_at }: AnyPhase = phase;
  if (finished_at !== undefined) next.finished_at = finished_at;
  if (error !== undefined) next.error = error;
  if (waiting_for !== undefined) next.waiting_for = waiting_for;
  if (due_at !== undefined) next.due_at = due_at;
  return next as JobFields & P;
}

/** The fields of all phases. */
interface AnyPhase {
  state: StateName;
  finished_at?: number;
  error?: Failure;
  waiting_for?: WaitReason;
  due_at?: number;
}

/** A function as submitted, of which nothing has been executed. */
export function newFunction({ name, args, retry_options, timeout_ms }: FunctionSpec): FunctionState {
  const fn: FunctionState = { name, retry_count: 0 };
  if (args !== undefined && args !== null) fn.args = args; // null is "not given"
  if (retry_options !== undefined) fn.retry_options = retry_options;
  if (timeout_ms !== undefined) fn.timeout_ms = timeout_ms;
  return fn;
}

/** A function that has returned in its attempt number `attempt`. */
export function returned(fn: FunctionState, attempt: number, result: unknown, at: number): FunctionState {
  const done = newFunction(fn);
  done.retry_count = attempt;
  if (fn.failures !== undefined) done.failures = fn.failures;
  if (fn.lost !== undefined) done.lost = fn.lost;
  if (fn.started_at !== undefined) done.started_at = fn.started_at;
  done.finished_at = at;
  done.result = result;
  return done;
}

/** The function being run. */
export function currentFunction(job: JobState): FunctionState {
  const fn = job.functions.at(job.current_function);
  if (!fn) throw new RangeError(`job ${job.job_id} has no function ${job.current_function}`);
  return fn;
}

/** The job without anything that users put into it but names: what is left when it does not fit into a message. */
export function withoutPayloads<S extends JobState>(job: S): S {
  const functions = job.functions.map(({ args: _args, result: _result, ...fn }) => fn);
  return { ...job, data: null, functions };
}

/** When nothing is to be done before it: the start time, the end of the wait, or 0 for "now". */
export function dueAt(job: LiveJob): number {
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

/** The compiler's proof that a switch is complete; throws if a value from outside gets here all the same. */
export function unreachable(value: never): never {
  throw new TypeError(`unexpected value ${JSON.stringify(value)}`);
}
