/**
 * How fast a cost grows: the exponent b of cost = a · n^b, which in a log-log plot is the slope of a straight line. It is
 * fitted by least squares to the upper half of the range, because at its lower end what every job costs hides the rest.
 *
 *   b = Σ(x − x̄)(y − ȳ) / Σ(x − x̄)²,   x = ln n, y = ln cost
 *   its standard error = √( Σ(y − ŷ)² / (k − 2) / Σ(x − x̄)² ) for k points
 *
 * Sources: the fit of a power law to measured costs is that of Goldsmith, Aiken and Wilkerson, "Measuring Empirical
 * Computational Complexity" (ESEC/FSE 2007); the formulas are those of simple linear regression, as in Draper and Smith,
 * "Applied Regression Analysis", chapter 1.
 */

/** A number of things, and what they cost together. */
export type Point = readonly [x: number, y: number];

export interface Growth {
  exponent: number;
  /** The standard error of the exponent. */
  error: number;
  /** The slope between the last two points: where a cost is about to grow faster it is the first to tell. */
  last: number;
  /** How many points it was fitted to. */
  points: number;
}

export type Verdict = "faster than linearly" | "not clear" | "not faster than linearly" | "too few points";

/** Noise and the costs that caches cause make up for what is over 1. */
export const LINEAR_LIMIT = 1.15;
const FEWEST_POINTS = 3;

/** Undefined for fewer than three points; those that cannot be drawn to log scales do not count. */
export function growthOf(points: readonly Point[]): Growth | undefined {
  const usable = points.filter(([x, y]) => x > 0 && y > 0 && Number.isFinite(x) && Number.isFinite(y));
  const logs = upperHalf(usable.map(([x, y]): Point => [Math.log(x), Math.log(y)]).sort(([a], [b]) => a - b));
  const count = logs.length;
  const meanX = sumOf(logs, ([x]) => x) / count;
  const meanY = sumOf(logs, ([, y]) => y) / count;
  const spread = sumOf(logs, ([x]) => (x - meanX) ** 2);
  const [before, end] = logs.slice(-2);
  if (count < FEWEST_POINTS || spread === 0 || !before || !end) return undefined;
  const exponent = sumOf(logs, ([x, y]) => (x - meanX) * (y - meanY)) / spread;
  const residuals = sumOf(logs, ([x, y]) => (y - meanY - exponent * (x - meanX)) ** 2);
  return {
    exponent,
    error: Math.sqrt(residuals / (count - 2) / spread),
    last: (end[1] - before[1]) / (end[0] - before[0]),
    points: count,
  };
}

/** Only what is beyond the limit by more than its own error is clearly faster than linear. */
export function verdictOf(growth: Growth | undefined): Verdict {
  if (!growth) return "too few points";
  if (growth.exponent <= LINEAR_LIMIT) return "not faster than linearly";
  return growth.exponent - growth.error > LINEAR_LIMIT ? "faster than linearly" : "not clear";
}

/** The points from the middle of the range on, but at least three. */
function upperHalf(sorted: readonly Point[]): readonly Point[] {
  const middle = ((sorted[0]?.[0] ?? 0) + (sorted.at(-1)?.[0] ?? 0)) / 2;
  const first = sorted.findIndex(([x]) => x >= middle);
  return sorted.slice(Math.max(0, Math.min(first, sorted.length - FEWEST_POINTS)));
}

function sumOf(points: readonly Point[], value: (point: Point) => number): number {
  return points.reduce((sum, point) => sum + value(point), 0);
}
