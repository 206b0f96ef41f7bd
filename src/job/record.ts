/**
 * The fields of a job's record, each declared once: where it stands in what is stored, what a stored value must be, and how
 * users see it. Storing, reading, checking and showing follow from these lists (`bus/store/stored-state.ts`, `view.ts`),
 * as does the way from one phase to the next. So a new field is one line in `state.ts` or `function-state.ts` and one here.
 *
 * The order of the lists is that of the views. That of the fields which are `always` kept is also the order in which they are
 * stored, so it belongs to the format. A field that refers to another one (`mostly`, `presentWith`) comes after it.
 */
import { compile } from "../util/compile.ts";
import { packedBranches, unpackedBranches } from "./branches.ts";
import type { Encoding } from "./encoding.ts";
import type { Failure } from "./failure.ts";
import { type FunctionState, kindOf } from "./function-state.ts";
import type { ItemsState } from "./items-state.ts";
import { isRecord, toJsonValue } from "./plain.ts";
import type { FunctionSpec } from "./schema.ts";
import {
  type AnyPhase,
  BRANCH_WAITS,
  type Branch,
  type BranchWait,
  type EndPhase,
  isEndState,
  type JobFields,
  type LivePhase,
  type Outcome,
  type Parent,
  STATE_NAMES,
  type StateName,
  type WaitReason,
} from "./state.ts";
import { iso, isTime } from "./time.ts";

/**
 * The newest format that this version knows. The first element of each record is its format: the lowest one that has all of its
 * fields, so that older versions go on with the jobs that they can know. A record of a newer format is left alone by whoever
 * does not know it (`StoredJob.newer` of the job store). To be counted up when a version is out and gets another field (`since`),
 * as an older one would lose that at its next commit.
 */
export const FORMAT = 2;

/** How the undo of an entry, or what is called once its job has failed, goes. */
export interface UndoView {
  /** `skipped`: it had begun, and somebody did not want it to go on. */
  state: "running" | "done" | "failed" | "skipped";
  /** Of the function; a child that undoes itself has none. */
  name?: string;
  retry_count: number;
  started_at?: string;
  finished_at?: string;
  error?: Failure;
}

/** Why a job undoes. */
export interface UndoingView {
  /** How it will end. */
  because: Outcome["state"];
  since: string;
  error?: Failure;
  /** Nothing more is undone. */
  skip?: true;
}

export interface ItemsView {
  /** Null as long as a function still lists them. */
  count: number | null;
  /** How many have been listed so far. */
  listed?: number;
  done: number;
  failed: number;
}

export interface Field<Value = unknown> {
  /**
   * `always`: it has a place of its own in each record. `rarely`: it is stored with its name, where it is present.
   * `definition`: the submission says it as well, and a brief record leaves it out. `first`: it is the first element.
   */
  kept: "always" | "rarely" | "definition" | "first";
  /** The format that has it first. Absent: 1. A state with such a field says so (`JobFields.format`). */
  since?: 2;
  /** What is wrong with a stored value, in words that follow the name of the field; undefined if nothing is. */
  problem: (value: unknown) => string | undefined;
  /** Fields of a job that belong to its phase, and end with it. */
  ofPhase?: true;
  /** Fields of a function that the submission says as well. */
  submitted?: true;
  /** Where it is `always` kept, but may be absent. Null is stored then. */
  optional?: true;
  /** How it is stored, if not as it is; `unpack` takes whatever somebody may have stored. Of those that are `rarely` kept. */
  stored?: { pack: (value: Value) => unknown; unpack: (stored: unknown) => unknown };
  /** It usually equals this field. Null is stored then. */
  mostly?: string;
  /** It exists exactly when this field does: then a stored null is a value, else it means absent. */
  presentWith?: string;
  /** How users see it. Absent: they do not. */
  view?: (value: Value, encoding: Encoding) => unknown;
  /** The name under which they do, if it is another one. */
  viewedAs?: string;
}

/** A line for each field, by its name. */
export type Fields<Whole> = { readonly [Name in keyof Whole]-?: Field<Exclude<Whole[Name], undefined>> };

