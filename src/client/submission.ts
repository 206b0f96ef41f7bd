/** From what a user submits to messages of `job.submit`: checked and encoded here, so that mistakes are told at once. */
import type { MsgHdrs, Payload } from "nats";
import { FORMAT_HEADER, REPEATED_HEADER } from "../api/headers.ts";
import type { SubmittedJob } from "../api/requests.ts";
import { encodeGiven } from "../bus/messages/codec.ts";
import { headersOf } from "../bus/wire/headers.ts";
import { parseSubmission } from "../job/check.ts";
import { newJob } from "../job/create.ts";
import { formatOfDocument } from "../job/document.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError, InvalidInputError, isAsyncError, messageOf } from "../job/errors.ts";
import { GRAPH_OPTIONS } from "../job/function-state.ts";
import { fromDefinition, isNamed, type NamedJob, parseNamed } from "../job/named.ts";
import { chosenJobIdProblem, MADE_UP_PREFIX } from "../job/names.ts";
import { UnsendableError } from "../job/plain.ts";
import { isSameJson } from "../job/same.ts";
import type { Submission } from "../job/schema.ts";
import { type FunctionView, type JobView, viewOf } from "../job/view.ts";
import type { RandomText } from "../util/random-text.ts";

export interface SubmitOptions {
  /** Submitting the same id again is the same job, whenever it is repeated. Default: `job_id` of the job, else made up. */
  jobId?: string;
  /** How the job, and so its invocations, are encoded. Default `json`. */
  encoding?: Encoding;
  /** How long to try when NATS is away. Default 5,000 ms. */
  timeoutMs?: number;
}

export interface SubmitManyOptions extends Omit<SubmitOptions, "jobId"> {
  /** Most submissions whose acknowledgement is awaited at a time. Default 1,000. */
  inFlight?: number;
}

/** What became of one of many: stored, or not known to be. */
export type SubmitOutcome = { job_id: string; error?: undefined } | { job_id: string; error: AsyncError };

export interface Prepared {
  jobId: string;
  definition: Submission;
  encoding: Encoding;
  body: Payload;
  /** The user chose the id, so there may be a job that has it. */
  chosen: boolean;
  /** Someone may have submitted the id before. */
  repeated: boolean;
  /** The format of the record that it makes. */
  format: 1 | 2;
  /** It runs a definition that could not be asked for: its functions are not known. */
  isUnknown?: true;
}

/** Length of what is random in an id that is made up: 96 bits. */
export const ID_CHARACTERS = 16;

const repeatedLine = { [REPEATED_HEADER]: "1" };
const formatLine = { [FORMAT_HEADER]: "2" };
/** Marks a submission that may have been made before (see `REPEATED_HEADER`). */
export const REPEATED = headersOf(repeatedLine);
/** By the format: made once, as most submissions have none. */
const FIRST = { 1: undefined, 2: headersOf(formatLine) };
const AGAIN = { 1: REPEATED, 2: headersOf({ ...formatLine, ...repeatedLine }) };

/** What its message says besides its body: its format, where older versions do not know it, and whether it may have been made before. */
export function headersOfSubmission({ format }: Prepared, repeated: boolean): MsgHdrs | undefined {
  return (repeated ? AGAIN : FIRST)[format];
}

/**
 * @param notify who is told of the end; only if the id is made up here, and nobody else is to be told
 * @param known the definition that it runs, if it names one and that is known
 * @throws InvalidInputError with every reason
 */
export function prepare(
  input: unknown,
  options: Pick<SubmitOptions, "encoding" | "jobId">,
  ids: RandomText,
  notify?: string,
  known?: Submission,
): Prepared {
  if (definitionNamedIn(input) !== undefined) return prepareNamed(input, options, ids, notify, known);
  return preparedOf(parseGiven(input), options, ids, notify);
}

/** The name of the definition that a job without functions runs; undefined if it is another job, or none. Never throws. */
export function definitionNamedIn(input: unknown): string | undefined {
  try {
    return isNamed(input) ? input.name : undefined;
  } catch {
    return undefined; // it cannot even be looked at, which is told when it is checked
  }
}

/** It is sent as it is given: the functions are those of the definition as it is when the job is taken. */
function prepareNamed(
  input: unknown,
  options: Pick<SubmitOptions, "encoding" | "jobId">,
  ids: RandomText,
  notify: string | undefined,
  known: Submission | undefined,
): Prepared {
  const said = checkGiven(() => parseNamed(input as object, Date.now()));
  const prepared = preparedOf({ ...said, functions: [] }, options, ids, notify);
  const { functions: _, ...sent } = prepared.definition;
  const { encoding } = prepared;
  const whole = known && wholeOf(known, sent);
  return {
    ...prepared,
    definition: whole ?? prepared.definition,
    ...(!whole && { isUnknown: true }),
    body: encodeJob(sent, encoding),
    format: 2,
  };
}

/**
 * Undefined if the definition is of a newer version than ours, and has what we do not know.
 *
 * @throws InvalidInputError if what is sent does not go with it
 */
function wholeOf(known: Submission, sent: NamedJob): Submission | undefined {
  try {
    parseSubmission(known);
  } catch (error) {
    if (error instanceof InvalidInputError) return undefined;
    throw error;
  }
  return parseSubmission(fromDefinition(known, sent), Date.now());
}

