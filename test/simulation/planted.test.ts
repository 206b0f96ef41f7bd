/**
 * Bugs that were planted: each must be found by the invariants within a few thousand histories. Where one is not found any more, the
 * simulation has gone blind for something. Each is an edit of a copy of the source, which must fit exactly once: who changes the
 * place that it is in plants it again.
 */
import { cp, readFile, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inTempFolder } from "../support/folder.ts";
import { startProcess } from "../support/process.ts";
import type { JobKind } from "./surroundings.ts";

interface Planted {
  /** What is wrong then. */
  bug: string;
  file: string;
  /** Of which jobs the histories are; default graphs. */
  jobs?: JobKind;
  /** What is replaced by what. */
  edit: [from: string, to: string];
  /** The invariants of which one must find it. */
  finds: RegExp;
}

/** Histories in which each is to be found. */
const SEEDS = 3_000;

const BUGS: Planted[] = [
  {
    bug: "a signal that came early is lost: the inboxes are not looked into when another entry begins to wait",
    file: "src/actors/signal-watch.ts",
    edit: ["this.#lookedFor !== keyOf(job, job.live.filter(waitsForSignal))", "this.#lookedFor === undefined"],
    finds: /SIM-6|SIM-12/,
  },
  {
    bug: "a signal is used twice: it is not noted that it was",
    file: "src/job/graph.ts",
    edit: ["step.useSignal(name, number);", ""],
    finds: /SIM-12/,
  },
  {
    bug: "a condition is evaluated again when the job is taken over",
    file: "src/job/graph.ts",
    edit: [
      "return due(next, Math.max(firedAt, now), now, plan);",
      `const again = stepOf(next, now, plan, (step) => {
        step.begin(live.filter(({ wait }) => wait === "none").map(({ index }) => index));
      });
      return isEnded(again.state) ? again : due(again.state as LiveGraph, Math.max(firedAt, now), now, plan);`,
    ],
    finds: /SIM-4/,
  },
  {
    bug: "an entry begins when one of its needs has ended, not all",
    file: "src/job/plan.ts",
    edit: ["&& plan.needsOf(index)?.every(hasEnded);", "&& plan.needsOf(index)?.some(hasEnded);"],
    finds: /SIM-2/,
  },
  {
    bug: "a branch is forgotten when the job is taken over",
    file: "src/job/graph.ts",
    edit: ["const live = state.live.map(", "const live = state.live.slice(0, Math.max(1, state.live.length - 1)).map("],
    finds: /SIM-2/,
  },
  {
    bug: "of a timer and a place in a backlog one is missing after a crash, as the other one is there",
    file: "src/bus/tokens/tokens.ts",
    edit: ["found === parts.length", "found > 0"],
    finds: /SIM-5|SIM-6/,
  },
  {
    bug: "an entry is undone twice: it is not noted that it was",
    file: "src/job/undoable.ts",
    jobs: "sagas",
    edit: [
      "if (fn.undoing !== undefined || !isToBeUndone(fn)) continue;",
      "if ((fn.undoing !== undefined && fn.undoing.finished_at === undefined) || !isToBeUndone(fn)) continue;",
    ],
    finds: /SIM-13/,
  },
  {
    bug: "an undo begins while its attempt still runs unanswered",
    file: "src/job/graph-undo.ts",
    jobs: "sagas",
    edit: ["export const STOP_MS = 10_000;", "export const STOP_MS = 10;"],
    finds: /SIM-13/,
  },
  {
    bug: "a parent ends before its child: it is not waited for",
    file: "src/job/graph-undo.ts",
    jobs: "families",
    edit: ['  if (wait === "child") return true;\n  if (hasItems(fn))', "  if (hasItems(fn))"],
    finds: /SIM-14/,
  },
  {
    bug: "the end of a child is lost: that of the run which is waited for counts as an older one",
    file: "src/job/children.ts",
    jobs: "families",
    edit: ["return end.run >= attempt && !end.undone;", "return end.run > attempt && !end.undone;"],
    finds: /SIM-6|SIM-14/,
  },
  {
    bug: "the part before the head: items begin before the state says that their part is open",
    file: "src/actors/item-runner.ts",
    jobs: "items",
    edit: [
      "this.#report({}, { next: next + numbers.length });",
      `for (const page of this.#opening) this.#begin(page);
      this.#opening = [];
      this.#report({}, { next: next + numbers.length });`,
    ],
    finds: /SIM-15/,
  },
];

const test = suite("planted bugs");

for (const { bug, file, jobs = "graphs", edit, finds } of BUGS) {
  test(`it is found: ${bug}`, async () => {
    await inTempFolder(async (folder) => {
      for (const part of ["src", "test/simulation", "package.json", "tsconfig.json"]) {
        await cp(part, join(folder, part), { recursive: true });
      }
      await symlink(resolve("node_modules"), join(folder, "node_modules"));
      await plant(join(folder, file), edit);
      const options = ["--seeds", String(SEEDS), "--jobs", jobs, "--failures", "1"];
      const run = await startProcess(join(folder, "test/simulation/main.ts"), options);
      try {
        assert.is(await run.exit(), 1, `it was not found:\n${run.output()}`);
        const failures = run.output().match(/^ {2}seed .*/gm) ?? [];
        assert.ok(failures.length > 0 && failures.some((line) => finds.test(line)), run.output());
        console.log(failures.join("\n"));
      } finally {
        await run.kill();
      }
    });
  });
}

async function plant(path: string, [from, to]: [string, string]): Promise<void> {
  const source = await readFile(path, "utf8");
  assert.is(source.split(from).length, 2, `${path} has this once: ${from}`);
  await writeFile(
    path,
    source.replace(from, () => to),
  );
}

test.run();
