/**
 * What is given with a document. Null is "not given", as it is in what we report; what a job shows besides its definition is ignored, so
 * that what was read can be submitted again (under a new id). Most documents are meant as they stand, and are not copied.
 */
import { inlineJob, MAX_ENTRIES } from "./document.ts";
import { isRecord } from "./plain.ts";
import { type ChildDocument, type FunctionSpec, MAX_DEPTH, type RetryOptions, type Submission } from "./schema.ts";

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
  "on_failure_run",
  "undo",
  "undoing",
  "parent",
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
  "undo_run",
  "uncertain",
  "items",
  "child",
]);

/** Of those whose names somebody may also mean otherwise: a field that they have where they are reported. */
const REPORTED_WITH: ReadonlyMap<string, string> = new Map([
  ["undo", "state"],
  ["parent", "job_id"],
  ["items", "done"],
]);

/** The functions that are called besides those of the list. */
const CALLS = ["on_error", "undo", "for_each"] as const;

// --- as it stands

/**
 * Whether a document is meant as it stands: what a prototype has is not sent, and an option that is undefined hides its default.
 *
 * @param document of the right shape, as are the jobs in it
 */
export function isMeantAsItStands(document: Submission): boolean {
  return isPlain(document, 0);
}

function isPlain(document: Submission | ChildDocument, depth: number): boolean {
  const { tags, functions, on_failure } = document;
  if (!isPlainObject(document) || (tags && !isPlainObject(tags))) return false;
  if (typeof on_failure === "object" && !isPlainCall(on_failure)) return false;
  if (depth > 0 && !hasNoUndefined(document)) return false;
  for (let index = 0; index < functions.length; index++) {
    if (!isPlainEntry(functions[index] as FunctionSpec, depth)) return false;
  }
  return true;
}

function isPlainEntry(entry: FunctionSpec, depth: number): boolean {
  const { retry_options, sleep_until } = entry;
  if (!isPlainObject(entry) || (retry_options && !arePlainOptions(retry_options))) return false;
  for (const call of CALLS) if (typeof entry[call] === "object" && !isPlainCall(entry[call])) return false;
  if (typeof sleep_until === "object" && !isPlainObject(sleep_until)) return false;
  if (depth > 0 && !hasNoUndefined(entry)) return false; // it is stored as it stands in the document
  return entry.job === undefined || isPlainJob(entry, depth + 1);
}

function isPlainJob(entry: FunctionSpec, depth: number): boolean {
  if (depth > MAX_DEPTH) return true; // it is refused as it is too deep
  const job = inlineJob(entry);
  return job ? isPlain(job, depth) : isPlainObject(entry.job as object);
}

function isPlainCall(call: object & Pick<FunctionSpec, "retry_options">): boolean {
  return hasNoUndefined(call) && (!call.retry_options || arePlainOptions(call.retry_options));
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

// --- without what is not given

/** The document with nothing but what is given. It may have any shape, and stays as it is. */
export function asGiven(input: unknown): unknown {
  return documentAsGiven(input, { depth: 0, entriesLeft: MAX_ENTRIES });
}

/** Who builds a document of shared parts can make one that never ends. */
interface Budget {
  depth: number;
  entriesLeft: number;
}

function documentAsGiven(input: unknown, budget: Budget): unknown {
  const job = given(input, REPORTED_BY_JOBS);
  if (!isRecord(job)) return job;
  if ("tags" in job) job.tags = given(job.tags);
  if ("on_failure" in job) job.on_failure = withPlainOptions(given(job.on_failure));
  if (!Array.isArray(job.functions)) return job;
  budget.entriesLeft -= job.functions.length;
  // Not `map`, which would leave holes as they are.
  if (budget.entriesLeft >= 0) job.functions = Array.from(job.functions, (entry) => entryAsGiven(entry, budget));
  return job;
}

function entryAsGiven(spec: unknown, budget: Budget): unknown {
  const fn = given(spec, REPORTED_BY_FUNCTIONS);
  if (!isRecord(fn)) return fn;
  // A stored definition has an empty name for what is no function.
  if (fn.name === "" && NAMELESS.some((kind) => kind in fn)) delete fn.name;
  for (const call of CALLS) if (call in fn) fn[call] = withPlainOptions(given(fn[call]));
  if ("sleep_until" in fn) fn.sleep_until = given(fn.sleep_until);
  if ("job" in fn && budget.depth < MAX_DEPTH) {
    budget.depth += 1;
    fn.job = documentAsGiven(fn.job, budget);
    budget.depth -= 1;
  }
  return withPlainOptions(fn);
}

const NAMELESS = ["wait_for", "sleep_ms", "sleep_until", "job"] as const;

/** A function, or what runs in its place, with the retry options that are given. */
function withPlainOptions(call: unknown): unknown {
  if (!isRecord(call) || !("retry_options" in call)) return call;
  const options = given(call.retry_options);
  if (isRecord(options) && "backoff" in options) options.backoff = given(options.backoff);
  return { ...call, retry_options: options };
}

/** The fields of a record that are given. */
function given(value: unknown, ignored: ReadonlySet<string> = new Set()): unknown {
  if (!isRecord(value)) return value;
  const isGiven = ([key, one]: [string, unknown]) => {
    return one !== null && one !== undefined && !(ignored.has(key) && isReported(key, one));
  };
  return Object.fromEntries(Object.entries(value).filter(isGiven));
}

function isReported(key: string, value: unknown): boolean {
  const field = REPORTED_WITH.get(key);
  return field === undefined || (isRecord(value) && field in value);
}
