/** From a message of stream JOBS to the first transition of a job. */

import { FORMAT_HEADER, PARENT_HEADER, REPEATED_HEADER } from "../api/headers.ts";
import { afterPrefix, SUBMIT } from "../api/subjects.ts";
import { decode, encodingOf } from "../bus/messages/codec.ts";
import { type Definition, documentIn } from "../bus/store/definitions.ts";
import type { Waiting } from "../bus/store/job-list.ts";
import type { Delivery } from "../bus/tokens/delivery.ts";
import { type ParsedDocument, parseDocument } from "../job/check.ts";
import { type ChildOrigin, childIdOf, parentOf, readOrigin } from "../job/children.ts";
import { newJob, type Origin } from "../job/create.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import type { Failure, FailureCode } from "../job/failure.ts";
import { createFailedJob, createJob, untaken } from "../job/machine.ts";
import { definitionNotFound, fromDefinition, isNamed, type NamedJob, parseNamed } from "../job/named.ts";
import { chosenJobIdProblem, jobIdOfSequence, jobIdProblem, MADE_UP_PREFIX, sequenceOf } from "../job/names.ts";
import { isRecord } from "../job/plain.ts";
import { FORMAT } from "../job/record.ts";
import type { JobState, LiveJob, Parent } from "../job/state.ts";
import type { Transition } from "../job/transition.ts";

export type ReadSubmission =
  | {
      type: "job";
      jobId: string;
      /** @param mayHaveBegun somebody may have begun it, and stored nothing */
      first: (now: number, mayHaveBegun?: boolean) => Transition;
      /** The job before anything is begun of it. */
      submitted: (now: number) => JobState;
      /** Whose child it is. */
      parent?: Parent;
    }
  /** It has no functions but those of the definition with that name. */
  | {
      type: "named";
      jobId: string;
      name: string;
      from: (definition: Definition | undefined) => JobSubmission;
      parent?: Parent;
    }
  /** No id can be had: there is nothing to record it under. */
  | { type: "rejected"; jobId: string; reason: string };

export type JobSubmission = Extract<ReadSubmission, { type: "job" }>;

/** What a submission is called whose body is not read: the id in its subject, or else its place in the stream. */
export function labelOf({ subject, sequence }: Pick<Waiting, "subject" | "sequence">): string {
  return afterPrefix(subject, SUBMIT) ?? jobIdOfSequence(sequence);
}

/**
 * Reads a submission. One that is no valid job becomes a failed job, unless its subject names an impossible id.
 *
 * The id is that of the subject, else that of the body, else made from the sequence in the stream. That of a child follows from what the
 * header says of its parent.
 */
export function readSubmission(submission: Waiting): ReadSubmission {
  const { data, sequence, storedAt, subject } = submission;
  const ofSubject = afterPrefix(subject, SUBMIT);
  const parent = originOf(submission);
  const isChild = parent !== undefined && childIdOf(parent) === ofSubject;
  const problem = ofSubject === undefined || isChild ? undefined : chosenJobIdProblem(ofSubject);
  if (problem !== undefined) {
    return { type: "rejected", jobId: jobIdOfSequence(sequence), reason: `the job id in the subject ${problem}` };
  }
  const origin: Origin = {
    jobId: ofSubject ?? jobIdOfSequence(sequence),
    encoding: encodingOf(data),
    createdAt: storedAt,
    sequence,
  };
  if (isChild) {
    origin.parent = parentOf(parent);
    if (parent.run !== undefined) origin.run = parent.run;
  }
  let body: unknown;
  try {
    body = decode(data);
    const ofBody = isRecord(body) ? body.job_id : undefined;
    if (ofSubject === undefined && typeof ofBody === "string" && chosenJobIdProblem(ofBody) === undefined) {
      origin.jobId = ofBody;
    }
    if (isNamed(body)) return readNamed(parseNamed(body, storedAt), origin);
    return jobOf(parseDocument(body, storedAt), origin);
  } catch (error) {
    if (!isAsyncError(error)) throw error;
    return refused(error, nameOf(body), origin);
  }
}

function jobOf({ submission, isGraph }: ParsedDocument, origin: Origin): JobSubmission {
  if (submission.job_id !== undefined && submission.job_id !== origin.jobId) {
    throw new AsyncError("invalid_submission", `the body names job ${submission.job_id}, the subject ${origin.jobId}`);
  }
  const first = (now: number, mayHaveBegun?: boolean) => createJob(submission, origin, now, isGraph, mayHaveBegun);
  const submitted = (now: number) => newJob(submission, origin, now, isGraph);
  return { type: "job", jobId: origin.jobId, first, submitted, ...familyOf(origin) };
}

function familyOf({ parent }: Origin): { parent?: Parent } {
  return parent ? { parent } : {};
}

/** The failed job that stands for a submission which makes none. */
function refused(
  { name, message }: AsyncError,
  jobName: string,
  origin: Origin,
  code: FailureCode = "invalid_submission",
): JobSubmission {
  const first = (now: number) => createFailedJob({ code, name, message }, jobName, origin, now);
  return { type: "job", jobId: origin.jobId, first, submitted: (now) => first(now).state, ...familyOf(origin) };
}

/** It is checked as a whole when its definition is known. */
function readNamed(said: NamedJob, origin: Origin): Extract<ReadSubmission, { type: "named" }> {
  const { name } = said;
  const from = (definition: Definition | undefined): JobSubmission => {
    if (!definition) return refused(definitionNotFound(name), name, origin, "definition_not_found");
    const encoding = definition.encoding === "msgpack" ? definition.encoding : origin.encoding;
    const made = { ...origin, encoding };
    try {
      return jobOf(parseDocument(fromDefinition(documentIn(definition), said), origin.createdAt), made);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return refused(error, name, made);
    }
  };
  return { type: "named", jobId: origin.jobId, name, from, ...familyOf(origin) };
}

