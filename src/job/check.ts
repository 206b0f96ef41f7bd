/**
 * Documents are checked here: their shape by `schema.ts`, then what shapes cannot say. All that is wrong is told at once, each
 * fault with a JSON pointer: where the shape is wrong somewhere, the rest is still looked at.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { dateProblem } from "./dates.ts";
import { isGraphDocument } from "./document.ts";
import type { Encoding } from "./encoding.ts";
import { InvalidInputError, messageOf, type Reason } from "./errors.ts";
import { graphProblems } from "./graph-check.ts";
import { isRecord, unsendable } from "./plain.ts";
import { inDocumentOrder } from "./reason-order.ts";
import { Chain, type FunctionSpec, KINDS, type RetryOptions, Submission } from "./schema.ts";
import { shapeProblems } from "./shape-problems.ts";
import { hasExpressions } from "./templates.ts";

/** What a job shows besides its definition: ignored on input, so that what was read can be submitted again (under a new id). */
const REPORTED_BY_JOBS = new Set([
  "state",
  "current_function",
  "created_at",
  "started_at",
  "finished_at",
  "retried_at",
  "due_at",
  "deadline_at",
  "late_at",
  "waiting_for",
  "warnings",
  "result",
  "result_omitted",
  "error",
  // Not reported: by this an editor finds the JSON Schema.
  "$schema",
]);
const REPORTED_BY_FUNCTIONS = new Set([
  "kind",
  "retry_count",
  "lost_count",
  "interrupted_count",
  "last_progress",
  "started_at",
  "finished_at",
  "due_at",
  "waiting_for",
  "skipped",
  "result",
  "result_omitted",
  "error",
]);

const submissionCheck = TypeCompiler.Compile(Submission);
/** For chains alone: it takes a third of the time of the other check, and what only graphs have need not be looked at. */
const chainCheck = TypeCompiler.Compile(Chain);
/** Most that are told of one document. */
export const MAX_REASONS = 20;
/** A path names keys of the input, which may be as long as a message. */
const MAX_PATH_LENGTH = 256;

/**
 * Checks a decoded submission and returns its definition, without the fields that only jobs report. The input itself
 * comes back where nothing is to be left out.
 *
 * @param now ms since 1970, to refuse times that are too far ahead; not given for what has been stored
 * @throws InvalidInputError `invalid_submission` with every reason (at most 20), in the order of the document
 */
export function parseSubmission(input: unknown, now?: number): Submission {
  return parseDocument(input, now).submission;
}

/** A submission that is right, and which of the two machines its job needs. */
export interface ParsedDocument {
  submission: Submission;
  isGraph: boolean;
}

/** The same for who makes a job of it: that it is a chain is found on the way, and takes as long to find again as its check. */
export function parseDocument(input: unknown, now?: number): ParsedDocument {
  // Most are right as they are. Leaving out is slow, and telling what is wrong much slower than telling that nothing is.
  if (chainCheck.Check(input) && isRightChain(input, now)) {
    return { submission: input, isGraph: (input.warn_after_ms ?? input.on_failure) !== undefined };
  }
  if (submissionCheck.Check(input) && isPlain(input) && meaningProblems(input, now).next().done) {
    return { submission: input, isGraph: isGraphDocument(input) };
  }
  const value = withoutReported(input);
  const reasons = reasonsAgainst(value, now);
  if (reasons.length > 0) throw new InvalidInputError("invalid_submission", "not a valid job", reasons);
  const submission = value as Submission;
  return { submission, isGraph: isGraphDocument(submission) };
}

export interface CheckOptions {
  /** As it would be submitted. Default `json`. */
  encoding?: Encoding;
  /** ms since 1970. Default: now. */
  now?: number;
}

/**
 * What is wrong with a job, without submitting it: nothing if it would be accepted. Never throws.
 *
 * @example checkJob({ name: "order", functions: [{ name: "charge", timeuot_ms: 5 }] })
 * // [{ path: "/functions/0/timeuot_ms", message: "is not a known field; did you mean timeout_ms?" }]
 */
export function checkJob(document: unknown, { encoding = "json", now = Date.now() }: CheckOptions = {}): Reason[] {
  try {
    const problem = unsendable(parseSubmission(document, now), encoding);
    return problem ? [{ path: problem.path, message: problem.problem }] : [];
  } catch (error) {
    if (error instanceof InvalidInputError) return error.reasons;
    return [{ path: "", message: `cannot be read: ${messageOf(error)}` }];
  }
}

/** Whether a chain is meant as it stands, is one in its args too, and there is nothing wrong with it. */
function isRightChain(chain: Chain, now: number | undefined): boolean {
  const { tags, functions, scheduled_at } = chain;
  if (!isPlainObject(chain) || (tags && !isPlainObject(tags))) return false;
  for (let index = 0; index < functions.length; index++) {
    const fn = functions[index] as Chain["functions"][number];
    if (!isPlainObject(fn) || (fn.retry_options && !arePlainOptions(fn.retry_options))) return false;
    if (typeof fn.args === "object" && fn.args !== null && hasExpressions(fn.args)) return false;
  }
  return scheduled_at === undefined || dateProblem(scheduled_at, now) === undefined;
}

/** Whether it is meant as it stands: what a prototype has is not sent, and an option that is undefined hides its default. */
function isPlain(submission: Submission): boolean {
  const { tags, functions } = submission;
  return isPlainObject(submission) && (!tags || isPlainObject(tags)) && functions.every(isPlainEntry);
}

