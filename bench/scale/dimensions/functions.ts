/** Jobs of ever more functions, one after the other, in turn with the floor. */
import { measureAgainstFloor, type Row, seriesOf } from "../against-floor.ts";
import { type Dimension, type Findings, growthTable } from "../dimension.ts";
import { CPU_COLUMNS } from "../rounds.ts";

const FULL = { functions: [1, 3, 10, 30, 100, 300, 1_000], rounds: 3, targetMs: 1_500, maximum: 20_000 };
const QUICK = { functions: [1, 3, 10], rounds: 1, targetMs: 10, maximum: 50 };
/** In the first try of a point. */
const FIRST_FUNCTIONS = 500;
/**
 * Three times as many as are executed at a time, so that at each point there is one to go on with while others are
 * committed: where the processes are less busy, more of the messages wake one up, which costs more than the message. The
 * floor would not get done with so many of the longest.
 */
const FEWEST_JOBS = 300;
const FEWEST_JOBS_OF_FLOOR = 30;

export const functions: Dimension = {
  name: "functions",
  question: "What does a job cost that has many functions?",
  measure: async (context) => {
    const plan = context.quick ? QUICK : FULL;
    const { rounds, targetMs, maximum } = plan;
    const rows = await measureAgainstFloor(context, {
      name: "functions",
      kinds: plan.functions.map((count) => ({ functions: count, payloadBytes: 0 })),
      limitsOf: (kind, contender) => {
        const fewest = contender === "floor" ? FEWEST_JOBS_OF_FLOOR : FEWEST_JOBS;
        const first = Math.max(fewest, Math.round(FIRST_FUNCTIONS / kind.functions));
        return { minimum: Math.min(first, maximum), maximum };
      },
      rounds,
      targetMs,
    });
    return findingsOf(rows, rounds);
  },
};

function findingsOf(rows: readonly Row[], rounds: number): Findings {
  const perJob = seriesOf(rows, (row) => [row.functions, row.cpuUs]);
  return {
    tables: [
      {
        title: "functions: jobs by how many functions they have",
        columns: [
          { key: "functions", title: "functions" },
          { key: "contender", title: "" },
          { key: "jobs", title: "jobs" },
          { key: "jobsPerSecond", title: "jobs/s", digits: 1 },
          { key: "functionsPerSecond", title: "functions/s" },
          ...CPU_COLUMNS,
          { key: "cpuUsPerFunction", title: "CPU µs/function" },
          { key: "cpuOfFloor", title: "x floor's CPU", digits: 2 },
          { key: "storedBytesPerJob", title: "stored B/job" },
        ],
        rows: rows.map((row) => ({
          ...row,
          functionsPerSecond: row.jobsPerSecond * row.functions,
          cpuUsPerFunction: row.cpuUs / row.functions,
        })),
        notes: [`in turn with the floor, medians of ${rounds} round(s); every job and result was checked`],
      },
      growthTable("CPU time of a job with its functions", perJob),
    ],
    plots: [
      {
        file: "functions-job",
        title: "A job, by how many functions it has",
        xTitle: "functions per job",
        yTitle: "CPU µs per job",
        series: perJob,
      },
      {
        file: "functions-function",
        title: "A function, by how many its job has",
        xTitle: "functions per job",
        yTitle: "CPU µs per function",
        series: seriesOf(rows, (row) => [row.functions, row.cpuUs / row.functions]),
      },
    ],
  };
}
