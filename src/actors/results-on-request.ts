/**
 * Results that are stored besides their jobs, for those who ask for them, or change a job by hand. Who has the job sees to them with
 * `stored-results.ts`.
 */
import type { ResultReply } from "../api/requests.ts";
import type { JobStore } from "../bus/store/job-store.ts";
import { isNamed, loadAny, resultKey, storeResult } from "../bus/store/results.ts";
import { asApart } from "../job/apart.ts";
import { AsyncError } from "../job/errors.ts";
import { LostValue } from "../job/expression-error.ts";
import { hasItems } from "../job/function-state.ts";
import { reduce } from "../job/machine.ts";
import { toJsonValue } from "../job/plain.ts";
import { planOf } from "../job/plan.ts";
import { functionAt, type Graph, isEnded, isGraph, type JobState } from "../job/state.ts";
import type { Event, Transition } from "../job/transition.ts";
import { MissingValue } from "../job/values.ts";
import { largestInline } from "./refusal.ts";

/** As JSON a result may have no more than this part of the bytes that it has in MessagePack. */
const LEAST_SHARE = 1 / 4;

export class ResultsOnRequest {
  readonly #store: JobStore;
  readonly #maxBytes: () => number;

  /** @param maxBytes of an answer */
  constructor(store: JobStore, maxBytes: () => number) {
    this.#store = store;
    this.#maxBytes = maxBytes;
  }

  /**
   * The result of an entry by its id or index; without one that of the job, which is that of its last entry.
   *
   * @throws AsyncError `no_entry`, `job_not_ended` (it has not, or its entry), `job_ended` (it has failed, or its entry), `corrupt_state` if
   * the result is gone, `payload_too_large`, or of the bus
   */
  async answer(job: JobState, entry?: string | number): Promise<ResultReply> {
    const index = entry === undefined ? job.functions.length - 1 : indexOfEntry(job, entry);
    if (entry === undefined) requireCompleted(job);
    const fn = functionAt(job, index);
    if (fn.finished_at === undefined) throw withoutResult(job, entry ?? index);
    if (hasItems(fn) && (fn.apart ?? 0) > this.#maxBytes()) throw tooManyResults(job, index);
    const value = fn.apart === undefined ? (fn.result ?? null) : await this.#load(job, index);
    return {
      job_id: job.job_id,
      index,
      ...(fn.id !== undefined && { id: fn.id }),
      result: toJsonValue(value, job.encoding),
    };
  }

  async #load(job: JobState, index: number): Promise<unknown> {
    // Those of items may be many times what fits: they are not even read then.
    const found = await loadAny(this.#store, job, index, this.#maxBytes() / LEAST_SHARE);
    if (found instanceof LostValue) throw new AsyncError(found.code, `of job ${job.job_id} ${found.message}`);
    return found.value;
  }

  /** What the machine makes of an event, which may have to look at results. @throws AsyncError of the bus */
  async reduce(job: JobState, event: Event, now: number): Promise<Transition> {
    const plan = isGraph(job) ? planOf(job.functions) : undefined;
    for (;;) {
      try {
        return reduce(job, event, now, plan);
      } catch (error) {
        if (!(error instanceof MissingValue) || !plan) throw error;
        const found = await loadAny(this.#store, { ...job, functions: error.functions }, error.index);
        plan.loaded.set(error.index, found instanceof LostValue ? found : found.value);
      }
    }
  }

  /**
   * The same job with its largest result besides it, where it has one: it is a few bytes too long for a message.
   *
   * @param isOurs whether nobody else has written it since. @throws AsyncError of the bus
   */
  async lighter(job: JobState & Graph, isOurs: () => Promise<boolean>): Promise<JobState> {
    const [index] = largestInline(job);
    if (index === undefined) return job;
    const { type, bytes = 0 } = await storeResult(this.#store, job, index, isOurs);
    if (type !== "stored") return job;
    return { ...job, functions: job.functions.with(index, asApart(functionAt(job, index), bytes)) };
  }

  /**
   * What a job leans on that is to be retried is kept for as long as that takes, not for as long as the one that had ended. To be called
   * before the retry is stored: if nothing comes of it, the sweep has them expire again.
   *
   * @throws AsyncError of the bus
   */
  async keep(job: Graph): Promise<void> {
    for (let index = 0; index < job.functions.length; index++) {
      const fn = functionAt(job, index);
      if (fn.apart === undefined || hasItems(fn)) continue;
      const key = resultKey(job.job_id, index);
      const part = await this.#store.part(key);
      if (part && isNamed(job, index, part.data)) await this.#store.putPart(key, part.data, part.sequence);
    }
  }
}

/** Where the entry with that id, or index, is. @throws AsyncError `no_entry` */
export function indexOfEntry({ job_id, functions }: JobState, entry: string | number): number {
  const index = typeof entry === "number" ? entry : [...functions].findIndex(({ id }) => id === entry);
  if (index >= 0 && index < functions.length) return index;
  throw new AsyncError(
    "no_entry",
    `job ${job_id} has no entry ${entry}; there are ${functions.length}, from 0 on, or by id`,
  );
}

/** @throws AsyncError `job_not_ended`, `job_ended` */
function requireCompleted(job: JobState): void {
  if (job.state === "completed") return;
  if (!isEnded(job)) throw new AsyncError("job_not_ended", `job ${job.job_id} has no result yet: it is ${job.state}`);
  const next = "those of its entries can be had one by one";
  throw new AsyncError("job_ended", `job ${job.job_id} has no result, as it is ${job.state}; ${next}`);
}

function withoutResult(job: JobState, entry: string | number): AsyncError {
  if (isEnded(job))
    return new AsyncError("job_ended", `entry ${entry} of job ${job.job_id} has ended without a result`);
  return new AsyncError("job_not_ended", `entry ${entry} of job ${job.job_id} has no result yet`);
}

function tooManyResults({ job_id: id, functions }: JobState, index: number): AsyncError {
  const entry = functions.at(index)?.id ?? index;
  const what = `the results of the items of entry ${entry} of job ${id} do not fit into one answer`;
  const next = `read them in pages: async items ${id} ${entry}, or GET /v1/job/${id}/items/${entry}`;
  return new AsyncError("payload_too_large", `${what}; ${next}`);
}
