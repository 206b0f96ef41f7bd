/**
 * The shapes that users send, each declared once: the schema checks it, the type is derived from it.
 * Limits are part of the schema, so that a refusal names them.
 */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { TypeCompiler, type ValueError } from "@sinclair/typebox/compiler";
import { ValueErrorType } from "@sinclair/typebox/errors";
import { InvalidInputError, type Reason } from "./errors.ts";
import { chosenJobIdProblem, functionNameProblem, notifyProblem } from "./names.ts";
import { isRecord } from "./plain.ts";

export const MAX_FUNCTIONS = 1_000;
export const MAX_RETRY_LIMIT = 1_000;
/** The longest timeout or delay, in ms: about ten years. */
export const MAX_DURATION_MS = 10 * 366 * 24 * 3_600_000;

const Duration = (minimum: number) => Type.Integer({ minimum, maximum: MAX_DURATION_MS });
const strict = { additionalProperties: false } as const;

export const Backoff = Type.Object(
  {
    type: Type.Optional(Type.Union([Type.Literal("exponential"), Type.Literal("fixed")])),
    delay_ms: Type.Optional(Duration(0)),
    factor: Type.Optional(Type.Number({ minimum: 1, maximum: 1_000 })),
    max_delay_ms: Type.Optional(Duration(0)),
    /** The random share of the delay: 0 none, 1 full jitter. */
    jitter: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  },
  strict,
);
export type Backoff = Static<typeof Backoff>;

export const RetryOptions = Type.Object(
  {
    /** The most executions of the function, the first one included. */
    retry_limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_RETRY_LIMIT })),
    /** It is tried again for so long after its first execution began: instead of a count, or with one. */
    retry_for_ms: Type.Optional(Duration(1)),
    backoff: Type.Optional(Backoff),
  },
  strict,
);
export type RetryOptions = Static<typeof RetryOptions>;

/** What runs in place of an entry that has failed. */
export const ErrorEntry = Type.Object(
  {
    name: Type.String(),
    args: Type.Optional(Type.Unknown()),
    retry_options: Type.Optional(RetryOptions),
    timeout_ms: Type.Optional(Duration(1)),
  },
  strict,
);
export type ErrorEntry = Static<typeof ErrorEntry>;

/** A value that is found when it is needed: a text in CEL, see `expressions.ts`. */
export const Expression = Type.Object({ $: Type.String() }, strict);

/** An entry of a job's list: exactly one of `name`, `wait_for`, `sleep_ms` and `sleep_until`. All else are options. */
export const FunctionSpec = Type.Object(
  {
    /** By this name other entries need it, and expressions find its result. */
    id: Type.Optional(Type.String()),
    /** A function on a worker. */
    name: Type.Optional(Type.String()),
    /** The name of a signal. */
    wait_for: Type.Optional(Type.String()),
    sleep_ms: Type.Optional(Duration(0)),
    /** ISO 8601 with a time zone, or an expression that gives such a text. */
    sleep_until: Type.Optional(Type.Union([Type.String({ maxLength: 40 }), Expression])),
    /** Ids of the entries that it follows. Absent: all before it in the list. */
    needs: Type.Optional(Type.Array(Type.String(), { maxItems: MAX_FUNCTIONS })),
    /** An expression: it is skipped where this is false when its turn has come. */
    when: Type.Optional(Type.String()),
    /** An expression over its `result`: it fails where this is false. */
    expect: Type.Optional(Type.String()),
    /** What happens when it has failed for good. */
    on_error: Type.Optional(Type.Union([Type.Literal("fail"), Type.Literal("continue"), ErrorEntry])),
    args: Type.Optional(Type.Unknown()),
    retry_options: Type.Optional(RetryOptions),
    /** The most time one attempt may take, or a signal may take to come. */
    timeout_ms: Type.Optional(Duration(1)),
  },
  strict,
);
export type FunctionSpec = Static<typeof FunctionSpec>;

