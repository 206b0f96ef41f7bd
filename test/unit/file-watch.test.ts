/** When files count as changed. */
import { mkdir, rename, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Changes, FileWatch } from "../../src/cli/file-watch.ts";
import { inTempFolder } from "../support/folder.ts";
import { eventually } from "../support/waiting.ts";

const test = suite("file watch");

/** A watch of files `a`, `b` and `sub/c`, which were there before. */
async function watching(
  use: (one: { folder: string; told: Changes[]; watch: FileWatch; seen: () => Promise<unknown> }) => Promise<void>,
) {
  await inTempFolder(async (folder) => {
    const paths = ["a", "b", "sub/c"].map((name) => join(folder, name));
    await mkdir(join(folder, "sub"));
    for (const path of paths) {
      await writeFile(path, "x");
      await utimes(path, 1, 1);
    }
    const told: Changes[] = [];
    const watch = new FileWatch((changes) => told.push(changes));
    watch.add(paths);
    // It has looked at least twice when this is told.
    const seen = async () => {
      const before = told.length;
      const marker = join(folder, "marker");
      watch.add([marker]);
      await new Promise((resolve) => setTimeout(resolve, 600));
      await writeFile(marker, String(before));
      await eventually("the marker is told", () => told.slice(before).some(({ files }) => files.includes(marker)));
    };
    try {
      await seen();
      told.length = 0;
      await use({ folder, told, watch, seen });
    } finally {
      watch.close();
    }
  });
}

test("a file that was written, replaced, removed or made again has changed, once", () =>
  watching(async ({ folder, told }) => {
    const changes: [string, () => Promise<unknown>][] = [
      ["a", () => writeFile(join(folder, "a"), "other")],
      [
        "a",
        async () => {
          await writeFile(join(folder, "a.new"), "third");
          await rename(join(folder, "a.new"), join(folder, "a"));
        },
      ],
      ["b", () => rm(join(folder, "b"))],
      ["b", () => writeFile(join(folder, "b"), "again")],
      ["sub/c", () => rm(join(folder, "sub"), { recursive: true })],
      [
        "sub/c",
        async () => {
          await mkdir(join(folder, "sub"));
          await writeFile(join(folder, "sub/c"), "again");
        },
      ],
    ];
    for (const [name, change] of changes) {
      told.length = 0;
      await change();
      await eventually(`${name} is told`, () => told.length > 0);
      assert.equal(
        told.flatMap(({ files }) => files),
        [join(folder, name)],
      );
      assert.ok(told.flatMap(({ folders }) => folders).every((one) => one === folder || one === join(folder, "sub")));
    }
  }));

test("WATCH-FILES-1: what goes on changing is told when it has settled, together with what changed besides", () =>
  watching(async ({ folder, told }) => {
    await writeFile(join(folder, "b"), "other");
    for (let n = 0; n < 10; n++) {
      await writeFile(join(folder, "a"), `part ${n}`.padEnd(n + 10));
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    assert.is(told.length, 0);
    await eventually("it is told", () => told.length > 0);
    assert.equal(told[0]?.files.sort(), [join(folder, "a"), join(folder, "b")]);
  }));

test("WATCH-FILES-2: what is younger than the process that loads it has changed, but only once, and nothing of the future", () =>
  watching(async ({ folder, told, watch, seen }) => {
    watch.processStarts();
    const [young, future] = [join(folder, "young"), join(folder, "future")];
    await writeFile(young, "saved while it started");
    await writeFile(future, "by a clock that is ahead");
    const ahead = Date.now() / 1_000 + 3_600;
    await utimes(future, ahead, ahead);
    watch.add([young, future]);
    await eventually("it is told", () => told.some(({ files }) => files.includes(young)));
    watch.processStarts();
    watch.add([young, future]);
    await seen();
    const files = told.flatMap((changes) => changes.files);
    assert.is(files.filter((file) => file === young).length, 1);
    assert.not.ok(files.includes(future));
  }));

test("what is no longer loaded is not looked at", () =>
  watching(async ({ folder, told, watch, seen }) => {
    watch.keepOnly(new Set([join(folder, "a")]));
    await writeFile(join(folder, "sub/c"), "other");
    await seen();
    assert.not.ok(
      told.some(({ files, folders }) =>
        [...files, ...folders].some((one) => dirname(one) !== folder && one !== folder),
      ),
    );
  }));

test.run();
