/**
 * The server of a peer: a child process with a temporary folder of its own. Both are gone when the bench is, also if it
 * is killed: the guard of our embedded nats-server sees to that.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Guard, startGuard } from "../../src/bus/server/guard.ts";

export interface PeerServer {
  readonly pid: number;
  close(): Promise<void>;
}

export interface PeerServerOptions {
  name: string;
  /** The server and its arguments, of which the folder may be one. */
  command: (folder: string) => string[] | Promise<string[]>;
  /** It is up when its log has a line with this. */
  ready: string;
}

const START_LIMIT_MS = 60_000;
const STOP_GRACE_MS = 5_000;
const LINES_KEPT = 20;

/** @throws Error with the end of its log, if it ends or stays silent instead of becoming ready */
export async function startPeerServer({ name, command, ready }: PeerServerOptions): Promise<PeerServer> {
  const folder = await mkdtemp(join(tmpdir(), `async-bench-${name}-`));
  const log: string[] = [];
  let guard: Guard | undefined;
  let onReady = () => {};
  const isReady = new Promise<void>((resolve) => {
    onReady = resolve;
  });
  const close = async () => {
    await guard?.stop();
    await rm(folder, { recursive: true, force: true }); // the guard has done this, unless it was killed itself
  };
  try {
    guard = await startGuard({
      command: await command(folder),
      temporaryFolder: folder,
      stopGraceMs: STOP_GRACE_MS,
      onLog: (line) => {
        log.push(line);
        if (log.length > LINES_KEPT) log.shift();
        if (line.includes(ready)) onReady();
      },
    });
    guard.go();
    await readyInTime(isReady, guard);
    const pid = await guard.serverPid;
    if (pid === undefined) throw new Error("it is ready and has no pid");
    return { pid, close };
  } catch (error) {
    await close();
    throw new Error(`${name} does not start: ${(error as Error).message}\n${log.join("\n")}`, { cause: error });
  }
}

async function readyInTime(isReady: Promise<void>, guard: Guard): Promise<void> {
  let limit: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    limit = setTimeout(() => reject(new Error(`not ready after ${START_LIMIT_MS} ms`)), START_LIMIT_MS);
  });
  const ended = guard.exited.then(({ code, signal }): never => {
    throw new Error(`it has gone with ${signal ?? `exit code ${code}`}`);
  });
  try {
    await Promise.race([isReady, ended, tooLate]);
  } finally {
    clearTimeout(limit);
  }
}
