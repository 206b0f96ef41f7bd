/** The parts of an entry whose items may begin, and which of them is the next: in order, each once. */
import { PART_ITEMS } from "../job/items-state.ts";
import type { Page } from "./item-book.ts";

export class ItemQueue {
  readonly #pages: Page[] = [];
  /** Where in the first of them. */
  #offset = 0;
  #ahead = 0;

  /** How many items there are that have not been looked at. */
  get ahead(): number {
    return this.#ahead;
  }

  /** @param size how many items of it there are */
  push(page: Page, size: number): void {
    if (this.#pages.length === 0) this.#offset = 0;
    this.#pages.push(page);
    this.#ahead += size;
  }

  /** There are more items than before: those from number `from` on, up to `to`. */
  grow(from: number, to: number): void {
    for (const { part } of this.#pages) {
      const { first } = part;
      this.#ahead += Math.max(0, Math.min(to, first + PART_ITEMS) - Math.max(from, first));
    }
  }

  /**
   * The next item that has not ended.
   *
   * @param sizeOf how many items of a part there are; of the last one there may be more, if `mayGrow`
   */
  next(sizeOf: (part: number) => number, mayGrow: boolean): { page: Page; offset: number } | undefined {
    for (let page = this.#pages[0]; page; page = this.#pages[0]) {
      const { part } = page;
      const size = sizeOf(part.number);
      while (this.#offset < size) {
        const offset = this.#offset++;
        this.#ahead -= 1;
        if (part.isOpen(offset)) return { page, offset };
      }
      if (size < PART_ITEMS && mayGrow) return undefined;
      this.#pages.shift();
      this.#offset = 0;
    }
    return undefined;
  }
}
