import { timerMs } from "../job/time.ts";

/** What an actor waits for by the clock: when something is due, and the deadline of its job. */
export class ActorTimers {
  readonly #onDue: () => void;
  readonly #onDeadline: () => void;
  /** Runs while the job rests in memory, or something of it does. */
  #due: NodeJS.Timeout | undefined;
  /** Runs while an attempt does, if the job has a deadline. */
  #deadline: NodeJS.Timeout | undefined;

  constructor(onDue: () => void, onDeadline: () => void) {
    this.#onDue = onDue;
    this.#onDeadline = onDeadline;
  }

  /** Tells once at `until` (ms since 1970), or earlier if it is further ahead than a timer reaches. It replaces the one before. */
  dueAt(until: number): void {
    clearTimeout(this.#due);
    this.#due = setTimeout(this.#onDue, timerMs(until - Date.now()));
  }

  /** Tells once when the deadline has passed. */
  watchDeadline(deadline: number | undefined): void {
    if (deadline === undefined || this.#deadline) return;
    this.#deadline = setTimeout(
      () => {
        this.#deadline = undefined;
        if (Date.now() >= deadline) this.#onDeadline();
        else this.watchDeadline(deadline);
      },
      timerMs(deadline - Date.now()),
    );
  }

  close(): void {
    clearTimeout(this.#due);
    clearTimeout(this.#deadline);
  }
}
