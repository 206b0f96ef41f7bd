/**
 * A Map for thousands of entries a second, each of which stays for milliseconds.
 *
 * A Map of V8 makes a new table whenever as many entries have been deleted as fit into one. The old table keeps the entries
 * that it had, and points to the next table. Once a table has got into the old generation, it keeps all tables after it,
 * and what they refer to, alive until the next full collection. So with a Map, most of what belongs to a job was copied and
 * promoted, though it was garbage a moment later: 3 ms for each small collection, and a full one every 2.5 s that stopped
 * everything for 20 ms (measured). Here the table keeps numbers only. The values are in an array, and are taken out of it
 * when they are deleted.
 */
export class Registry<V extends object> {
  readonly #indexes = new Map<string, number>();
  readonly #values: (V | undefined)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#indexes.size;
  }

  has(key: string): boolean {
    return this.#indexes.has(key);
  }

  get(key: string): V | undefined {
    const index = this.#indexes.get(key);
    return index === undefined ? undefined : this.#values[index];
  }

  set(key: string, value: V): void {
    const index = this.#indexes.get(key) ?? this.#free.pop() ?? this.#values.length;
    this.#indexes.set(key, index);
    this.#values[index] = value;
  }

  delete(key: string): boolean {
    const index = this.#indexes.get(key);
    if (index === undefined) return false;
    this.#indexes.delete(key);
    this.#values[index] = undefined;
    this.#free.push(index);
    return true;
  }

  /** In no particular order. Entries may come and go meanwhile: those that come may be among them or not. */
  *values(): Generator<V> {
    for (const value of this.#values) if (value) yield value;
  }
}
