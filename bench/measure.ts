/** One round of a load on one contender, with what it cost each kind of process. */
import type { Load, Running } from "./contender.ts";
import { type ProcessHandle, type Role, type Usage, usageOf } from "./process.ts";

export interface Measurement {
  jobsPerSecond: number;
  submissionsPerSecond: number;
  /** CPU time per job of all processes of a role together, in µs. Absent where it cannot be read. */
  cpuUsPerJob: Partial<Record<Role, number>>;
  /** The most memory that a process of the role had resident so far, in MB (10⁶ bytes). */
  peakMb: Partial<Record<Role, number>>;
  /** Undefined where it is not known. */
  storedBytesPerJob: number | undefined;
}

/** @throws WrongResults */
export async function measure(running: Running, load: Load): Promise<Measurement> {
  const before = await usages(running.processes);
  const storedBefore = await running.storedBytes();
  const { submittedMs, doneMs, check } = await running.run(load);
  const after = await usages(running.processes);
  await check();
  const stored = await running.storedBytes();
  const cpuUsPerJob: Partial<Record<Role, number>> = {};
  const peakMb: Partial<Record<Role, number>> = {};
  for (const { role, pid } of running.processes) {
    const then = before.get(pid);
    const now = after.get(pid);
    if (!then || !now) continue;
    cpuUsPerJob[role] = (cpuUsPerJob[role] ?? 0) + (now.cpuUs - then.cpuUs) / load.jobs;
    peakMb[role] = Math.max(peakMb[role] ?? 0, now.peakBytes / 1e6);
  }
  return {
    jobsPerSecond: (load.jobs / doneMs) * 1_000,
    submissionsPerSecond: (load.jobs / submittedMs) * 1_000,
    cpuUsPerJob,
    peakMb,
    storedBytesPerJob:
      stored === undefined || storedBefore === undefined ? undefined : (stored - storedBefore) / load.jobs,
  };
}

async function usages(processes: readonly ProcessHandle[]): Promise<Map<number, Usage>> {
  const found = new Map<number, Usage>();
  for (const { pid } of processes) {
    const usage = await usageOf(pid);
    if (usage) found.set(pid, usage);
  }
  return found;
}

/** The middle one; of an even number, the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  const upper = sorted[Math.floor(half)] ?? Number.NaN;
  return Number.isInteger(half) ? ((sorted[half - 1] ?? Number.NaN) + upper) / 2 : upper;
}