export const MAX_TAGS = 8;
export const MAX_TAG_LENGTH = 128;

export const Submission = Type.Object(
  {
    job_id: Type.Optional(Type.String()),
    name: Type.String({ minLength: 1, maxLength: 256 }),
    functions: Type.Array(FunctionSpec, { minItems: 1, maxItems: MAX_FUNCTIONS }),
    data: Type.Optional(Type.Unknown()),
    /** Who is told of its end, on subject `job.notify.<notify>`. */
    notify: Type.Optional(Type.String()),
    /** The most time from the start of the job (`scheduled_at`, else when a supervisor takes it) to its end. */
    timeout_ms: Type.Optional(Duration(1)),
    /** Not before this time, at most MAX_DURATION_MS ahead: ISO 8601 with a time zone, e.g. 2026-11-23T21:00:00Z. */
    scheduled_at: Type.Optional(Type.String({ maxLength: 40 })),
    /** Short texts by name, by which jobs are found in lists. */
    tags: Type.Optional(
      Type.Record(Type.String(), Type.String({ maxLength: MAX_TAG_LENGTH }), { maxProperties: MAX_TAGS }),
    ),
    /** How long it is kept once it has ended, at most. */
    keep_ms: Type.Optional(Duration(1)),
    /** It is told of as `late` if it has not ended so long after its start. */
    warn_after_ms: Type.Optional(Duration(1)),
  },
  strict,
);
export type Submission = Static<typeof Submission>;
/** A job as users write it. */
export type JobDocument = Submission;

/** What a job shows besides its definition. Ignored on input, so that one that was read can be submitted again (under a new id). */
const REPORTED_BY_JOBS = new Set([
  "state",
  "current_function",
  "created_at",
  "started_at",
  "finished_at",
  "retried_at",
  "due_at",
  "deadline_at",
  "waiting_for",
  "result",
  "error",
]);
const REPORTED_BY_FUNCTIONS = new Set(["retry_count", "lost_count", "started_at", "finished_at", "result", "error"]);

const submissionCheck = TypeCompiler.Compile(Submission);
const MAX_REASONS = 20;
/** A path names keys of the input, which may be as long as a message. */
const MAX_PATH_LENGTH = 256;

/**
 * Checks a decoded submission and returns its definition, without the fields that only jobs report. The input itself
 * comes back where nothing is to be left out.
 *
 * @param now ms since 1970, to refuse a start that is too far ahead; not given for what has been stored
 * @throws InvalidInputError `invalid_submission` with every reason (at most 20)
 */
export function parseSubmission(input: unknown, now?: number): Submission {
  // Most are right as they are. Leaving out is slow, and telling what is wrong much slower than telling that nothing is.
  if (submissionCheck.Check(input) && isPlain(input) && meaningProblems(input, now).length === 0) return input;
  const value = withoutReported(input);
  const reasons = submissionCheck.Check(value) ? meaningProblems(value, now) : shapeProblems(value);
  if (reasons.length > 0) throw new InvalidInputError("invalid_submission", "not a valid job", reasons);
  return value as Submission;
}

