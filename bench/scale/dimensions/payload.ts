/** Jobs with ever larger `data`, which travels with each invocation and is stored with each state. */
import { measureAgainstFloor, type Row, seriesOf } from "../against-floor.ts";
import { type Dimension, type Findings, growthTable } from "../dimension.ts";
import { CPU_COLUMNS } from "../rounds.ts";

const FULL = {
  bytes: [100, 1_000, 10_000, 100_000, 500_000],
  rounds: 3,
  targetMs: 1_000,
  minimum: 50,
  maximum: 20_000,
};
const QUICK = { bytes: [100, 1_000, 10_000], rounds: 1, targetMs: 10, minimum: 20, maximum: 50 };
/** Most bytes of data in a round: a client that submits it all at once has as much in its memory. */
const ROUND_BYTES = 100_000_000;
const LENGTHS = [1, 3];

export const payload: Dimension = {
  name: "payload",
  question: "What does a job cost that carries much data?",
  measure: async (context) => {
    const { bytes, rounds, targetMs, minimum, maximum } = context.quick ? QUICK : FULL;
    const rows = await measureAgainstFloor(context, {
      name: "payload",
      kinds: LENGTHS.flatMap((functions) => bytes.map((payloadBytes) => ({ functions, payloadBytes }))),
      limitsOf: ({ payloadBytes }) => {
        const most = Math.min(maximum, Math.floor(ROUND_BYTES / payloadBytes));
        return { minimum: Math.min(minimum, most), maximum: most };
      },
      rounds,
      targetMs,
    });
    return findingsOf(rows, rounds);
  },
};

function findingsOf(rows: readonly Row[], rounds: number): Findings {
  const nameOf = ({ contender, functions }: Row) =>
    `${contender}, ${functions === 1 ? "1 function" : `${functions} functions`}`;
  const perJob = seriesOf(rows, (row) => [row.payloadBytes, row.cpuUs], nameOf);
  return {
    tables: [
      {
        title: "payload: jobs by the size of their data",
        columns: [
          { key: "functions", title: "functions" },
          { key: "payloadBytes", title: "B of data" },
          { key: "contender", title: "" },
          { key: "jobs", title: "jobs" },
          { key: "jobsPerSecond", title: "jobs/s" },
          { key: "mbPerSecond", title: "MB/s of data", digits: 1 },
          ...CPU_COLUMNS,
          { key: "cpuOfFloor", title: "x floor's CPU", digits: 2 },
          { key: "storedBytesPerJob", title: "stored B/job" },
        ],
        rows: rows.map((row) => ({ ...row, mbPerSecond: mbPerSecondOf(row) })),
        notes: [
          `in turn with the floor, medians of ${rounds} round(s); every job and result was checked`,
          "MB/s counts the data of a job once, however often it travels",
        ],
      },
      growthTable("CPU time of a job with the size of its data", perJob),
    ],
    plots: [
      {
        file: "payload-cpu",
        title: "A job, by the size of its data",
        xTitle: "bytes of data per job",
        yTitle: "CPU µs per job",
        series: perJob,
      },
      {
        file: "payload-rate",
        title: "Data per second, by the size of the data of a job",
        xTitle: "bytes of data per job",
        yTitle: "MB/s of data",
        series: seriesOf(rows, (row) => [row.payloadBytes, mbPerSecondOf(row)], nameOf),
      },
    ],
  };
}

function mbPerSecondOf({ jobsPerSecond, payloadBytes }: Row): number {
  return (jobsPerSecond * payloadBytes) / 1e6;
}
