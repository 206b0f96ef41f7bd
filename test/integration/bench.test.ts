/** The load tests, in a short form and for their correctness only: a machine that is busy with tests measures nothing. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { JOBS } from "../../src/bus/topology.ts";
import { inTempFolder } from "../support/folder.ts";
import { startProcess } from "../support/process.ts";
import { System } from "../support/system.ts";
import { eventually } from "../support/waiting.ts";

interface Report {
  date: string;
  machine: Record<string, string | number>;
  asked: { scenario: string; numbers: Record<string, number> };
  scenarios: {
    name: string;
    numbers: Record<string, number>;
    tables: { title: string; columns: { key: string }[]; rows: Record<string, unknown>[] }[];
  }[];
}

interface Outcome {
  code: number | null;
  output: string;
  report: Report | undefined;
}

/** A figure that each scenario must have in the first row of its first table. */
const SHORT_FORMS: Record<string, { args: string[]; figure: string }> = {
  recovery: { args: ["--rounds", "1"], figure: "p50Ms" },
  backlog: { args: ["--jobs", "300"], figure: "jobsPerSecond" },
  idle: { args: ["--seconds", "1"], figure: "cpuPercent" },
  floor: { args: ["--jobs", "300", "--rounds", "1"], figure: "jobsPerSecond" },
  submit: { args: ["--jobs", "300", "--rounds", "1", "--payload", "100"], figure: "clientPerSecond" },
  single: { args: ["--jobs", "300", "--rounds", "2", "--payload", "100"], figure: "ofFloor" },
  chain: {
    args: ["--jobs", "300", "--rounds", "1", "--workers", "2", "--supervisors", "2", "--against", "floor"],
    figure: "ofFloor",
  },
  diamond: { args: ["--jobs", "200", "--rounds", "1"], figure: "ofChain" },
  "graph-size": { args: ["--jobs", "1", "--rounds", "1"], figure: "supervisorUs" },
  items: { args: ["--items", "500", "--rounds", "1"], figure: "ofFloor" },
  "items-size": { args: ["--items", "400"], figure: "supervisorUs" },
  children: { args: ["--items", "50", "--rounds", "1"], figure: "ofOwn" },
  undo: { args: ["--jobs", "100", "--rounds", "1"], figure: "ofWithout" },
  fan: { args: ["--jobs", "2"], figure: "p50Ms" },
  fanout: { args: ["--jobs", "300", "--rounds", "1"], figure: "smallestSharePercent" },
  latency: { args: ["--jobs", "50", "--rounds", "1", "--seconds", "1"], figure: "p50Ms" },
  http: { args: ["--jobs", "300", "--rounds", "1"], figure: "ofBare" },
  soak: { args: ["--seconds", "2", "--rate", "100"], figure: "p99Ms" },
  parked: { args: ["--jobs", "100", "--signals", "10"], figure: "residentMb" },
};
/** These mostly wait: they run while others do. */
const BESIDE = ["recovery", "backlog", "idle", "parked"];

const beside = new Map(BESIDE.map((name) => [name, bench([name, ...(SHORT_FORMS[name]?.args ?? [])])]));

/** `args` may name another file for the report. */
async function bench(args: string[]): Promise<Outcome> {
  let outcome: Outcome | undefined;
  await inTempFolder(async (folder) => {
    const json = join(folder, "report.json");
    const run = await startProcess("bench/run.ts", ["--json", json, ...args]);
    try {
      const code = await run.exit();
      const report = existsSync(json) ? (JSON.parse(await readFile(json, "utf8")) as Report) : undefined;
      outcome = { code, output: run.output(), report };
    } finally {
      await run.kill();
    }
  });
  return outcome as Outcome;
}

test("the command that the load tests start is built", () => {
  assert.ok(existsSync("dist/cli/main.js"), "run `npm run build` first");
});

const last = Object.keys(SHORT_FORMS).sort((a, b) => Number(BESIDE.includes(a)) - Number(BESIDE.includes(b)));
for (const name of last) {
  test(`${name} ends well and reports what it has found`, async () => {
    const { args, figure } = SHORT_FORMS[name] as { args: string[]; figure: string };
    const { code, output, report } = await (beside.get(name) ?? bench([name, ...args]));
    assert.is(code, 0, output);
    assert.match(output, /^machine .*nats-server 2\./m);
    assert.match(output, /^durability +fast: /m);
    const [scenario, ...others] = report?.scenarios ?? [];
    assert.is(others.length, 0);
    assert.is(scenario?.name, name);
    assert.ok(scenario?.tables.every(({ title, columns, rows }) => title && columns.length > 0 && rows.length > 0));
    assert.ok(Number.isFinite(scenario?.tables[0]?.rows[0]?.[figure]), `${figure}\n${output}`);
  });
}

