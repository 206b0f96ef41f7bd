/** What was opened is closed in reverse order, once, whoever asks first: the end of a scenario, a failure, a signal. */
type Close = () => Promise<unknown> | unknown;

export class Scope {
  readonly #closes: Close[] = [];
  #closing: Promise<void> | undefined;

  /** To be closed before everything that was added earlier; at once, if the scope is closed already. */
  async add(close: Close): Promise<void> {
    this.#closes.push(close);
    if (this.#closing) await this.#closeAll();
  }

  /** Closes what there is, and tells of the first failure once everything else is closed as well. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (let close = this.#closes.pop(); close; close = this.#closes.pop()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
