/**
 * CLOCK_MONOTONIC in µs: all processes of one Linux machine have it in common, so a time of a worker can be compared with
 * one of ours. (`performance.now()` counts from the start of its process, the wall clock may be set.)
 */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** The same in ms. */
export function monotonicMs(): number {
  return monotonicUs() / 1_000;
}
