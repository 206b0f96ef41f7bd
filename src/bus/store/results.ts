/**
 * Results of entries that are stored besides the state of their job, under `<id>.result.<index>`: the state names them (`apart`), and each
 * of its commits is as small as if they were not there. Only the owner of the job writes them, before the state that names them.
 *
 * Example: entry 3 returns 2 MB. `job-1.result.3` is stored, then the state that says "entry 3 has ended, with so many bytes".
 *
 * RESULTS-1  What is stored says whose it is: of which job with that id, of which run of the entry and which of its attempts. What is of
 *     another one counts as missing.
 * RESULTS-2  An owner that was paused does not replace what the next one has stored: what is there is replaced on the sequence with which it
 *     was read, after a look at the job that has shown that it is still ours.
 * RESULTS-3  They are kept for as long as the state of their job. What a crash has left behind is removed by the sweep.
 */
import { LostValue } from "../../job/expression-error.ts";
import { type FunctionState, hasItems } from "../../job/function-state.ts";
import { functionAt, type JobState } from "../../job/state.ts";
import { isTime } from "../../job/time.ts";
import { decodePart, encode } from "../messages/codec.ts";
import { isTooLarge, isWrongSequence } from "../wire/jetstream.ts";
import { readItemResults } from "./item-store.ts";
import type { JobStore } from "./job-store.ts";

const MIDDLE = ".result.";

export function resultKey(jobId: string, index: number): string {
  return `${jobId}${MIDDLE}${index}`;
}

/** The job and the entry that the result under that key is of; undefined if it is something else. */
export function resultOf(key: string): { jobId: string; index: number } | undefined {
  const [jobId = "", kind, index = "", ...more] = key.split(".");
  const isOne = kind === "result" && jobId !== "" && /^\d{1,9}$/.test(index) && more.length === 0;
  return isOne ? { jobId, index: Number(index) } : undefined;
}

/** RESULTS-1 */
export interface ResultOwner {
  created_at: number;
  runs: number;
  attempt: number;
}

export function ownerOf({ created_at }: Pick<JobState, "created_at">, fn: FunctionState): ResultOwner {
  return { created_at, runs: fn.runs ?? 0, attempt: fn.retry_count };
}

export function packResult({ created_at, runs, attempt }: ResultOwner, value: unknown): Uint8Array {
  return encode([created_at, runs, attempt, value], "msgpack");
}

/** What {@link packResult} has packed; undefined if it is something else, as someone else has written it. */
export function readResult(bytes: Uint8Array): (ResultOwner & { value: unknown }) | undefined {
  const stored = decodePart(bytes);
  if (!Array.isArray(stored) || stored.length !== 4) return undefined;
  const [created_at, runs, attempt, value] = stored as unknown[];
  if (!isTime(created_at) || typeof runs !== "number" || typeof attempt !== "number") return undefined;
  return { created_at, runs, attempt, value };
}

function isSameOwner(a: ResultOwner, b: ResultOwner): boolean {
  return a.created_at === b.created_at && a.runs === b.runs && a.attempt === b.attempt;
}

export interface StoreOutcome {
  /** `others`: the job has another owner by now, so it is not stored. `refused`: it does not fit into a message, and never will. */
  type: "stored" | "others" | "refused";
  /** Of what is stored. */
  bytes?: number;
}

/**
 * Stores the result of an entry that has ended, as the state says that is to be committed next.
 *
 * @param isOurs whether nobody else has written the job since (RESULTS-2)
 * @throws AsyncError of the bus: it may be stored, or not
 */
export async function storeResult(
  store: JobStore,
  job: JobState,
  index: number,
  isOurs: () => Promise<boolean>,
): Promise<StoreOutcome> {
  const fn = functionAt(job, index);
  const key = resultKey(job.job_id, index);
  const body = packResult(ownerOf(job, fn), fn.result);
  let after = 0;
  for (;;) {
    try {
      await store.putPart(key, body, after);
      return { type: "stored", bytes: body.length };
    } catch (error) {
      if (isTooLarge(error)) return { type: "refused" };
      if (!isWrongSequence(error)) throw error;
    }
    after = (await store.part(key))?.sequence ?? 0;
    if (!(await isOurs())) return { type: "others" };
  }
}

/** The result of an entry that is stored so; undefined if it is not there (RESULTS-1). @throws AsyncError of the bus */
export async function loadResult(
  store: JobStore,
  job: JobState,
  index: number,
): Promise<{ value: unknown } | undefined> {
  const part = await store.part(resultKey(job.job_id, index));
  const found = part && readResult(part.data);
  return found && isSameOwner(found, ownerOf(job, functionAt(job, index))) ? found : undefined;
}

/**
 * Results of items that are read together have at most so many bytes: there may be a million of them, and all would be in memory at the
 * same time.
 */
const MAX_TOGETHER_BYTES = 64 * 1024 ** 2;

/**
 * The result of an entry that is stored besides the job, by itself or in the parts of its items; or why it cannot be had.
 *
 * @param most bytes of results of items that are of use to who asks
 * @throws AsyncError of the bus
 */
export async function loadAny(
  store: JobStore,
  job: JobState,
  index: number,
  most = MAX_TOGETHER_BYTES,
): Promise<{ value: unknown } | LostValue> {
  const fn = functionAt(job, index);
  if (!hasItems(fn)) return (await loadResult(store, job, index)) ?? new LostValue(index);
  const { apart: bytes = 0 } = fn;
  const limit = Math.min(most, MAX_TOGETHER_BYTES);
  if (bytes > limit) return new LostValue(index, { bytes, most: limit });
  return { value: await readItemResults(store, job, index) };
}

/** Whether a result that was found is the one that the state names. */
export function isNamed(job: JobState, index: number, bytes: Uint8Array): boolean {
  const fn = job.functions.at(index);
  const found = fn?.apart === undefined ? undefined : readResult(bytes);
  return fn !== undefined && found !== undefined && isSameOwner(found, ownerOf(job, fn));
}
