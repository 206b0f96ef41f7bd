/**
 * The nats-servers that were fetched for this user: `<cache>/nats-server/<version>/nats-server`.
 *
 * A new one is made in a work folder beside its place and then renamed into it, so that a reader never sees half of one,
 * and several processes that fetch at once replace each other's by the same.
 */
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { isAtLeast, SERVER_FLOOR } from "../server-check.ts";

const VERSION = /^\d+\.\d+\.\d+/;

/** `$ASYNC_CACHE_DIR`, else `$XDG_CACHE_HOME/async`, else `~/.cache/async`. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  if (env.ASYNC_CACHE_DIR) return resolve(env.ASYNC_CACHE_DIR, "nats-server");
  return resolve(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "async", "nats-server");
}

/** Paths of the servers in the cache that are new enough, newest first. */
export async function cachedServers(folder: string): Promise<string[]> {
  const versions = (await entriesOf(folder)).filter((name) => VERSION.test(name) && isAtLeast(name, SERVER_FLOOR));
  versions.sort((a, b) => (isAtLeast(a, b) ? -1 : 1));
  return versions.map((version) => join(folder, version, "nats-server"));
}

/** Runs `make` with an empty folder on the cache's file system, which is removed afterwards. */
export async function withWorkFolder<T>(cache: string, make: (folder: string) => Promise<T>): Promise<T> {
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "work-"));
  try {
    return await make(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Moves a server into the cache; returns its path there. */
export async function install(cache: string, binary: string, version: string): Promise<string> {
  const folder = join(cache, version);
  await mkdir(folder, { recursive: true });
  await chmod(binary, 0o755);
  const path = join(folder, "nats-server");
  await rename(binary, path);
  return path;
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
