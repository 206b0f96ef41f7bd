/** A job as its submission makes it, before anything has been done about it. */

import { isGraphDocument, needsFormat2 } from "./document.ts";
import type { Encoding } from "./encoding.ts";
import { newEntry, newFunction } from "./function-state.ts";
import { functionList } from "./functions.ts";
import { inPhase } from "./record.ts";
import type { Submission } from "./schema.ts";
import type { JobFields, LiveJob, Parent } from "./state.ts";

/** What is known of a submission besides its body. */
export interface Origin {
  jobId: string;
  encoding: Encoding;
  /** When it was stored, ms since 1970. */
  createdAt: number;
  /** Of the submission in stream JOBS. */
  sequence: number;
  /** Whose child it is. */
  parent?: Parent;
  /** The run with which a child begins, where that is not the first. */
  run?: number;
}

/**
 * `now` (ms since 1970) decides whether its start is still ahead, if it was given a start. When it was stored is a time of
 * another clock, so nothing is decided by it; and the time of a job without a start begins when it is taken (`withDeadline`).
 *
 * @param isGraph if it is known
 */
export function newJob(
  submission: Submission,
  origin: Origin,
  now: number,
  isGraph = isGraphDocument(submission),
): LiveJob {
  const { notify, scheduled_at, timeout_ms, tags, keep_ms, warn_after_ms, on_failure } = submission;
  const fields = newFields(origin, submission, isGraph);
  if (on_failure !== undefined) fields.on_failure = on_failure;
  if (tags !== undefined) fields.tags = tags;
  if (keep_ms !== undefined) fields.keep_ms = keep_ms;
  if (warn_after_ms !== undefined) fields.warn_after_ms = warn_after_ms;
  if (notify !== undefined) fields.notify = notify;
  if (timeout_ms !== undefined) fields.timeout_ms = timeout_ms;
  if (scheduled_at === undefined) return inPhase(fields, { state: "pending" });
  fields.scheduled_at = Date.parse(scheduled_at);
  if (timeout_ms !== undefined) fields.deadline_at = fields.scheduled_at + timeout_ms;
  return inPhase(fields, { state: fields.scheduled_at <= now ? "pending" : "scheduled" });
}

/** The job as it is taken at `now`: from then on its time passes, unless it was given a start of its own. */
export function withDeadline(job: LiveJob, now: number): LiveJob {
  if (job.timeout_ms !== undefined) job.deadline_at ??= now + job.timeout_ms;
  return job;
}

/** The job before it is taken. */
export function withoutDeadline(job: LiveJob): LiveJob {
  if (job.deadline_at === undefined || job.scheduled_at !== job.created_at) return job;
  const { deadline_at: _, ...rest } = job;
  return rest;
}

/** What a submission that is no valid job makes: one without functions. */
export function newInvalidJob(name: string, origin: Origin): LiveJob {
  return inPhase(newFields(origin, { name, functions: [] }, false), { state: "pending" });
}

function newFields(origin: Origin, submission: Submission, isGraph: boolean): JobFields {
  const fields: JobFields = {
    job_id: origin.jobId,
    name: submission.name,
    data: submission.data ?? null,
    functions: functionList(submission.functions.map(isGraph ? newEntry : newFunction)),
    current_function: 0,
    attempt: 1,
    encoding: origin.encoding,
    created_at: origin.createdAt,
    scheduled_at: origin.createdAt,
    sequence: origin.sequence,
    token: 0,
    version: 0,
    writer: "",
  };
  if (origin.parent) fields.parent = origin.parent;
  if (origin.run !== undefined) fields.retries = origin.run - 1;
  if (isGraph || origin.parent || needsFormat2(submission)) fields.format = 2;
  if (isGraph) {
    fields.live = [];
    fields.ended_count = 0;
  }
  return fields;
}
