/** What a handler throws to say more than "it failed", and what its signal may fire with. */

/** The function has failed for good: no further attempt is made. */
export class FatalError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FatalError";
  }
}

/** The attempt has failed; the next one, if `retry_limit` allows it, comes after `delayMs` instead of the backoff. */
export class RetryAfter extends Error {
  readonly delayMs: number;

  constructor(delayMs: number, message = `try again in ${delayMs} ms`, options?: ErrorOptions) {
    super(message, options);
    this.name = "RetryAfter";
    this.delayMs = delayMs;
  }
}

/**
 * The reason of a signal that fires because the attempt is to end, and its answer still counts: as the worker drains, or as the job
 * undoes what it has done. A handler that throws it has not failed.
 */
export class Interrupted extends Error {
  constructor(why: string) {
    super(why);
    this.name = "Interrupted";
  }
}
