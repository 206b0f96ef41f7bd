/** Logarithmic axes: whole decades, with ticks at the powers of ten. */

export interface Axis {
  /** The powers of ten from the first to the last decade. */
  ticks: number[];
  /** Where a value is between the ends of the axis: 0 to 1. */
  position(value: number): number;
}

const LARGE_UNITS: readonly [size: number, suffix: string][] = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** The decades that hold all values; those that are not positive cannot be drawn and do not count. */
export function logAxis(values: readonly number[]): Axis {
  const logs = values.filter((value) => value > 0 && Number.isFinite(value)).map(Math.log10);
  const first = logs.length > 0 ? Math.floor(leastOf(logs)) : 0;
  // One decade at least; a value on the upper end needs none beyond it.
  const last = Math.max(first + 1, logs.length > 0 ? Math.ceil(greatestOf(logs)) : 1);
  return {
    ticks: Array.from({ length: last - first + 1 }, (_, i) => powerOfTen(first + i)),
    position: (value) => (Math.log10(value) - first) / (last - first),
  };
}

/** 0.01, 1, 10, 1k, 100k, 1M. */
export function tickLabel(tick: number): string {
  const [size, suffix] = LARGE_UNITS.find(([unit]) => tick >= unit) ?? [1, ""];
  return `${tick / size}${suffix}`;
}

/** From its text, because 10 ** -2 and its like are not always the nearest number to what they mean. */
function powerOfTen(exponent: number): number {
  return Number(`1e${exponent}`);
}

function leastOf(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
}

function greatestOf(values: readonly number[]): number {
  return values.reduce((greatest, value) => Math.max(greatest, value), Number.NEGATIVE_INFINITY);
}
