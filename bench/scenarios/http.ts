/**
 * Submissions through the bridge, against a bare Fastify route. The bridge's process has a supervisor in it, as always;
 * with a single job in memory it does next to nothing, so that what is measured is the bridge. At the end a supervisor and
 * a worker execute all that has been submitted, and every job is checked.
 */
import { randomUUID } from "node:crypto";
import type { JobView } from "../../src/job/view.ts";
import { checkBodies } from "../check.ts";
import { functionsOf, payloadOf, type Running, WrongResults } from "../contender.ts";
import { FUNCTION, sumProblem } from "../contenders/async.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { pooled } from "../contenders/nats.ts";
import { COST_COLUMNS, costsOf } from "../costs.ts";
import { HTTP_STREAM, makeHttpStream, removeHttpStream } from "../http/bare-stream.ts";
import { HttpConnection, type Reply } from "../http/connection.ts";
import { type StartedProcess, startNode } from "../process.ts";
import { type Competitor, medianOf, ratioOf, runRounds } from "../rounds.ts";
import type { Context, Scenario } from "../scenario.ts";
import type { Scope } from "../scope.ts";
import type { Table } from "../table.ts";

const CONNECTIONS = 50;
const OK = 200;
const PATH = "/v1/job";

interface Sent {
  id: string;
  text: string;
}

export const http: Scenario = {
  name: "http",
  description: "submissions through the HTTP bridge, against a Fastify route that only publishes the body",
  numbers: { jobs: 5_000, payload: 0, rounds: 5 },
  run: async (context) => {
    const { numbers, progress, scope, server } = context;
    const system = await AsyncSystem.on(server);
    await scope.add(() => system.close());
    const mark = await system.mark();
    const ledger = new Map<string, number>();
    const newJob = () => {
      const sent = newSubmission(ledger.size, numbers.payload);
      ledger.set(sent.id, ledger.size);
      return sent;
    };
    const bridge = await startBridge(system, server.url);
    const competitors = [
      await competitor(system, scope, "bridge", bridge, newJob, checkBridge),
      await bareCompetitor(context, system),
    ];
    const load = { jobs: numbers.jobs, functions: 1, payloadBytes: numbers.payload };
    for (const { running } of competitors) await (await running.run(load)).check();
    await runRounds(context, competitors, load);

    progress.show("http: executing what was submitted", 0, 1);
    await system.startSupervisor();
    await system.startWorker(numbers.concurrency);
    await system.untilEnded(ledger, mark);
    await system.check(ledger, mark, (state, number) => sumProblem(state, number, 1));
    return [tableOf(competitors)];
  },
};

async function startBridge(system: AsyncSystem, natsUrl: string): Promise<StartedProcess> {
  return system.adopt(
    await startNode({
      role: "bridge",
      args: ["dist/cli/main.js", "server", "--http", "127.0.0.1:0", "--max-live-jobs", "1"],
      env: { NATS_URL: natsUrl },
      ready: "Server listening at",
    }),
  );
}

async function bareCompetitor({ server, scope, numbers }: Context, system: AsyncSystem): Promise<Competitor> {
  const { observer } = system;
  const { nc } = observer.bus;
  await scope.add(() => removeHttpStream(nc));
  await makeHttpStream(nc, await observer.replicas());
  const bare = await startNode({
    role: "bridge",
    args: ["--import", "tsx", "bench/http/bare-route.ts"],
    env: { NATS_URL: server.url },
    ready: "is listening at",
  });
  system.adopt(bare);
  let made = 0;
  const newJob = () => newSubmission(made++, numbers.payload);
  let from = 1;
  return competitor(system, scope, "bare route", bare, newJob, async (sent, replies) => {
    for (const { status } of replies) if (status !== OK) throw new WrongResults(`the bare route answers ${status}`);
    await checkBodies(observer.messages(HTTP_STREAM, from), new Set(sent.map(({ text }) => text)));
    from += sent.length;
  });
}

function newSubmission(number: number, payloadBytes: number): Sent {
  const id = randomUUID();
  const data = payloadBytes > 0 ? { data: payloadOf(payloadBytes) } : {};
  return {
    id,
    text: JSON.stringify({ job_id: id, name: "bench", functions: functionsOf(FUNCTION, number, 1), ...data }),
  };
}

/** What becomes of the jobs is checked at the end, for all rounds together. */
async function checkBridge(sent: readonly Sent[], replies: readonly Reply[]): Promise<void> {
  for (const [i, { status, body }] of replies.entries()) {
    if (status !== OK) throw new WrongResults(`the bridge answers ${status}: ${body}`);
    const { job_id } = JSON.parse(body.toString()) as JobView;
    if (job_id !== sent[i]?.id) throw new WrongResults(`the bridge answers with another job, ${job_id}`);
  }
}

async function competitor(
  system: AsyncSystem,
  scope: Scope,
  name: string,
  bridge: StartedProcess,
  newJob: () => Sent,
  check: (sent: readonly Sent[], replies: readonly Reply[]) => Promise<void>,
): Promise<Competitor> {
  const url = /http:\/\/[\d.]+:\d+/.exec(bridge.readyLine)?.[0];
  if (url === undefined) throw new Error(`no address in ${bridge.readyLine}`);
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => HttpConnection.open(url)));
  const close = async () => {
    for (const connection of connections) connection.close();
  };
  await scope.add(close);
  const running: Running = {
    processes: system.processes.filter(({ role, pid }) => role !== "bridge" || pid === bridge.pid),
    run: async ({ jobs }) => {
      const sent = Array.from({ length: jobs }, newJob);
      const replies: Reply[] = new Array(jobs);
      const begun = performance.now();
      await submitAll(connections, sent, replies);
      const ms = performance.now() - begun;
      return { submittedMs: ms, doneMs: ms, check: () => check(sent, replies) };
    },
    storedBytes: async () => undefined,
    close,
  };
  return { name, running, measurements: [] };
}

async function submitAll(connections: readonly HttpConnection[], sent: readonly Sent[], replies: Reply[]) {
  const idle = [...connections];
  await pooled(sent.length, connections.length, async (index) => {
    const connection = idle.pop() as HttpConnection; // there are as many as lanes
    replies[index] = await connection.post(PATH, (sent[index] as Sent).text);
    idle.push(connection);
  });
}

function tableOf(competitors: readonly Competitor[]): Table {
  const bare = competitors.at(-1)?.measurements ?? [];
  return {
    title: `http: submissions over ${CONNECTIONS} keep-alive connections`,
    columns: [
      { key: "contender", title: "" },
      { key: "submissionsPerSecond", title: "submitted/s" },
      { key: "ofBare", title: "of bare", digits: 2 },
      ...COST_COLUMNS,
    ],
    rows: competitors.map(({ name, measurements }) => ({
      contender: name,
      submissionsPerSecond: medianOf(measurements, (one) => one.submissionsPerSecond),
      ofBare: ratioOf(measurements, bare),
      ...costsOf(measurements),
    })),
    notes: [
      "medians of the rounds, in turn; CPU time is per submission; every job was executed afterwards and checked",
    ],
  };
}
