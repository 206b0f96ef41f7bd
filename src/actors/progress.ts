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
  readonly #newest = new Map<Attempt, unknown>();

  constructor(lifecycle: Lifecycle) {
    this.#lifecycle = lifecycle;
  }

  /** Returns false if it is too large to be told. */
  tell(attempt: Attempt, progress: unknown): boolean {
    if (sizeOf(progress) > MAX_BYTES) return false;
    if (this.#pause) this.#newest.set(attempt, progress);
    else {
      this.#tell(attempt, progress);
      this.#pause = setTimeout(() => this.#tellNewest(), PAUSE_MS);
    }
    return true;
  }

  #tell(attempt: Attempt, progress: unknown): void {
    const { index, attempt: number, functionName, job } = attempt;
    const about = { function: functionName, index, attempt: number };
    this.#lifecycle.emit("job", eventOf(job, Date.now(), { type: "progress", ...about, progress }));
  }

  #tellNewest(): void {
    this.#pause = undefined;
    const newest = [...this.#newest].filter(([attempt]) => !attempt.cancelled);
    this.#newest.clear();
    if (newest.length === 0) return;
    for (const [attempt, progress] of newest) this.#tell(attempt, progress);
    this.#pause = setTimeout(() => this.#tellNewest(), PAUSE_MS);
  }

  close(): void {
    clearTimeout(this.#pause);
  }
}
