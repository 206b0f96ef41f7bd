/**
 * A submission without functions: it runs the definition that is stored under its name. What else it says counts more than what the
 * definition says, field by field.
 *
 * Example: definition `order` has functions, tags and a timeout. `{"name": "order", "data": {"total": 5}}` is that job with these data.
 */
import { parseSubmission } from "./check.ts";
import { AsyncError, InvalidInputError } from "./errors.ts";
import { isRecord } from "./plain.ts";
import type { JobDocument, Submission } from "./schema.ts";

/** A job whose functions are those of a definition. */
export type NamedJob = Omit<JobDocument, "functions"> & { functions?: undefined };

/** Whether it asks for a definition: what has neither a name nor functions is no job at all. */
export function isNamed(input: unknown): input is Record<string, unknown> & { name: string } {
  return isRecord(input) && typeof input.name === "string" && (input.functions ?? null) === null;
}

/** In place of the functions that are not known yet. */
const SOMETHING: Submission["functions"] = [{ name: "defined" }];

/**
 * What such a submission says, without what is not given (null). What may speak of entries (`on_failure`) is checked when these are
 * known. @param now as that of `parseSubmission`
 *
 * @throws InvalidInputError with every reason
 */
export function parseNamed(input: object, now?: number): NamedJob {
  const { on_failure, ...own }: Partial<NamedJob> = { ...input };
  const { functions: _, ...said } = parseSubmission({ ...own, functions: SOMETHING }, now);
  return Object.fromEntries(
    Object.entries({ ...said, on_failure }).filter(([, value]) => (value ?? null) !== null),
  ) as NamedJob;
}

/** The job that it is with that definition. */
export function fromDefinition(definition: Submission, said: NamedJob): Submission {
  return { ...definition, ...said } as Submission;
}

/**
 * A document that is to be stored as a definition.
 *
 * @throws InvalidInputError with every reason
 */
export function parseDefinition(input: unknown, now?: number): Submission {
  const id = {
    path: "/job_id",
    message: "must be left out: a definition is of many jobs, and each has an id of its own",
  };
  const hasId = isRecord(input) && (input.job_id ?? null) !== null;
  try {
    const definition = parseSubmission(input, now);
    if (!hasId) return definition;
  } catch (error) {
    if (!(error instanceof InvalidInputError) || !hasId) throw error;
    const others = error.reasons.filter(({ path }) => path !== id.path);
    throw new InvalidInputError("invalid_submission", "not a valid definition", [id, ...others]);
  }
  throw new InvalidInputError("invalid_submission", "not a valid definition", [id]);
}

export function definitionNotFound(name: string): AsyncError {
  const next = "give the job functions, or store the definition with `async define`";
  return new AsyncError("definition_not_found", `there is no definition ${JSON.stringify(name)}; ${next}`);
}
