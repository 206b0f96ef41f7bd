/**
 * The state of a live job without what its submission says: the names and args of its functions, and its data. A job that
 * has many functions, or much data, is stored so at each of its steps: in full, every step would cost as much as all of
 * the job, and a job of a thousand functions a million of them.
 *
 * B1  Only a job whose token is its submission is stored so: while it is, the submission is there to read it with.
 * B2  What is stored of a step that is done never changes, so its bytes are made once (`BriefWriter`).
 *
 * It has the layout of `stored-state.ts` with other things in its last three fields: no name, what is known of the function
 * being run, and the steps that are done. A step is `[result, retry_count, finished_at, started_at, failures, lost]`,
 * without what is absent at its end; its times are ms since the job was created.
 */
import { AsyncError, isAsyncError, messageOf } from "../job/errors.ts";
import { isRecord, parseSubmission } from "../job/schema.ts";
import {
  currentFunction,
  type FunctionState,
  isEnded,
  type JobState,
  type LiveJob,
  newFunction,
  stateProblem,
} from "../job/state.ts";
import { decode } from "./codec.ts";
import { EncodedArray } from "./encoded-array.ts";
import { packFields, type Unpacked } from "./stored-state.ts";

/** Whether the state may be stored so (B1). */
export function canBeBrief(state: JobState): state is LiveJob {
  return !isEnded(state) && state.token === 0 && state.retries === undefined;
}

export class BriefWriter {
  /** Those that are done. */
  readonly #steps = new EncodedArray("msgpack");

  /** To be called with one state after the other of the same job. */
  write(state: LiveJob): Uint8Array {
    while (this.#steps.length < state.current_function) {
      this.#steps.push(stepOf(state.functions[this.#steps.length] as FunctionState, state.created_at));
    }
    return this.#steps.insertedInto(packFields(state, null, currentOf(currentFunction(state)), []));
  }
}

/** What its submission does not say. */
function currentOf({ retry_count, failures, lost, started_at, error }: FunctionState): object {
  const current: Partial<FunctionState> = { retry_count };
  if (failures !== undefined) current.failures = failures;
  if (lost !== undefined) current.lost = lost;
  if (started_at !== undefined) current.started_at = started_at;
  if (error !== undefined) current.error = error;
  return current;
}

type Step = [unknown, number, number?, (number | null)?, number?, number?];

function stepOf(
  { result, retry_count, finished_at, started_at, failures, lost }: FunctionState,
  createdAt: number,
): Step {
  const step: Step = [result ?? null, retry_count];
  if (finished_at !== undefined) step[2] = finished_at - createdAt;
  if ((started_at ?? failures ?? lost) !== undefined) {
    step[3] = started_at === undefined ? null : started_at - createdAt;
    step[4] = failures ?? 0;
    step[5] = lost ?? 0;
  }
  return step;
}

/** What is stored of a job, without its definition. */
export interface Brief {
  /** Where the definition is: the sequence of the submission in stream JOBS. */
  sequence: number;
  head: Record<string, unknown>;
  current: unknown;
  steps: Step[];
}

/** Undefined if the state is stored in full. @throws AsyncError `undecodable` */
export function briefFrom({ head, name, data: current, functions: steps }: Unpacked): Brief | undefined {
  if (name !== null) return undefined;
  const { sequence } = head;
  if (typeof sequence !== "number" || !Number.isSafeInteger(sequence) || !Array.isArray(steps)) {
    throw new AsyncError("undecodable", "neither a state nor a brief one");
  }
  return { sequence, head, current, steps: steps as Step[] };
}

/** The whole state, or why it is none. */
export function completed(
  { head, current, steps }: Brief,
  submission: Uint8Array,
): { state: JobState } | { problem: string } {
  try {
    const { name, functions, data } = parseSubmission(decode(submission));
    const state = {
      ...head,
      name,
      data: data ?? null,
      functions: functions.map(newFunction).map((fn, index) => {
        const step = steps[index];
        if (step) return withStep(fn, step, Number(head.created_at));
        return index === head.current_function && isRecord(current) ? { ...fn, ...current } : fn;
      }),
    };
    const problem = stateProblem(state);
    return problem === undefined ? { state: state as unknown as JobState } : { problem: `its ${problem}` };
  } catch (error) {
    if (!isAsyncError(error)) throw error;
    return { problem: `its submission: ${messageOf(error)}` };
  }
}

function withStep(fn: FunctionState, step: Step, createdAt: number): FunctionState {
  const [result, retry_count, finished_at, started_at, failures, lost] = step;
  const done: FunctionState = { ...fn, retry_count, result };
  if (typeof finished_at === "number") done.finished_at = createdAt + finished_at;
  if (typeof started_at === "number") done.started_at = createdAt + started_at;
  if (failures) done.failures = failures;
  if (lost) done.lost = lost;
  return done;
}
