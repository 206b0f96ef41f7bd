/**
 * The state of a live job without what its submission says: the names and args of its functions, and its data. A job that
 * has many functions, or much data, is stored so at each of its steps: in full, every step would cost as much as all of
 * the job, and a job of a thousand functions a million of them.
 *
 * B1  Only a job whose token is its submission is stored so: while it is, the submission is there to read it with.
 * B2  What is stored of a step that is done never changes, so its bytes are made once (`BriefWriter`).
 *
 * The bytes are a MessagePack array `[head, [step, …]]`. The head has the other fields of the state, and as `current` what
 * is known of the function being run. A step is `[result, retry_count, finished_at, started_at, failures, lost]`, without
 * what is absent at its end; its times are ms since the job was created.
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
import { decode, encode } from "./codec.ts";

const ARRAY_OF_2 = 0x92;
const ARRAY_16 = 0xdc;

/** Whether the state may be stored so (B1). */
export function canBeBrief(state: JobState): state is LiveJob {
  return !isEnded(state) && state.token === 0 && state.retries === undefined;
}

export class BriefWriter {
  /** The steps that are done, one after the other; as far as is filled. */
  #steps = Buffer.alloc(1_024);
  #filled = 0;
  #count = 0;

  /** To be called with one state after the other of the same job. */
  write(state: LiveJob): Uint8Array {
    for (; this.#count < state.current_function; this.#count++) {
      const fn = state.functions[this.#count] as FunctionState;
      this.#append(encode(stepOf(fn, state.created_at), "msgpack"));
    }
    const { functions: _functions, data: _data, name: _name, ...head } = state;
    const {
      name: _fn,
      args: _args,
      retry_options: _options,
      timeout_ms: _timeout,
      ...current
    } = currentFunction(state);
    const opening = Buffer.of(ARRAY_16, this.#count >> 8, this.#count & 0xff);
    const parts = [encode({ ...head, current }, "msgpack"), opening, this.#steps.subarray(0, this.#filled)];
    return Buffer.concat([Buffer.of(ARRAY_OF_2), ...parts]);
  }

  #append(step: Uint8Array): void {
    if (this.#filled + step.length > this.#steps.length) {
      const larger = Buffer.alloc(2 * (this.#filled + step.length));
      this.#steps.copy(larger, 0, 0, this.#filled);
      this.#steps = larger;
    }
    this.#steps.set(step, this.#filled);
    this.#filled += step.length;
  }
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
  steps: Step[];
}

/** Whether stored bytes are of this kind: states in full are maps. */
export function isBrief(data: Uint8Array): boolean {
  return data[0] === ARRAY_OF_2;
}

/** @throws AsyncError `undecodable` */
export function readBrief(data: Uint8Array): Brief {
  const [head, steps] = decode(data, "msgpack") as [unknown, unknown];
  if (!isRecord(head) || !Array.isArray(steps) || !Number.isSafeInteger(head.sequence)) {
    throw new AsyncError("undecodable", "neither a state nor a brief one");
  }
  return { sequence: head.sequence as number, head, steps: steps as Step[] };
}

/** The whole state, or why it is none. */
export function completed({ head, steps }: Brief, submission: Uint8Array): { state: JobState } | { problem: string } {
  try {
    const { name, functions, data } = parseSubmission(decode(submission));
    const { current, ...fields } = head;
    const state = {
      ...fields,
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
