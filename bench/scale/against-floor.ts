/** Ever larger loads of one kind, on async and on the floor in turn. */
import type { Load } from "../contender.ts";
import { asyncSystem } from "../contenders/async.ts";
import { floor } from "../contenders/floor.ts";
import { ratioOf } from "../rounds.ts";
import type { Cell } from "../table.ts";
import { calibrate, type Limits } from "./counts.ts";
import { type ScaleContext, startServer } from "./dimension.ts";
import type { Point } from "./growth.ts";
import type { Series } from "./plot.ts";
import { alternate, cpuUsOf, type Figures, figuresOf, type Party } from "./rounds.ts";

export type LoadKind = Omit<Load, "jobs">;

export interface Steps {
  /** What it is called in the progress. */
  name: string;
  kinds: readonly LoadKind[];
  limitsOf(kind: LoadKind, contender: string): Limits;
  rounds: number;
  /** How long a round is meant to last. */
  targetMs: number;
}

/** Of one contender under one kind of load. */
export interface Row extends Figures, LoadKind {
  contender: string;
  /** Per round. */
  jobs: number;
  /** CPU time of all processes in units of the floor's. */
  cpuOfFloor: number;
  [other: string]: Cell;
}

const SETUP = { supervisors: 1, workers: 1, concurrency: 100 };

/** Two rows for each kind: async, then the floor. @throws WrongResults */
export async function measureAgainstFloor(context: ScaleContext, steps: Steps): Promise<Row[]> {
  const async = await startParty(context, asyncSystem);
  const bare = await startParty(context, floor);
  const rows: Row[] = [];
  // The first kind is tried twice: code that is not compiled yet is slower than any growth.
  for (const kind of steps.kinds.slice(0, 1)) {
    for (const { name, running } of [async, bare]) {
      await calibrate(running, kind, steps.targetMs, steps.limitsOf(kind, name));
    }
  }
  for (const [i, kind] of steps.kinds.entries()) {
    context.progress.show(`${steps.name} (${i + 1} of ${steps.kinds.length})`, i, steps.kinds.length);
    const jobs = new Map<Party, number>();
    for (const party of [async, bare]) {
      jobs.set(party, await calibrate(party.running, kind, steps.targetMs, steps.limitsOf(kind, party.name)));
    }
    const loadOf = (party: Party): Load => ({ ...kind, jobs: jobs.get(party) ?? 0 });
    const found = await alternate([async, bare], loadOf, steps.rounds);
    for (const [party, measurements] of found) {
      const cpuOfFloor = ratioOf(measurements, found.get(bare), cpuUsOf);
      rows.push({ contender: party.name, ...loadOf(party), ...figuresOf(measurements), cpuOfFloor });
    }
  }
  return rows;
}

/** On a server of its own: what the other has stored is no burden. */
async function startParty(context: ScaleContext, contenderOn: typeof floor): Promise<Party> {
  const { name, start } = contenderOn(await startServer(context));
  const running = await start(SETUP);
  await context.scope.add(() => running.close());
  return { name, running };
}

/** One series for each contender in the rows. */
export function seriesOf(
  rows: readonly Row[],
  point: (row: Row) => Point,
  nameOf = (row: Row) => row.contender,
): Series[] {
  return [...new Set(rows.map(nameOf))].map((name) => ({
    name,
    points: rows.filter((row) => nameOf(row) === name).map(point),
  }));
}
