/**
 * `async dev` as someone uses it who writes a worker: files change, handlers misbehave, Ctrl-C is pressed. As it is built, because
 * its processes start many times.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Client } from "../../src/client/client.ts";
import { type Running, startProcess } from "../support/process.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("dev");
const ASYNC = JSON.stringify(new URL("../../dist/index.js", import.meta.url));
let folder: string;
let dev: Running;
let client: Client;
let http: string;

const write = (name: string, source: string) => writeFile(join(folder, name), source);
const part = (word: string) => write("part.ts", `export const word: string = ${word};\n`);

const stuck = (handler: string) =>
  write(
    "stuck.mjs",
    `import { Worker } from ${ASYNC};\nexport default new Worker().func("stuck", () => ${handler});\n`,
  );

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-test-"));
  await part('"one"');
  await write(
    "mine.ts",
    `import { Worker } from ${ASYNC};
import { word } from "./part.ts";
export default new Worker()
  .func("word", () => word)
  .func("slow", () => new Promise((resolve) => setTimeout(resolve, 2_000, "slept")));`,
  );
  await write(
    "wild.ts",
    `import { Worker } from ${ASYNC};
setInterval(() => {}, 1_000);
export default new Worker()
  .func("throw", () => { setTimeout(() => { throw new Error("nobody catches this"); }, 1); return "said first"; })
  .func("exit", ({ attempt }) => (attempt === 1 ? process.exit(0) : "the second time"))
  .func("busy", () => { for (;;); });`,
  );
  await write("dies.mjs", "process.exit(7);\n");
  await stuck("{ for (;;); }");
  try {
    await start(["mine.ts", "wild.ts", "stuck.mjs", "dies.mjs"]);
  } catch (error) {
    await end(); // of a suite that cannot begin, nothing is run afterwards
    throw error;
  }
});
test.after(end);

async function end(): Promise<void> {
  await client?.close();
  await dev?.kill();
  await rm(folder, { recursive: true, force: true });
}

const startDev = (args: string[], env: Record<string, string> = {}) =>
  startProcess("dist/cli/main.js", ["dev", ...args], env, { group: true, built: true });

async function start(modules: string[]): Promise<void> {
  const paths = modules.map((name) => join(folder, name));
  const where = ["--http", "127.0.0.1:0", "--nats-port", "0", "--store-dir", join(folder, "store"), "--grace", "6s"];
  // A login for another server is none of its business.
  const env = { ASYNC_NATS_TLS_FIRST: "1", ASYNC_NATS_CREDS: "/nowhere" };
  dev = await startDev([...paths, ...where], env);
  const url = /--nats (\S+)/.exec(await line("submit with"))?.[1] ?? "";
  http = /at (http:\S+):/.exec(await line("HTTP at"))?.[1] ?? "";
  client = await Client.connect({ url, name: "test" });
  for (const path of paths) if (!path.endsWith("dies.mjs")) await line(`${path}: serves`);
}

/** Waits until it is said. Many processes start here, which takes its time on a busy machine. */
const line = (text: string) =>
  eventually(
    `"${text}" of\n${dev.output()}`,
    () =>
      dev
        .output()
        .split("\n")
        .find((one) => one.includes(text)),
    60_000,
  );
const run = (name: string) => client.run({ name, functions: [{ name }] }, { timeoutMs: 60_000 });
/** How often it has said so. */
const said = (text: string) => dev.output().split(text).length - 1;

let held = "";
test("a handler that is busy for ever has its grace when its file changes (DEV-2)", async () => {
  held = (await client.submit({ name: "stuck", functions: [{ name: "stuck" }] })).job_id;
  await eventually("it runs", async () => (await client.get(held)).state === "running");
  await stuck('"free"');
  await line("stuck.mjs changed: starting again");
  assert.is(said("stuck.mjs: serves"), 1);
});

test("a worker starts again when a file that it imports changes", async () => {
  assert.is(await run("word"), "one");
  await part('"two"');
  await line("part.ts changed: starting again");
  await eventually("it is said that it serves again", () => said("mine.ts: serves") === 2); // until then the old one may
  assert.is(await run("word"), "two");
});

