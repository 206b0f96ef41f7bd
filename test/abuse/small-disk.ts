/** A file system of a few MB in memory, where root allows it (Linux). */
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SmallDisk {
  folder: string;
  /** Takes all that is free. */
  fill(): void;
  /** Gives it back. */
  free(): void;
}

const CHUNK = Buffer.alloc(65_536);

/** Runs `use` with one, which is unmounted whatever happens. Returns why it could not, where it is not allowed. */
export async function onSmallDisk(
  megabytes: number,
  use: (disk: SmallDisk) => Promise<void>,
): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "async-small-disk-"));
  try {
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder], { stdio: "pipe" });
    } catch (error) {
      return `no tmpfs can be mounted here: ${(error as Error).message.split("\n")[0]}`;
    }
    try {
      await use({ folder, fill: () => fill(folder), free: () => rmSync(join(folder, "ballast"), { force: true }) });
    } finally {
      // Whoever had files open there has ended; lazily, so that nothing is left mounted if not.
      execFileSync("umount", ["-l", folder]);
    }
    return undefined;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Down to the last byte. */
function fill(folder: string): void {
  for (const chunk of [CHUNK, CHUNK.subarray(0, 512), CHUNK.subarray(0, 1)]) {
    for (;;) {
      try {
        writeFileSync(join(folder, "ballast"), chunk, { flag: "a" });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        break;
      }
    }
  }
}
