/**
 * What a job is defined to be, stored besides its state under a key of its own, `<id>.definition`. A long job is stored
 * without it at each step (`brief-state.ts`): while its submission is its token, that has it. A job that has parked has no
 * submission any more; from its wake on its states name the sequence of this.
 *
 * Example: a job of 500 functions parks in the middle. Its wake has the definition stored once, as large as the submission,
 * and the 250 steps to come are stored without it.
 *
 * DEFINITION-1  It is made once for each run of a job, as a retry by hand may change data and args, and is not changed while it
 *     may be named by a state: who finds one of the same run takes that, and replaces only those of earlier runs.
 * DEFINITION-2  It goes after the end of the run. Who ends it removes it; what is left by a crash or a cancellation is removed
 *     by the sweep, which looks at the definition first and at the state after that.
 */

import { isAsyncError } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";
import { documentOf } from "../../job/record.ts";
import type { JobState } from "../../job/state.ts";
import { decode, encode } from "../messages/codec.ts";

const SUFFIX = ".definition";

/** The key of the definition of a job in the bucket. */
export function definitionKey(jobId: string): string {
  return jobId + SUFFIX;
}

/** Whether a key of the bucket is that of something besides states: no id of a job has a dot. */
export function isPart(key: string): boolean {
  return key.includes(".");
}

/** The job that the definition under that key is of. */
export function ownerOfDefinition(key: string): string | undefined {
  const owner = key.endsWith(SUFFIX) ? key.slice(0, -SUFFIX.length) : undefined;
  // A signal may be named `definition`: its inbox ends like this, too.
  return owner !== undefined && !isPart(owner) ? owner : undefined;
}

/** The run of a job: which job of that id, and how often it has been retried by hand. */
type Run = Pick<JobState, "created_at" | "retries">;

/** As it is stored: the run, and what a submission would have said. */
export function packDefinition({ created_at, retries = 0, name, data, functions }: JobState): Uint8Array {
  const submission = encode({ name, data, functions: functions.map(documentOf) }, "msgpack");
  return encode({ created_at, retries, submission }, "msgpack");
}

/** What {@link packDefinition} has packed; undefined if it is something else. */
export function readDefinition(bytes: Uint8Array): (Run & { submission: Uint8Array }) | undefined {
  try {
    const value = bytes.length === 0 ? undefined : decode(bytes, "msgpack");
    if (!isRecord(value)) return undefined;
    const { created_at, retries, submission } = value;
    if (typeof created_at !== "number" || typeof retries !== "number") return undefined;
    return submission instanceof Uint8Array ? { created_at, retries, submission } : undefined;
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return undefined; // someone else has written it
  }
}

/** Below 0: `a` is an earlier run than `b`; 0: they are the same. */
export function compareRuns(a: Run, b: Run): number {
  return a.created_at - b.created_at || (a.retries ?? 0) - (b.retries ?? 0);
}
