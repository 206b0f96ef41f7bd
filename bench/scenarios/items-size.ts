/**
 * Lists of items that a function lists, of several lengths: what an item costs, which is meant not to grow with the list; and how
 * other jobs fare meanwhile. Bytes are those of all that is published to the bucket of states, each write of a part or record as
 * large as it is, without headers.
 */
import type { Client } from "../../src/client/client.ts";
import { WrongResults } from "../contender.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { pooled } from "../contenders/nats.ts";
import { runOnce } from "../contenders/single-jobs.ts";
import { chainKind } from "../graphs.ts";
import { Latencies, PERCENTILE_COLUMNS } from "../latencies.ts";
import { type ProcessHandle, usageOf } from "../process.ts";
import { type Context, type Scenario, setupOf } from "../scenario.ts";
import type { Cell, Table } from "../table.ts";
import { LIST_FUNCTION, TAKE_FUNCTION } from "../workers/names.ts";

const ITEM_BYTES = 200;
/** Of the longest list. */
const SHARES = [0.01, 0.1, 1];
const CONCURRENCIES = [1, 20];
/** Short lists are done one after the other, as many of them as come to this share of the longest. */
const LEAST_SHARE = 0.25;
const CHAIN_LENGTH = 10;
const END_LIMIT_MS = 3_600_000;
/** Other jobs that are timed while nothing else is done. */
const ALONE = 300;

export const itemsSize: Scenario = {
  name: "items-size",
  description: `lists of ${ITEM_BYTES} B items from a function, of three lengths: cost per item, and other jobs meanwhile`,
  numbers: { items: 100_000, workers: 1, supervisors: 1 },
  run: async (context) => {
    const { numbers, scope, server } = context;
    const system = await AsyncSystem.start(server, setupOf(numbers));
    await scope.add(() => system.close());
    const written = countWritten(system);
    await runList(system.client, Math.min(numbers.items, 5_000), 20); // to warm up
    const rows: Record<string, Cell>[] = [];
    for (const concurrency of CONCURRENCIES) {
      const first = rows.length;
      for (const share of SHARES) {
        const items = Math.max(1, Math.round(numbers.items * share));
        context.progress.show(`items-size: ${items} items, ${concurrency} at a time`, rows.length, 6);
        rows.push(await measureSize(context, system, { items, concurrency, written }));
      }
      for (const row of rows.slice(first)) {
        row.supervisorOfShortest = Number(row.supervisorUs) / Number(rows[first]?.supervisorUs);
        row.bytesOfShortest = Number(row.bytes) / Number(rows[first]?.bytes);
      }
    }
    return [costTable(rows), await latencyTable(context, system)];
  },
};

interface Written {
  bytes: number;
  messages: number;
}

/** All that is published to the bucket of states from now on. */
function countWritten({ observer }: AsyncSystem): Written {
  const written = { bytes: 0, messages: 0 };
  observer.bus.nc.subscribe("$KV.jobs.>", {
    callback: (_, message) => {
      written.bytes += message.subject.length + message.data.length;
      written.messages += 1;
    },
  });
  return written;
}

/** @throws WrongResults */
async function runList(client: Client, items: number, concurrency: number): Promise<void> {
  const list = { name: LIST_FUNCTION, args: [items, ITEM_BYTES] };
  const entry = { for_each: list, name: TAKE_FUNCTION, concurrency, results: "none" as const };
  const { job_id } = await client.submit({ name: "bench-list", functions: [entry] });
  const { state, functions } = await client.wait(job_id, { timeoutMs: END_LIMIT_MS });
  const done = functions[0]?.items?.done;
  if (state !== "completed" || done !== items)
    throw new WrongResults(`a list is ${state}: ${done} of ${items} are done`);
}

interface Size {
  items: number;
  concurrency: number;
  written: Written;
}

async function measureSize(
  { numbers }: Context,
  system: AsyncSystem,
  { items, concurrency, written }: Size,
): Promise<Record<string, Cell>> {
  const lists = Math.max(1, Math.ceil((numbers.items * LEAST_SHARE) / items));
  const count = lists * items;
  const before = await costSoFar(system.processes);
  const writtenBefore = { ...written };
  const begun = performance.now();
  for (let list = 0; list < lists; list++) await runList(system.client, items, concurrency);
  const seconds = (performance.now() - begun) / 1_000;
  await system.observer.bus.flush(); // what was written before has been counted
  const after = await costSoFar(system.processes);
  const us = (role: keyof Cost["cpuUs"]) => (after.cpuUs[role] - before.cpuUs[role]) / count;
  return {
    concurrency,
    items,
    lists,
    itemsPerSecond: count / seconds,
    supervisorUs: us("supervisor"),
    workerUs: us("worker"),
    serverUs: us("server"),
    bytes: (written.bytes - writtenBefore.bytes) / count,
    writes: (written.messages - writtenBefore.messages) / count,
    supervisorMb: after.supervisorMb,
  };
}

