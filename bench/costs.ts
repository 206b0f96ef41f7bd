/** What the jobs of a load cost the processes of each role. */
import type { Measurement } from "./measure.ts";
import type { Role } from "./process.ts";
import { medianOf } from "./rounds.ts";
import type { Cell, Column } from "./table.ts";

const ROLES: readonly Role[] = ["client", "bridge", "supervisor", "worker", "server"];

/** CPU time per job of all processes of a role, and the memory of its largest one. */
export const COST_COLUMNS: readonly Column[] = ROLES.flatMap((role) => [
  { key: `${role}CpuUs`, title: `${role} µs` },
  { key: `${role}PeakMb`, title: "MB" },
]);

/** Roles without a process, and servers that are not ours, have none. */
export function costsOf(measurements: readonly Measurement[]): Record<string, Cell> {
  const cells: Record<string, Cell> = {};
  for (const role of ROLES) {
    cells[`${role}CpuUs`] = medianOf(measurements, (one) => one.cpuUsPerJob[role]);
    cells[`${role}PeakMb`] = measurements.at(-1)?.peakMb[role];
  }
  return cells;
}
