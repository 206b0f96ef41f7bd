/** Many durations in little memory: the HDR histogram of node, with three significant digits. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { median } from "./measure.ts";

/** An hour: longer ones count as that. */
const HIGHEST_US = 3_600_000_000;

export interface Percentiles {
  count: number;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
}

export class Latencies {
  /** In µs, as it takes integers only. */
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: HIGHEST_US, figures: 3 });

  record(ms: number): void {
    this.#histogram.record(Math.min(HIGHEST_US, Math.max(1, Math.round(ms * 1_000))));
  }

  /** NaN where nothing was recorded. */
  percentiles(): Percentiles {
    const { count } = this.#histogram;
    const at = (percent: number) => (count === 0 ? Number.NaN : this.#histogram.percentile(percent) / 1_000);
    // The histogram's own maximum is exact; a percentile is the upper end of its bucket and may lie above it.
    const maxMs = count === 0 ? Number.NaN : this.#histogram.max / 1_000;
    const below = (percent: number) => Math.min(at(percent), maxMs);
    return { count, p50Ms: below(50), p99Ms: below(99), p999Ms: below(99.9), maxMs };
  }
}

/** Of rounds: the medians of the percentiles of each, the longest of all, and how many there are in all. */
export function medianPercentiles(rounds: readonly Latencies[]): Percentiles {
  const each = rounds.map((round) => round.percentiles());
  const medianOf = (key: keyof Percentiles) => median(each.map((one) => one[key]));
  return {
    count: each.reduce((sum, { count }) => sum + count, 0),
    p50Ms: medianOf("p50Ms"),
    p99Ms: medianOf("p99Ms"),
    p999Ms: medianOf("p999Ms"),
    maxMs: Math.max(...each.map(({ maxMs }) => maxMs)),
  };
}

/** The columns of a table that show percentiles. */
export const PERCENTILE_COLUMNS = [
  { key: "count", title: "jobs" },
  { key: "p50Ms", title: "p50 ms", digits: 2 },
  { key: "p99Ms", title: "p99 ms", digits: 2 },
  { key: "p999Ms", title: "p99.9 ms", digits: 2 },
  { key: "maxMs", title: "max ms", digits: 2 },
];
