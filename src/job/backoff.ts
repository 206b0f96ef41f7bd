import type { Backoff } from "./schema.ts";

/**
 * Used where `retry_options` leaves something out: 1 s, doubling, at most 60 s, full jitter. What was asked for is not cut by a
 * default: the cap is at least `delay_ms`, and a fixed delay has neither cap nor jitter unless they are given.
 */
export const DEFAULT_BACKOFF: Required<Backoff> = {
  type: "exponential",
  delay_ms: 1_000,
  factor: 2,
  max_delay_ms: 60_000,
  jitter: 1,
};

/**
 * The delay before the next attempt, in whole ms.
 *
 * `min(max_delay, delay × factor^(failures − 1))`, of which the share `jitter` is random: with `jitter` 1 this is the
 * "full jitter" of M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015); with 0 it is exact.
 *
 * @param failures how many attempts have failed so far, from 1
 * @param random from [0, 1), passed in so that the same input gives the same delay
 */
export function backoffDelayMs(options: Backoff | undefined, failures: number, random: number): number {
  const { type, delay_ms, factor, max_delay_ms, jitter } = withDefaults(options);
  // Finite, so that no delay times it is none.
  const growth = type === "fixed" ? 1 : Math.min(factor ** (failures - 1), Number.MAX_VALUE);
  const full = Math.min(max_delay_ms, delay_ms * growth);
  return Math.round(full * (1 - jitter * random));
}

/** The options that are meant where some are left out. */
export function withDefaults(given: Backoff | undefined): Required<Backoff> {
  const options = { ...DEFAULT_BACKOFF, ...given };
  const isFixed = options.type === "fixed";
  if (isFixed) options.jitter = given?.jitter ?? 0;
  options.max_delay_ms =
    given?.max_delay_ms ?? (isFixed ? options.delay_ms : Math.max(DEFAULT_BACKOFF.max_delay_ms, options.delay_ms));
  return options;
}
