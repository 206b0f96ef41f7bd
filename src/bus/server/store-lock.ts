/**
 * Keeps two servers off one store folder: nats-server itself does not, and two of them would ruin the data.
 *
 * The lock is a symbolic link in the folder whose target is not a path but the holder, `<guard pid>.<parent pid>`: making
 * one is exclusive, and unlike a file it is never there without its content. It is not taken away: it holds for as long
 * as its holder lives, so that a SIGKILL of everything leaves nothing to clean up.
 *
 * LOCK-1  A lock holds while a process of the guard's group is alive and was started for this folder. The id of a process
 *     group is not given away again while it has a member, so the server counts even if its guard was killed; what an
 *     unrelated process with that id is doing is told by its command line.
 * LOCK-2  Locks are numbered, and the one with the highest number counts. A lock that does not hold any more is followed by
 *     the next number, which only one starter can make; replacing it in place would let two starters each remove the
 *     other's new lock. The highest lock is therefore never removed.
 * LOCK-3  A holder whose parent is gone is about to stop (see the guard), so it is waited for.
 *
 * Its border: process ids are those of one machine. Containers that share a folder do not see each other's.
 */
import { execFile } from "node:child_process";
import { readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { AsyncError } from "../../job/errors.ts";

const PREFIX = "nats-server.lock.";
/** How often a holder that is about to stop is looked at: the end of a process that is not ours gives no event. */
const POLL_MS = 20;
/** More starters at once than this is a mistake somewhere. */
const MAX_TRIES = 100;

export interface LockOptions {
  folder: string;
  /** The process that is to hold the lock; leader of its process group. */
  guardPid: number;
  /** A command line argument by which guards and servers of this folder are known. */
  mark: string;
  /** How long to wait for a holder that is about to stop. */
  waitMs: number;
}

interface Lock {
  number: number;
  guardPid: number;
  parentPid: number;
}

/** @throws AsyncError `store_in_use`, or the file system's error when the folder cannot be written */
export async function lockStore({ folder, guardPid, mark, waitMs }: LockOptions): Promise<void> {
  const deadline = performance.now() + waitMs;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const last = await lastLock(folder);
    // The same pid twice is a container's: each start of one counts from 1 again.
    while (last && last.guardPid !== guardPid && (await isHeld(last, mark))) {
      if (isAlive(last.parentPid) || performance.now() > deadline) throw inUse(folder, last);
      await delay(POLL_MS);
    }
    if (await makeLock(folder, (last?.number ?? 0) + 1, guardPid)) return;
  }
  throw new AsyncError("store_in_use", `the store folder ${folder} is being locked by others all the time`);
}

/** Whether the lock of that number could be made, and is the one that counts. */
async function makeLock(folder: string, number: number, guardPid: number): Promise<boolean> {
  const path = join(folder, PREFIX + number);
  try {
    await symlink(`${guardPid}.${process.pid}`, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  const numbers = await lockNumbers(folder);
  if (numbers.some((other) => other > number)) {
    await rm(path, { force: true });
    return false;
  }
  const old = numbers.filter((other) => other < number);
  await Promise.all(old.map((other) => rm(join(folder, PREFIX + other), { force: true })));
  return true;
}

async function lastLock(folder: string): Promise<Lock | undefined> {
  const numbers = await lockNumbers(folder);
  if (numbers.length === 0) return undefined;
  const number = Math.max(...numbers);
  try {
    const holder = await readlink(join(folder, PREFIX + number));
    const [guardPid = 0, parentPid = 0] = holder.split(".").map(Number);
    return { number, guardPid, parentPid };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return lastLock(folder); // a higher one replaced it
    throw error;
  }
}

async function lockNumbers(folder: string): Promise<number[]> {
  const names = await readdir(folder);
  return names.filter((name) => name.startsWith(PREFIX)).map((name) => Number(name.slice(PREFIX.length)));
}

async function isHeld({ guardPid }: Lock, mark: string): Promise<boolean> {
  if (!isAlive(-guardPid)) return false;
  return (await commandsOfGroup(guardPid)).some((command) => command.includes(mark));
}

/** A negative pid asks for a process group. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // it is there, and belongs to someone else
  }
}

/** The command lines of a process group's running members; a member that ended and was not waited for yet is none. */
export function commandsOfGroup(group: number): Promise<string[]> {
  return process.platform === "linux" ? commandsOnLinux(group) : commandsFromPs(group);
}

/** Linux images often have no `ps`, but always /proc. */
async function commandsOnLinux(group: number): Promise<string[]> {
  const commands: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const stat = await readFile(`/proc/${pid}/stat`, "utf8");
      // "pid (name) state ppid pgrp …", where the name may hold anything.
      const [, , processGroup] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(processGroup) === group) commands.push(await readFile(`/proc/${pid}/cmdline`, "utf8"));
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error; // it ended meanwhile
    }
  }
  return commands.filter((command) => command !== "");
}

async function commandsFromPs(group: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pgid=,command="], { maxBuffer: 16 * 1024 * 1024 });
  return stdout.split("\n").filter((line) => Number.parseInt(line, 10) === group);
}

function inUse(folder: string, { guardPid, parentPid }: Lock): AsyncError {
  const who = `a nats-server that process ${parentPid} started (process group ${guardPid})`;
  return new AsyncError(
    "store_in_use",
    `the store folder ${folder} is used by ${who}; stop that one or choose another folder (--store-dir)`,
  );
}
