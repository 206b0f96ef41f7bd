import type { JobStore } from "../bus/store/job-store.ts";

/** How often it is looked again. */
const LOOK_MS = 1_000;

/** Whether more results may be stored; asked again and again as long as they may not. */
export class RoomForResults {
  readonly #store: Pick<JobStore, "storage">;
  readonly #onLook: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param onLook called a second after it was said that there is no room */
  constructor(store: Pick<JobStore, "storage">, onLook: () => void) {
    this.#store = store;
    this.#onLook = onLook;
  }

  get isFull(): boolean {
    if (!this.#store.storage?.full) return false;
    if (!this.#isClosed)
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#onLook();
      }, LOOK_MS);
    return true;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
