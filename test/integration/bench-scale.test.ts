/** The scale measurements in their quick form, for their correctness only: what they find here says nothing. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DimensionResult } from "../../bench/scale/dimension.ts";
import { inTempFolder } from "../support/folder.ts";
import { startProcess } from "../support/process.ts";
import { eventually } from "../support/waiting.ts";

const COMMAND = "bench/run.ts";
const NAMES = ["stored", "waiting", "functions", "processes", "payload"];

async function scale(args: string[]): Promise<{ code: number | null; output: string }> {
  const run = await startProcess(COMMAND, ["scale", ...args]);
  try {
    return { code: await run.exit(), output: run.output() };
  } finally {
    await run.kill();
  }
}

async function resultsIn(folder: string): Promise<DimensionResult[]> {
  return JSON.parse(await readFile(join(folder, "scale.json"), "utf8")).dimensions;
}

test("the command that the measurements start is built", () => {
  assert.ok(existsSync("dist/cli/main.js"), "run `npm run build` first");
});

test("each dimension ends well, and what it has found is kept next to that of the others", async () => {
  await inTempFolder(async (folder) => {
    const others = NAMES.filter((name) => name !== "functions").flatMap((name) => ["--dimension", name]);
    for (const chosen of [others, ["--dimension", "functions"]]) {
      const { code, output } = await scale(["--quick", "--out", folder, ...chosen]);
      assert.is(code, 0, output);
    }
    const results = await resultsIn(folder);
    assert.equal(
      results.map(({ name }) => name),
      NAMES,
    );
    for (const { name, quick, machine, tables, plots } of results) {
      assert.ok(quick && machine.natsServer);
      assert.ok(
        tables.every(({ rows }) => rows.length > 0),
        name,
      );
      assert.ok(
        plots.every(({ file }) => existsSync(join(folder, `${file}.svg`))),
        name,
      );
    }
    assert.match(await readFile(join(folder, "README.md"), "utf8"), "## payload");
  });
});

test("wrong use is refused with what is allowed", async () => {
  const { code, output } = await scale(["--dimension", "depth"]);
  assert.is(code, 2);
  assert.match(output, /one of stored, waiting, functions, processes, payload/);
});

test("an interrupted run leaves no process behind", async () => {
  if (process.platform !== "linux") return; // there is no /proc to look at
  const run = await startProcess(COMMAND, ["scale", "--quick", "--dimension", "stored"]);
  try {
    const { pid = 0 } = run.child;
    await run.line("durability");
    const started = await eventually("the measurement has started something", async () => {
      const all = await childrenOf(pid);
      return all.length > 0 ? all : undefined;
    });
    run.child.kill("SIGINT");
    assert.is(await run.exit(), 130);
    await eventually("it is gone", () => !started.some((child) => existsSync(`/proc/${child}`)));
  } finally {
    await run.kill();
  }
});

/** The pids of the processes that one has started. */
async function childrenOf(parent: number): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    const stat = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "") : "";
    if (Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === parent) found.push(pid);
  }
  return found;
}

test.run();
