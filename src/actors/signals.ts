/**
 * Requests that send a signal to a job (`job.signal.<id>.<name>`). Any supervisor can take them for any job: the signal is stored in an
 * inbox of the job, and its owner, whoever that is, takes it from there. So a signal that was answered is not lost.
 *
 * REQUEST-1  The inbox is written first, and the state is read again after that. The owner does it the other way round: it commits that the
 *     job waits, or leaves memory, and looks into the inbox after that. So one of the two sees what the other one has written.
 * REQUEST-2  A job that has ended by then takes no signals, unless it is this one that it has used: it is taken back, so that a retry by
 *     hand does not find what its sender was refused.
 * REQUEST-3  A job that rests on its timer because it waits for this signal is woken. Any other one has an owner, who is told, or
 *     is about to get one, who will look. If it cannot be woken in time that is an error: repeated with the same key, it stores
 *     nothing, and tells and wakes once more.
 * REQUEST-4  What is held and read at a time for who sends signals has a limit, as it has for all questions (CONTROL-5).
 */
import { setTimeout as delay } from "node:timers/promises";
import type { SignalReply } from "../api/requests.ts";
import { changedSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import type { SentSignal, Signals } from "../bus/store/signals.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { requireJobId, signalKeyProblem, signalNameProblem } from "../job/names.ts";
import { signalNames, usedNumber, waitsForSignal } from "../job/signals.ts";
import { isEnded, type JobState, type LiveJob } from "../job/state.ts";
import { Limiter } from "../util/limiter.ts";
import { nearest } from "../util/nearest.ts";

export interface SignalContext {
  bus: Bus;
  signals: Signals;
  tokens: Tokens;
  /** The job as it is stored or submitted: see `JobControl.find`. */
  find: (jobId: string) => Promise<{ state: JobState }>;
}

/** REQUEST-4 */
const MAX_HELD_BYTES = 64 * 1024 ** 2;
const REQUEST_BYTES = 1_024;
const MAX_READ_BYTES = 4 * 1024 ** 2;
const MAX_WRITES = 16;
const MAX_WAIT_MS = 1_000;
/** The requester waits for two seconds. */
const WAKE_TRIES = 5;
const WAKE_DELAY_MS = 20;
/** Names that are listed in a refusal. */
const MAX_NAMED = 10;

export class SignalRequests {
  readonly #context: SignalContext;
  readonly #writes: Limiter;
  #heldBytes = 0;

  constructor(context: SignalContext) {
    this.#context = context;
    const { bus } = context;
    this.#writes = new Limiter(() => Math.max(1, Math.min(MAX_WRITES, Math.floor(MAX_READ_BYTES / bus.maxPayload))));
  }

  /**
   * @param target what follows the prefix in the subject: `<id>.<name>`
   * @param key the same one again changes nothing
   * @throws AsyncError `invalid_request`, `invalid_job_id`, `job_not_found`, `job_ended`, `unknown_signal`, `signals_full`,
   * `payload_too_large`, `storage_full`, `bus_overloaded`, what `find` throws, or of the bus: then it may be stored, or not
   */
  async take(target: string, body: Uint8Array, key?: string): Promise<SignalReply> {
    const [jobId, name] = partsOf(target);
    const keyProblem = key === undefined ? undefined : signalKeyProblem(key);
    if (keyProblem !== undefined) throw new AsyncError("invalid_request", `the key of the signal ${keyProblem}`);
    const bytes = body.length + REQUEST_BYTES;
    if (this.#heldBytes + bytes > MAX_HELD_BYTES) throw overloaded();
    this.#heldBytes += bytes;
    try {
      return await this.#take(jobId, name, body, key);
    } finally {
      this.#heldBytes -= bytes;
    }
  }

  async #take(jobId: string, name: string, body: Uint8Array, key: string | undefined): Promise<SignalReply> {
    const { signals, find } = this.#context;
    const { state: before } = await find(jobId);
    if (isEnded(before)) throw hasEnded(before);
    requireWaitedFor(before, name);
    const since = performance.now();
    const sent = await this.#writes.run(() => {
      if (performance.now() - since > MAX_WAIT_MS) throw overloaded();
      return signals.send(before, name, body, key);
    });
    const { state } = await find(jobId); // REQUEST-1
    if (usedNumber(state, name) < sent.n) {
      if (isEnded(state)) {
        if (!sent.repeated) await signals.withdraw(state, name, sent.n); // REQUEST-2
        throw hasEnded(state);
      }
      await this.#tell(state, name, sent);
    }
    return { job_id: jobId, name, number: sent.n, ...(sent.repeated && { repeated: true }) };
  }

  /** REQUEST-3 */
  async #tell(state: LiveJob, name: string, { n, key }: SentSignal): Promise<void> {
    const { bus } = this.#context;
    if (bus.connected) bus.nc.publish(changedSubject(state.job_id));
    if (state.token === 0 || !waitsForSignal(state, name)) return;
    let cause: AsyncError | undefined;
    for (let tries = 0; tries < WAKE_TRIES; tries++) {
      if (tries > 0) await delay(WAKE_DELAY_MS * 2 ** tries);
      try {
        if ((await this.#context.tokens.wake(state)) !== "not yet") return;
      } catch (error) {
        if (!isAsyncError(error)) throw error;
        cause = error;
      }
    }
    const what = `signal ${name} is stored, as number ${n}, but job ${state.job_id} could not be woken yet`;
    const next = `it hears of it within half an hour, or sooner if you send it again with the same key: ${key}`;
    throw new AsyncError("bus_timeout", `${what}; ${next}`, { cause });
  }
}

/** @throws AsyncError `invalid_job_id`, `invalid_request` */
function partsOf(target: string): [jobId: string, name: string] {
  const dot = target.indexOf(".");
  const jobId = dot < 0 ? target : target.slice(0, dot);
  requireJobId(jobId);
  if (dot < 0)
    throw new AsyncError("invalid_request", "the subject names no signal: send it to job.signal.<id>.<name>");
  const name = target.slice(dot + 1);
  const problem = signalNameProblem(name);
  if (problem !== undefined) throw new AsyncError("invalid_request", `the name of the signal ${problem}`);
  return [jobId, name];
}

/** @throws AsyncError `unknown_signal` */
function requireWaitedFor(job: JobState, name: string): void {
  const names = signalNames(job);
  if (names.includes(name)) return;
  const meant = nearest(name, names);
  const more = names.length > MAX_NAMED ? `, and ${names.length - MAX_NAMED} more` : "";
  let hint = `it waits for ${names.slice(0, MAX_NAMED).join(", ")}${more}`;
  if (names.length === 0) hint = "it waits for none";
  else if (meant !== undefined) hint = `did you mean ${meant}?`;
  throw new AsyncError("unknown_signal", `no entry of job ${job.job_id} waits for signal ${name}; ${hint}`);
}

function hasEnded({ job_id, state }: JobState): AsyncError {
  return new AsyncError("job_ended", `job ${job_id} takes no signals any more: it is ${state}`);
}

/** It may be asked again: another supervisor may have less to do. */
function overloaded(): AsyncError {
  return new AsyncError("bus_overloaded", "this supervisor is sent more signals than it can store; try again");
}
