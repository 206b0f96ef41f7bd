/** A job as its submission makes it, before anything has been done about it. */
import type { Encoding } from "./encoding.ts";
import { newFunction } from "./function-state.ts";
import { functionList } from "./functions.ts";
import { inPhase } from "./record.ts";
import type { Submission } from "./schema.ts";
import type { JobFields, LiveJob } from "./state.ts";

/** What is known of a submission besides its body. */
export interface Origin {
  jobId: string;
  encoding: Encoding;
  /** When it was stored, ms since 1970. */
  createdAt: number;
  /** Of the submission in stream JOBS. */
  sequence: number;
}

/** `now` (ms since 1970) decides whether its start is still ahead. */
export function newJob(submission: Submission, origin: Origin, now: number): LiveJob {
  const fields = newFields(origin, submission);
  if (submission.notify !== undefined) fields.notify = submission.notify;
  if (submission.scheduled_at !== undefined) fields.scheduled_at = Date.parse(submission.scheduled_at);
  if (submission.timeout_ms !== undefined) {
    fields.timeout_ms = submission.timeout_ms;
    fields.deadline_at = fields.scheduled_at + submission.timeout_ms;
  }
  return inPhase(fields, { state: fields.scheduled_at <= now ? "pending" : "scheduled" });
}

/** What a submission that is no valid job makes: one without functions. */
export function newInvalidJob(name: string, origin: Origin): LiveJob {
  return inPhase(newFields(origin, { name, functions: [] }), { state: "pending" });
}

function newFields(origin: Origin, submission: Submission): JobFields {
  return {
    job_id: origin.jobId,
    name: submission.name,
    data: submission.data ?? null,
    functions: functionList(submission.functions.map(newFunction)),
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
}
