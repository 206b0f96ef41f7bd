/**
 * Names that come from users and become part of a subject: job ids, function names, and who is to be notified.
 * The server accepts a publish to a subject with wildcards in it, so this check is the only guard.
 */

import { AsyncError } from "./errors.ts";

/** Longest job id, in characters. */
export const MAX_JOB_ID_LENGTH = 128;
/** Longest function name, in characters. */
export const MAX_FUNCTION_NAME_LENGTH = 200;

/** Longest name of someone to notify, in characters. */
const MAX_NOTIFY_LENGTH = 64;
/** Longest name of a signal, and longest key of one, in characters. */
const MAX_SIGNAL_NAME_LENGTH = 64;
const MAX_SIGNAL_KEY_LENGTH = 200;

/** One part of a subject; and, as a job id, one key of a KV bucket and one path segment of a URL. */
const word = /^[A-Za-z0-9_-]+$/;

/** Ids made from a stream sequence; a user cannot choose one, so the two can never meet. */
const sequenceId = /^seq-(0|[1-9][0-9]{0,15})$/;

const printable = /^[!-~]+$/;
const headerText = /^[!-~](?:[ -~]*[!-~])?$/;
/** Parts of printable ASCII but `*` and `>`, with dots between them, and no `$` in front. */
const functionName = /^(?!\$)[!-)+\-/-=?-~]+(?:\.[!-)+\-/-=?-~]+)*$/;

/**
 * Begins the ids that clients make up for who chooses none. Such an id promises that it is submitted once, or that each
 * further time says so (`REPEATED_HEADER`): so its job need not be looked for before it is begun.
 */
export const MADE_UP_PREFIX = "auto-";

/** Why `id` cannot be a job id, or undefined if it can. */
export function jobIdProblem(id: string): string | undefined {
  return wordProblem(id, MAX_JOB_ID_LENGTH);
}

/** Why nobody can be notified under that name, or undefined if someone can. */
export function notifyProblem(name: string): string | undefined {
  return wordProblem(name, MAX_NOTIFY_LENGTH);
}

/** Why no signal can have that name, or undefined if one can. It is part of a subject, and of a key of the bucket. */
export function signalNameProblem(name: string): string | undefined {
  return wordProblem(name, MAX_SIGNAL_NAME_LENGTH);
}

/** Why a signal cannot be sent with that key, or undefined if it can: it is the value of a header. */
export function signalKeyProblem(key: string): string | undefined {
  if (typeof key !== "string") return "must be text";
  if (key.length === 0) return "must not be empty";
  if (key.length > MAX_SIGNAL_KEY_LENGTH) return `must have at most ${MAX_SIGNAL_KEY_LENGTH} characters`;
  return headerText.test(key) ? undefined : "must consist of printable ASCII characters, without spaces at its ends";
}

function wordProblem(text: string, maxLength: number): string | undefined {
  if (typeof text !== "string") return "must be text"; // callers may be JavaScript
  if (text.length === 0) return "must not be empty";
  if (text.length > maxLength) return `must have at most ${maxLength} characters`;
  if (!word.test(text)) return "must consist of letters, digits, '-' and '_'";
  return undefined;
}

/** @throws AsyncError `invalid_job_id` */
export function requireJobId(id: string): void {
  const problem = jobIdProblem(id);
  if (problem !== undefined) throw new AsyncError("invalid_job_id", `the job id ${problem}`);
}

/** Why `id` cannot be chosen for a new job, or undefined if it can. */
export function chosenJobIdProblem(id: string): string | undefined {
  if (typeof id === "string" && sequenceOf(id) !== undefined)
    return "must not look like seq-<number>: such ids are given by the server";
  return jobIdProblem(id);
}

/** Why `name` cannot be a function name, or undefined if it can. Dots are allowed, empty parts are not. */
export function functionNameProblem(name: string): string | undefined {
  if (name.length <= MAX_FUNCTION_NAME_LENGTH && functionName.test(name)) return undefined;
  if (name.length === 0) return "must not be empty";
  if (name.length > MAX_FUNCTION_NAME_LENGTH) return `must have at most ${MAX_FUNCTION_NAME_LENGTH} characters`;
  if (!printable.test(name)) return "must consist of printable ASCII characters without spaces";
  if (name.includes("*") || name.includes(">")) return "must not contain the wildcards '*' and '>'";
  if (name.startsWith("$")) return "must not begin with '$'";
  return "must not begin or end with '.' or contain '..'";
}

/** The id of a job that was submitted without one, from its sequence in stream JOBS. */
export function jobIdOfSequence(sequence: number): string {
  return `seq-${sequence}`;
}

/** The inverse of {@link jobIdOfSequence}; undefined if the id was not made from a sequence. */
export function sequenceOf(id: string): number | undefined {
  const match = sequenceId.exec(id);
  return match ? Number(match[1]) : undefined;
}
