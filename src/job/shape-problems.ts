/** What is wrong with the shape of a document, in words that follow a path: "/name is required". */
import type { TSchema } from "@sinclair/typebox";
import { type ValueError, ValueErrorType } from "@sinclair/typebox/errors";
import { nearest } from "../util/nearest.ts";
import { NO_DATE } from "./dates.ts";
import { chosenJobIdProblem, entryIdProblem, functionNameProblem, notifyProblem, PATTERNS } from "./names.ts";
import { isRecord } from "./plain.ts";
import { PERCENT_PATTERN } from "./schema.ts";
import { DATE_PATTERN } from "./time.ts";

export interface ShapeProblem {
  /** A JSON pointer, as long as it is: it names keys of the input. */
  path: string;
  message: string;
}

/** Each path is told once: the checker goes on after "is required" with what the missing value should have been. */
export function* shapeProblems(errors: Iterable<ValueError>): Generator<ShapeProblem> {
  const told = new Set<string>();
  for (const error of errors) {
    for (const problem of problemsOf(error)) {
      if (told.has(problem.path)) continue;
      told.add(problem.path);
      yield problem;
    }
  }
}

/** What only the outermost job can have, and why a job in it cannot. */
const NOT_FOR_CHILDREN = new Map([
  ["/job_id", "is for the outermost job: the id of a child follows from its parent"],
  ["/notify", "is for the outermost job: the end of a child is told to its parent"],
  ["/scheduled_at", "is for the outermost job: a child begins when its entry does; let it follow a sleep_until"],
]);

/** The same of a document that is in another one. */
export function* childShapeProblems(errors: Iterable<ValueError>): Generator<ShapeProblem> {
  for (const { path, message } of shapeProblems(errors)) {
    yield { path, message: NOT_FOR_CHILDREN.get(path) ?? message };
  }
}

function* problemsOf(error: ValueError): Generator<ShapeProblem> {
  const { path, schema, value } = error;
  const meant = error.type === ValueErrorType.Union ? variantOf(schema, value) : -1;
  if (meant < 0) yield { path, message: problemOf(error) };
  else yield* shapeProblems(error.errors[meant] ?? []);
}

/** Of numbers, whole ones are the only variants that there are. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ["string", "string"],
  ["number", "integer"],
]);

/** Which of the shapes of a union is meant by a value that has none of them; -1 if that cannot be said. */
function variantOf(schema: TSchema, value: unknown): number {
  const variants: TSchema[] = schema.anyOf;
  const type = isRecord(value) ? "object" : TYPES.get(typeof value);
  return variants.findIndex((one) => type !== undefined && one.type === type && one.const === undefined);
}

function problemOf({ type, schema, path, value, message }: ValueError): string {
  if (type === ValueErrorType.ObjectRequiredProperty) return "is required";
  if (type === ValueErrorType.ObjectAdditionalProperties) return unknownField(schema, path);
  if (type === ValueErrorType.Union) return `must be ${schema.anyOf.map(shapeName).join(" or ")}`;
  const ofText = typeof value === "string" && PROBLEMS_OF_TEXT.get(schema.pattern)?.(value);
  if (ofText) return ofText;
  if (type === ValueErrorType.Object && schema.title) return `must be ${schema.title}`;
  if (type === ValueErrorType.ObjectMaxProperties) return `must have at most ${schema.maxProperties} fields`;
  return message
    .replace(/^Expected /, "must be ")
    .replace("must be string length", "must have a length")
    .replace("must be array length to be", "must have a length")
    .replace(/(greater|less) or equal to/, (_, word) => (word === "greater" ? "of at least" : "of at most"))
    .replace("to be of", "of");
}

/** Of patterns, in better words than those of the expression that it is. */
const PROBLEMS_OF_TEXT: ReadonlyMap<string, (text: string) => string | undefined> = new Map([
  [PATTERNS.jobId, chosenJobIdProblem],
  [PATTERNS.functionName, functionNameProblem],
  [PATTERNS.word, notifyProblem],
  [PATTERNS.entryId, entryIdProblem],
  [DATE_PATTERN, () => NO_DATE],
  [PERCENT_PATTERN, () => 'must be a count, or a share from "0%" to "100%"'],
]);

function shapeName({ const: value, title, type }: TSchema): string {
  return value === undefined ? (title ?? type) : JSON.stringify(value);
}

/** Of a shorter word anything may be meant, and no field is longer. */
const GUESSED = { from: 3, to: 64 };

function unknownField(schema: TSchema, path: string): string {
  if (schema.patternProperties) return "is no name for a tag: these have 1 to 64 letters, digits, '_', '.' and '-'";
  const field = path.slice(path.lastIndexOf("/") + 1);
  const isGuessed = field.length >= GUESSED.from && field.length <= GUESSED.to;
  const meant = isGuessed ? nearest(field, Object.keys(schema.properties)) : undefined;
  return meant === undefined ? "is not a known field" : `is not a known field; did you mean ${meant}?`;
}
