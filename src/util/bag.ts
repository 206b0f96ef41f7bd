/** Knows where it is in a bag; undefined while it is in none. */
export interface Bagged {
  bagIndex: number | undefined;
}

/** A set of things that are in no other one at the same time, without a table (`registry.ts` says why). */
export class Bag<T extends Bagged> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: T): void {
    item.bagIndex = this.#items.length;
    this.#items.push(item);
  }

  /** Returns false if it is not in here. */
  delete(item: T): boolean {
    const { bagIndex: index } = item;
    if (index === undefined || this.#items[index] !== item) return false;
    const last = this.#items.pop() as T;
    if (last !== item) {
      this.#items[index] = last;
      last.bagIndex = index;
    }
    item.bagIndex = undefined;
    return true;
  }

  clear(): void {
    for (const item of this.#items) item.bagIndex = undefined;
    this.#items.length = 0;
  }

  /** The older ones first, by and large. What one comes to may be deleted; if another one is, the newest may be passed over. */
  *[Symbol.iterator](): Generator<T> {
    for (let index = 0; index < this.#items.length; ) {
      const item = this.#items[index] as T;
      yield item;
      if (this.#items[index] === item) index += 1;
    }
  }
}
