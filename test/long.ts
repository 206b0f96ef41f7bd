/**
 * What takes longer than the test command should: run before a release.
 *
 *   npm run long                      # all of it, one after the other; an hour or so
 *   npm run long -- abuse waiting     # those whose name is given
 *
 * The last line says how many failed; each prints its figures.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

const abuse = (...args: string[]) => ["test/abuse/main.ts", ...args];
const attack = (words: string) => abuse("--attack", words);

const RUNS: Record<string, string[][]> = {
  abuse: [abuse()],
  fuzz: [abuse("--rounds", "500", "--seed", String(Math.floor(Math.random() * 1_000_000)))],
  waiting: [attack("a hundred thousand jobs")],
  names: [attack("functions that nobody serves")],
  large: [attack("900 kB"), attack("990 kB"), attack("list large jobs")],
  fill: [["test/abuse/fill.test.ts"], ["test/integration/storage.test.ts"]],
  simulation: [["test/simulation/main.ts", "--seeds", "40000"]],
  chaos: [
    ["test/chaos/main.ts", "--nodes", "1"],
    ["test/chaos/main.ts", "--nodes", "3"],
  ],
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in RUNS));
if (unknown.length > 0) {
  process.stderr.write(`there is no ${unknown.join(", ")}; there are ${Object.keys(RUNS).join(", ")}\n`);
  process.exit(2);
}
// The attacks at full size are part of `abuse`; by themselves they are for who wants one of them.
const PARTS = ["waiting", "names", "large"];
const chosen = asked.length > 0 ? asked : Object.keys(RUNS).filter((name) => !PARTS.includes(name));

const failed: string[] = [];
for (const name of chosen) {
  for (const args of RUNS[name] as string[][]) {
    const begun = performance.now();
    process.stdout.write(`--- ${name}: ${args.join(" ")}\n`);
    const child = spawn(process.execPath, ["--import", "tsx", ...args], { stdio: "inherit" });
    const [code] = (await once(child, "close")) as [number | null];
    process.stdout.write(
      `--- ${name}: ${code === 0 ? "ok" : "FAILED"} (${((performance.now() - begun) / 1_000).toFixed(0)} s)\n`,
    );
    if (code !== 0) failed.push(name);
  }
}
process.stdout.write(failed.length === 0 ? "long: ok\n" : `long: ${failed.join(", ")} failed\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