const anything = () => undefined;
const text = (value: unknown) => (typeof value === "string" ? undefined : "is no text");
const count = (value: unknown) => (Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : "is no count");
const time = (value: unknown) => (isTime(value) ? undefined : "is no time");
const record = (value: unknown) => (isRecord(value) ? undefined : "is no map");
const oneOf = (values: readonly unknown[]) => (value: unknown) => (values.includes(value) ? undefined : "is unknown");
const functionList = (value: unknown) =>
  Array.isArray(value) && value.every(isFunctionState) ? undefined : "are no list of them";

const flag = (value: unknown) => (value === true ? undefined : "is no flag");
const texts = (value: unknown) => (Array.isArray(value) && value.every(isText) ? undefined : "is no list of texts");
const isText = (value: unknown) => typeof value === "string";
const hasText = (value: unknown, key: string): value is Record<string, unknown> =>
  isRecord(value) && isText(value[key]);

/** The same for all of them. */
const option = (problem: Field["problem"], view: NonNullable<Field["view"]> = asIs) =>
  ({ kept: "rarely", since: 2, submitted: true, problem, view }) as const;

const asIs = (value: unknown) => value;
/** Null where an entry has no function. */
function asName(name: unknown): unknown {
  return name === "" ? null : name;
}

function branches(value: unknown): string | undefined {
  const isRight = Array.isArray(value) && value.every(isBranch) && value.every(isAfterLast);
  return isRight ? undefined : "is no list of branches";
}

/** By index, each once. */
function isAfterLast({ index }: Branch, place: number, all: Branch[]): boolean {
  return index > (all[place - 1]?.index ?? -1);
}

function isBranch(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { index, attempt, wait, since, due_at, undo } = value;
  if (undo !== undefined && undo !== true) return false;
  if ((count(index) ?? count(attempt) ?? time(since)) !== undefined || (due_at !== undefined && !isTime(due_at)))
    return false;
  return BRANCH_WAITS.includes(wait as BranchWait);
}

const asJson = (value: unknown, encoding: Encoding) => toJsonValue(value, encoding);

const callProblem = (value: unknown) =>
  isText(value) || hasText(value, "name") ? undefined : "is no function to call";
/** Of a function within another one, or of one that is no entry. */
function functionProblemOf(value: unknown): string | undefined {
  return isRecord(value) ? functionProblem(value) : "is no function";
}

function itemsProblem(value: unknown): string | undefined {
  if (!isRecord(value)) return "is no map";
  const { run, list, next, done, failed, open } = value;
  const isRight = [run, list, next, done, failed].every((one) => count(one) === undefined) && Array.isArray(open);
  return isRight && open.every((one) => count(one) === undefined) ? undefined : "says no parts";
}

const outcomeProblem = (value: unknown) =>
  isRecord(value) && isEndState(value.state as StateName) && isTime(value.at) ? undefined : "is no outcome";
const parentProblem = (value: unknown) =>
  hasText(value, "job_id") && count(value.index) === undefined && count(value.depth) === undefined
    ? undefined
    : "is no parent";

/** How the undo of an entry goes. */
function showUndoing(run: FunctionState): UndoView {
  const { name, retry_count, started_at, finished_at, error } = run;
  return {
    state: undoStateOf(run),
    ...(name !== "" && { name }),
    retry_count,
    ...(started_at !== undefined && { started_at: iso(started_at) }),
    ...(finished_at !== undefined && { finished_at: iso(finished_at) }),
    ...(error && { error }),
  };
}

function undoStateOf({ finished_at, given_up, skipped }: FunctionState): UndoView["state"] {
  if (finished_at !== undefined) return "done";
  if (given_up) return "failed";
  return skipped ? "skipped" : "running";
}

/** Why a job undoes, since when, and whether somebody does not want it to go on. */
function showOutcome({ state, error, at, skip }: Outcome): UndoingView {
  return { because: state, since: iso(at), ...(error && { error }), ...(skip && { skip }) };
}

function showParent({ job_id, index, item }: Parent): Pick<Parent, "job_id" | "index" | "item"> {
  return { job_id, index, ...(item !== undefined && { item }) };
}

