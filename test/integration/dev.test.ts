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
  dev = await start(["mine.ts", "wild.ts", "dies.mjs"]);
});
test.after(async () => {
  await client?.close();
  await dev?.kill();
  await rm(folder, { recursive: true });
});

const startDev = (args: string[], env: Record<string, string> = {}) =>
  startProcess("dist/cli/main.js", ["dev", ...args], env, { group: true, built: true });

async function start(modules: string[]): Promise<Running> {
  const paths = modules.map((name) => join(folder, name));
  const where = ["--http", "127.0.0.1:0", "--nats-port", "0", "--store-dir", join(folder, "store")];
  // A login for another server is none of its business.
  const env = { ASYNC_NATS_TLS_FIRST: "1", ASYNC_NATS_CREDS: "/nowhere" };
  const running = await startDev([...paths, ...where], env);
  const url = /--nats (\S+)/.exec(await running.line("submit with"))?.[1] ?? "";
  http = /at (http:\S+):/.exec(await running.line("HTTP at"))?.[1] ?? "";
  client = await Client.connect({ url, name: "test" });
  for (const path of paths) if (!path.endsWith("dies.mjs")) await running.line(`${path}: serves`);
  return running;
}

const run = (name: string) => client.run({ name, functions: [{ name }] }, { timeoutMs: 20_000 });
/** How often it has said so. */
const said = (text: string) => dev.output().split(text).length - 1;

test("a worker starts again when a file that it imports changes", async () => {
  assert.is(await run("word"), "one");
  await part('"two"');
  await dev.line("part.ts changed: starting again");
  assert.is(await run("word"), "two");
});

test("a file that is broken is said, jobs wait, and go on when it is mended", async () => {
  await eventually("it is said that it serves again", () => said("mine.ts: serves") === 2);
  await part('"three');
  await dev.line("mine.ts: cannot be used as it is");
  assert.is((await fetch(`${http}/readyz`)).status, 200);
  const { job_id } = await client.submit({ name: "word", functions: [{ name: "word" }] });
  await part('"four"');
  assert.is((await client.wait(job_id, { timeoutMs: 20_000 })).result, "four");
  await eventually("it is said once", () => said("mine.ts: serves") === 3);
  assert.not.match(dev.output(), /^ +at /m);
});

test("an attempt that runs when a file changes may end", async () => {
  const { job_id } = await client.submit({ name: "slow", functions: [{ name: "slow" }] });
  await eventually("it runs", async () => (await client.get(job_id)).state === "running");
  await part('"five"');
  const job = await client.wait(job_id, { timeoutMs: 20_000 });
  assert.is(job.result, "slept");
  assert.is(job.functions[0]?.retry_count, 1);
  await dev.line("mine.ts: waits for 1 attempt");
  assert.is(await run("word"), "five");
});

test("what throws in a timer, or ends its process, is started again, and nothing else notices", async () => {
  assert.is(await run("throw"), "said first");
  await dev.line("nobody catches this");
  await dev.line("wild.ts: ended by itself with exit code 1; starts again in 0.25 s (1 of 5)");
  assert.is(await run("word"), "five");
  assert.is(await run("exit"), "the second time");
  await dev.line("wild.ts: ended by itself with exit code 0; starts again in");
});

test("what ends at every start is given up, until its file changes", async () => {
  await dev.line("dies.mjs: ended by itself with exit code 7, after 5 restarts in a row");
  await write(
    "dies.mjs",
    `import { Worker } from ${ASYNC};
export default new Worker().func("mended", () => "now");`,
  );
  assert.is(await run("mended"), "now");
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

test("Ctrl-C once more ends everything at once, also a worker that is busy for ever", async () => {
  await client.close();
  dev = await start(["wild.ts"]);
  const { job_id } = await client.submit({ name: "busy", functions: [{ name: "busy" }] });
  const [worker] = await client.workers();
  await eventually("it runs", async () => (await client.get(job_id)).state === "running");
  process.kill(-(dev.child.pid as number), "SIGINT");
  await dev.line("ending");
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
