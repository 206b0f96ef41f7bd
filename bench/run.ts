/**
 * Load tests, against a NATS server of their own or the one at --nats.
 *
 *   npm run bench -- single --jobs 20000            one function per job, submit to end
 *   npm run bench -- chain --workers 2              three functions per job
 *
 * Supervisors and workers are processes of their own. Every job's end and result are checked, or the run fails. The
 * figures depend on the machine: compare ratios within one run, not numbers of different days.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Bus, type JobEvent, startEmbeddedServer } from "async";
import { stopChild } from "../src/cli/child.ts";

const SCENARIOS = { single: 1, chain: 3 } as const;
/** Submissions whose acknowledgement is awaited at a time. */
const IN_FLIGHT = 500;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: "string", default: "10000" },
    workers: { type: "string", default: "1" },
    supervisors: { type: "string", default: "1" },
    concurrency: { type: "string", default: "100" },
    nats: { type: "string" },
  },
});
const scenario = positionals[0] as keyof typeof SCENARIOS;
const jobs = Number(values.jobs);
if (!(scenario in SCENARIOS) || !Number.isInteger(jobs) || jobs < 1) {
  process.stderr.write(
    `usage: npm run bench -- ${Object.keys(SCENARIOS).join("|")} [--jobs n] [--workers n] [--supervisors n] [--concurrency n] [--nats url]\n`,
  );
  process.exit(2);
}

const opened: (() => Promise<unknown>)[] = [];
try {
  process.exitCode = await bench();
} finally {
  for (let close = opened.pop(); close; close = opened.pop()) await close();
}

async function bench(): Promise<number> {
  const url = values.nats ?? (await embedded());
  for (let i = 0; i < Number(values.supervisors); i++)
    await start(["server", "--no-http"], url, "supervisor is running");
  for (let i = 0; i < Number(values.workers); i++) {
    await start(["worker", "bench/worker.ts", "--concurrency", values.concurrency], url, "serving");
  }
  const bus = await Bus.open({ url, name: "bench" });
  opened.push(() => bus.close());

  await load(bus, Math.min(2_000, jobs), "warm-up");
  const { seconds, submittedSeconds, wrong } = await load(bus, jobs, "measured");
  const rate = (s: number) => Math.round(jobs / s).toLocaleString("en");
  process.stdout.write(
    [
      `scenario     ${scenario}: ${SCENARIOS[scenario]} function(s) per job, ${jobs.toLocaleString("en")} jobs`,
      `processes    ${values.supervisors} supervisor(s), ${values.workers} worker(s) of ${values.concurrency}, NATS ${bus.nc.info?.version}`,
      `submitted    ${rate(submittedSeconds)} acknowledged submissions/s`,
      `done         ${rate(seconds)} jobs/s from the first submission to the last end`,
      `checked      ${wrong === 0 ? "every job completed with the right result, once" : `${wrong} jobs ended wrongly`}`,
      "",
    ].join("\n"),
  );
  return wrong === 0 ? 0 : 1;
}

/** Submits `count` jobs and waits for their ends. */
async function load(bus: Bus, count: number, label: string) {
  const prefix = `${label}-${process.pid}-${Date.now()}`;
  const ends = new Map<string, number>();
  let wrong = 0;
  let onAll = () => {};
  const all = new Promise<void>((resolve) => {
    onAll = resolve;
  });
  const subscription = bus.nc.subscribe("job.event.*.*", {
    callback: (_, message) => {
      const [, , id = "", type] = message.subject.split(".");
      if (!id.startsWith(prefix) || (type !== "completed" && type !== "failed")) return;
      const times = (ends.get(id) ?? 0) + 1;
      ends.set(id, times);
      const event = message.json<JobEvent>();
      const right =
        event.type === "completed" && event.result === Number(id.slice(prefix.length + 1)) + 1 && times === 1;
      if (!right) wrong += 1;
      if (ends.size === count) onAll();
    },
  });
  const begun = performance.now();
  let next = 0;
  const submitter = async () => {
    for (let i = next++; i < count; i = next++) {
      const functions = Array.from({ length: SCENARIOS[scenario] }, () => ({ name: "bench.add", args: [i, 1] }));
      await bus.mux.publish(
        `job.submit.${prefix}-${i}`,
        JSON.stringify({ name: "bench", functions }),
        undefined,
        30_000,
      );
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, submitter));
  const submittedSeconds = (performance.now() - begun) / 1_000;
  await all;
  const seconds = (performance.now() - begun) / 1_000;
  subscription.unsubscribe();
  return { seconds, submittedSeconds, wrong };
}

async function embedded(): Promise<string> {
  const server = await startEmbeddedServer();
  opened.push(() => server.close());
  return server.url;
}

/** Starts a process of the `async` command; resolves when it logs `ready`. */
async function start(args: string[], url: string, ready: string): Promise<void> {
  const child = spawn(process.execPath, ["dist/cli/main.js", ...args], {
    env: { ...process.env, NATS_URL: url, ASYNC_LOG_LEVEL: process.env.ASYNC_LOG_LEVEL ?? "info" },
    stdio: ["ignore", "inherit", "pipe", "ipc"],
  });
  opened.push(() => stopChild(child));
  if (!child.stderr) throw new Error("the log of a child is piped");
  const lines = createInterface({ input: child.stderr });
  for await (const line of lines) if (line.includes(ready)) break;
  child.stderr.resume(); // what else it logs is not looked at
  if (child.exitCode !== null) throw new Error(`async ${args.join(" ")} has gone with exit code ${child.exitCode}`);
}