/** What its items have come to, as far as the record says it. */
function showItems({ count: all, listed, done, failed }: ItemsState): ItemsView {
  return { count: all ?? null, ...(all === undefined && { listed: listed ?? 0 }), done, failed };
}

export const FUNCTION_FIELDS: Fields<FunctionState> = {
  id: option(text),
  name: { kept: "always", submitted: true, problem: text, view: asName },
  retry_count: { kept: "always", problem: count, view: asIs },
  args: { kept: "always", submitted: true, optional: true, problem: anything, view: asJson },
  retry_options: { kept: "rarely", submitted: true, problem: record, view: asIs },
  timeout_ms: { kept: "rarely", submitted: true, problem: count, view: asIs },
  failures: { kept: "rarely", problem: count },
  lost: { kept: "rarely", problem: count, view: asIs, viewedAs: "lost_count" },
  started_at: { kept: "rarely", problem: time, view: iso },
  finished_at: { kept: "always", optional: true, problem: time, view: iso },
  result: { kept: "always", optional: true, presentWith: "finished_at", problem: anything, view: asJson },
  caught: { kept: "rarely", since: 2, problem: record, view: asIs, viewedAs: "error" },
  error: { kept: "rarely", problem: record, view: asIs },
  wait_for: option(text),
  sleep_ms: option(count),
  sleep_until: option((value) => (isText(value) || hasText(value, "$") ? undefined : "is neither text nor expression")),
  needs: option(texts),
  when: option(text),
  expect: option(text),
  job: option(record, asJson),
  for_each: option((value) => (isText(value) || hasText(value, "name") ? undefined : count(value)), asJson),
  concurrency: option(count),
  tolerate: option((value) => (isText(value) ? undefined : count(value))),
  slice: option(count),
  results: option(oneOf(["keep", "none"])),
  context: option((value) => (typeof value === "boolean" ? undefined : "is no flag")),
  undo: option(callProblem, asJson),
  on_error: option(
    (value) => (hasText(value, "name") && value.name !== "" ? undefined : oneOf(["fail", "continue"])(value)),
    asJson,
  ),
  interrupted: { kept: "rarely", since: 2, problem: count, view: asIs, viewedAs: "interrupted_count" },
  tried_at: { kept: "rarely", since: 2, problem: time },
  last_progress: { kept: "rarely", since: 2, problem: anything, view: asIs },
  skipped: { kept: "rarely", since: 2, problem: flag, view: asIs },
  handling: { kept: "rarely", since: 2, problem: flag },
  runs: { kept: "rarely", since: 2, problem: count },
  rank: { kept: "rarely", since: 2, problem: count },
  uncertain: { kept: "rarely", since: 2, problem: flag, view: asIs },
  given_up: { kept: "rarely", since: 2, problem: flag },
  undoing: { kept: "rarely", since: 2, problem: functionProblemOf, view: showUndoing, viewedAs: "undo_run" },
  items: { kept: "rarely", since: 2, problem: itemsProblem, view: showItems },
  apart: { kept: "rarely", since: 2, problem: count, view: () => true, viewedAs: "result_omitted" },
};

const WAIT_REASONS: readonly WaitReason[] = ["backoff", "worker", "sleep", "signal", "child"];
const showFunctions = (functions: JobFields["functions"], encoding: Encoding) =>
  functions.map((fn) => ({
    ...(fn.id !== undefined && { id: fn.id }),
    kind: kindOf(fn),
    ...showFunction(fn, encoding),
  }));

