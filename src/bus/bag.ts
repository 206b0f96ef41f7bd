/** Knows its place in a bag; undefined while it is in none. */
export interface Placed {
  place: number | undefined;
}

/** A set of things that are in no other one at the same time, without a table (`registry.ts` says why). */
export class Bag<T extends Placed> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: T): void {
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** Returns false if it is not in here. */
  delete(item: T): boolean {
    const { place } = item;
    if (place === undefined || this.#items[place] !== item) return false;
    const last = this.#items.pop() as T;
    if (last !== item) {
      this.#items[place] = last;
      last.place = place;
    }
    item.place = undefined;
    return true;
  }

  clear(): void {
    for (const item of this.#items) item.place = undefined;
    this.#items.length = 0;
  }

  /** The older ones first, by and large. What one comes to may be deleted; if another one is, the newest may be passed over. */
  *[Symbol.iterator](): Generator<T> {
    for (let place = 0; place < this.#items.length; ) {
      const item = this.#items[place] as T;
      yield item;
      if (this.#items[place] === item) place += 1;
    }
  }
}
