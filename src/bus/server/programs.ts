/** Running other programs: where they are, a bounded time for them, and why they failed in one line. */
import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { basename, delimiter, join } from "node:path";
import { promisify } from "node:util";

const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  timeoutMs: number;
}

/** The standard output. @throws Error with what the program complained about */
export async function run(path: string, args: string[], { timeoutMs, ...rest }: RunOptions): Promise<string> {
  try {
    const options = { ...rest, timeout: timeoutMs, maxBuffer: MAX_OUTPUT_BYTES };
    return (await promisify(execFile)(path, args, options)).stdout;
  } catch (cause) {
    const { killed, stderr = "", message } = cause as Error & { killed?: boolean; stderr?: string };
    const complaint = stderr.trim().split("\n").slice(-3).join("; ");
    const why = killed ? `no end within ${timeoutMs} ms` : complaint || message;
    throw new Error(`${basename(path)}: ${why}`, { cause });
  }
}

/** Every executable of that name in the folders of PATH, then in `more`, in this order. */
export async function findOnPath(name: string, env: NodeJS.ProcessEnv, more: string[] = []): Promise<string[]> {
  const folders = (env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const paths = [...new Set([...folders, ...more].map((folder) => join(folder, name)))];
  const found = await Promise.all(paths.map(isExecutable));
  return paths.filter((_, i) => found[i]);
}

/** @throws Error when there is none */
export async function requireProgram(name: string, env: NodeJS.ProcessEnv): Promise<string> {
  const [path] = await findOnPath(name, env);
  if (path === undefined) throw new Error(`there is no ${name} on PATH`);
  return path;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false; // why it cannot be run does not matter: it is one place of several
  }
}

/** What went wrong in a few words: that of the innermost cause that says something. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  const own = error.message || code || error.name;
  // `fetch` says no more than "fetch failed"; its cause knows.
  return error instanceof TypeError && error.cause !== undefined ? reasonOf(error.cause) : own;
}
