/** Real processes of ours, for tests that talk to or kill them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { within } from "./waiting.ts";

export interface Running {
  child: ChildProcess;
  /** Everything printed so far. */
  output: () => string;
  /** Waits until a line with the text has been printed on either stream. */
  line: (text: string) => Promise<string>;
  /** Waits for the exit and tells its code. */
  exit: () => Promise<number | null>;
  /** Ends it by force if it still runs. */
  kill: () => Promise<void>;
}

export interface ProcessOptions {
  /** In a process group of its own, as a shell would start it; it hears by its channel when we are gone. */
  group?: boolean;
  /** It is JavaScript. */
  built?: boolean;
}

/** Runs a TypeScript file with arguments. */
export async function startProcess(
  file: string,
  args: string[] = [],
  env: Record<string, string> = {},
  { group = false, built = false }: ProcessOptions = {},
): Promise<Running> {
  const child = spawn(process.execPath, [...(built ? [] : ["--import", "tsx"]), file, ...args], {
    stdio: ["pipe", "pipe", "pipe", ...(group ? ["ipc"] : [])] as ["pipe", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...env },
    detached: group,
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (text) => {
      lines.push(text);
      for (const look of waiting) look();
    });
  }
  const closed = once(child, "close");
  const line = (text: string) =>
    within(
      20_000,
      `"${text}" of ${file} ${args.join(" ")}`,
      new Promise<string>((resolve, reject) => {
        const look = () => {
          const found = lines.find((one) => one.includes(text));
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
        void closed.then(() => reject(new Error(`it ended without "${text}":\n${lines.join("\n")}`)));
      }),
    );
  return {
    child,
    output: () => lines.join("\n"),
    line,
    exit: async () => (await closed)[0] as number | null,
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await closed;
    },
  };
}

/** The `async` command, from source. */
export const startCli = (args: string[], env: Record<string, string> = {}) =>
  startProcess("src/cli/main.ts", args, env);

/** The `async` command as it is built: it starts sooner. */
export const startBuiltCli = (args: string[], env: Record<string, string> = {}) =>
  startProcess("dist/cli/main.js", args, env, { built: true });

/** Gives a command its input, and runs it to its end. */
export async function toEnd(starting: Promise<Running>, input = ""): Promise<{ code: number | null; output: string }> {
  const running = await starting;
  running.child.stdin?.end(input);
  try {
    return { code: await running.exit(), output: running.output() };
  } finally {
    await running.kill();
  }
}
