/**
 * The state of a live job without what its submission, or its definition (`definition.ts`), says: the names and args of its
 * functions, and its data. A job that has many functions, or much data, is stored so at each of its steps: in full, every step
 * would cost as much as all of the job, and a job of a thousand functions a million of them.
 *
 * BRIEF-1  Only a job whose token is its submission is stored so, as that is there to read it with; or one whose definition is
 *     stored, which it names.
 * BRIEF-2  What is stored of a step that is done never changes, so its bytes are made once (`BriefWriter`). A job that undoes changes
 *     them: as long as it does, they are made anew each time.
 *
 * It has the layout of `stored-state.ts` with other things in its last three fields:
 * - instead of the name, null, or the sequence of the definition in an array;
 * - instead of the data, what is known of the function being run;
 * - instead of the functions, the steps that are done, two elements for each: what it returned, and when it had, in ms since the
 *   one before (the first: since the job was created). Where the step has not simply succeeded the first time, the second is an
 *   array, `[finished_at, retry_count, started_at, failures, lost, interrupted]` with times of the same kind; the last of these
 *   is there only in records of format 2.
 *
 * In a graph, several functions may be run, and steps end in any order. So instead of one function there are `[index, what is known
 * of it]` of all that have begun, and the steps stand in the order in which they ended, three elements for each: its index, what
 * it returned, and when, or all that is known of it where it has not simply succeeded the first time. Of its branches, those
 * next to each other that wait for their first attempt since the same time are one array (`job/branches.ts`): a fan of a thousand
 * entries would else be stored a thousand times.
 */
import { parseSubmission } from "../../job/check.ts";
import { AsyncError, isAsyncError, messageOf } from "../../job/errors.ts";
import { type FunctionState, newEntry, newFunction } from "../../job/function-state.ts";
import { changedIndexes, type Functions, functionList } from "../../job/functions.ts";
import { isRecord } from "../../job/plain.ts";
import { progressOf, stateProblem } from "../../job/record.ts";
import { functionAt, type Graph, isEnded, isGraph, type JobState, type LiveJob } from "../../job/state.ts";
import { decode } from "../messages/codec.ts";
import { EncodedArray } from "../messages/encoded-array.ts";
import { packFields, type Unpacked } from "./stored-state.ts";

/** Whether the state may be stored so (BRIEF-1), if its definition is stored at that sequence, or is not. */
export function canBeBrief(state: JobState, definition?: number): state is LiveJob {
  return !isEnded(state) && (definition !== undefined || (state.token === 0 && state.retries === undefined));
}

export class BriefWriter {
  /** Where the definition is, if it is not the submission. */
  readonly definition: number | undefined;
  readonly #reference: [number] | null;
  /** Those that are done. */
  #steps = new EncodedArray("msgpack");
  /** The last of them. */
  #stepEndedAt: number | undefined;
  /** Of a graph: the entries as they were written last, and what was known of those that had not ended. */
  #written: Functions | undefined;
  readonly #begun = new Map<number, Partial<FunctionState>>();

  constructor(definition?: number) {
    this.definition = definition;
    this.#reference = definition === undefined ? null : [definition];
  }

  /** To be called with one state after the other of the same job. What is returned is good until the next call. */
  write(state: LiveJob): Uint8Array {
    if (isGraph(state)) return this.#writeGraph(state);
    this.#stepEndedAt ??= state.created_at;
    for (let index = this.#steps.length / 2; index < state.current_function; index++) {
      const step = state.functions.at(index) as FunctionState;
      this.#steps.push(step.result ?? null);
      this.#steps.push(factsOf(step, this.#stepEndedAt));
      this.#stepEndedAt = step.finished_at ?? this.#stepEndedAt;
    }
    const current = progressOf(functionAt(state, state.current_function));
    return this.#steps.insertedInto(packFields(state, this.#reference, current, []));
  }

  #writeGraph(state: LiveJob & Graph): Uint8Array {
    if (state.state === "undoing") this.#forget();
    this.#stepEndedAt ??= state.created_at;
    const { functions } = state;
    const changed = this.#written ? changedIndexes(functions, this.#written) : [...functions.map((_, index) => index)];
    this.#written = functions;
    const ended: Step[] = [];
    for (const index of changed) {
      const fn = functionAt(state, index);
      if (fn.finished_at !== undefined) {
        ended.push({ index, fn });
        this.#begun.delete(index);
      } else if (isTouched(fn)) this.#begun.set(index, progressOf(fn));
    }
    for (const { index, fn } of ended.sort((a, b) => rankOf(a.fn) - rankOf(b.fn))) {
      this.#steps.push(index);
      this.#steps.push(fn.result ?? null);
      this.#steps.push(graphFactsOf(fn, this.#stepEndedAt));
      this.#stepEndedAt = fn.finished_at ?? this.#stepEndedAt;
    }
    const begun = [...this.#begun].sort(([a], [b]) => a - b);
    return this.#steps.insertedInto(packFields(state, this.#reference, begun, []));
  }

  /** As if nothing had been written. */
  #forget(): void {
    this.#steps = new EncodedArray("msgpack");
    this.#stepEndedAt = undefined;
    this.#written = undefined;
    this.#begun.clear();
  }
}

/** Elements of a step of a graph. */
const GRAPH_STEP = 3;

interface Step {
  index: number;
  fn: FunctionState;
}

function rankOf({ rank }: FunctionState): number {
  return rank ?? 0;
}