/** Whether it is meant as it stands: what a prototype has is not sent, and an option that is undefined hides its default. */
function isPlain(submission: Submission): boolean {
  if (!isPlainObject(submission)) return false;
  for (const fn of submission.functions) {
    if (!isPlainObject(fn)) return false;
    const options = fn.retry_options;
    if (options && !(hasNoUndefined(options) && (!options.backoff || hasNoUndefined(options.backoff)))) return false;
  }
  return true;
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function hasNoUndefined(options: object): boolean {
  return isPlainObject(options) && !Object.values(options).includes(undefined);
}

function shapeProblems(value: unknown): Reason[] {
  const reasons: Reason[] = [];
  for (const error of submissionCheck.Errors(value)) {
    // The checker goes on after "is required" with what the missing value should have been.
    const path = error.path.slice(0, MAX_PATH_LENGTH);
    if (reasons.some((reason) => reason.path === path)) continue;
    reasons.push({ path, message: problemOf(error) });
    if (reasons.length === MAX_REASONS) break;
  }
  return reasons;
}

/** What the schema cannot say: names, and a date that is one. */
function meaningProblems(submission: Submission, now: number | undefined): Reason[] {
  const { job_id, notify, scheduled_at, functions } = submission;
  const reasons: Reason[] = [];
  const badId = job_id === undefined ? undefined : chosenJobIdProblem(job_id);
  if (badId !== undefined) reasons.push({ path: "/job_id", message: badId });
  const badNotify = notify === undefined ? undefined : notifyProblem(notify);
  if (badNotify !== undefined) reasons.push({ path: "/notify", message: badNotify });
  const badDate = scheduled_at === undefined ? undefined : dateProblem(scheduled_at, now);
  if (badDate !== undefined) reasons.push({ path: "/scheduled_at", message: badDate });
  // A plain loop: with the iterator of `entries()` this takes four times as long, for every job.
  for (let index = 0; index < functions.length && reasons.length < MAX_REASONS; index++) {
    const badName = functionNameProblem((functions[index] as FunctionSpec).name ?? "x");
    if (badName !== undefined) reasons.push({ path: `/functions/${index}/name`, message: badName });
  }
  return reasons;
}

const isoDate = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

/** What is wrong with a time, in words that follow its name. @param now ms since 1970, if it must not be too far ahead */
export function dateProblem(text: string, now: number | undefined): string | undefined {
  const day = isoDate.exec(text)?.[1];
  // Date.parse takes 30 February for 2 March.
  const exists = day !== undefined && !Number.isNaN(Date.parse(day)) && new Date(day).toISOString().startsWith(day);
  const at = Date.parse(text);
  if (!exists || Number.isNaN(at))
    return "must be an ISO 8601 date and time with a time zone, e.g. 2026-11-23T21:00:00Z";
  if (at < 0) return "must not be before 1970";
  return now !== undefined && at - now > MAX_DURATION_MS ? "must be at most ten years ahead" : undefined;
}

function withoutReported(input: unknown): unknown {
  const job = given(input, REPORTED_BY_JOBS);
  if (!isRecord(job) || !Array.isArray(job.functions)) return job;
  job.functions = job.functions.map((spec) => {
    const fn = given(spec, REPORTED_BY_FUNCTIONS);
    if (!isRecord(fn) || !("retry_options" in fn)) return fn;
    const options = given(fn.retry_options);
    if (isRecord(options) && "backoff" in options) options.backoff = given(options.backoff);
    return { ...fn, retry_options: options };
  });
  return job;
}

/** The fields of a record that are given: null means "not given", as it does in what we report. */
function given(value: unknown, ignored: ReadonlySet<string> = new Set()): unknown {
  if (!isRecord(value)) return value;
  const isGiven = ([key, one]: [string, unknown]) => !ignored.has(key) && one !== null && one !== undefined;
  return Object.fromEntries(Object.entries(value).filter(isGiven));
}

/** What is wrong, in words that follow the path: "/functions/0/name is required". */
function problemOf(error: ValueError): string {
  const schema: TSchema = error.schema;
  if (error.type === ValueErrorType.ObjectRequiredProperty) return "is required";
  if (error.type === ValueErrorType.ObjectAdditionalProperties) return "is not a known field";
  if (schema.anyOf) return `must be ${schema.anyOf.map((one: TSchema) => JSON.stringify(one.const)).join(" or ")}`;
  return error.message
    .replace(/^Expected /, "must be ")
    .replace("must be string length", "must have a length")
    .replace("must be array length to be", "must have a length")
    .replace(/(greater|less) or equal to/, (_, word) => (word === "greater" ? "of at least" : "of at most"))
    .replace("to be of", "of");
}
