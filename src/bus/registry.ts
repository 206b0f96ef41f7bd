/**
 * A Map for thousands of entries a second that stay for milliseconds. That of V8 gets a new table whenever as many have
 * been deleted as fit into one. The old one keeps what was in it then, and leads to its successors; once one of them has got
 * into the old generation, it keeps all of it alive until the next full collection. So most of what belongs to a job, which
 * is garbage a moment later, was copied and promoted: 3 ms for each small collection, and a full one every 2.5 s, with
 * pauses of 20 ms. Here a table keeps numbers only; the values are in an array, from which they are gone when they are.
 */
export class Registry<V extends object> {
  readonly #places = new Map<string, number>();
  readonly #values: (V | undefined)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#places.size;
  }

  has(key: string): boolean {
    return this.#places.has(key);
  }

  get(key: string): V | undefined {
    const place = this.#places.get(key);
    return place === undefined ? undefined : this.#values[place];
  }

  set(key: string, value: V): void {
    const place = this.#places.get(key) ?? this.#free.pop() ?? this.#values.length;
    this.#places.set(key, place);
    this.#values[place] = value;
  }

  delete(key: string): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#places.delete(key);
    this.#values[place] = undefined;
    this.#free.push(place);
    return true;
  }

  /** In no particular order. Entries may come and go meanwhile: those that come may be among them or not. */
  *values(): Generator<V> {
    for (const value of this.#values) if (value) yield value;
  }
}
