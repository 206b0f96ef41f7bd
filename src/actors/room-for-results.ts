import type { JobStore } from "../bus/store/job-store.ts";
import type { BookHost, ItemBook } from "./item-book.ts";

/** How often it is looked again. */
const LOOK_MS = 1_000;

/**
 * Whether more results may be stored; asked again and again as long as they may not.
 *
 * Once there was no room, there is none until what was read before has been read again: whoever had the job before may have stored the
 * end of an item meanwhile, which would be executed once more.
 */
export class RoomForResults {
  readonly #store: Pick<JobStore, "storage">;
  readonly #book: Pick<ItemBook, "readAgain">;
  readonly #host: Pick<BookHost, "onFault">;
  readonly #onLook: () => void;
  #isWaiting = false;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param book what was read before
   * @param onLook called a second after it was said that there is no room, and once there is
   */
  constructor(
    store: Pick<JobStore, "storage">,
    book: Pick<ItemBook, "readAgain">,
    host: Pick<BookHost, "onFault">,
    onLook: () => void,
  ) {
    this.#store = store;
    this.#book = book;
    this.#host = host;
    this.#onLook = onLook;
  }

  get isFull(): boolean {
    if (!this.#isWaiting && this.#store.storage?.full && !this.#isClosed) {
      this.#isWaiting = true;
      this.#lookSoon();
    }
    return this.#isWaiting;
  }

  #lookSoon(): void {
    this.#timer = setTimeout(() => this.#look().catch((error) => this.#host.onFault(error)), LOOK_MS);
  }

  async #look(): Promise<void> {
    if (this.#store.storage?.full) this.#lookSoon();
    else {
      await this.#book.readAgain();
      if (this.#isClosed) return;
      this.#isWaiting = false;
    }
    this.#onLook();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
