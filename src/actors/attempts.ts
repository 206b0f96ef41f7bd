import type { EncodedResults } from "../bus/messages/invocation.ts";
import type { EntryInput } from "../job/input.ts";
import type { AttemptAddress, LiveJob } from "../job/state.ts";
import type { Attempt, AttemptListener } from "./attempt.ts";
import type { Dispatcher } from "./dispatcher.ts";

/** The attempts of one job that are in line or in flight: one in a chain. */
export class Attempts {
  /** By index: an entry has one at a time. */
  readonly #all = new Map<number, Attempt>();
  /** Gone from here as soon as that attempt has been held back, or has failed: maybe before it is known which one it is. */
  #dispatching: AttemptAddress | undefined;

  get inFlight(): boolean {
    for (const attempt of this.#all.values()) if (attempt.inFlight) return true;
    return false;
  }

  has(address: AttemptAddress): boolean {
    return this.#all.get(address.index)?.has(address) ?? false;
  }

  dispatch(
    dispatcher: Dispatcher,
    job: LiveJob,
    address: AttemptAddress,
    listener: AttemptListener,
    results?: EncodedResults,
    input?: EntryInput,
  ): void {
    this.#dispatching = address;
    const attempt = dispatcher.dispatch(job, address, listener, results, input);
    if (this.#dispatching !== address) return;
    this.#dispatching = undefined;
    this.#all.set(address.index, attempt);
  }

  /** It has come to its end, or was held back. */
  delete({ index, attempt }: AttemptAddress): void {
    if (this.#dispatching?.index === index && this.#dispatching.attempt === attempt) this.#dispatching = undefined;
    if (this.has({ index, attempt })) this.#all.delete(index);
  }

  /** Nobody waits for their outcomes any more. */
  cancel(): void {
    for (const attempt of this.#all.values()) attempt.cancel();
    this.#all.clear();
  }
}
