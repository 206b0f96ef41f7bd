/** A version of this program from the history of the repository, built in a folder of its own, for tests that run both side by side. */
import { execFile } from "node:child_process";
import { mkdir, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "../../src/job/errors.ts";

const run = promisify(execFile);

/** The last version before graphs: it knows records and submissions of format 1. */
export const BEFORE_GRAPHS = "0720ff7";

const MAX_OUTPUT_BYTES = 1024 ** 2;

/**
 * Builds that version in `folder`, which it makes, with the packages of this checkout.
 *
 * @returns the file to run with Node: its `async` command
 * @throws Error if the history of this clone does not go back so far, or it cannot be built
 */
export async function buildOlderVersion(folder: string, commit = BEFORE_GRAPHS): Promise<string> {
  await requireCommit(commit);
  await mkdir(folder, { recursive: true });
  const archive = join(folder, "source.tar");
  await run("git", [
    "archive",
    "--output",
    archive,
    commit,
    "src",
    "package.json",
    "tsconfig.json",
    "tsconfig.build.json",
  ]);
  await run("tar", ["-xf", archive, "-C", folder]);
  await symlink(resolve("node_modules"), join(folder, "node_modules"), "dir");
  try {
    const compiler = resolve("node_modules/.bin/tsc");
    // Its types have been checked in its time.
    await run(
      compiler,
      ["-p", "tsconfig.build.json", "--noCheck", "--declaration", "false", "--stripInternal", "false"],
      { cwd: folder, maxBuffer: MAX_OUTPUT_BYTES },
    );
  } catch (error) {
    const { stdout = "" } = error as { stdout?: string };
    throw new Error(`version ${commit} cannot be built with the packages of this one: ${stdout || messageOf(error)}`, {
      cause: error,
    });
  }
  return join(folder, "dist/cli/main.js");
}

async function requireCommit(commit: string): Promise<void> {
  try {
    await run("git", ["cat-file", "-e", `${commit}^{commit}`]);
  } catch (error) {
    const why = `commit ${commit}, the older version that this test runs, is not in the history of this clone`;
    throw new Error(`${why}; fetch it all: git fetch --unshallow`, { cause: error });
  }
}
