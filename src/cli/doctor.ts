import { randomBytes } from "node:crypto";
import { jobsGone, type PartSweepContext, sweepItems } from "../actors/part-sweep.ts";
import { type SweepReport, sweep } from "../actors/sweep.ts";
import type { FunctionDepth } from "../api/requests.ts";
import { API_SERVICE } from "../api/subjects.ts";
import { Bus } from "../bus/connection.ts";
import { discoverServices, type ServiceInfo } from "../bus/messages/service.ts";
import { EventLog } from "../bus/store/event-log.ts";
import { JobStore } from "../bus/store/job-store.ts";
import { Tokens } from "../bus/tokens/tokens.ts";
import { inspectTopology, KV_JOBS, type StreamReport } from "../bus/topology.ts";
import { WriteProbe } from "../bus/write-probe.ts";
import { durabilityOf } from "../http/readiness.ts";
import { VERSION } from "../version.ts";
import { EXIT } from "./exit.ts";
import { waitedFor } from "./functions.ts";
import { type ConnectionFlags, connectionOf } from "./options.ts";
import { workerProblems } from "./worker-problems.ts";

export interface DoctorOptions extends ConnectionFlags {
  fix?: true;
  json?: true;
}

/** One thing that was looked at. */
interface Check {
  ok: boolean;
  what: string;
  /** What to do about it. */
  next?: string;
}

/** `async doctor`: is everything there, and is every live job going to go on? */
export async function doctor({ fix, json, ...connection }: DoctorOptions): Promise<void> {
  // That the server can be reached and is new enough is checked by connecting.
  const bus = await Bus.open({ ...connectionOf(connection), name: "async-doctor" });
  try {
    const checks = await examine(bus, fix ?? false);
    const text = json ? JSON.stringify({ checks }, null, 2) : checks.map(lineOf).join("\n");
    process.stdout.write(`${text}\n`);
    if (checks.some(({ ok }) => !ok)) process.exitCode = EXIT.failed;
  } finally {
    await bus.close();
  }
}

/** At a leaf node without JetStream of its own: what can be seen without it. */
async function examineWithout(bus: Bus): Promise<Check[]> {
  const services = await discoverServices(bus);
  const supervisors = services.filter(({ name }) => name === API_SERVICE).length;
  return [
    { ok: true, what: `NATS ${bus.nc.info?.version} at ${bus.url}, without JetStream of its own` },
    {
      ok: false,
      what: "streams, states and live jobs cannot be seen from here",
      next: "name the JetStream domain of the hub (--domain), or ask a server that has JetStream",
    },
    { ok: supervisors > 0, what: `${supervisors} supervisor(s)`, next: "start one with `async server`" },
    ...checksOfWorkers(services),
  ];
}

async function examine(bus: Bus, fix: boolean): Promise<Check[]> {
  if (bus.domain === undefined && !bus.nc.info?.jetstream) return examineWithout(bus);
  const reports = await inspectTopology(bus);
  const states = reports.find(({ name }) => name === KV_JOBS)?.info;
  const where = bus.domain === undefined ? "" : ` in domain ${bus.domain}`;
  const checks: Check[] = [
    { ok: true, what: `NATS ${bus.nc.info?.version} at ${bus.url}, with JetStream${where}` },
    ...reports.flatMap(checksOfStream),
  ];
  if (!states) return checks; // without the bucket there are no jobs to look at
  const replicas = states.config.num_replicas;
  checks.push({ ok: true, what: `durability ${durabilityOf(replicas)}` });
  const unwritable = await new WriteProbe(bus, { byHand: true }).problems();
  checks.push(...unwritable.map((what) => ({ ok: false, what })));
  const services = await discoverServices(bus);
  const tokens = new Tokens(bus);
  const store = new JobStore(bus, { replicas });
  const writer = `doctor-${randomBytes(6).toString("hex")}`;
  const report = await sweep(
    { bus, store, tokens, eventLog: new EventLog(bus, { storesCompleted: false }), writer },
    { fix },
  );
  checks.push(checkOfSupervisors(services, report), ...checksOfJobs(report), ...checksOfNewer(services, report));
  checks.push(...checksOfParts(report, fix), ...(await checksOfItems({ bus, store }, fix)));
  checks.push(...checksOfFunctions(await waitedFor(bus, tokens.backlog, services)), ...checksOfWorkers(services));
  return checks;
}

/** Beyond this a stream is close to refusing what is written to it. */
const ALMOST_FULL = 0.9;

function checksOfStream({ name, info, problems }: StreamReport): Check[] {
  const checks = problems.map((problem): Check => {
    const next = info ? "mend it with the `nats` CLI" : "start a supervisor: it makes what is missing";
    return { ok: false, what: `stream ${name}: ${problem}`, next };
  });
  if (!info) return checks;
  const { max_bytes, discard } = info.config;
  const { bytes, messages } = info.state;
  if (discard === "new" && max_bytes > 0 && bytes > max_bytes * ALMOST_FULL) {
    const what = `stream ${name} is ${Math.round((100 * bytes) / max_bytes)} % full; beyond that it refuses`;
    checks.push({ ok: false, what, next: "add workers, or raise its max_bytes" });
  }
  if (checks.length === 0) checks.push({ ok: true, what: `stream ${name}: ${messages} messages, ${bytes} bytes` });
  return checks;
}

