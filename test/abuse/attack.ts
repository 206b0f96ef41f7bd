/**
 * An attack, and what must hold while it goes on: an innocent job is done in a time that has to do with what it takes in quiet,
 * supervisors live and take no more memory than they may, and `/readyz` tells the truth.
 */
import type { Target, TargetOptions } from "./target.ts";

/** `short` is what the test command has time for. */
export type Scale = "short" | "long";

export interface Attack {
  /** What is done, in words. */
  name: string;
  /** What is attacked; those without this share a system. */
  target?: TargetOptions;
  /** It begins without supervisors, and starts them itself. */
  startsSupervisors?: true;
  /** How much longer than in quiet the slowest innocent job may take. Default {@link MOST_SLOWDOWN}. */
  mostSlowdown?: number;
  /** The most memory of a supervisor in MiB. Default: what it was given, and what a process needs. */
  mostMiB?: number;
  /** Lines of nats-server that the attack itself brings about. */
  natsMaySay?: RegExp;
  /** Resolves when it is over; throws if what it looks at itself is not as it must be. */
  run(target: Target, scale: Scale): Promise<void>;
}

export interface Outcome {
  attack: string;
  seconds: number;
  innocentJobs: number;
  quietMs: number;
  medianMs: number;
  worstMs: number;
  slowdown: number;
  peaksMiB: number[];
  unready: number;
  problems: string[];
}

/** "No more than seconds": of 100 ms, which is how exactly a quiet time can be told on a machine that others use as well. */
export const MOST_SLOWDOWN = 150;
const LEAST_QUIET_MS = 100;
/** What a process takes besides: V8, code, buffers of the system, garbage that is not collected yet. */
export const PROCESS_MIB = 128;

export async function runAttack(attack: Attack, target: Target, scale: Scale): Promise<Outcome> {
  const begun = performance.now();
  const problems: string[] = [];
  const quietMs = attack.startsSupervisors ? 0 : await target.quiet();
  const troublesBefore = target.natsTroubles.length;
  const faultsBefore = target.faults().length;
  if (!attack.startsSupervisors) target.begin();
  try {
    await attack.run(target, scale);
  } catch (error) {
    problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const seen = await target.end();
  const worstMs = Math.max(0, ...seen.latenciesMs);
  const slowdown = worstMs / Math.max(quietMs, LEAST_QUIET_MS);
  const { mostSlowdown = MOST_SLOWDOWN, mostMiB = (attack.target?.maxMemory ?? 512) + PROCESS_MIB } = attack;
  if (seen.latenciesMs.length === 0) problems.push("no innocent job was done");
  if (slowdown > mostSlowdown)
    problems.push(`an innocent job took ${Math.round(worstMs)} ms, ${Math.round(quietMs)} in quiet`);
  problems.push(...seen.failures.map((one) => `an innocent job: ${one}`), ...seen.lies.map((one) => `/readyz: ${one}`));
  problems.push(...target.dead().map((said) => `a supervisor has ended: ${said}`));
  problems.push(
    ...target
      .faults()
      .slice(faultsBefore)
      .map((one) => `logged: ${one}`),
  );
  const peaksMiB = target.peaksMiB().map(Math.round);
  for (const peak of peaksMiB) if (peak > mostMiB) problems.push(`a supervisor took ${peak} MiB, more than ${mostMiB}`);
  const troubles = target.natsTroubles.slice(troublesBefore).filter((line) => !attack.natsMaySay?.test(line));
  problems.push(...troubles.map((line) => `nats-server: ${line}`));
  return {
    attack: attack.name,
    seconds: (performance.now() - begun) / 1_000,
    innocentJobs: seen.latenciesMs.length,
    quietMs,
    medianMs: [...seen.latenciesMs].sort((a, b) => a - b)[seen.latenciesMs.length >> 1] ?? 0,
    worstMs,
    slowdown,
    peaksMiB,
    unready: seen.unready,
    problems: problems.slice(0, 20),
  };
}

/** One line of figures. */
export function describeOutcome(outcome: Outcome): string {
  const { attack, seconds, innocentJobs, quietMs, medianMs, worstMs, slowdown, peaksMiB, problems } = outcome;
  const ms = (value: number) => `${Math.round(value)} ms`;
  const times = `quiet ${ms(quietMs)}, during it ${ms(medianMs)} / ${ms(worstMs)} (× ${slowdown.toFixed(1)})`;
  const memory = peaksMiB.map((peak) => `${peak} MiB`).join(", ");
  return `${problems.length === 0 ? "ok  " : "FAIL"} ${attack}: ${times}, ${innocentJobs} jobs, ${memory}, ${seconds.toFixed(1)} s`;
}
