/**
 * Durable timers: one per job, kept by the server (ADR-51 message schedules), fired into `job.wake.<id>` up to 250 ms
 * late, also after a restart of the server.
 *
 * TIMERS-1  A job has at most one timer, the one with the highest number: setting an older one changes nothing.
 * TIMERS-2  The wake carries the number. Scheduling the same number again within the stream's duplicate window (two minutes)
 *     changes nothing, even if it has fired: so it is safe to repeat after a crash.
 * TIMERS-3  What the server refuses for good is told apart (`isRefusedForGood`): repeating it would never end.
 * TIMERS-4  A token says which job it is of besides the id (`created_at`), as an id may be used again when its job is not kept
 *     any more: what is left of that one, a timer of a job that was cancelled, neither delays nor wakes the new one.
 */

import { timerSubject, wakeSubject } from "../../api/subjects.ts";
import { AsyncError } from "../../job/errors.ts";
import type { JobState } from "../../job/state.ts";
import type { Bus } from "../connection.ts";
import { readLast } from "../store/stream-read.ts";
import { TIMERS } from "../topology.ts";
import { headersOf } from "../wire/headers.ts";
import { isWrongSequence, JetStreamError } from "../wire/jetstream.ts";

/**
 * JetStream's errors that say that a schedule, its target or its headers are none, or that it is too large: as it is, the same
 * message will be refused again. (10188, schedules are disabled, is not among them: the stream can be mended.)
 */
const REFUSED_FOR_GOOD = new Set([10054, 10189, 10190, 10191, 10192, 10203, 10212, 10223]);

/** TIMERS-3: whether repeating what has failed with this error cannot help. */
export function isRefusedForGood(error: unknown): error is JetStreamError {
  return error instanceof JetStreamError && REFUSED_FOR_GOOD.has(error.errorCode);
}

export class Timers {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * Fires timer `number` of the job at `at` (ms since 1970; the past is "now").
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it, unless it `isRefusedForGood`
   */
  async schedule(job: TokenOwner, at: number, number: number): Promise<void> {
    await this.#set(job, at, number, { "Nats-Msg-Id": messageIdOf(job, number) });
  }

  /** The same for one that was set before and is known to be gone. @throws AsyncError of the bus */
  async restore(job: TokenOwner, at: number, number: number): Promise<void> {
    await this.#set(job, at, number, {});
  }

  /** Fires timer `number` at once by any clock, also if it is set for later. @throws AsyncError of the bus */
  async hurry(job: TokenOwner, number: number): Promise<void> {
    await this.#set(job, 0, number, {}, "replace");
  }

  /** TIMERS-1, TIMERS-4 */
  async #set(
    job: TokenOwner,
    at: number,
    number: number,
    id: Record<string, string>,
    same: "keep" | "replace" = "keep",
  ): Promise<void> {
    const jobId = job.job_id;
    const body = tokenBody(job, number);
    const headers = {
      "Nats-Schedule": `@at ${new Date(at).toISOString()}`,
      "Nats-Schedule-Target": wakeSubject(jobId),
      ...id,
    };
    if (await this.#setAfter(jobId, body, headers, 0)) return;
    const other = await readLast(this.#bus, TIMERS, timerSubject(jobId));
    const set = other && isTokenOf(job, other.data) ? timerNumberOf(other.data) : 0;
    if (set > number || (set === number && same === "keep")) return;
    if (await this.#setAfter(jobId, body, headers, other?.sequence ?? 0)) return;
    throw new AsyncError(
      "jetstream_unavailable",
      `someone else sets the timer of ${jobId} at the same time; repeat it`,
    );
  }

  /** Returns false if the timer that is set is not the message with that sequence (0: none). */
  async #setAfter(jobId: string, body: string, pairs: Record<string, string>, sequence: number): Promise<boolean> {
    const headers = headersOf({ ...pairs, "Nats-Expected-Last-Subject-Sequence": String(sequence) });
    try {
      await this.#bus.mux.publish(timerSubject(jobId), body, headers);
      return true;
    } catch (error) {
      if (isWrongSequence(error)) return false;
      throw error;
    }
  }
}

/** Of a job: what tells it from another one that had its id before; and who wants the token. */
export type TokenOwner = Pick<JobState, "job_id" | "created_at"> & Partial<Pick<JobState, "writer">>;

/**
 * The same for each time that somebody tries to make it. A submission that comes again after its job has ended and expired makes that job
 * once more, with the same numbers: so who wants it is a part.
 */
export function messageIdOf({ job_id, created_at, writer = "" }: TokenOwner, number: number): string {
  return `${job_id}:${created_at}:${number}:${writer}`;
}

/** What a timer, a place or a wake says: `<number> <created_at>`. */
export function tokenBody(job: TokenOwner, number: number): string {
  return `${number} ${job.created_at}`;
}

/** TIMERS-4: whether the token is of that job. One that does not say, made by hand, is. */
export function isTokenOf({ created_at }: Pick<TokenOwner, "created_at">, body: Uint8Array): boolean {
  const createdAt = createdAtOf(body);
  return createdAt === undefined || createdAt === created_at;
}

function createdAtOf(body: Uint8Array): number | undefined {
  const [, createdAt] = textOf(body).split(" ");
  return createdAt === undefined ? undefined : Number(createdAt);
}

/** Whether a wake stands for what a place says, or for a newer token of the same job. */
export function isSameOrNewer(wake: Uint8Array, place: Uint8Array): boolean {
  return createdAtOf(wake) === createdAtOf(place) && timerNumberOf(wake) >= timerNumberOf(place);
}

function textOf(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
}

/** The number of the token that a timer, a place or a wake is. */
export function timerNumberOf(body: Uint8Array): number {
  const number = Number(textOf(body).split(" ")[0] || Number.NaN);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new AsyncError("undecodable", "a wake carries no timer number");
  return number;
}
