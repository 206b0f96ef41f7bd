/**
 * Child jobs, as far as nothing is stored or sent: which id the child of an entry has, what its submission says of its parent, what its
 * document is, whether a parent waits for it, and what its end means for the entry.
 *
 * CHILD-1  The id of a child follows from its parent, the entry, the item and how often that was run anew (`runs`). So whoever submits it
 *     once more, in doubt, submits the same job; and what is run anew is another one.
 */
import { createHash } from "node:crypto";
import { branchIn } from "./branches.ts";
import { parseSubmission } from "./check.ts";
import { InvalidInputError } from "./errors.ts";
import { ExpressionError, expressionFailure } from "./expressions.ts";
import type { Failure } from "./failure.ts";
import { kindOf } from "./function-state.ts";
import { type ItemsState, PART_ITEMS } from "./items-state.ts";
import { CHILD_PREFIX, jobIdProblem } from "./names.ts";
import { isRecord } from "./plain.ts";
import type { Plan } from "./plan.ts";
import { type ChildDocument, MAX_DEPTH, MAX_ITEMS, MAX_TAGS, type Submission } from "./schema.ts";
import {
  type Branch,
  type EndedJob,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  type JobState,
  type Parent,
  type UndoSummary,
} from "./state.ts";
import { expressionOf, fill, templateProblem } from "./templates.ts";
import { isTime } from "./time.ts";
import type { ChildOutcome } from "./transition.ts";
import { type More, valuesFor } from "./values.ts";

/** Whose child a job is, and all else that its id follows from. */
export interface ChildOrigin extends Parent {
  /** `runs` of the entry, and `items.list` where it is the child of an item. */
  runs?: number;
  list?: number;
  /** The run of the child with which it begins, where that is not the first: the one before is not kept any more. */
  run?: number;
}

/** A child that has ended. */
export interface ChildEnd {
  /** The how many-th run of the child it was, from 1: it may be retried, or be told to undo itself. */
  run: number;
  outcome: ChildOutcome;
  /** What has become of its undo. */
  undo?: UndoSummary;
  /** It had completed, and was told to undo itself: it has. */
  undone?: true;
}

const ID_CHARACTERS = 22;
const idPattern = new RegExp(`^${CHILD_PREFIX}[A-Za-z0-9_-]{${ID_CHARACTERS}}$`);

/** Whether an id looks like that of a child: no other job can have such a one. */
export function isChildId(id: string): boolean {
  return idPattern.test(id);
}

/** CHILD-1 */
export function childIdOf({ job_id, created_at, index, item, runs, list }: Omit<ChildOrigin, "depth">): string {
  const text = JSON.stringify([job_id, created_at, index, item ?? null, runs ?? 0, list ?? 0]);
  return CHILD_PREFIX + createHash("sha256").update(text).digest("base64url").slice(0, ID_CHARACTERS);
}

/** Of the child of an entry, or of an item of it. */
export function childOrigin(job: JobState, index: number, item?: number): ChildOrigin {
  const { job_id, created_at, parent } = job;
  const { runs, items } = functionAt(job, index);
  const origin: ChildOrigin = { job_id, created_at, index, depth: (parent?.depth ?? 0) + 1 };
  if (item !== undefined) origin.item = item;
  if (runs !== undefined) origin.runs = runs;
  if (item !== undefined && items) origin.list = items.list;
  return origin;
}

/** What the record of the child keeps of it. */
export function parentOf({ job_id, created_at, index, item, depth }: ChildOrigin): Parent {
  return { job_id, created_at, index, ...(item !== undefined && { item }), depth };
}

/** What a submission says of its parent; undefined if it makes no sense, as anybody may have sent it. */
export function readOrigin(text: string): ChildOrigin | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // it is no JSON
  }
  if (!isRecord(value)) return undefined;
  const { job_id, created_at, index, item, depth, runs, list, run } = value;
  if (typeof job_id !== "string" || jobIdProblem(job_id) !== undefined || !isTime(created_at)) return undefined;
  if (!isWithin(index, 0, MAX_COUNT) || !isWithin(depth, 1, MAX_DEPTH)) return undefined;
  const origin: ChildOrigin = { job_id, created_at, index, depth };
  for (const [name, one, least, most] of [
    ["item", item, 0, MAX_ITEMS],
    ["runs", runs, 1, MAX_COUNT],
    ["list", list, 1, MAX_COUNT],
    ["run", run, 2, MAX_COUNT],
  ] as const) {
    if (one === undefined) continue;
    if (!isWithin(one, least, most)) return undefined;
    origin[name] = one;
  }
  return origin;
}

