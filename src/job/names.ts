/**
 * Names that come from users and become part of a subject: job ids, function names, and who is to be notified.
 * The server accepts a publish to a subject with wildcards in it, so this check is the only guard.
 */

import { AsyncError } from "./errors.ts";

/** Longest job id, in characters. */
export const MAX_JOB_ID_LENGTH = 128;
/** Longest function name, in characters. */
export const MAX_FUNCTION_NAME_LENGTH = 200;

/** Longest name of someone to notify, or of a signal, in characters. */
const MAX_WORD_LENGTH = 64;
/** Longest key of a signal, in characters. */
const MAX_SIGNAL_KEY_LENGTH = 200;

/** One part of a subject; and, as a job id, one key of a KV bucket and one path segment of a URL. */
const word = /^[A-Za-z0-9_-]+$/;

/** Ids made from a stream sequence; a user cannot choose one, so the two can never meet. */
const sequenceId = /^seq-(0|[1-9][0-9]{0,15})$/;

/** Begins the ids of children, which follow from their parents: a user cannot choose one, so no other job can be in a child's place. */
export const CHILD_PREFIX = "sub-";

const printable = /^[!-~]+$/;
const headerText = /^[!-~](?:[ -~]*[!-~])?$/;
/** Parts of printable ASCII but `*` and `>`, with dots between them, and no `$` in front. */
const functionName = /^(?!\$)[!-)+\-/-=?-~]+(?:\.[!-)+\-/-=?-~]+)*$/;

/** They mean something in CEL, so `results.<id>` could not be written; or are a field that expressions leave out of all values. */
const RESERVED_WORDS = [
  "__proto__",
  ...["true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"],
  ...["let", "loop", "package", "namespace", "return", "var", "void", "while"],
];
const entryId = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

/** The same rules as text, for the schema of documents. */
export const PATTERNS = {
  /** One that can be chosen. */
  jobId: `^(?!${sequenceId.source.slice(1)})(?!${CHILD_PREFIX})[A-Za-z0-9_-]{1,${MAX_JOB_ID_LENGTH}}$`,
  functionName: functionName.source,
  /** Who is notified, and names of signals. */
  word: `^[A-Za-z0-9_-]{1,${MAX_WORD_LENGTH}}$`,
  entryId: `^(?!(?:${RESERVED_WORDS.join("|")})$)${entryId.source.slice(1)}`,
  tagName: "^[A-Za-z0-9_.-]{1,64}$",
} as const;

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
  return wordProblem(name, MAX_WORD_LENGTH);
}

/** Why a signal cannot have that name, or undefined if it can: it becomes part of a subject and of a key. */
export function signalNameProblem(name: string): string | undefined {
  return wordProblem(name, MAX_WORD_LENGTH);
}

/** Why an entry of a job cannot have that id, or undefined if it can: expressions name it, as in `results.<id>`. */
export function entryIdProblem(id: string): string | undefined {
  if (RESERVED_WORDS.includes(id)) return "is a word of the language of expressions; choose another one";
  if (entryId.test(id)) return undefined;
  return "must begin with a letter or '_', and have at most 64 letters, digits and '_'";
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
  if (typeof id === "string" && id.startsWith(CHILD_PREFIX))
    return `must not begin with ${CHILD_PREFIX}: such ids are those of the children of jobs`;
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

/** An entry as it is named in text: an id begins with no digit, so a number is its index in the list. */
export function entryOf(text: string): string | number {
  return /^\d{1,9}$/.test(text) ? Number(text) : text;
}