/** Whether there is anything to be known of an entry that has not ended: of most of a large fan there is not. */
function isTouched(fn: FunctionState): boolean {
  const { retry_count, failures, lost, interrupted, handling, runs, error, uncertain, items, undoing } = fn;
  if (retry_count > 0) return true;
  return (failures ?? lost ?? interrupted ?? handling ?? runs ?? error ?? uncertain ?? items ?? undoing) !== undefined;
}

/** Like {@link factsOf}. */
function graphFactsOf(fn: FunctionState, before: number): number | Partial<FunctionState> {
  const { result: _result, rank: _rank, ...known } = progressOf(fn);
  const { finished_at, retry_count } = known;
  const isPlain = Object.keys(known).length === 2 && retry_count === 1 && finished_at !== undefined;
  return isPlain ? finished_at - before : known;
}

/** How a step came to its end. Times are relative to the end of the step before. */
type Facts =
  | number
  | [
      finishedAt: number | null,
      retryCount: number,
      startedAt: number | null,
      failures: number,
      lost: number,
      interrupted?: number,
    ];

function factsOf(
  { retry_count, finished_at, started_at, failures, lost, interrupted }: FunctionState,
  before: number,
): Facts {
  const since = (at: number | undefined) => (at === undefined ? null : at - before);
  if (retry_count === 1 && finished_at !== undefined && (started_at ?? failures ?? lost ?? interrupted) === undefined) {
    return finished_at - before;
  }
  const facts: Facts = [since(finished_at), retry_count, since(started_at), failures ?? 0, lost ?? 0];
  if (interrupted) facts.push(interrupted);
  return facts;
}

/** What is stored of a job, without its definition. */
export interface Brief {
  /** Where the rest is: the sequence of the submission in stream JOBS, or of the definition in the bucket. */
  sequence: number;
  leansOn: "submission" | "definition";
  head: Record<string, unknown>;
  current: unknown;
  /** As they are stored, see the head of this file. */
  steps: unknown[];
}

/** Undefined if the state is stored in full. @throws AsyncError `undecodable` */
export function briefFrom({ head, name, data: current, functions: steps }: Unpacked): Brief | undefined {
  const isReference = Array.isArray(name) && name.length === 1 && typeof name[0] === "number";
  if (name !== null && !isReference) return undefined;
  const sequence = isReference ? name[0] : head.sequence;
  if (typeof sequence !== "number" || !Number.isSafeInteger(sequence) || !Array.isArray(steps)) {
    throw new AsyncError("undecodable", "neither a state nor a brief one");
  }
  return { sequence, leansOn: isReference ? "definition" : "submission", head, current, steps };
}

/** The whole state, or why it is none. */
export function completed(
  { head, current, steps }: Brief,
  submission: Uint8Array,
): { state: JobState } | { problem: string } {
  try {
    const { name, functions: specs, data } = parseSubmission(decode(submission));
    const hasBranches = head.live !== undefined;
    const functions = specs.map(hasBranches ? newEntry : newFunction);
    if (hasBranches) addGraphSteps(functions, steps, Number(head.created_at), current);
    else addSteps(functions, steps, head, current);
    const state = { ...head, name, data: data ?? null, functions };
    const problem = stateProblem(state);
    if (problem !== undefined) return { problem: `its ${problem}` };
    return { state: { ...state, functions: functionList(functions) } as unknown as JobState };
  } catch (error) {
    if (!isAsyncError(error)) throw error;
    return { problem: `its submission: ${messageOf(error)}` };
  }
}

function addSteps(functions: FunctionState[], steps: unknown[], head: Record<string, unknown>, current: unknown): void {
  let before = Number(head.created_at);
  for (let index = 0; index < steps.length / 2; index++) {
    const done = withStep(functions[index], steps[2 * index], steps[2 * index + 1] as Facts, before);
    functions[index] = done;
    before = done.finished_at ?? before;
  }
  const running = functions[Number(head.current_function)];
  if (running && isRecord(current)) Object.assign(running, current);
}

function addGraphSteps(functions: FunctionState[], steps: unknown[], createdAt: number, current: unknown): void {
  let before = createdAt;
  for (let at = 0; at < steps.length; at += GRAPH_STEP) {
    const [index, result, facts] = steps.slice(at, at + GRAPH_STEP);
    const fn = functions[Number(index)];
    if (!fn) throw new AsyncError("undecodable", "it has fewer entries than are done");
    const known = typeof facts === "number" ? { retry_count: 1, finished_at: before + facts } : facts;
    Object.assign(fn, isRecord(known) ? known : {}, { result, rank: at / GRAPH_STEP + 1 });
    before = fn.finished_at ?? before;
  }
  for (const begun of Array.isArray(current) ? current : []) {
    const [index, known] = Array.isArray(begun) ? begun : [];
    const fn = functions[Number(index)];
    if (fn && isRecord(known)) Object.assign(fn, known);
  }
}

function withStep(fn: FunctionState | undefined, result: unknown, facts: Facts, before: number): FunctionState {
  if (!fn) throw new AsyncError("undecodable", "it has fewer functions than are done");
  if (typeof facts === "number") return { ...fn, retry_count: 1, result, finished_at: before + facts };
  if (!Array.isArray(facts)) throw new AsyncError("undecodable", "what is known of a function that is done is missing");
  const [finishedAt, retry_count, startedAt, failures, lost, interrupted] = facts;
  const done: FunctionState = { ...fn, retry_count, result };
  if (typeof finishedAt === "number") done.finished_at = before + finishedAt;
  if (typeof startedAt === "number") done.started_at = before + startedAt;
  if (failures) done.failures = failures;
  if (lost) done.lost = lost;
  if (interrupted) done.interrupted = interrupted;
  return done;
}
