/**
 * The whole system in a minute: a NATS server of its own, `async server`, two `async worker` processes, the jobs of the
 * original system and a sum, through HTTP and NATS; what happens where, live; the jobs at their end. `npm run demo`
 */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { Bus, Client, type JobEvent, type JobView, startEmbeddedServer } from "async";
import { stopChild } from "../src/cli/child.ts";
import { describeJob } from "../src/cli/describe.ts";
import { describeEvent } from "../src/cli/describe-events.ts";

const begun = performance.now();
function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Closed in reverse order, also when something fails. */
const opened: (() => Promise<unknown>)[] = [];

try {
  process.exitCode = await demo();
} finally {
  for (let close = opened.pop(); close; close = opened.pop()) await close();
}
say(`\neverything is stopped; it took ${((performance.now() - begun) / 1000).toFixed(1)} s`);
say("next: npx async dev workers/example.ts, and in another terminal npx async submit examples/jobs/sum.json --wait");

async function demo(): Promise<number> {
  say("Starting a NATS server (the first time it is fetched, which takes a few seconds) …");
  const server = await startEmbeddedServer();
  opened.push(() => server.close());
  say(`NATS ${server.version} at ${server.url}\n`);

  const http = await start("server", ["server", "--http", "127.0.0.1:0"], server.url, "supervisor is running");
  await Promise.all(
    ["worker-1", "worker-2"].map((name) =>
      start(name, ["worker", "workers/example.ts", "--name", name], server.url, "serving"),
    ),
  );

  const bus = await Bus.open({ url: server.url, name: "demo" });
  opened.push(() => bus.close());
  bus.nc.subscribe("job.event.>", {
    callback: (_, message) => say(`event     ${describeEvent(message.json<JobEvent>())}`),
  });
  const client = new Client(bus);

  const submitted = [
    await post(await http.address, "examples/jobs/job_chain.json"),
    await publish(bus, "examples/jobs/job_simple.json"),
    await publish(bus, "examples/jobs/job_retry.json"),
    (await client.submit(await readJob("examples/jobs/sum.json"), { encoding: "msgpack" })).job_id,
  ];
  const jobs = await Promise.all(submitted.map((id) => client.wait(id, { timeoutMs: 45_000 })));

  for (const job of jobs) say(`\n${describeJob(job)}`);
  return check(jobs);
}

/** What the jobs must have come to; the demo fails if they have not. */
function check([chain, simple, retry, sum]: JobView[]): number {
  const facts: [string, boolean][] = [
    [
      "job_chain: completed, every function run once",
      chain?.state === "completed" && chain.functions.every((fn) => fn.retry_count === 1),
    ],
    ["job_simple: completed", simple?.state === "completed"],
    ["job_retry: failed after three executions", retry?.state === "failed" && retry.functions[0]?.retry_count === 3],
    ["sum: 10", sum?.state === "completed" && sum.result === 10],
  ];
  say("");
  for (const [fact, holds] of facts) say(`${holds ? "✓" : "✗"} ${fact}`);
  return facts.every(([, holds]) => holds) ? 0 : 1;
}

async function readJob(file: string): Promise<unknown> {
  return JSON.parse(await readFile(file, "utf8"));
}

/** As with curl. */
async function post(address: string, file: string): Promise<string> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${address}/v1/job`, { method: "POST", headers, body: await readFile(file) });
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { job_id: string }).job_id;
}

/** As with `nats req job.submit`: the id follows from the acknowledgement. */
async function publish(bus: Bus, file: string): Promise<string> {
  const ack = await bus.nc.request("job.submit", await readFile(file));
  return `seq-${ack.json<{ seq: number }>().seq}`;
}

interface Started {
  /** Where the bridge listens, of a server. */
  address: Promise<string>;
}

interface LogLine {
  msg: string;
  fn?: string;
  jobId?: string;
  attempt?: number;
}

/** Starts one process of the `async` command and shows what it logs; resolves when it logs `ready`. */
async function start(name: string, args: string[], url: string, ready: string): Promise<Started> {
  const child = spawn(process.execPath, [...process.execArgv, "src/cli/main.ts", ...args], {
    env: { ...process.env, NATS_URL: url, ASYNC_LOG_LEVEL: "debug" },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  opened.push(() => stopChild(child));
  let onReady = () => {};
  let onAddress = (_address: string) => {};
  const address = new Promise<string>((resolve) => {
    onAddress = resolve;
  });
  if (!child.stdout || !child.stderr) throw new Error("the streams of a child are piped");
  createInterface({ input: child.stdout }).on("line", (line) => say(`${name.padEnd(9)} prints: ${line}`));
  createInterface({ input: child.stderr }).on("line", (text) => {
    const line = parseLog(text);
    if (line.fn && line.attempt)
      say(`${name.padEnd(9)} ${line.msg.padEnd(9)} ${line.fn} (attempt ${line.attempt}) of ${line.jobId}`);
    if (line.msg.includes(ready)) {
      say(`${name.padEnd(9)} is running`);
      onReady();
    }
    const listening = /Server listening at (\S+)/.exec(line.msg);
    if (listening?.[1]) onAddress(listening[1]);
  });
  await new Promise<void>((resolve, reject) => {
    onReady = resolve;
    child.once("exit", (code) => reject(new Error(`${name} has gone with exit code ${code} before it was ready`)));
  });
  return { address };
}

function parseLog(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    say(text); // not a line of the log: a crash
    return { msg: "" };
  }
}
