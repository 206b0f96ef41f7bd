/** Bytes that are appended to, and read as a whole time and again. */
export class GrowingBytes {
  #bytes = Buffer.alloc(1_024);
  #length = 0;

  append(more: Uint8Array): void {
    const length = this.#length + more.length;
    if (length > this.#bytes.length) {
      const larger = Buffer.alloc(2 * length);
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(more, this.#length);
    this.#length = length;
  }

  /** All of them. To be copied before the next `append` if it is to be kept. */
  get all(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