export const JOB_FIELDS: Fields<JobFields & AnyPhase> = {
  format: { kept: "first", optional: true, problem: oneOf([FORMAT]) },
  job_id: { kept: "always", problem: text, view: asIs },
  name: { kept: "definition", problem: text, view: asIs },
  state: { kept: "always", ofPhase: true, problem: oneOf(STATE_NAMES), view: asIs },
  data: { kept: "definition", problem: anything, view: asJson },
  functions: { kept: "definition", problem: functionList, view: showFunctions },
  current_function: { kept: "always", problem: count, view: asIs },
  attempt: { kept: "always", problem: count },
  encoding: { kept: "always", problem: oneOf(["json", "msgpack"] satisfies Encoding[]) },
  created_at: { kept: "always", problem: time, view: iso },
  scheduled_at: { kept: "always", mostly: "created_at", problem: time, view: iso },
  sequence: { kept: "always", problem: count },
  token: { kept: "always", problem: count },
  version: { kept: "always", problem: count },
  writer: { kept: "always", problem: text },
  started_at: { kept: "rarely", problem: time, view: iso },
  retried_at: { kept: "rarely", problem: time, view: iso },
  retries: { kept: "rarely", problem: count },
  timeout_ms: { kept: "rarely", problem: count, view: asIs },
  deadline_at: { kept: "rarely", problem: time, view: iso },
  notify: { kept: "rarely", problem: text, view: asIs },
  live: { kept: "rarely", since: 2, problem: branches, stored: { pack: packedBranches, unpack: unpackedBranches } },
  ended_count: { kept: "rarely", since: 2, problem: count },
  signals: { kept: "rarely", since: 2, problem: record },
  parked_at: { kept: "rarely", since: 2, problem: time },
  tags: { kept: "rarely", since: 2, problem: record, view: asIs },
  keep_ms: { kept: "rarely", since: 2, problem: count, view: asIs },
  warn_after_ms: { kept: "rarely", since: 2, problem: count, view: asIs },
  late_at: { kept: "rarely", since: 2, problem: time, view: iso },
  truncated: { kept: "rarely", since: 2, problem: flag, view: asIs },
  on_failure: { kept: "rarely", since: 2, problem: callProblem, view: asJson },
  failing: { kept: "rarely", since: 2, problem: functionProblemOf, view: showUndoing, viewedAs: "on_failure_run" },
  outcome: { kept: "rarely", since: 2, problem: outcomeProblem, view: showOutcome, viewedAs: "undoing" },
  halted: { kept: "rarely", since: 2, problem: branches, stored: { pack: packedBranches, unpack: unpackedBranches } },
  undo: { kept: "rarely", since: 2, problem: record, view: asIs },
  parent: { kept: "rarely", since: 2, problem: parentProblem, view: showParent },
  waiting_for: { kept: "rarely", ofPhase: true, problem: oneOf(WAIT_REASONS), view: asIs },
  due_at: { kept: "rarely", ofPhase: true, problem: time, view: iso },
  finished_at: { kept: "always", optional: true, ofPhase: true, problem: time, view: iso },
  error: { kept: "rarely", ofPhase: true, problem: record, view: asIs },
};

export type NamedField = readonly [name: string, field: Field];

export function entriesOf<Whole>(fields: Fields<Whole>): NamedField[] {
  return Object.entries(fields) as NamedField[];
}

/** Whether a field may be absent. */
function mayBeAbsent({ kept, optional }: Field): boolean {
  return kept === "rarely" || optional === true;
}

// --- from one phase to the next

/** The job in a phase; the fields of another one do not linger. */
export const inPhase = compile<<P extends LivePhase | EndPhase>(job: JobFields, phase: P) => JobFields & P>(
  {},
  copyCode(["job", "phase"], entriesOf(JOB_FIELDS), ([, field]) => (field.ofPhase ? "phase" : "job")),
);

/**
 * All that is known of a function, as a new object. To add a field to a spread of it costs 3 µs, to one of these 0.1 (measured):
 * at each step of a graph that was a third of the whole step.
 */
export const copyOf = compile<(fn: FunctionState) => FunctionState>(
  {},
  copyCode(["fn"], entriesOf(FUNCTION_FIELDS), () => "fn"),
);

/** What is known of a function besides its submission. */
export const progressOf = compile<(fn: FunctionState) => Partial<FunctionState>>({}, copyOfFunction(false));

/** What its submission says of a function. */
export const specOf = compile<(fn: FunctionState) => FunctionSpec>({}, copyOfFunction(true));

/** The same as a submission says it: an entry without a function has no name. */
export function documentOf(fn: FunctionState): FunctionSpec {
  const { name = "", ...spec } = specOf(fn);
  return name === "" ? spec : { ...spec, name };
}

