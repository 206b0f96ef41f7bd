/**
 * The view of a job as it is given out to whoever asks for it. What is stored does not say of each attempt whether a worker has it
 * (its start is recorded only when it has lasted for a moment), so that is told here: a job is `running` while the start of
 * its live attempt is recorded; else it is `waiting`, for a worker where nothing else is to come first. One that has just been
 * taken is `pending` for a moment longer.
 *
 * Example: function 1 of a job has returned, and 300 jobs wait for the worker of function 2. The state is `running`, as that is
 * what it was when it was written; it is shown as `waiting` for a `worker`.
 */
import type { Failure } from "./failure.ts";
import { inPhase } from "./record.ts";
import { functionAt, isEnded, isGraph, type JobState, type LiveJob, unreachable } from "./state.ts";
import { type JobView, viewOf } from "./view.ts";

/** For as long an accepted job is shown as pending, although it waits for a worker already. */
const MOMENT_MS = 1_000;

/**
 * @param now ms since 1970
 * @param isTaken a supervisor has it, although nothing may be stored of it but its submission
 */
export function answerOf(job: JobState, now: number, isTaken = job.version > 0): JobView {
  const waits = !isEnded(job) && isTaken && waitsForWorker(job, now);
  const view = viewOf(waits ? inPhase(job, { state: "waiting", waiting_for: "worker" }) : job);
  for (const fn of view.functions) hideFolders(fn, fn.undo_run);
  hideFolders(view, view.undoing, view.on_failure_run);
  return view;
}

/**
 * The view as JSON, with at most so many bytes, if need be without its largest results: these are to be had one by one. It is longer all
 * the same where what was submitted is.
 */
export function fitted(view: JobView, maxBytes: number): string {
  const whole = JSON.stringify(view);
  let over = bytesOf(whole) - maxBytes;
  if (over <= 0) return whole;
  const holders: { result?: unknown; result_omitted?: true }[] = [view, ...view.functions];
  const sized = holders
    .filter(({ result }) => result !== undefined && result !== null)
    .map((holder) => ({ holder, bytes: bytesOf(JSON.stringify(holder.result)) }));
  // That of the job is the last to be left out among equals: it is what most ask for.
  for (const { holder, bytes } of sized.reverse().sort((a, b) => b.bytes - a.bytes)) {
    if (over <= 0) break;
    delete holder.result;
    holder.result_omitted = true;
    over -= bytes - OMITTED_BYTES;
  }
  return JSON.stringify(view);
}

/** `"result_omitted":true` in place of `"result":`. */
const OMITTED_BYTES = 24;

function bytesOf(json: string): number {
  return Buffer.byteLength(json);
}

/** Whether an attempt is due whose start is not recorded. */
function waitsForWorker(job: LiveJob, now: number): boolean {
  if (isGraph(job) && job.state === "running") return false; // its view says so
  switch (job.state) {
    case "scheduled":
      return job.scheduled_at <= now;
    case "pending":
      return now - Math.max(job.scheduled_at, job.retried_at ?? 0) >= MOMENT_MS;
    case "running":
      return functionAt(job, job.current_function).retry_count !== job.attempt;
    case "undoing":
      return false;
    case "waiting":
      return job.waiting_for === "worker" || job.due_at <= now;
    default:
      return unreachable(job);
  }
}

function hideFolders(...holders: ({ error?: Failure } | undefined)[]): void {
  for (const holder of holders) if (holder?.error) holder.error = withoutFolders(holder.error);
}

/** Where something is installed is nobody's business: the files of the stack are named without their folders. */
export function withoutFolders(failure: Failure): Failure {
  const { stack } = failure;
  // Anything may be stored.
  return typeof stack === "string" ? { ...failure, stack: stack.replaceAll(FOLDERS, "$1") } : failure;
}

/** What stands before the name of the file in a line of a stack: `at f (file:///home/me/app/worker.ts:7:11)`. */
const FOLDERS = /^([ \t]+at (?:[^\n/\\(]*\()?)[^\n]*[/\\]/gm;
