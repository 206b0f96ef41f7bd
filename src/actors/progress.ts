import { eventOf } from "../job/events.ts";
import type { Attempt } from "./attempt.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { sizeOf } from "./memory.ts";

/** Progress is told no more often than this; of what comes in between, the newest is told. */
const PAUSE_MS = 100;
/** Larger progress is not told: it goes to everybody who listens, and into stream EVENTS. */
const MAX_BYTES = 65_536;

/** Tells the progress of the attempts of one job, within limits: plain services send as much as they like. */
export class Progress {
  readonly #lifecycle: Lifecycle;
  /** Runs for a while after progress was told. */
  #pause: NodeJS.Timeout | undefined;
  #newest: { attempt: Attempt; progress: unknown } | undefined;

  constructor(lifecycle: Lifecycle) {
    this.#lifecycle = lifecycle;
  }

  tell(attempt: Attempt, progress: unknown): void {
    if (sizeOf(progress) > MAX_BYTES) return;
    if (this.#pause) {
      this.#newest = { attempt, progress };
      return;
    }
    const { index, attempt: number, functionName, job } = attempt;
    const about = { function: functionName, index, attempt: number };
    this.#lifecycle.emit("job", eventOf(job, Date.now(), { type: "progress", ...about, progress }));
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      const newest = this.#newest;
      this.#newest = undefined;
      if (newest && !newest.attempt.cancelled) this.tell(newest.attempt, newest.progress);
    }, PAUSE_MS);
  }

  close(): void {
    clearTimeout(this.#pause);
  }
}
