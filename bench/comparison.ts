/** Throughput and what it costs, of async and what it is measured against: the scenarios single, chain and floor. */
import type { Contender } from "./contender.ts";
import { COST_COLUMNS, costsOf } from "./costs.ts";
import { type Competitor, medianOf, ratioOf, runRounds, startAll, warmUp } from "./rounds.ts";
import type { Context } from "./scenario.ts";
import { Scope } from "./scope.ts";
import type { Table } from "./table.ts";

/** The competitors are closed again: the next comparison has the machine for itself. */
export async function compare(
  context: Context,
  contenders: readonly Contender[],
  { title, functions }: { title: string; functions: number },
): Promise<Table[]> {
  const { jobs, payload: payloadBytes } = context.numbers;
  const load = { jobs, functions, payloadBytes };
  const scope = new Scope();
  await context.scope.add(() => scope.close());
  const competitors = await startAll({ ...context, scope }, contenders);
  await warmUp(context, competitors, load);
  await runRounds(context, competitors, load);
  await scope.close();
  return [throughputTable(title, competitors), costTable(title, competitors)];
}

function throughputTable(title: string, competitors: readonly Competitor[]): Table {
  const floor = competitors.find(({ name }) => name === "floor");
  const async = competitors.find(({ name }) => name === "async");
  const hasPeers = competitors.some((one) => one !== floor && one !== async);
  return {
    title,
    columns: [
      { key: "contender", title: "" },
      { key: "jobsPerSecond", title: "jobs/s" },
      { key: "ofFloor", title: "of floor", digits: 2 },
      { key: "ofAsync", title: "of async", digits: 2 },
      { key: "submissionsPerSecond", title: "submitted/s" },
      { key: "storedBytesPerJob", title: "stored B/job" },
    ],
    rows: competitors.map(({ name, measurements }) => ({
      contender: name,
      jobsPerSecond: medianOf(measurements, (one) => one.jobsPerSecond),
      ofFloor: floor && competitors.length > 1 ? ratioOf(measurements, floor.measurements) : undefined,
      ofAsync: async && hasPeers ? ratioOf(measurements, async.measurements) : undefined,
      submissionsPerSecond: medianOf(measurements, (one) => one.submissionsPerSecond),
      storedBytesPerJob: medianOf(measurements, (one) => one.storedBytesPerJob),
    })),
    notes: [
      "medians of the rounds, in turn; a ratio is that of the two in the same round; every job and result was checked",
    ],
  };
}

function costTable(title: string, competitors: readonly Competitor[]): Table {
  return {
    title: `${title}, CPU time per job and peak memory`,
    columns: [{ key: "contender", title: "" }, ...COST_COLUMNS],
    rows: competitors.map(({ name, measurements }) => ({ contender: name, ...costsOf(measurements) })),
  };
}