test("the report says what the figures depend on", async () => {
  const { report } = (await beside.get("idle")) as Outcome;
  assert.ok(Number.isFinite(Date.parse(report?.date ?? "")));
  for (const key of ["cpu", "cores", "node", "natsServer", "durability"]) assert.ok(report?.machine[key], key);
  assert.is(report?.asked.scenario, "idle");
  assert.equal(report?.asked.numbers, { seconds: 1 });
});

test("without a scenario they are listed, and wrong use is refused with what is allowed", async () => {
  const list = await startProcess("bench/run.ts");
  assert.is(await list.exit(), 0);
  for (const name of Object.keys(SHORT_FORMS)) assert.match(list.output(), new RegExp(`^ +${name} +\\w`, "m"));
  const refusals = [
    [["nothing"], /there is no scenario "nothing"; there are floor, submit/],
    [["single", "--jobs", "0"], /--jobs must be an integer from 1 to 1000000/],
    [["single", "--seconds", "1"], /single does not take --seconds/],
    [["idle", "--json", "/no/such/folder/report.json"], /--json cannot be written/],
    [["soak", "--seconds", "86400", "--rate", "100000"], /must be at most/],
  ] as const;
  await Promise.all(
    refusals.map(async ([args, message]) => {
      const { code, output } = await bench([...args]);
      assert.is(code, 2, output);
      assert.match(output, message);
    }),
  );
});

test("on a server of the user's, other people's jobs are neither counted nor touched", async () => {
  const system = await System.start();
  try {
    const stuck = await system.client.submit({ name: "theirs", functions: [{ name: "nobody.serves.this" }] });
    const done = await system.worker((worker) => worker.func("theirs", () => 1));
    await system.client.wait((await system.client.submit({ name: "theirs", functions: [{ name: "theirs" }] })).job_id);
    await done.close();
    const { code, output, report } = await bench([
      ...["single", "--nats", system.url, "--jobs", "200", "--rounds", "1"],
    ]);
    assert.is(code, 0, output);
    const [throughput, costs] = report?.scenarios[0]?.tables ?? [];
    assert.is(throughput?.rows.length, 2);
    assert.ok(Number.isFinite(costs?.rows[0]?.supervisorCpuUs));
    assert.is(costs?.rows[0]?.serverCpuUs, null); // it is not ours to meter
    const manager = await jetstreamManager(system.bus.nc);
    const streams = (await manager.streams.list().next()).map(({ config }) => config.name).sort();
    assert.equal(streams, ["EVENTS", "JOBS", "KV_jobs", "TIMERS"]);
    assert.is((await manager.streams.info(JOBS)).state.messages, 1);
    assert.is.not((await system.client.get(stuck.job_id)).state, "completed");
    const submit = await bench(["submit", "--nats", system.url]);
    assert.is(submit.code, 1);
    assert.match(submit.output, /a supervisor is running there/);
  } finally {
    await system.close();
  }
});

test("a server that is not there is a failure", async () => {
  const { code, output } = await bench(["single", "--nats", "nats://127.0.0.1:9"]);
  assert.is(code, 1);
  assert.match(output, /cannot reach a NATS server/);
});

test("an interrupted run leaves no process and no folder behind", async () => {
  if (process.platform !== "linux") return; // there is no /proc to look at
  const run = await startProcess("bench/run.ts", ["soak"]);
  try {
    const { pid = 0 } = run.child;
    const ofWorker = (command: string) => command.includes("bench/worker.ts");
    const started = await eventually("a worker is running", async () => {
      const all = await descendantsOf(pid);
      return [...all.values()].some(ofWorker) ? all : undefined;
    });
    const [folder] = [...started.values()].flatMap((command) => /-c (\S+)\/nats-server\.conf/.exec(command)?.[1] ?? []);
    assert.ok(folder !== undefined && existsSync(folder));
    run.child.kill("SIGINT");
    assert.is(await run.exit(), 130);
    await eventually("its processes are gone", () => ![...started.keys()].some((one) => existsSync(`/proc/${one}`)));
    assert.not.ok(existsSync(folder));
  } finally {
    await run.kill();
  }
});

/** The command lines of all processes that one has started, directly or not, by pid. */
async function descendantsOf(root: number): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  const parents = new Map<number, number>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => ""); // it is gone already
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  }
  for (const pid of parents.keys()) {
    let ancestor = parents.get(pid);
    while (ancestor !== undefined && ancestor !== root) ancestor = parents.get(ancestor);
    if (ancestor !== root) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    found.set(pid, command.replaceAll("\0", " "));
  }
  return found;
}

test("it says how it is used when it is asked for help, before or after a scenario", async () => {
  for (const args of [["--help"], ["single", "-h"], ["scale", "--help"]]) {
    const { code, output } = await bench(args);
    assert.is(code, 0, output);
    assert.match(output, "usage: npm run bench -- <scenario> [options]");
  }
});

test.run();