/** What a submission says of its parent. Without that, or where it makes no sense, it is nobody's child. */
function originOf({ headers }: Pick<Waiting, "headers">): ChildOrigin | undefined {
  const text = headers?.get(PARENT_HEADER);
  return text ? readOrigin(text) : undefined;
}

/**
 * The format of the record that a submission makes, if that is one of a newer version, whose documents we may not know. Without the
 * header it is the first; one that is no number says nothing.
 */
export function newerFormatOf({ headers }: Pick<Waiting, "headers">): number | undefined {
  const format = Number(headers?.get(FORMAT_HEADER) || 1);
  return format > FORMAT ? format : undefined;
}

/**
 * The job that a submission which nobody has taken yet will make, as it is to be shown; undefined if it will make none. No condition of
 * its entries is evaluated: a thousand may take a second, and a list shows a hundred jobs.
 *
 * @param glance at a definition, for one that names it
 */
export function untakenJob(
  submission: Waiting,
  glance: (name: string) => Promise<Definition | undefined>,
): LiveJob | undefined | Promise<LiveJob | undefined> {
  const read = readSubmission(submission);
  if (read.type === "named") return glance(read.name).then((definition) => asUntaken(read.from(definition)));
  return read.type === "job" ? asUntaken(read) : undefined;
}

function asUntaken({ submitted }: JobSubmission): LiveJob {
  return untaken({ state: submitted(Date.now()), events: [] });
}

/**
 * Whether nobody else can have submitted the id of this submission: then the submission is the job's first state, and
 * nothing has to be looked up or stored before the job is begun.
 */
export function isOnly(delivery: Delivery, jobId: string): boolean {
  return delivery.deliveries === 1 && isBegunUnstored(delivery, jobId);
}

/** Whether who gets the message first begins its job before anything is stored. */
function isBegunUnstored(delivery: Delivery, jobId: string): boolean {
  const { subject, sequence } = delivery;
  if (subject === SUBMIT) return jobId === jobIdOfSequence(sequence);
  return jobId.startsWith(MADE_UP_PREFIX) && !isRepeated(delivery);
}

/** Whether a job with this id may be one that is begun before anything is stored; a child, or one whose id was chosen, never is. */
export function isIdBegunUnstored(jobId: string): boolean {
  return sequenceOf(jobId) !== undefined || jobId.startsWith(MADE_UP_PREFIX);
}

/** Whether somebody who had the message before may have begun its job, and stored nothing. */
export function mayHaveBegun(delivery: Delivery, jobId: string): boolean {
  return delivery.deliveries > 1 && isBegunUnstored(delivery, jobId);
}

/** The same time may come out a ms apart, as it is read from a number in one place and from text in another. */
const SAME_TIME_MS = 1;

/** Whether the job was made by that message of stream JOBS: by its sequence alone it could be one of a stream before. */
export function isMadeBy(state: JobState, { sequence, storedAt }: Pick<Delivery, "sequence" | "storedAt">): boolean {
  return state.sequence === sequence && Math.abs(state.created_at - storedAt) <= SAME_TIME_MS;
}

/** Whether the job has got, from a stream JOBS before this one, the id that is made from the sequence of that message. */
export function isPredecessor(
  state: JobState,
  jobId: string,
  message: Pick<Delivery, "sequence" | "storedAt">,
): boolean {
  return jobId === jobIdOfSequence(message.sequence) && !isMadeBy(state, message);
}

/**
 * Whether the same may have been submitted before, by who has not learned what became of it. The first copy is one on the same
 * subject, so there is none where the subject names no id: all others are there as well.
 */
export function isRepeated({ subject, headers }: Pick<Delivery, "subject" | "headers">): boolean {
  return subject !== SUBMIT && (headers?.has(REPEATED_HEADER) ?? false);
}

/** The failed job that stands for a submission whose state would not fit into a message. */
export function oversizedJob(first: Transition, why: string, now: number): Transition {
  const { job_id, encoding, created_at, sequence, name, tags, keep_ms, parent, retries } = first.state;
  const error: Failure = {
    code: "payload_too_large",
    name: "PayloadTooLarge",
    message: `the job is too large to be stored: ${why}`,
  };
  const origin: Origin = { jobId: job_id, encoding, createdAt: created_at, sequence, ...(parent && { parent }) };
  // Its parent waits for the end of that run.
  if (retries !== undefined) origin.run = retries + 1;
  const failed = createFailedJob(error, name, origin, now);
  if (tags === undefined && keep_ms === undefined) return failed;
  // It is found as it would have been, and goes when it would have gone.
  const more = { ...(tags !== undefined && { tags }), ...(keep_ms !== undefined && { keep_ms }) };
  return { ...failed, state: { ...failed.state, format: 2, ...more } };
}

function nameOf(body: unknown): string {
  return isRecord(body) && typeof body.name === "string" ? body.name.slice(0, 256) : "";
}

/** The job id that a wake is for. @throws AsyncError `invalid_job_id` */
export function jobIdOfWake(delivery: Delivery, prefix: string): string {
  const id = afterPrefix(delivery.subject, prefix) ?? "";
  const problem = jobIdProblem(id);
  if (problem !== undefined) throw new AsyncError("invalid_job_id", `the job id of a wake ${problem}`);
  return id;
}
