/** Retries the planned jobs by hand, each once when it has ended, and keeps a record of what came of it. */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "../../src/client/client.ts";
import { type ErrorCode, isAsyncError } from "../../src/job/errors.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import { Background } from "./background.ts";
import { type JobPlan, retryOf } from "./plan.ts";

/** So long a job may be unknown: it may never have been stored. */
const UNKNOWN_LIMIT_MS = 10_000;
/** So long is waited for its end. */
const WAIT_LIMIT_MS = 180_000;
const PAUSE_MS = 300;
/** The answer got lost: it may have been done or not. */
const UNCERTAIN: ReadonlySet<ErrorCode> = new Set([
  "bus_timeout",
  "not_connected",
  "no_responders",
  "jetstream_unavailable",
  "bus_overloaded",
]);

/** The last one: what an undo could not undo, with five attempts of it lost. */
const NOT_DONE: ReadonlySet<ErrorCode> = new Set(["newer_format", "job_not_ended", "job_ended", "undo_first"]);

export class Retrier {
  /** By job id: it was answered, or why not. */
  readonly outcomes = new Map<string, "answered" | ErrorCode>();
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #background = new Background();

  constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /** The job was submitted, as far as is known. */
  begin(plan: JobPlan): void {
    const patch = retryOf(plan);
    if (patch) this.#background.track(this.#retry(plan.id, { ...patch, by: "chaos" }));
  }

  /** Waits until all are through. @throws what failed first, if that was no fault of the bus */
  settle(): Promise<void> {
    return this.#background.settle();
  }

  async #retry(id: string, patch: RetryPatch): Promise<void> {
    if (!(await this.#hasEnded(id))) return;
    let outcome = await this.#ask(id, patch);
    // Only older supervisors were there to answer: they have done nothing.
    while (outcome === "newer_format") {
      await delay(PAUSE_MS, undefined, { signal: this.#signal });
      outcome = await this.#ask(id, patch);
    }
    this.outcomes.set(id, outcome);
  }

  async #ask(id: string, patch: RetryPatch): Promise<"answered" | ErrorCode> {
    try {
      await this.#client.retry(id, patch);
      return "answered";
    } catch (error) {
      // Where an answer got lost, the client asks again: then the job goes on already, or has ended once more.
      if (isAsyncError(error) && (UNCERTAIN.has(error.code) || NOT_DONE.has(error.code))) return error.code;
      throw error;
    }
  }

  async #hasEnded(id: string): Promise<boolean> {
    const begun = performance.now();
    const passedMs = () => performance.now() - begun;
    while (passedMs() < WAIT_LIMIT_MS) {
      try {
        await this.#client.wait(id, { timeoutMs: 20_000, signal: this.#signal });
        return true;
      } catch (error) {
        if (!isAsyncError(error) || this.#signal.aborted) throw error;
        if (error.code === "job_not_found" && passedMs() > UNKNOWN_LIMIT_MS) return false;
      }
      await delay(PAUSE_MS, undefined, { signal: this.#signal });
    }
    return false;
  }
}
