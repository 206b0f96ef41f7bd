/** Waking a job that rests outside of memory, before its timer does it: the wake of its token is published directly. */
import { wakeSubject } from "../../api/subjects.ts";
import { isAsyncError } from "../../job/errors.ts";
import type { Bus } from "../connection.ts";
import { readLast, readNext } from "../store/stream-read.ts";
import { TIMERS } from "../topology.ts";
import { expectSequence } from "../wire/headers.ts";
import { isWrongSequence } from "../wire/jetstream.ts";
import { isSameOrNewer, type TokenOwner, tokenBody } from "./timers.ts";

/**
 * What became of it. `there`: the job has the wake of this token, or a newer one. `not yet`: it has that of an older one, as it is still
 * leaving the memory of a supervisor, or that supervisor has died; it is to be tried again.
 */
export type Wake = "stored" | "there" | "not yet";

/**
 * A job has at most one wake at a time, so this may be repeated, and done by several.
 *
 * @param token what the wake says: see `tokenBody`
 * @throws AsyncError of the bus: the outcome is unknown, repeat it
 */
export async function publishWake(bus: Bus, jobId: string, token: Uint8Array): Promise<Wake> {
  const wake = wakeSubject(jobId);
  try {
    await bus.mux.publish(wake, token, expectSequence(0));
    return "stored";
  } catch (error) {
    if (!isWrongSequence(error)) throw error;
  }
  const other = await readLast(bus, TIMERS, wake);
  return other && isAtLeast(other.data, token) ? "there" : "not yet";
}

/** Anyone may have published what is there: it is dropped by the supervisor that gets it. */
function isAtLeast(wake: Uint8Array, token: Uint8Array): boolean {
  try {
    return isSameOrNewer(wake, token);
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return false;
  }
}

/**
 * Whether an older message is the same wake: a token may be a timer and several places, and each of them turns into one. The oldest is
 * the lease of the job, so that two supervisors never take it over from each other.
 *
 * @param number of the token; `sequence` that of the message in stream TIMERS
 * @throws AsyncError of the bus
 */
export async function hasOlderWake(bus: Bus, job: TokenOwner, number: number, sequence: number): Promise<boolean> {
  const body = tokenBody(job, number);
  for (let from = 1; from < sequence; ) {
    const wake = await readNext(bus, TIMERS, from, wakeSubject(job.job_id));
    if (!wake || wake.sequence >= sequence) return false;
    if (Buffer.from(wake.data).toString() === body) return true;
    from = wake.sequence + 1;
  }
  return false;
}
