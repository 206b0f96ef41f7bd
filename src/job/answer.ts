/** The view of a job as it is given out to whoever asks for it. */
import type { Failure } from "./failure.ts";
import type { JobState } from "./state.ts";
import { type JobView, viewOf } from "./view.ts";

export function answerOf(job: JobState): JobView {
  const view = viewOf(job);
  for (const fn of view.functions) if (fn.error) fn.error = withoutFolders(fn.error);
  if (view.error) view.error = withoutFolders(view.error);
  return view;
}

/** Where something is installed is nobody's business: the files of the stack are named without their folders. */
function withoutFolders(failure: Failure): Failure {
  const { stack } = failure;
  // Anything may be stored.
  return typeof stack === "string" ? { ...failure, stack: stack.replaceAll(FOLDERS, "$1") } : failure;
}

/** What stands before the name of the file in a line of a stack: `at f (file:///home/me/app/worker.ts:7:11)`. */
const FOLDERS = /^([ \t]+at (?:[^\n/\\(]*\()?)[^\n]*[/\\]/gm;
