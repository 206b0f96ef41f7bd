/** The README's worker in projects as `npm init` makes them, with the package as it is published. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { REPORT_FILES, readWorkerMessage } from "../../src/cli/worker-messages.ts";

const exec = promisify(execFile);
const test = suite("first steps");
let folder: string;
let project: string;
/** Programs by version. */
const nodes = new Map<string, string>([[process.version, process.execPath]]);

test.before(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "async-test-")));
  project = join(folder, "project");
  await mkdir(join(project, "node_modules"), { recursive: true });
  const { stdout } = await exec("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder]);
  await exec("tar", ["xzf", join(folder, stdout.trim()), "-C", folder]);
  await exec("mv", [join(folder, "package"), join(project, "node_modules", "async")]);
  // What it depends on, as an installation would have it beside it.
  for (const name of await readdir("node_modules")) {
    if (name !== "async") await symlink(resolve("node_modules", name), join(project, "node_modules", name));
  }
  const readme = await readFile("README.md", "utf8");
  const hello = /```ts\n(\/\/ hello\.ts\n.*?)```/s.exec(readme)?.[1];
  assert.ok(hello, "README has a hello.ts");
  await writeFile(join(project, "hello.ts"), hello);
  await writeFile(join(project, "hello.cts"), hello);
  await writeFile(join(project, "compiled.cjs"), COMPILED);
  await Promise.all([fetchNode("22"), fetchNode("24")]);
});
test.after(() => rm(folder, { recursive: true }));

/** What TypeScript makes of it for CommonJS. */
const COMPILED = `"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
const async_1 = require("async");
exports.default = new async_1.Worker().func("hello", ({ args }) => "hello " + args);
`;

async function fetchNode(major: string): Promise<void> {
  const prefix = join(folder, `node-${major}`);
  const name = `node-linux-${process.arch}`;
  try {
    await mkdir(prefix);
    await exec("npm", ["i", "--no-save", "--silent", "--prefix", prefix, `${name}@${major}`], { timeout: 120_000 });
    const program = join(prefix, "node_modules", name, "bin", "node");
    nodes.set((await exec(program, ["--version"])).stdout.trim(), program);
  } catch (error) {
    console.error(`NOT TESTED on Node ${major}, because it cannot be had here: ${(error as Error).message}`);
  }
}

/** Without NATS: a worker that was loaded and started ends with 3, one that could not be loaded with 2. */
async function start(node: string, file: string): Promise<{ code: number; output: string }> {
  const args = ["node_modules/async/dist/cli/main.js", "worker", file, "--nats", "nats://127.0.0.1:1"];
  try {
    const { stdout } = await exec(node, args, { cwd: project, timeout: 60_000 });
    return { code: 0, output: stdout };
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string };
    return { code, output: stderr };
  }
}

for (const type of ["none", "commonjs", "module"]) {
  test(`a worker loads where package.json says ${type === "none" ? "no type" : type}`, async () => {
    await writeFile(join(project, "package.json"), JSON.stringify({ name: "mine", ...(type !== "none" && { type }) }));
    for (const [version, node] of nodes) {
      const files = type === "commonjs" ? ["hello.ts"] : ["hello.ts", "hello.cts", "compiled.cjs"];
      for (const file of files) {
        const { code, output } = await start(node, file);
        assert.is(code, 3, `${file} on Node ${version}: ${output}`);
        assert.match(output, "cannot reach a NATS server");
        assert.not.match(output, "unexpected failure");
      }
    }
  });
}

test("every Node tells which files a worker loads, which is what `async dev` looks at", async () => {
  await writeFile(join(project, "package.json"), '{"name":"mine"}');
  await writeFile(join(project, "part.ts"), "export const word: string = 'x';");
  const importing = (async_: string) => `import { word } from "./part.ts";\nexport const used = word;\n${async_}`;
  const hello = await readFile(join(project, "hello.ts"), "utf8");
  await writeFile(join(project, "importing.ts"), importing(hello));
  await writeFile(join(project, "importing.mts"), importing(hello));
  for (const [version, node] of nodes) {
    for (const file of ["importing.ts", "importing.mts"]) {
      const args = ["node_modules/async/dist/cli/main.js", "worker", file, "--nats", "nats://127.0.0.1:1"];
      const env = { ...process.env, ...REPORT_FILES };
      const worker = spawn(node, args, { cwd: project, env, stdio: ["ignore", "ignore", "ignore", "ipc"] });
      const loaded = new Set<string>();
      worker.on("message", (raw) => {
        const message = readWorkerMessage(raw);
        if (message?.is === "loading") for (const path of message.files) loaded.add(path);
      });
      const [code] = await once(worker, "exit");
      assert.is(code, 3);
      for (const name of [file, "part.ts"]) assert.ok(loaded.has(join(project, name)), `${name} on Node ${version}`);
    }
  }
});

async function tsc(resolution: "nodenext" | "bundler", file: string): Promise<string> {
  const module = resolution === "nodenext" ? "nodenext" : "esnext";
  const options = ["--noEmit", "--strict", "--target", "es2023", "--types", "node"];
  const program = resolve("node_modules/typescript/bin/tsc");
  try {
    await exec(process.execPath, [program, ...options, "--module", module, "--moduleResolution", resolution, file], {
      cwd: project,
    });
    return "";
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

for (const resolution of ["nodenext", "bundler"] as const) {
  test(`the README's worker and our declarations pass tsc --strict with ${resolution}`, async () => {
    await writeFile(join(project, "package.json"), '{"name":"mine","type":"module"}');
    assert.is(await tsc(resolution, "hello.ts"), "");
  });
}

test("a submission with a slip of the pen does not compile, one of unknown type does", async () => {
  await writeFile(join(project, "package.json"), '{"name":"mine","type":"module"}');
  const submitting = (job: string) =>
    `import type { Client, ErrorCode, JobDocument } from "async";
export const code: ErrorCode[] = ["no_route", "internal"];
export const submit = (client: Client, job: JobDocument, any: any) => [client.submit(job), client.submit(any), client.submit(${job})];\n`;
  const jobs: Record<string, RegExp | undefined> = {
    '{ name: "a", functions: [{ name: "f", args: [1] }] }, { jobId: "x" }': undefined,
    'JSON.parse("{}") as unknown, { jobId: "x" }': undefined,
    '{ nme: "a", functions: [{ name: "f" }] }': /nme/,
    '{ name: "a", functions: [{ name: "f" }], tiemout_ms: 5 }': /tiemout_ms/,
    '{ name: "a", functions: [{ nme: "f" }] }': /nme/,
  };
  for (const [job, expected] of Object.entries(jobs)) {
    await writeFile(join(project, "submit.ts"), submitting(job));
    const output = await tsc("nodenext", "submit.ts");
    if (expected) assert.match(output, expected, job);
    else assert.is(output, "", job);
  }
});

test.run();