function isPlainEntry(entry: FunctionSpec): boolean {
  const { on_error, sleep_until } = entry;
  if (typeof on_error === "object" && !isPlainCall(on_error)) return false;
  return isPlainCall(entry) && (typeof sleep_until !== "object" || isPlainObject(sleep_until));
}

function isPlainCall(call: Pick<FunctionSpec, "retry_options">): boolean {
  return isPlainObject(call) && (!call.retry_options || arePlainOptions(call.retry_options));
}

function arePlainOptions(options: RetryOptions): boolean {
  return hasNoUndefined(options) && (!options.backoff || hasNoUndefined(options.backoff));
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function hasNoUndefined(options: object): boolean {
  return isPlainObject(options) && !Object.values(options).includes(undefined);
}

/** What is wrong, in the order of the document. Where there is too much of it, what is wrong with its shape goes first. */
function reasonsAgainst(value: unknown, now: number | undefined): Reason[] {
  const reasons = inDocumentOrder(someAgainst(value, now), value);
  return reasons.map(({ path, message }) => ({ path: path.slice(0, MAX_PATH_LENGTH), message }));
}

function someAgainst(value: unknown, now: number | undefined): Reason[] {
  const reasons: Reason[] = [];
  const badPaths: string[] = [];
  if (!submissionCheck.Check(value)) {
    for (const { path, message } of shapeProblems(submissionCheck.Errors(value))) {
      badPaths.push(path);
      reasons.push({ path, message });
      if (reasons.length === MAX_REASONS) return reasons;
    }
  }
  // Told of already; or what an entry does cannot be said, as that field is the wrong one.
  const isSpoilt = (path: string) =>
    badPaths.some((bad) => bad === path || KINDS.some((kind) => isAt(bad, path, kind)));
  for (const reason of meaningProblems(badPaths.reduce(without, value), now, spoiltNeeds(badPaths))) {
    if (isSpoilt(reason.path)) continue;
    reasons.push(reason);
    if (reasons.length === MAX_REASONS) break;
  }
  return reasons;
}

/** Whether a path is that field of what is at `parent`, or in it. */
function isAt(path: string, parent: string, field: string): boolean {
  return path === `${parent}/${field}` || path.startsWith(`${parent}/${field}/`);
}

/** The entries of which cannot be said what they follow. */
function spoiltNeeds(badPaths: string[]): number[] {
  return badPaths.flatMap((path) => {
    const index = /^\/functions\/(\d+)(?:\/needs|$)/.exec(path)?.[1];
    return index === undefined ? [] : [Number(index)];
  });
}

function* meaningProblems(value: unknown, now: number | undefined, spoilt?: number[]): Generator<Reason> {
  if (!isRecord(value)) return;
  const { scheduled_at, functions } = value as Partial<Submission>;
  const badDate = scheduled_at === undefined ? undefined : dateProblem(scheduled_at, now);
  if (badDate !== undefined) yield { path: "/scheduled_at", message: badDate };
  if (functions) yield* graphProblems(functions, now, spoilt);
}

/** The value without what is at that JSON pointer, in an array with undefined in its place. The value itself stays as it is. */
function without(value: unknown, path: string): unknown {
  const [, key, ...rest] = path.split("/");
  if (key === undefined) return undefined;
  const name = key.replaceAll("~1", "/").replaceAll("~0", "~");
  const inner = (one: unknown) => (rest.length === 0 ? undefined : without(one, ["", ...rest].join("/")));
  if (Array.isArray(value)) return value.map((one, index) => (String(index) === name ? inner(one) : one));
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([one, held]) => [one, one === name ? inner(held) : held]);
  return Object.fromEntries(entries.filter(([, held]) => held !== undefined));
}

function withoutReported(input: unknown): unknown {
  const job = given(input, REPORTED_BY_JOBS);
  if (!isRecord(job)) return job;
  if ("tags" in job) job.tags = given(job.tags);
  // Not `map`, which would leave holes as they are.
  if (Array.isArray(job.functions)) job.functions = Array.from(job.functions, entryWithoutReported);
  return job;
}

function entryWithoutReported(spec: unknown): unknown {
  const fn = given(spec, REPORTED_BY_FUNCTIONS);
  if (!isRecord(fn)) return fn;
  // A stored definition has an empty name for what is no function.
  if (fn.name === "" && ("wait_for" in fn || "sleep_ms" in fn || "sleep_until" in fn)) delete fn.name;
  if ("on_error" in fn) fn.on_error = withPlainOptions(given(fn.on_error));
  if ("sleep_until" in fn) fn.sleep_until = given(fn.sleep_until);
  return withPlainOptions(fn);
}

/** A function, or what runs in its place, with the retry options that are given. */
function withPlainOptions(call: unknown): unknown {
  if (!isRecord(call) || !("retry_options" in call)) return call;
  const options = given(call.retry_options);
  if (isRecord(options) && "backoff" in options) options.backoff = given(options.backoff);
  return { ...call, retry_options: options };
}

/** The fields of a record that are given: null means "not given", as it does in what we report. */
function given(value: unknown, ignored: ReadonlySet<string> = new Set()): unknown {
  if (!isRecord(value)) return value;
  const isGiven = ([key, one]: [string, unknown]) => !ignored.has(key) && one !== null && one !== undefined;
  return Object.fromEntries(Object.entries(value).filter(isGiven));
}