function checkOfSupervisors(services: ServiceInfo[], { live }: SweepReport): Check {
  const count = services.filter(({ name }) => name === API_SERVICE).length;
  if (count > 0) return { ok: true, what: `${count} supervisor(s)` };
  const waiting = Object.values(live).reduce((sum, one) => sum + one, 0);
  return { ok: waiting === 0, what: `no supervisor; ${waiting} live job(s)`, next: "start one with `async server`" };
}

/** What is stored besides states, but for items. */
function checksOfParts({ untidy: { count, named } }: SweepReport, fix: boolean): Check[] {
  if (count === 0) return [];
  const more = count > named.length ? "; …" : "";
  const what = `${count} thing(s) besides jobs that are left over: ${named.join("; ")}${more}`;
  if (fix) return [{ ok: true, what: `${what}; mended` }];
  return [{ ok: false, what, next: "a supervisor mends it within minutes; or mend it with `async doctor --fix`" }];
}

function checksOfJobs({ live, stranded, waiting }: SweepReport): Check[] {
  const states = Object.entries(live).map(([state, count]) => `${count} ${state}`);
  const checks: Check[] = [{ ok: true, what: `live jobs: ${states.join(", ") || "none"}` }];
  if (waiting.count > 0) {
    // It may be meant so: people take their time.
    const more = waiting.count > waiting.jobIds.length ? ", …" : "";
    const jobs = `${waiting.count} job(s) have waited for a signal for an hour, and wait for as long as it takes`;
    checks.push({ ok: true, what: `${jobs} (see async explain <id>): ${waiting.jobIds.join(", ")}${more}` });
  }
  for (const { jobId, problem, fixed } of stranded) {
    if (fixed) checks.push({ ok: true, what: `job ${jobId}: ${problem}; mended` });
    else checks.push({ ok: false, what: `job ${jobId}: ${problem}`, next: "mend it with `async doctor --fix`" });
  }
  return checks;
}

/** Supervisors remove them within minutes. */
async function checksOfItems(context: PartSweepContext, fix: boolean): Promise<Check[]> {
  const count = fix ? await sweepItems(context) : (await jobsGone(context)).length;
  if (count === 0) return [];
  const what = `what is stored of the items of ${count} job(s) that are gone`;
  return [{ ok: true, what: fix ? `${what} was removed` : `${what} is about to be removed` }];
}

/** Whoever has stored them may be there to go on with them. */
function checksOfNewer(services: ServiceInfo[], { newer }: SweepReport): Check[] {
  if (newer === 0) return [];
  const others = services.some(({ name, version }) => name === API_SERVICE && version !== VERSION);
  const what = `${newer} live job(s) in a format that is newer than this version (${VERSION}) knows: left alone`;
  return [
    { ok: others, what, next: "start a supervisor of the version that has stored them, and ask its `async doctor`" },
  ];
}

/** Functions of each kind that are named; the others are counted. */
const NAMED_FUNCTIONS = 20;

function checksOfFunctions(waitedFor: FunctionDepth[]): Check[] {
  const unserved = waitedFor.filter((depth) => depth.unserved);
  const busy = waitedFor.filter((depth) => !depth.unserved);
  return [
    ...checksOfEach(unserved, (depth) => {
      const next =
        "start a worker for it, or cancel them; a service that does not answer $SRV.INFO may not be seen here";
      return { ok: false, what: `${waitingIn(depth)}, which no worker serves${ageOf(depth)}`, next };
    }),
    ...checksOfEach(busy, (depth) => ({ ok: true, what: `${waitingIn(depth)}: its workers are full${ageOf(depth)}` })),
  ];
}

function checksOfEach(depths: FunctionDepth[], checkOf: (depth: FunctionDepth) => Check): Check[] {
  const checks = depths.slice(0, NAMED_FUNCTIONS).map(checkOf);
  const [first] = checks;
  const left = depths.slice(NAMED_FUNCTIONS);
  if (!first || left.length === 0) return checks;
  const jobs = left.reduce((sum, { waiting }) => sum + waiting, 0);
  return [...checks, { ...first, what: `the same for ${left.length} more function(s), with ${jobs} job(s)` }];
}

function waitingIn({ name, waiting }: FunctionDepth): string {
  // Where nobody could be asked how many there are, there is one at least.
  return waiting > 0 ? `${waiting} job(s) wait for function ${name}` : `jobs wait for function ${name}`;
}

function ageOf({ oldest_ms }: FunctionDepth): string {
  return oldest_ms === undefined ? "" : `; the first for ${Math.round(oldest_ms / 1_000)} s`;
}

function checksOfWorkers(services: ServiceInfo[]): Check[] {
  return workerProblems(services).map((problem) => ({ ok: false, ...problem }));
}

function lineOf({ ok, what, next }: Check): string {
  return `${ok ? "ok      " : "PROBLEM "} ${what}${next === undefined || ok ? "" : `\n         ${next}`}`;
}
