/**
 * Submits the planned jobs, spread over the time of the run, and keeps the ledger: which of them were acknowledged.
 *
 * LEDGER-1  A job is `acknowledged` only when the client said so: from then on it must not be lost.
 * LEDGER-2  A job whose outcome the client could not find out in its time is `unknown`: it may exist or not.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "../../src/client/client.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import { Background } from "./background.ts";
import { type JobPlan, submissionOf } from "./plan.ts";

/** How long the client tries under the same id; shorter than the longer outages, so that some outcomes stay unknown. */
const SUBMIT_LIMIT_MS = 4_000;
const TICK_MS = 20;

export class Ledger {
  /** When the acknowledgement came, by job id. */
  readonly acknowledged = new Map<string, number>();
  /** The code of the last error, by job id. */
  readonly unknown = new Map<string, string>();
  /** Jobs that were submitted twice. */
  repeated = 0;
  readonly #client: Client;
  readonly #background = new Background();

  readonly #onSubmitted: (plan: JobPlan) => void;

  /** @param onSubmitted told of each job once, when it was submitted, also where the outcome is not known */
  constructor(client: Client, onSubmitted: (plan: JobPlan) => void = () => {}) {
    this.#client = client;
    this.#onSubmitted = onSubmitted;
  }

  /** Resolves when each of the jobs is in the ledger and every repetition is through. */
  async submitAll(plans: JobPlan[], durationMs: number, signal: AbortSignal): Promise<void> {
    const begun = performance.now();
    for (let next = 0; next < plans.length; ) {
      const due = Math.ceil(((performance.now() - begun) / durationMs) * plans.length);
      for (const plan of plans.slice(next, due)) this.#background.track(this.#submit(plan, signal));
      next = Math.max(next, due);
      await delay(TICK_MS, undefined, { signal });
      this.#background.throwIfFailed();
    }
    await this.#background.settle();
  }

  async #submit(plan: JobPlan, signal: AbortSignal): Promise<void> {
    const error = await this.#try(plan);
    this.#onSubmitted(plan);
    if (error !== undefined) {
      this.unknown.set(plan.id, error);
      return;
    }
    this.acknowledged.set(plan.id, Date.now());
    if (plan.repeatAfterMs === undefined) return;
    await delay(plan.repeatAfterMs, undefined, { signal });
    // Whatever comes of it: the job is acknowledged.
    await this.#try(plan);
    this.repeated += 1;
  }

  /** The code of the error if the outcome is not known. */
  async #try(plan: JobPlan): Promise<string | undefined> {
    try {
      const submission = submissionOf(plan, Date.now());
      await this.#client.submit(submission, { jobId: plan.id, encoding: plan.encoding, timeoutMs: SUBMIT_LIMIT_MS });
      return undefined;
    } catch (error) {
      if (isAsyncError(error) && error.code !== "invalid_submission") return error.code;
      throw error;
    }
  }
}
