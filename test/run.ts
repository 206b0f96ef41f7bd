/**
 * The test command: the gates (formatter and linter, types, build), then every suite in a process of its own.
 * `npm test -- supervisor` builds, and runs only the suites whose path contains the word. The last line is the sum over all suites.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

interface Outcome {
  passed: number;
  failed: number;
}

/** A suite that is still running then is ended and counts as failed. */
const SUITE_LIMIT_MS = 480_000;
/** A suite that has told its result must end by itself within this time. */
const END_LIMIT_MS = 15_000;
/** Suites at a time, on the machine of two cores that they are written for: most of them wait for most of their time. */
const LANES = 3;
/** Each of these keeps both cores busy, so they run one by one. */
const BUSY = ["test/simulation/simulation.test.ts", "test/simulation/planted.test.ts"];

async function run(command: string[]): Promise<{ code: number | null; output: string }> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      output += text;
      if (/^\s*Duration:/m.test(text)) end("it did not end by itself after its last test", END_LIMIT_MS);
    });
  }
  let limit: NodeJS.Timeout | undefined;
  const end = (why: string, ms: number) => {
    clearTimeout(limit);
    limit = setTimeout(() => {
      output += `\nended by force: ${why} within ${ms} ms\n`;
      child.kill("SIGKILL");
    }, ms);
  };
  end("it was not done", SUITE_LIMIT_MS);
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(limit);
  return { code, output };
}

function report(name: string, { passed, failed }: Outcome, begun: number, output: string): Outcome {
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  process.stdout.write(
    `${failed === 0 ? "ok  " : "FAIL"} ${name.padEnd(52)} ${passed} passed, ${failed} failed (${seconds} s)\n`,
  );
  if (failed > 0) process.stdout.write(`${output}\n`);
  return { passed, failed };
}

async function runGate(name: string, script: string): Promise<Outcome> {
  const begun = performance.now();
  const { code, output } = await run(["npm", "run", "--silent", script]);
  return report(name, code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }, begun, output);
}

async function runSuite(path: string): Promise<Outcome> {
  const begun = performance.now();
  const { code, output } = await run([process.execPath, "--import", "tsx", path]);
  const total = sum(output, /^\s*Total:\s+(\d+)/gm);
  const passed = sum(output, /^\s*Passed:\s+(\d+)/gm);
  // No test, or an end that uvu does not know of, is a failure too.
  const failed = Math.max(total - passed, total === 0 || code !== 0 ? 1 : 0);
  return report(path, { passed, failed }, begun, output);
}

function sum(output: string, pattern: RegExp): number {
  return [...output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}

async function suites(filter: string[]): Promise<string[]> {
  // The quick ones last: so no lane has nothing to do while another one has its longest suite before it.
  const folders = ["test/integration", "test/abuse", "test/simulation", "test/unit", "test/chaos"];
  const files = await Promise.all(
    folders.map(async (folder) => (await readdir(folder)).map((file) => join(folder, file))),
  );
  return files
    .flat()
    .filter((file) => file.endsWith(".test.ts") && (filter.length === 0 || filter.some((word) => file.includes(word))))
    .sort(
      (a, b) =>
        folders.findIndex((f) => a.startsWith(f)) - folders.findIndex((f) => b.startsWith(f)) || a.localeCompare(b),
    );
}

const filter = process.argv.slice(2);
const outcomes: Outcome[] = [];
if (filter.length === 0) outcomes.push(await runGate("lint", "lint"), await runGate("types", "typecheck"));
// Many suites start the command as it is built.
outcomes.push(await runGate("build", "build"));
const found = await suites(filter);
const runAll = (queue: string[], lanes: number) => {
  const lane = async () => {
    for (let path = queue.shift(); path; path = queue.shift()) outcomes.push(await runSuite(path));
  };
  return Promise.all(Array.from({ length: lanes }, lane));
};
// Chaos fills the machine with processes of its own: what it shows next to others is the others.
const isChaos = (path: string) => path.startsWith("test/chaos");
const isAlone = (path: string) => isChaos(path) || BUSY.includes(path);
await runAll(
  found.filter((path) => !isAlone(path)),
  LANES,
);
await runAll(found.filter(isAlone), 1);

const passed = outcomes.reduce((total, outcome) => total + outcome.passed, 0);
const failed = outcomes.reduce((total, outcome) => total + outcome.failed, 0);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
