/** What a supervisor can be told when it is started. */

import type { TopologyOptions } from "../bus/topology.ts";
import { AsyncError } from "../job/errors.ts";
import { MAX_DURATION_MS } from "../job/schema.ts";
import { requireCount, requireInterval, requireLimit } from "../job/time.ts";
import type { DispatcherOptions } from "./dispatcher.ts";

export interface SupervisorOptions extends DispatcherOptions {
  topology?: TopologyOptions;
  /**
   * Jobs in memory at a time; what is beyond waits in the streams. More cost memory, extensions of leases, and time to be
   * taken over when this process dies; fewer are too few where many long attempts run at once. Default 2,000.
   */
  maxLiveJobs?: number;
  /**
   * What this process is to take of the memory of the machine, about. A part of it is for live jobs; large ones beyond wait
   * in the backlogs of their functions. Default 512 MiB.
   */
  maxMemoryBytes?: number;
  /** A wait (backoff, start time) longer than this is spent outside of memory. Default 10 s. */
  parkAfterMs?: number;
  /** How long an ended job is kept. Default 7 days. */
  retentionMs?: number;
  /**
   * The steps of a job whose submission is at least this large are stored without what the submission says. Default
   * 2,048 bytes: below that it would save less than it costs.
   */
  briefAboveBytes?: number;
  /** How often it looks for jobs that nothing would ever bring back, besides soon after its start. Default 30 min. */
  sweepMs?: number;
}

/** @throws AsyncError `invalid_option` */
export function requireOptions(options: SupervisorOptions): void {
  for (const name of ["parkAfterMs", "recordStartMs", "silentTimeoutMs", "roomWaitMs", "relieveAfterMs"] as const) {
    requireLimit(name, options[name]);
  }
  for (const name of ["sweepMs", "heartbeatMs"] as const) requireInterval(name, options[name]);
  for (const name of ["maxLiveJobs", "maxMemoryBytes", "briefAboveBytes"] as const) {
    requireCount(name, options[name], name === "briefAboveBytes" ? 0 : 1);
  }
  const { retentionMs } = options;
  requireLimit("retentionMs", retentionMs);
  if (retentionMs === undefined || retentionMs <= MAX_DURATION_MS) return;
  throw new AsyncError("invalid_option", `retentionMs must be from 0 to ${MAX_DURATION_MS} ms, not ${retentionMs}`);
}
