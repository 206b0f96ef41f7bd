import type { Lifecycle, ReleaseReason } from "./lifecycle.ts";

/** Counts how jobs leave a supervisor that drains, to tell of it when it has. */
export class DrainCount {
  readonly #lifecycle: Lifecycle;
  readonly #begunAt = performance.now();
  readonly #jobs: number;
  readonly #left = new Map<ReleaseReason, number>();
  readonly #onReleased = (_: string, why: ReleaseReason) => {
    this.#left.set(why, (this.#left.get(why) ?? 0) + 1);
  };

  constructor(lifecycle: Lifecycle, jobs: number) {
    this.#lifecycle = lifecycle;
    this.#jobs = jobs;
    lifecycle.on("released", this.#onReleased);
    lifecycle.emit("notice", { what: `draining ${jobs} job(s)`, about: { jobs } });
  }

  end(): void {
    this.#lifecycle.off("released", this.#onReleased);
    const handedOn = this.#left.get("handed_over") ?? 0;
    const ended = this.#left.get("ended") ?? 0;
    const parked = this.#left.get("parked") ?? 0;
    const tookMs = Math.round(performance.now() - this.#begunAt);
    const what = `drained in ${tookMs} ms: ${handedOn} job(s) handed on, ${ended} ended, ${parked} parked`;
    this.#lifecycle.emit("notice", { what, about: { jobs: this.#jobs, handedOn, ended, parked, tookMs } });
  }
}
