/** How many jobs a point of a measurement takes, so that each lasts about as long, whatever one job costs. */
import type { Load, Running } from "../contender.ts";

export interface Limits {
  minimum: number;
  maximum: number;
}

/** Shorter than this share of what is aimed at tells too little to aim by. */
const TELLING_SHARE = 1 / 4;

/** As many jobs as last `targetMs`, if `jobs` of them have lasted `ms`; of two digits, as it is no more exact. */
export function scaledCount({ jobs, ms }: { jobs: number; ms: number }, targetMs: number, limits: Limits): number {
  const exact = (jobs * targetMs) / Math.max(ms, 1);
  return Math.max(limits.minimum, Math.min(limits.maximum, twoDigits(exact)));
}

function twoDigits(value: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(value, 1))) - 1);
  return Math.max(1, Math.round(value / unit) * unit);
}

/** Finds the count by trying ever more jobs, which also warms up. @throws WrongResults */
export async function calibrate(
  running: Pick<Running, "run">,
  load: Omit<Load, "jobs">,
  targetMs: number,
  limits: Limits,
): Promise<number> {
  for (let jobs = limits.minimum; ; ) {
    const { doneMs, check } = await running.run({ ...load, jobs });
    await check();
    const tried = { jobs, ms: doneMs };
    if (jobs === limits.maximum || doneMs >= targetMs * TELLING_SHARE) return scaledCount(tried, targetMs, limits);
    // Half of what it should be: the first tries are slow, and one that is far too long costs more than one more.
    jobs = Math.min(limits.maximum, Math.max(jobs * 2, scaledCount(tried, targetMs / 2, limits)));
  }
}
