/** The same load on several systems in turn, so that what else happens on the machine hits all of them alike. */
import type { Load, Running } from "../contender.ts";
import type { Measurement } from "../measure.ts";
import type { Role } from "../process.ts";
import { measured, medianOf } from "../rounds.ts";
import type { Cell } from "../table.ts";

export interface Party {
  name: string;
  running: Running;
  /** Before each of its rounds, and no part of it. */
  prepare?: () => Promise<void>;
}

/** The measurements of each party, one of each round. Every second round goes the other way round. */
export async function alternate(
  parties: readonly Party[],
  loadOf: (party: Party) => Load,
  rounds: number,
): Promise<Map<Party, Measurement[]>> {
  const found = new Map(parties.map((party): [Party, Measurement[]] => [party, []]));
  for (let round = 0; round < rounds; round++) {
    for (const party of round % 2 === 0 ? parties : [...parties].reverse()) {
      await party.prepare?.();
      found.get(party)?.push(await measured(party, loadOf(party)));
    }
  }
  return found;
}

/** Medians of the rounds. CPU time is in µs per job; NaN where it cannot be read. */
export interface Figures extends Record<string, Cell> {
  jobsPerSecond: number;
  /** Of all processes. */
  cpuUs: number;
  supervisorUs: number;
  workerUs: number;
  serverUs: number;
  clientUs: number;
  storedBytesPerJob: number;
}

export function figuresOf(measurements: readonly Measurement[] = []): Figures {
  const cpuOf = (role: Role) => medianOf(measurements, (one) => one.cpuUsPerJob[role]);
  return {
    jobsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
    cpuUs: medianOf(measurements, cpuUsOf),
    supervisorUs: cpuOf("supervisor"),
    workerUs: cpuOf("worker"),
    serverUs: cpuOf("server"),
    clientUs: cpuOf("client"),
    storedBytesPerJob: medianOf(measurements, (one) => one.storedBytesPerJob),
  };
}

/** CPU time per job of all processes together. */
export function cpuUsOf({ cpuUsPerJob }: Measurement): number {
  const roles = Object.values(cpuUsPerJob);
  return roles.length > 0 ? roles.reduce((sum, us) => sum + us, 0) : Number.NaN;
}

/** Who used the CPU time. */
export const CPU_COLUMNS = [
  { key: "cpuUs", title: "CPU µs/job" },
  { key: "clientUs", title: "client" },
  { key: "supervisorUs", title: "supervisor" },
  { key: "workerUs", title: "worker" },
  { key: "serverUs", title: "server" },
];
