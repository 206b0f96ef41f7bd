/** The same load on several contenders, turn by turn, so that what else happens on the machine hits all of them. */
import { type Contender, type Load, type Running, WrongResults } from "./contender.ts";
import { type Measurement, measure, median } from "./measure.ts";
import { type Context, setupOf } from "./scenario.ts";

/** Jobs before the first round, so that code is compiled and caches are full. */
const WARM_UP_JOBS = 2_000;

export interface Competitor {
  name: string;
  running: Running;
  /** One of each round. */
  measurements: Measurement[];
}

/** Starts them all: one that has nothing to do costs the others next to nothing. */
export async function startAll(context: Context, contenders: readonly Contender[]): Promise<Competitor[]> {
  const started: Competitor[] = [];
  for (const { name, start } of contenders) {
    context.progress.show(`starting ${name}`, started.length, contenders.length);
    const running = await start(setupOf(context.numbers));
    await context.scope.add(() => running.close());
    started.push({ name, running, measurements: [] });
  }
  return started;
}

export async function warmUp({ progress }: Context, competitors: readonly Competitor[], load: Load): Promise<void> {
  for (const [i, { name, running }] of competitors.entries()) {
    progress.show(`warming up ${name}`, i, competitors.length);
    const { check } = await running.run({ ...load, jobs: Math.min(load.jobs, WARM_UP_JOBS) });
    await check();
  }
}

/** Every second round goes the other way round: whoever comes first has no advantage. */
export async function runRounds(
  { progress, numbers: { rounds } }: Context,
  competitors: readonly Competitor[],
  load: Load,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? competitors : [...competitors].reverse();
    for (const [i, competitor] of order.entries()) {
      progress.show(`round ${round + 1}: ${competitor.name}`, round * order.length + i, rounds * order.length);
      competitor.measurements.push(await measured(competitor, load));
    }
  }
}

/** @throws WrongResults that names whose they are */
export async function measured(
  { name, running }: Pick<Competitor, "name" | "running">,
  load: Load,
): Promise<Measurement> {
  try {
    return await measure(running, load);
  } catch (error) {
    if (error instanceof WrongResults) throw new WrongResults(`${name}: ${error.message}`);
    throw error;
  }
}

/** The median of what the members of each round's figures are. */
export function medianOf(
  measurements: readonly Measurement[],
  figure: (of: Measurement) => number | undefined,
): number {
  return median(measurements.map((one) => figure(one) ?? Number.NaN));
}

const jobsPerSecondOf = (one: Measurement) => one.jobsPerSecond;

/** One's figure, by default the throughput, in units of the other's in the same round: of each round. */
export function ratiosOf(
  mine: readonly Measurement[],
  others: readonly Measurement[],
  figure: (of: Measurement) => number = jobsPerSecondOf,
): number[] {
  return mine.map((one, round) => figure(one) / (others[round] ? figure(others[round]) : Number.NaN));
}

/** The median of these over the rounds. */
export function ratioOf(
  mine: readonly Measurement[] = [],
  others: readonly Measurement[] = [],
  figure?: (of: Measurement) => number,
): number {
  return median(ratiosOf(mine, others, figure));
}
