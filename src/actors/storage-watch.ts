/**
 * Tells of what storage does to jobs: that ended ones are kept for less long, that new ones are not taken, and that a stream
 * takes no writes at all, each once per spell.
 *
 * Whether a stream takes writes is only asked when something could not be written, and no more often than each `PROBE_MS`.
 */
import type { WriteProbe } from "../bus/write-probe.ts";
import type { Lifecycle, Trouble } from "./lifecycle.ts";

const PROBE_MS = 5_000;
/** It is told when ended jobs are kept for less than this share of the time for which they are kept where there is room. */
const SHORTENED = 0.5;

export class StorageWatch {
  readonly #lifecycle: Lifecycle;
  readonly #probe: WriteProbe;
  readonly #retentionMs: number;
  readonly #onTrouble = ({ isOver }: Trouble) => {
    // Troubles that last are of what is written or read again and again.
    if (isOver) void this.#look();
  };
  #probedAt = Number.NEGATIVE_INFINITY;
  #problem: string | undefined;
  #shortened = false;

  constructor(lifecycle: Lifecycle, probe: WriteProbe, retentionMs: number) {
    this.#lifecycle = lifecycle;
    this.#probe = probe;
    this.#retentionMs = retentionMs;
    lifecycle.on("trouble", this.#onTrouble);
  }

  /** Ended jobs are kept for so long from now on. */
  onRetention(ms: number): void {
    const about = { keptMs: Math.round(ms), retentionMs: this.#retentionMs };
    if (!this.#shortened && ms < this.#retentionMs * SHORTENED) {
      this.#shortened = true;
      const next = "raise the max_bytes of stream KV_jobs if they are needed for longer";
      const what = `the bucket of states fills up: jobs that end are kept for ${inWords(ms)} instead of ${inWords(this.#retentionMs)}; ${next}`;
      this.#lifecycle.emit("notice", { what, about });
    } else if (this.#shortened && ms >= this.#retentionMs) {
      this.#shortened = false;
      this.#lifecycle.emit("notice", { what: `jobs that end are kept for ${inWords(ms)} again`, about });
    }
  }

  /** New jobs are refused, or taken again. `isFull` says which at any time. */
  onFull(full: boolean, fill: number, isFull: () => boolean): void {
    const what = `the bucket of states is ${Math.round(100 * fill)} % full`;
    if (full) {
      const next = "ended jobs expire sooner now; raise the bucket's max_bytes if this lasts";
      const kind = "the bucket of states is full";
      this.#lifecycle.emit("trouble", {
        what: `${what}, no new jobs are taken: ${next}`,
        kind,
        isOver: () => !isFull(),
      });
    } else this.#lifecycle.emit("notice", { what: `${what}, new jobs are taken again`, about: { fill } });
  }

  close(): void {
    this.#lifecycle.off("trouble", this.#onTrouble);
  }

  async #look(): Promise<void> {
    const now = performance.now();
    if (now - this.#probedAt < PROBE_MS) return;
    this.#probedAt = now;
    const problems = await this.#probe.problems();
    this.#problem = problems.length === 0 ? undefined : problems.join("; ");
    if (this.#problem === undefined) return;
    const kind = "a stream takes no writes";
    // No isOver: it is looked at again when there is more trouble.
    this.#lifecycle.emit("trouble", { what: this.#problem, kind });
  }
}

/** @example inWords(90_000) // "90 s" */
function inWords(ms: number): string {
  const units: [number, string][] = [
    [86_400_000, "days"],
    [3_600_000, "h"],
    [60_000, "min"],
  ];
  for (const [size, unit] of units) if (ms >= 2 * size) return `${Math.round(ms / size)} ${unit}`;
  return `${Math.round(ms / 1_000)} s`;
}
