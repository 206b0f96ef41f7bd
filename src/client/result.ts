/** Results that are asked for by themselves, as they do not stand in their job. */
import { isAsyncError } from "../job/errors.ts";
import type { JobView } from "../job/view.ts";
import { unreadable } from "./answers.ts";

/** @throws AsyncError `bus_timeout` if it is no answer with a result */
export function resultIn(answer: object): unknown {
  if (!("result" in answer)) throw unreadable("has no result");
  return answer.result;
}

/**
 * The job with its result, if that was left out. It stays out where it does not fit into an answer as JSON.
 *
 * @throws AsyncError what `ask` throws
 */
export async function withResult(job: JobView, ask: () => Promise<unknown>): Promise<JobView> {
  if (!job.result_omitted) return job;
  try {
    const { result_omitted: _omitted, ...rest } = job;
    return { ...rest, result: await ask() };
  } catch (error) {
    if (!isAsyncError(error, "payload_too_large")) throw error;
    return job;
  }
}