interface Cost {
  cpuUs: Record<"supervisor" | "worker" | "server", number>;
  /** The most that the largest has had. */
  supervisorMb: number;
}

async function costSoFar(processes: readonly ProcessHandle[]): Promise<Cost> {
  const cost: Cost = { cpuUs: { supervisor: 0, worker: 0, server: 0 }, supervisorMb: 0 };
  for (const { role, pid } of processes) {
    if (role !== "supervisor" && role !== "worker" && role !== "server") continue;
    const usage = await usageOf(pid);
    cost.cpuUs[role] += usage?.cpuUs ?? Number.NaN;
    if (role === "supervisor") cost.supervisorMb = Math.max(cost.supervisorMb, (usage?.peakBytes ?? Number.NaN) / 1e6);
  }
  return cost;
}

function costTable(rows: Record<string, Cell>[]): Table {
  return {
    title: `items-size: items of ${ITEM_BYTES} B, listed by a function, results none`,
    columns: [
      { key: "concurrency", title: "at a time" },
      { key: "items", title: "items" },
      { key: "lists", title: "lists" },
      { key: "itemsPerSecond", title: "items/s" },
      { key: "supervisorUs", title: "supervisor µs", digits: 1 },
      { key: "supervisorOfShortest", title: "x the shortest's", digits: 2 },
      { key: "bytes", title: "written B", digits: 0 },
      { key: "bytesOfShortest", title: "x the shortest's", digits: 2 },
      { key: "writes", title: "writes", digits: 3 },
      { key: "workerUs", title: "worker µs", digits: 1 },
      { key: "serverUs", title: "server µs", digits: 1 },
      { key: "supervisorMb", title: "supervisor peak MB" },
    ],
    rows,
    notes: [
      "per item, one list after the other, the observer's own reading of what is written included in the server's time;",
      "meant to be at most 1.2 times the shortest's, and 150 MB more; every list was done completely",
    ],
  };
}

/** What is done meanwhile: as many functions, each time. */
async function latencyTable({ numbers, progress }: Context, { client }: AsyncSystem): Promise<Table> {
  const chains = Math.ceil(numbers.items / CHAIN_LENGTH);
  const { job } = chainKind("", CHAIN_LENGTH);
  const kinds: [string, () => Promise<unknown>][] = [
    ["one item at a time", () => runList(client, Math.ceil(numbers.items / 5), 1)],
    ["20 items at a time", () => runList(client, numbers.items, 20)],
    ["20 chains at a time", () => pooled(chains, 20, async (number) => void (await client.run(job(number))))],
  ];
  progress.show("items-size: other jobs", 0, kinds.length + 1);
  const alone = new Latencies();
  for (let job = 0; job < Math.min(ALONE, numbers.items); job++) alone.record((await runOnce(client)).doneMs);
  const aloneMs = alone.percentiles().p50Ms;
  const rows: Record<string, Cell>[] = [{ kind: "nothing", ofAlone: 1, ...alone.percentiles() }];
  for (const [at, [kind, run]] of kinds.entries()) {
    progress.show("items-size: other jobs", at + 1, kinds.length + 1);
    const beside = (await latenciesWhile(client, run)).percentiles();
    rows.push({ kind, ofAlone: beside.p50Ms / aloneMs, ...beside });
  }
  return {
    title: "items-size: one job of one function at a time, while others are done",
    columns: [
      { key: "kind", title: "meanwhile" },
      { key: "ofAlone", title: "p50 x alone", digits: 2 },
      ...PERCENTILE_COLUMNS,
    ],
    rows,
    notes: [`from the call to the result; ${numbers.items} items, and chains of as many functions, ten each`],
  };
}

/** Of jobs one after the other, as long as `run` takes. */
async function latenciesWhile(client: Client, run: () => Promise<unknown>): Promise<Latencies> {
  const latencies = new Latencies();
  let isOver = false;
  const running = run().finally(() => {
    isOver = true;
  });
  while (!isOver) latencies.record((await runOnce(client)).doneMs);
  await running;
  return latencies;
}
