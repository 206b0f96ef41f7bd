/** The package as it is built: what is in it, and that it works without the sources. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";

const run = promisify(execFile);

test("the command runs from dist", async () => {
  const { stdout } = await run(process.execPath, ["dist/cli/main.js", "--version"]);
  const { version } = JSON.parse(await readFile("package.json", "utf8"));
  assert.is(stdout.trim(), version);
});

test("the package can be imported by its name, with types", async () => {
  const program = 'import * as all from "async"; console.log(Object.keys(all).sort().join(" "))';
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program]);
  for (const name of [
    "Worker",
    "Client",
    "Supervisor",
    "Bus",
    "FatalError",
    "RetryAfter",
    "startBridge",
    "startEmbeddedServer",
  ]) {
    assert.ok(stdout.split(/\s/).includes(name), name);
  }
  assert.match(await readFile("dist/index.d.ts", "utf8"), "Worker");
});

test("what is published is what users need", async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"]);
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = files.map((file) => file.path);
  for (const path of [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli/main.js",
    "README.md",
    "LICENCE",
    "nats-server.conf",
  ]) {
    assert.ok(paths.includes(path), path);
  }
  assert.not(paths.some((path) => path.startsWith("test/") || path.startsWith("bench/")));
});

test("what it depends on is content with the oldest Node that it supports itself", async () => {
  const { packages } = JSON.parse(await readFile("package-lock.json", "utf8")) as {
    packages: Record<string, { version?: string; optional?: true; dev?: true; engines?: { node?: string } }>;
  };
  const oldest = Number(/\d+/.exec(packages[""]?.engines?.node ?? "")?.[0]);
  assert.ok(oldest > 0);
  // What is installed for everybody asks for no newer one, in any of its alternatives.
  const asking = Object.entries(packages).filter(([, { optional, engines }]) => {
    const majors = (engines?.node ?? "").split("||").map((range) => Number(/\d+/.exec(range)?.[0] ?? 0));
    return !optional && Math.min(...majors) > oldest;
  });
  assert.equal(asking, []);
});

test.run();