function preparedOf(
  submission: Submission,
  { encoding = "json", jobId }: Pick<SubmitOptions, "encoding" | "jobId">,
  ids: RandomText,
  notify: string | undefined,
): Prepared {
  const chosen = jobId ?? submission.job_id;
  const problem = chosen === undefined ? undefined : chosenJobIdProblem(chosen);
  if (problem !== undefined) {
    throw new InvalidInputError("invalid_submission", "not a valid job", [{ path: "/job_id", message: problem }]);
  }
  let definition = submission.job_id === undefined ? submission : withoutId(submission);
  if (notify !== undefined && chosen === undefined && definition.notify === undefined) {
    definition = { ...definition, notify };
  }
  return {
    jobId: chosen ?? MADE_UP_PREFIX + ids.next(),
    definition,
    encoding,
    chosen: chosen !== undefined,
    body: encodeJob(definition, encoding),
    // One that was made up before has been submitted before, by whoever has it.
    repeated: chosen?.startsWith(MADE_UP_PREFIX) ?? false,
    format: formatOfDocument(definition),
  };
}

/** @throws InvalidInputError with the path of what cannot be sent */
function encodeJob(definition: Submission | NamedJob, encoding: Encoding): Payload {
  try {
    return encodeGiven(definition, encoding);
  } catch (error) {
    if (!(error instanceof UnsendableError)) throw error;
    const { path, problem } = error;
    throw new InvalidInputError("invalid_submission", "not a valid job", [{ path, message: problem }]);
  }
}

/** @throws InvalidInputError also for what cannot even be looked at, such as a getter that throws */
function parseGiven(input: unknown): Submission {
  return checkGiven(() => parseSubmission(input, Date.now()));
}

function checkGiven<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof InvalidInputError) throw error;
    const message = `cannot be read: ${messageOf(error)}`;
    throw new InvalidInputError("invalid_submission", "not a valid job", [{ path: "", message }]);
  }
}

function withoutId({ job_id: _, ...definition }: Submission): Submission {
  return definition;
}

/** The job as it is right after its submission. */
export function pendingView({ definition, jobId, encoding }: Prepared): JobView {
  const now = Date.now();
  return viewOf(newJob(definition, { jobId, encoding, createdAt: now, sequence: 0 }, now));
}

/** The job that has the id of a submission, with the marks of an answer to it. */
export function existingJob(submission: Prepared, found: JobView): SubmittedJob {
  if (submission.isUnknown)
    return { ...found, existing: true, ...(found.name !== submission.definition.name && { differs: ["name"] }) };
  const wanted = pendingView(submission);
  const differs: ("name" | "functions")[] = [];
  if (found.name !== wanted.name) differs.push("name");
  if (!isSameJson(found.functions.map(specOf), wanted.functions.map(specOf))) differs.push("functions");
  return { ...found, existing: true, ...(differs.length > 0 && { differs }) };
}

/** What the submission said of a function, or of another entry. */
function specOf(view: FunctionView) {
  const { name, args = null, retry_options = {}, timeout_ms } = view;
  return { name, args, retry_options, timeout_ms, options: GRAPH_OPTIONS.map((option) => view[option]) };
}

/** @throws InvalidInputError whose paths begin with the index */
export function prepareAt(
  index: number,
  input: unknown,
  options: SubmitManyOptions,
  ids: RandomText,
  known: ReadonlyMap<string, Submission | undefined>,
): Prepared {
  const name = definitionNamedIn(input);
  try {
    return prepare(input, options, ids, undefined, name === undefined ? undefined : known.get(name));
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    const reasons = error.reasons.map(({ path, message }) => ({ path: `/${index}${path}`, message }));
    throw new InvalidInputError("invalid_submission", "not a valid job", reasons);
  }
}

/**
 * Submits all, at most `inFlight` at a time: in callbacks, because a promise each costs as much as the submission.
 *
 * @param store stores one, and tells once why it may not be stored, if so; maybe before it returns
 */
export function submitAll(
  submissions: readonly Prepared[],
  inFlight: number,
  store: (submission: Prepared, done: (error?: unknown) => void) => void,
): Promise<SubmitOutcome[]> {
  return new Promise((resolve, reject) => {
    const outcomes = submissions.map(({ jobId }): SubmitOutcome => ({ job_id: jobId }));
    const most = inFlight >= 1 ? inFlight : 1; // with less, nothing would be sent and all said to be stored
    let next = 0;
    let open = 0;
    let filling = false;
    const fill = () => {
      filling = true;
      while (open < most && next < submissions.length) {
        const index = next++;
        const submission = submissions[index] as Prepared;
        open += 1;
        store(submission, (error) => {
          if (isAsyncError(error)) outcomes[index] = { job_id: submission.jobId, error };
          else if (error !== undefined) reject(error);
          open -= 1;
          if (!filling) fill(); // else it was settled at once, and the loop goes on by itself
        });
      }
      filling = false;
      if (open === 0) resolve(outcomes);
    };
    fill();
  });
}

/** @throws AsyncError `job_exists` */
export function requireSame(existing: SubmittedJob | undefined): void {
  if (!existing?.differs) return;
  const what = `job ${existing.job_id} exists already, and differs in its ${existing.differs.join(" and ")}`;
  throw new AsyncError("job_exists", `${what}; choose another id`);
}
