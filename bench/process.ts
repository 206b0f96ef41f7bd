/** The processes of a run: started, metered, ended by whoever started them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { stopChild } from "../src/cli/child.ts";

export type Role = "client" | "bridge" | "supervisor" | "worker" | "server";

export interface ProcessHandle {
  readonly role: Role;
  readonly pid: number;
}

export interface StartedProcess extends ProcessHandle {
  readonly child: ChildProcess;
  /** The line with which it became ready. */
  readonly readyLine: string;
  /** Ends it in an orderly way. */
  stop(): Promise<void>;
  /** Ends it as a crash does, and waits until it is gone. */
  kill(): Promise<void>;
}

export interface StartOptions {
  role: Role;
  /** Arguments of node. */
  args: string[];
  env?: NodeJS.ProcessEnv;
  /** It is up when it writes a line with this to standard output or standard error. */
  ready: string;
  cwd?: string;
}

const START_LIMIT_MS = 30_000;
const LINES_KEPT = 40;

/** @throws Error with what it wrote, if it ends or stays silent instead of becoming ready */
export async function startNode({ role, args, env, ready, cwd }: StartOptions): Promise<StartedProcess> {
  const profile = process.env.BENCH_CPU_PROFILES;
  const profiling = profile
    ? ["--cpu-prof", `--cpu-prof-dir=${profile}`, `--cpu-prof-name=${role}-${Date.now()}.cpuprofile`]
    : [];
  const child = spawn(process.execPath, [...profiling, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    ...(cwd !== undefined && { cwd }),
  });
  // Whatever becomes of us, it does not stay behind.
  const onExit = () => child.kill("SIGKILL");
  process.once("exit", onExit);
  child.once("exit", () => process.off("exit", onExit));
  const readyLine = await untilReady(child, ready, `${role} (node ${args.join(" ")})`);
  return {
    role,
    pid: child.pid as number,
    child,
    readyLine,
    stop: () => stopChild(child),
    kill: () => killChild(child),
  };
}

async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

async function untilReady(child: ChildProcess, ready: string, what: string): Promise<string> {
  const lines: string[] = [];
  const isUp = new Promise<string>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`${what} ${why}:\n${lines.slice(-LINES_KEPT).join("\n")}`));
    const limit = setTimeout(() => fail(`is not ready after ${START_LIMIT_MS} ms`), START_LIMIT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) throw new TypeError("the output of a child is piped");
      const reader = createInterface({ input: stream }).on("line", (line) => {
        if (lines.length < LINES_KEPT) lines.push(line);
        if (!line.includes(ready)) return;
        clearTimeout(limit);
        resolve(line);
        // What comes after that is of no interest, but has to go somewhere: who writes to a pipe that is full stands still.
        reader.close();
        stream.resume();
      });
    }
    child.once("exit", (code) => {
      clearTimeout(limit);
      fail(`has gone with exit code ${code}`);
    });
  });
  try {
    return await isUp;
  } catch (error) {
    await killChild(child);
    throw error;
  }
}

export interface Usage {
  /** CPU time since the process started, in µs, with that of its children that have ended. */
  cpuUs: number;
  /** Most memory it has had resident. */
  peakBytes: number;
  /** Memory it has resident now. */
  residentBytes: number;
}

const US_PER_TICK = 10_000; // USER_HZ is 100 on every Linux that node runs on

/** What a process has used so far, from /proc; undefined where there is none (macOS) or the process is gone. */
export async function usageOf(pid: number): Promise<Usage | undefined> {
  try {
    const [stat, status] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/status`, "utf8"),
    ]);
    // The name of the program is in brackets and may hold anything; the fields that count come after it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    const peakKb = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    const residentKb = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    return { cpuUs: ticks * US_PER_TICK, peakBytes: peakKb * 1024, residentBytes: residentKb * 1024 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || (error as NodeJS.ErrnoException).code === "ESRCH") {
      return undefined;
    }
    throw error;
  }
}
