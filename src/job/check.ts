/**
 * Documents are checked here: their shape by `schema.ts`, then what shapes cannot say. All that is wrong is told at once, each
 * fault with a JSON pointer: where the shape is wrong somewhere, the rest is still looked at. A document in another one, the child job of
 * an entry, is checked by the same rules.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { dateProblem } from "./dates.ts";
import { isGraphDocument, MAX_ENTRIES, type Nested, nestedIn } from "./document.ts";
import type { Encoding } from "./encoding.ts";
import { InvalidInputError, messageOf, type Reason } from "./errors.ts";
import { asGiven, isMeantAsItStands } from "./given.ts";
import { Checking, graphProblems } from "./graph-check.ts";
import { isRecord, unsendable } from "./plain.ts";
import { inDocumentOrder } from "./reason-order.ts";
import { Chain, Child, Expression, KINDS, Submission } from "./schema.ts";
import { childShapeProblems, shapeProblems } from "./shape-problems.ts";
import { hasExpressions } from "./templates.ts";

const submissionCheck = TypeCompiler.Compile(Submission);
const SHAPES = {
  submission: submissionCheck,
  child: TypeCompiler.Compile(Child),
  expression: TypeCompiler.Compile(Expression),
} satisfies Record<Nested["kind"], unknown>;
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
  if (submissionCheck.Check(input) && isRight(input, now)) {
    return { submission: input, isGraph: isGraphDocument(input) };
  }
  const value = asGiven(input);
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
 * What is wrong with a job, without submitting it: nothing if it would be accepted. Never throws. One without functions runs a
 * definition, which is not known here: that is told as a fault.
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
  const { functions, scheduled_at, on_failure } = chain;
  if (typeof on_failure === "object" || !isMeantAsItStands(chain)) return false;
  for (let index = 0; index < functions.length; index++) {
    const { args } = functions[index] as Chain["functions"][number];
    if (typeof args === "object" && args !== null && hasExpressions(args)) return false;
  }
  return scheduled_at === undefined || dateProblem(scheduled_at, now) === undefined;
}

/** Whether it is meant as it stands, and there is nothing wrong with it, nor with what is in it. */
function isRight(submission: Submission, now: number | undefined): boolean {
  const all = nestedIn(submission);
  // The outermost one has been looked at.
  if (!all?.every(({ depth, kind, value }) => depth === 0 || SHAPES[kind].Check(value))) return false;
  return isMeantAsItStands(submission) && meaningProblems(all, now, []).next().done === true;
}

/** What is wrong, in the order of the document. Where there is too much of it, what is wrong with its shape goes first. */
function reasonsAgainst(value: unknown, now: number | undefined): Reason[] {
  const reasons = inDocumentOrder(someAgainst(value, now), value);
  return reasons.map(({ path, message }) => ({ path: path.slice(0, MAX_PATH_LENGTH), message }));
}

function someAgainst(value: unknown, now: number | undefined): Reason[] {
  const all = nestedIn(value);
  if (!all) {
    const message = `must have at most ${MAX_ENTRIES} entries, those of the jobs in it included`;
    return [{ path: "/functions", message }];
  }
  const reasons: Reason[] = [];
  for (const reason of allShapeProblems(all)) {
    reasons.push(reason);
    if (reasons.length === MAX_REASONS) return reasons;
  }
  const badPaths = reasons.map(({ path }) => path);
  const sound = badPaths.length === 0 ? all : (nestedIn(badPaths.reduce(without, value)) ?? []);
  for (const reason of meaningProblems(sound, now, badPaths)) {
    if (isSpoilt(reason.path, badPaths)) continue;
    reasons.push(reason);
    if (reasons.length === MAX_REASONS) break;
  }
  return reasons;
}

function* allShapeProblems(all: readonly Nested[]): Generator<Reason> {
  for (const { path: at, kind, value } of all) {
    const shape = SHAPES[kind];
    if (shape.Check(value)) continue;
    const problems = kind === "child" ? childShapeProblems(shape.Errors(value)) : shapeProblems(shape.Errors(value));
    for (const { path, message } of problems) yield { path: at + path, message };
  }
}

/** Told of already; or what an entry does cannot be said, as that field is the wrong one. */
function isSpoilt(path: string, badPaths: readonly string[]): boolean {
  const isField = (bad: string, kind: (typeof KINDS)[number]) =>
    bad === `${path}/${kind}` || (kind !== "job" && bad.startsWith(`${path}/${kind}/`));
  return badPaths.some((bad) => bad === path || KINDS.some((kind) => isField(bad, kind)));
}

/** The indexes of the entries of a document of which some path, or the whole entry, is bad. */
function spoiltIn(badPaths: readonly string[], at: string, field: RegExp): Set<number> {
  const found = new Set<number>();
  for (const bad of badPaths) {
    if (!bad.startsWith(`${at}/functions/`)) continue;
    const [, index, rest = ""] = /^(\d+)(.*)$/s.exec(bad.slice(at.length + "/functions/".length)) ?? [];
    if (index !== undefined && (rest === "" || field.test(rest))) found.add(Number(index));
  }
  return found;
}

/** @param badPaths of what was wrong with their shapes, and has been taken out of them */
function* meaningProblems(
  all: readonly Nested[],
  now: number | undefined,
  badPaths: readonly string[],
): Generator<Reason> {
  const checking = new Checking(now);
  for (const { path, depth, kind, value } of all) {
    if (!isRecord(value) || kind === "expression") continue;
    const { scheduled_at, functions = [], on_failure } = value as Partial<Submission>;
    const badDate = scheduled_at === undefined ? undefined : dateProblem(scheduled_at, now);
    if (badDate !== undefined) yield { path: `${path}/scheduled_at`, message: badDate };
    const badNeeds = spoiltIn(badPaths, path, /^\/needs/);
    const badItems = spoiltIn(badPaths, path, /^\/for_each$/);
    yield* graphProblems(functions, on_failure, { path, depth, badNeeds, badItems }, checking);
  }
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