function copyOfFunction(submitted: boolean): string {
  const fields = entriesOf(FUNCTION_FIELDS).filter(([, field]) => (field.submitted === true) === submitted);
  return copyCode(["fn"], fields, () => "fn");
}

/** Code of a function that makes an object with the fields that its arguments have. */
function copyCode(parameters: string[], fields: NamedField[], from: (field: NamedField) => string): string {
  const always: string[] = [];
  const maybe: string[] = [];
  for (const field of fields) {
    const [name] = field;
    const value = `${from(field)}.${name}`;
    if (mayBeAbsent(field[1])) maybe.push(`if (${value} !== undefined) copy.${name} = ${value};`);
    else always.push(`${name}: ${value}`);
  }
  return `(${parameters}) => { const copy = { ${always} }; ${maybe.join(" ")} return copy; }`;
}

// --- what users see

/** A function as users see it: `FunctionView`. */
const showFunction = compileView<FunctionState>(FUNCTION_FIELDS);
/** The fields of a job as users see them, without what follows from others. */
export const showJob = compileView<JobFields & AnyPhase>(JOB_FIELDS);

function compileView<Whole>(fields: Fields<Whole>): (whole: Whole, encoding: Encoding) => object {
  const shown = entriesOf(fields).filter(([, { view }]) => view !== undefined);
  const lines = shown.map(([name, field], index) => {
    const value = field.view === asIs ? `whole.${name}` : `view[${index}](whole.${name}, encoding)`;
    const line = `shown.${field.viewedAs ?? name} = ${value};`;
    return mayBeAbsent(field) ? `if (whole.${name} !== undefined) ${line}` : line;
  });
  const view = shown.map(([, field]) => field.view);
  return compile({ view }, `(whole, encoding) => { const shown = {}; ${lines.join(" ")} return shown; }`);
}

// --- what is wrong with what was stored

/** What makes a decoded value something else than the state of a job; undefined if nothing does. */
export function stateProblem(value: unknown): string | undefined {
  if (!isRecord(value)) return "value is no map";
  return jobProblem(value) ?? phaseProblem(value);
}

type Check = (value: Record<string, unknown>) => string | undefined;

const jobProblem = compileCheck(JOB_FIELDS);
const functionProblem = compileCheck(FUNCTION_FIELDS);

/** The first of the fields with which something is wrong, and what it is. */
function compileCheck<Whole>(fields: Fields<Whole>): Check {
  const entries = entriesOf(fields);
  const lines = entries.map(([name, field], index) => {
    const check = `problem = check[${index}](value.${name}); if (problem !== undefined) return "${name} " + problem;`;
    return mayBeAbsent(field) ? `if (value.${name} !== undefined) { ${check} }` : check;
  });
  const check = entries.map(([, { problem }]) => problem);
  return compile({ check }, `(value) => { let problem; ${lines.join(" ")} return undefined; }`);
}

function isFunctionState(value: unknown): boolean {
  return isRecord(value) && functionProblem(value) === undefined;
}

/** What the fields have to do with each other. */
function phaseProblem(value: Record<string, unknown>): string | undefined {
  const state = value.state as StateName;
  if (isEndState(state) && value.finished_at === undefined) return "finished_at is no time";
  if (state === "failed" && value.error === undefined) return "error is missing";
  if (state === "waiting" && value.waiting_for === undefined) return "waiting_for is unknown";
  if (state === "waiting" && value.waiting_for === "backoff" && value.due_at === undefined) return "due_at is no time";
  // Only a submission that was no valid job has no functions, and it has failed.
  const functions = (value.functions as unknown[]).length;
  const inRange = (value.current_function as number) < functions || (functions === 0 && state === "failed");
  if (!inRange) return "current_function does not exist";
  const live = value.live as Branch[] | undefined;
  // What is called once the job has failed comes after the last one.
  const most = value.failing === undefined ? functions : functions + 1;
  if (live?.some(({ index }) => index >= most)) return "live has an entry that does not exist";
  const halted = value.halted as Branch[] | undefined;
  return halted?.some(({ index }) => index >= functions) ? "halted has an entry that does not exist" : undefined;
}
