/**
 * Runs nats-server as a child process that cannot outlive its parent.
 *
 * Between the two stands a small POSIX shell, the guard. Its stdin is the life line: a pipe whose other end only the
 * parent holds, so that it ends when the parent closes it, exits, crashes or is killed with SIGKILL, on every system and
 * without polling. Guard and server have a process group of their own: Ctrl-C in a terminal reaches the parent only,
 * which drains first.
 *
 * GUARD-1  Nothing is started before `go()`; when the life line ends before that, the guard leaves.
 * GUARD-2  When the life line ends or the guard gets SIGTERM, the server gets SIGTERM, and SIGKILL after the grace period.
 * GUARD-3  When the server exits, for whatever reason, the guard exits with its code.
 * GUARD-4  No process of the group outlives the guard. Where the guard itself is killed, the parent ends the group.
 * GUARD-5  The server can always write its log. A Go program dies of SIGPIPE when stderr breaks, which would turn the parent's
 *     sudden death into a hard stop of the server; so the log passes through a relay that goes on reading.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

/** How long nats-server may take to stop before it is killed. */
export const STOP_GRACE_MS = 10_000;
/** How much longer the guard may take for its own part. */
const GUARD_GRACE_MS = 2_000;

/**
 * Arguments: grace period in seconds, path for the log's fifo, folder to remove at the end or "", the server's command.
 * Descriptors: 0 the life line (moved to 3), 1 tells the server's pid, 2 the log.
 *
 * - The relay ignores signals, from its first moment on, and ends with the server. When its first `cat` fails, as nobody
 *   reads any more, the second drops what still comes. The fifo loses its name as soon as both ends are open.
 * - The watcher does the stopping, so that it also happens when the guard was killed. USR1 wakes it from its `read`.
 * - The guard's traps are set after the last fork: between its fork and its first step a subshell still has the traps of
 *   its parent, and loses a signal of that moment. Until then a signal ends the guard, and the parent ends the group.
 * - `wait` also returns when a signal was trapped: only a server that is gone ends the loop.
 * - At the end the group is signalled, which ends the watcher with its `sleep`; the guard ignores it.
 */
const GUARD = `# guard of an embedded nats-server
grace=$1 fifo=$2 temporary=$3
shift 3
exec 3<&0 </dev/null
leave() {
  [ -z "$temporary" ] || rm -rf "$temporary"
  exit "$1"
}
read -r go <&3 || leave 0
mkfifo -m 600 "$fifo" || leave 1
trap '' TERM INT HUP
( cat >&2; exec cat >/dev/null ) <"$fifo" 3<&- &
trap - TERM INT HUP
exec 4>"$fifo"
rm -f "$fifo"
"$@" >&4 2>&4 3<&- 4>&- &
server=$!
exec 4>&-
(
  trap : USR1
  while read -r line; do :; done
  kill -TERM "$server"
  sleep "$grace"
  kill -KILL "$server"
) <&3 >/dev/null 2>&1 3<&- &
watcher=$!
trap 'kill -TERM "$server"; kill -USR1 "$watcher"' TERM INT HUP
exec 3<&-
echo "$server"
while :; do
  wait "$server" 2>/dev/null
  code=$?
  kill -0 "$server" 2>/dev/null || break
done
trap '' TERM INT HUP
kill -TERM 0
wait
leave "$code"
`;

export interface GuardOptions {
  /** The server and its arguments. */
  command: string[];
  /** Removed when the server is gone, also if the parent is gone by then. */
  temporaryFolder?: string | undefined;
  /** How long the server may take to stop before it is killed; whole seconds. Default 10,000 ms. */
  stopGraceMs?: number;
  /** Called with each line of the server's log. */
  onLog: (line: string) => void;
}

/** How the server ended, as far as the guard can know. */
export interface GuardExit {
  code: number | null;
  signal: string | null;
}

export interface Guard {
  /** Of the guard, and the id of the process group it shares with the server. */
  readonly pid: number;
  /** The server's own pid, once it is started; undefined when it never was. */
  readonly serverPid: Promise<number | undefined>;
  /** When the whole group is gone and all of the log was read. */
  readonly exited: Promise<GuardExit>;
  /** Starts the server. */
  go(): void;
  /** Ends the life line, and waits until nothing is left. */
  stop(): Promise<void>;
}

/** @throws Error when `/bin/sh` cannot be run */
export async function startGuard(options: GuardOptions): Promise<Guard> {
  const { command, temporaryFolder = "", stopGraceMs = STOP_GRACE_MS, onLog } = options;
  const fifo = join(tmpdir(), `async-nats-${randomBytes(8).toString("hex")}.log`);
  const args = ["-c", GUARD, "async-nats-guard", String(stopGraceMs / 1_000), fifo, temporaryFolder, ...command];
  const child = spawn("/bin/sh", args, { detached: true, stdio: ["pipe", "pipe", "pipe"] });
  const pid = await spawned(child);
  createInterface({ input: child.stderr }).on("line", onLog);
  // A write to a guard that is gone: `exited` tells of that, with the reason.
  child.stdin.on("error", () => {});
  const exited = exitOf(child, pid, stopGraceMs);
  return {
    pid,
    serverPid: serverPidOf(child.stdout),
    exited,
    go: () => child.stdin.write("go\n"),
    stop: async () => {
      child.stdin.end();
      const late = setTimeout(() => signalGroup(pid, "SIGKILL"), stopGraceMs + GUARD_GRACE_MS);
      await exited;
      clearTimeout(late);
    },
  };
}

function spawned(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve(child.pid as number));
  });
}

/** "close" comes when guard and relay have let go of their ends, and the log was read. */
function exitOf(child: ChildProcess, pid: number, stopGraceMs: number): Promise<GuardExit> {
  return new Promise((resolve) => {
    let late: NodeJS.Timeout | undefined;
    child.once("exit", (_, signal) => {
      if (signal === null) return;
      // Somebody killed the guard (GUARD-4).
      signalGroup(pid, "SIGTERM");
      late = setTimeout(() => signalGroup(pid, "SIGKILL"), stopGraceMs);
    });
    child.once("close", (code, signal) => {
      clearTimeout(late);
      resolve(signal === null ? fromShell(code) : { code, signal });
    });
  });
}

/** A shell reports the death by signal n as the exit code 128 + n. */
function fromShell(code: number | null): GuardExit {
  const signal = Object.entries(constants.signals).find(([, number]) => code === 128 + number)?.[0];
  return signal === undefined ? { code, signal: null } : { code: null, signal };
}

function serverPidOf(stdout: Readable): Promise<number | undefined> {
  return new Promise((resolve) => {
    createInterface({ input: stdout })
      .once("line", (line) => resolve(Number(line)))
      .once("close", () => resolve(undefined));
  });
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // Nothing is left, as wanted. macOS says EPERM when all that is left was not waited for yet.
    if (!["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