test("a file that is broken is said, jobs wait, and go on when it is mended", async () => {
  await part('"three');
  await line("mine.ts: cannot be used as it is");
  assert.is((await fetch(`${http}/readyz`)).status, 200);
  const { job_id } = await client.submit({ name: "word", functions: [{ name: "word" }] });
  await part('"four"');
  assert.is((await client.wait(job_id, { timeoutMs: 60_000 })).result, "four");
  await eventually("it is said once", () => said("mine.ts: serves") === 3);
  assert.not.match(dev.output(), /^ +at /m);
});

test("an attempt that runs when a file changes may end", async () => {
  const { job_id } = await client.submit({ name: "slow", functions: [{ name: "slow" }] });
  await eventually("it runs", async () => (await client.get(job_id)).state === "running");
  await part('"five"');
  const job = await client.wait(job_id, { timeoutMs: 60_000 });
  assert.is(job.result, "slept");
  assert.is(job.functions[0]?.retry_count, 1);
  await line("mine.ts: waits for 1 attempt, at most 6 s");
  assert.match(dev.output(), /"attempts":1,"graceMs":6000,.*"draining"/);
  assert.is(await run("word"), "five");
});

test("what throws in a timer, or ends its process, is started again, and nothing else notices (DEV-3)", async () => {
  assert.is(await run("throw"), "said first");
  await line("nobody catches this");
  await line("wild.ts: ended by itself with exit code 1; starts again in 0.25 s (1 of 5)");
  assert.is(await run("word"), "five");
  assert.is(await run("exit"), "the second time");
  await line("wild.ts: ended by itself with exit code 0; starts again in");
});

test("what ends at every start is given up, until its file changes (DEV-3)", async () => {
  await line("dies.mjs: ended by itself with exit code 7, after 5 restarts in a row");
  await write(
    "dies.mjs",
    `import { Worker } from ${ASYNC};
export default new Worker().func("mended", () => "now");`,
  );
  assert.is(await run("mended"), "now");
});

test("and is killed after it, so that its job is done by the new code (DEV-1, DEV-2)", async () => {
  await line("stuck.mjs: does not end, and is killed");
  const job = await client.wait(held, { timeoutMs: 60_000 });
  assert.is(job.result, "free");
  assert.is(said("stuck.mjs: serves"), 2);
});

test("Ctrl-C says what it waits for, and lets it end", async () => {
  const { job_id } = await client.submit({ name: "slow", functions: [{ name: "slow" }] });
  await eventually("it runs", async () => (await client.get(job_id)).state === "running");
  const waits = said("mine.ts: waits for 1 attempt");
  process.kill(-(dev.child.pid as number), "SIGINT");
  assert.is(await dev.exit(), 0, dev.output());
  assert.is(said("mine.ts: waits for 1 attempt"), waits + 1);
  assert.match(dev.output(), "ending; once more to end at once");
  assert.match(dev.output(), new RegExp(`${job_id} +completed +result slept`));
});

test("Ctrl-C once more ends everything at once, also a worker that is busy for ever (DEV-4)", async () => {
  await client.close();
  await start(["wild.ts"]);
  const [worker] = await client.workers();
  const { job_id } = await client.submit({ name: "busy", functions: [{ name: "busy" }] });
  await eventually("it runs", async () => (await client.get(job_id)).state === "running");
  process.kill(-(dev.child.pid as number), "SIGINT");
  await line("ending");
  await new Promise((resolve) => setTimeout(resolve, 500)); // less apart, two signals are one
  process.kill(-(dev.child.pid as number), "SIGINT");
  assert.is(await dev.exit(), 1, dev.output());
  assert.ok(worker?.Pid);
  await eventually("its worker is gone", () => !alive(Number(worker.Pid)));
});

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("a module that is not there is wrong use", async () => {
  const { exit, output } = await startDev([join(folder, "missing.ts")]);
  assert.is(await exit(), 2);
  assert.match(output(), "there is no file");
});

test.run();