const MAX_COUNT = 1_000_000_000;

function isWithin(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

/** Which run of a job it is, from 1. */
export function runOf({ retries = 0 }: Pick<JobState, "retries">): number {
  return retries + 1;
}

// --- whether a parent waits for it

/** An entry that waits for one child; those of items have a branch together. */
export function isOfOneChild(job: Graph, { index, wait, undo }: Branch): boolean {
  if (wait !== "child" && wait !== "stopping") return false;
  const fn = job.functions.at(index);
  if (!fn || fn.items || fn.handling || kindOf(fn) !== "job") return false;
  return undo !== true || fn.undo === undefined;
}

/** The branch of a live job which waits for that child; undefined if it does not, or is another job by now. */
export function branchOfChild(job: JobState, childId: string, of: Parent): Branch | undefined {
  if (isEnded(job) || !isGraph(job) || job.created_at !== of.created_at) return undefined;
  const branch = branchIn(job.live, of.index);
  const fn = branch && job.functions.at(of.index);
  if (!fn || kindOf(fn) !== "job" || fn.handling) return undefined;
  if (of.item === undefined ? !isOfOneChild(job, branch) : fn.items === undefined) return undefined;
  return childIdOf(childOrigin(job, of.index, of.item)) === childId ? branch : undefined;
}

/** Whether such a child may begin: its parent waits for it, and not only for its end. */
export function mayBegin(parent: JobState, childId: string, of: Parent): boolean {
  const branch = branchOfChild(parent, childId, of);
  return (
    branch !== undefined &&
    branch.wait !== "stopping" &&
    !branch.undo &&
    isGraph(parent) &&
    depthIn(parent) === of.depth &&
    mayHaveBegun(functionAt(parent, of.index).items, of.item)
  );
}

/** Items begin after it is stored that their part is open; so before that nobody has a child of one. */
function mayHaveBegun(items: ItemsState | undefined, item: number | undefined): boolean {
  if (items === undefined || item === undefined) return true;
  return item < (items.count ?? items.listed ?? 0) && items.open.includes(Math.floor(item / PART_ITEMS));
}

function depthIn({ parent }: JobState): number {
  return (parent?.depth ?? 0) + 1;
}

/** Whether the end of a child is what a branch waits for. */
export function isEndFor({ attempt, undo }: Pick<Branch, "attempt" | "undo">, end: ChildEnd): boolean {
  if (undo) return end.undone === true || (end.outcome.state !== "completed" && end.run >= attempt);
  return end.run >= attempt && !end.undone;
}

// --- its document

/** A document that can be submitted, or why there is none: the entry fails with that. */
export type MadeDocument = { document: Submission; failure?: undefined } | { failure: Failure; document?: undefined };

/**
 * The document of the child of an entry, or of an item of it. What stands in the document of the parent is left to the child, but for its
 * data; what an expression gives is a document of its own.
 *
 * @param more the item, where it is for one
 * @param now ms since 1970, to refuse times that are too far ahead
 * @throws MissingValue
 */
export function childDocument(job: Graph, index: number, plan: Plan, now: number, more: More = {}): MadeDocument {
  const { job: spec } = functionAt(job, index);
  const data = Object.hasOwn(more, "item") ? more.item : job.data;
  const evaluate = (text: string) => plan.expressions.evaluate(text, valuesFor(text, job, plan, more));
  try {
    const text = expressionOf(spec);
    if (text !== undefined) {
      const made = evaluate(text);
      return checkedDocument(job, index, made, isRecord(made) && made.data !== undefined ? made.data : data, now);
    }
    const given = (spec as ChildDocument).data;
    const problem = templateProblem(given);
    if (problem !== undefined) return { failure: invalidChild(`its data ${problem}`) };
    return checkedDocument(job, index, spec, given === undefined ? data : fill(given, evaluate), now);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    return { failure: expressionFailure(error) };
  }
}

/** The same for a document that is at hand. @param data of the child */
export function checkedDocument(job: JobState, index: number, made: unknown, data: unknown, now: number): MadeDocument {
  if (depthIn(job) > MAX_DEPTH) {
    return { failure: invalidChild(`the job is in ${MAX_DEPTH} others already, and deeper ones are not taken`) };
  }
  if (!isRecord(made)) return { failure: invalidChild("it is no object") };
  for (const field of OF_PARENTS) {
    const isGiven = made[field] !== undefined && made[field] !== null;
    if (isGiven) return { failure: invalidChild(`/${field} is not for children`) };
  }
  const { name = nameOf(job, index), ...rest } = made;
  try {
    const document = parseSubmission({ ...rest, name: name ?? nameOf(job, index), data }, now);
    const tags = tagsOf(job, document);
    return { document: tags ? { ...document, tags } : document };
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    return { failure: invalidChild(error.reasons.map(({ path, message }) => `${path || "/"} ${message}`).join("; ")) };
  }
}

/** What a job that somebody submits may have, and a child may not. */
const OF_PARENTS = ["job_id", "notify", "scheduled_at"] as const;
const MAX_NAME_LENGTH = 256;
const MAX_REASON_LENGTH = 2_000;

function invalidChild(why: string): Failure {
  const message = `the document of the child job cannot be used: ${why}`.slice(0, MAX_REASON_LENGTH);
  return { code: "invalid_child", name: "InvalidChild", message };
}

function nameOf(job: JobState, index: number): string {
  return `${job.name}/${functionAt(job, index).id ?? index}`.slice(-MAX_NAME_LENGTH);
}

/** Its own, and those of its parent, as far as there is room. */
function tagsOf({ tags: inherited }: JobState, { tags: own = {} }: Submission): Submission["tags"] {
  if (!inherited) return undefined;
  const tags = { ...own };
  for (const [name, value] of Object.entries(inherited)) {
    if (Object.keys(tags).length === MAX_TAGS) break;
    if (!Object.hasOwn(tags, name)) tags[name] = value;
  }
  return tags;
}

// --- its end

/** What the end of a child is for its parent. @param result of the job, where it is not in its state */
export function childEndOf(job: EndedJob, result: unknown = lastResult(job)): ChildEnd {
  const end: ChildEnd = { run: runOf(job), outcome: outcomeOf(job, result) };
  if (job.undo) {
    end.undo = job.undo;
    if (job.state === "completed") end.undone = true;
  }
  return end;
}

function lastResult({ functions }: EndedJob): unknown {
  return functions.at(functions.length - 1)?.result ?? null;
}

function outcomeOf(job: EndedJob, result: unknown): ChildOutcome {
  if (job.state === "completed") return { state: "completed", result };
  const what = `the child job ${job.job_id}`;
  if (job.state === "cancelled") return { state: "cancelled", error: childFailed(`${what} was cancelled`) };
  const { code, message } = job.error;
  return { state: "failed", error: childFailed(`${what} has failed with ${code}: ${message}`) };
}

/** The end of a child that never began: nobody has submitted it. */
export function neverBegun(childId: string, run: number): ChildEnd {
  return { run, outcome: { state: "cancelled", error: childFailed(`the child job ${childId} had not begun`) } };
}

/** What an entry fails with because of its child. */
export function childFailed(message: string): Failure {
  return { code: "child_failed", name: "ChildFailed", message };
}

/** What the end is to a branch that waits for it: a child that undoes itself is asked for nothing else. */
export function outcomeFor({ undo: isUndo }: Pick<Branch, "undo">, { outcome, undo, undone }: ChildEnd): ChildOutcome {
  if (!isUndo) return outcome;
  if (outcome.state !== "completed" && !undone && !undo) return outcome;
  return { state: "completed", result: null, ...(undo && { undo }) };
}
