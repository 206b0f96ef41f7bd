/** A first-in first-out queue. What was taken too early can be given back and then comes before the rest. */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  /** What was given back, the first to be served at the end. */
  readonly #returned: T[] = [];
  readonly #rank: (item: T) => number;

  /** `rank` grows from item to item in the order in which they are pushed. */
  constructor(rank: (item: T) => number) {
    this.#rank = rank;
  }

  get size(): number {
    return this.#returned.length + this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  giveBack(item: T): void {
    const rank = this.#rank(item);
    let index = this.#returned.length;
    while (index > 0 && this.#rank(this.#returned[index - 1] as T) <= rank) index -= 1;
    this.#returned.splice(index, 0, item);
  }

  peek(): T | undefined {
    return this.#returned.at(-1) ?? this.#items[this.#head];
  }

  /** Takes out those that are not wanted any more. */
  keepOnly(isWanted: (item: T) => boolean): void {
    const returned = this.#returned.filter(isWanted);
    this.#returned.length = 0;
    for (const item of returned) this.#returned.push(item);
    this.#items = (this.#items.slice(this.#head) as T[]).filter(isWanted);
    this.#head = 0;
  }

  /** Takes out all but the first `keep`; returns them in order. */
  cut(keep: number): T[] {
    const inOrder = [...this.#returned.reverse(), ...(this.#items.slice(this.#head) as T[])];
    this.#returned.length = 0;
    this.#items = inOrder.slice(0, keep);
    this.#head = 0;
    return inOrder.slice(keep);
  }

  shift(): T | undefined {
    const returned = this.#returned.pop();
    if (returned !== undefined) return returned;
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
