/** Work that is begun and not waited for at once. What fails first is kept until somebody asks. */
export class Background {
  readonly #underWay = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;

  track(work: Promise<void>): void {
    const tracked = work
      .catch((error) => {
        this.#failure ??= { error };
      })
      .then(() => void this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
  }

  /** @throws what failed first */
  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Waits until everything is through. @throws what failed first */
  async settle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
    this.throwIfFailed();
  }
}
