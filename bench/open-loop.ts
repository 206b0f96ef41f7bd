/**
 * Jobs that arrive at a rate, whether the ones before have ended or not, as users do. A delay is measured from the time
 * at which the job was meant to be submitted: a system that stalls, or a generator that is late, would otherwise hide it
 * by submitting less ("coordinated omission").
 */
import { setTimeout as delay } from "node:timers/promises";
import { WrongResults } from "./contender.ts";
import { Latencies } from "./latencies.ts";

export interface OpenLoop {
  once: () => Promise<{ startedMs: number; doneMs: number }>;
  /** Arrivals per second, on average: the gaps are those of a Poisson process. */
  rate: number;
  seconds: number;
  /** Told of each job: when it was meant to be submitted, in ms from the start, and both delays from then. */
  onJob?: (dueMs: number, startedMs: number, doneMs: number) => void;
}

export interface OpenLoopResult {
  jobs: number;
  started: Latencies;
  done: Latencies;
  /** How late the generator submitted: a part of the other two. A timer of node alone makes it up to 1 ms. */
  late: Latencies;
}

/** More that have not ended: the system cannot keep up, and the rate was wrong. */
const MAX_OPEN = 50_000;

/** Resolves when the last job has ended. @throws WrongResults, or what `once` throws */
export async function openLoop({ once, rate, seconds, onJob }: OpenLoop): Promise<OpenLoopResult> {
  const result: OpenLoopResult = {
    jobs: 0,
    started: new Latencies(),
    done: new Latencies(),
    late: new Latencies(),
  };
  // No set of promises: it would leave garbage that lasts, and so pauses that are not those of what is measured.
  let open = 0;
  let onLast = () => {};
  let failure: { error: unknown } | undefined;
  const begun = performance.now();
  const submit = async (dueMs: number) => {
    const lateMs = performance.now() - begun - dueMs;
    result.jobs += 1;
    result.late.record(lateMs);
    open += 1;
    try {
      const { startedMs, doneMs } = await once();
      result.started.record(lateMs + startedMs);
      result.done.record(lateMs + doneMs);
      onJob?.(dueMs, lateMs + startedMs, lateMs + doneMs);
    } catch (error) {
      failure ??= { error };
    }
    open -= 1;
    if (open === 0) onLast();
  };
  for (let dueMs = gapMs(rate); dueMs < seconds * 1_000 && !failure; ) {
    const aheadMs = dueMs - (performance.now() - begun);
    if (aheadMs > 0) {
      await delay(Math.max(1, Math.floor(aheadMs)));
      continue;
    }
    if (open >= MAX_OPEN) throw new WrongResults(`${MAX_OPEN} jobs have not ended at ${rate} jobs/s`);
    void submit(dueMs); // it has no failures of its own
    dueMs += gapMs(rate);
  }
  if (open > 0) {
    await new Promise<void>((resolve) => {
      onLast = resolve;
    });
  }
  if (failure) throw failure.error;
  return result;
}

function gapMs(rate: number): number {
  return (-Math.log(1 - Math.random()) * 1_000) / rate;
}
