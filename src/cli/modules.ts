import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AsyncError } from "../job/errors.ts";
import type { Worker } from "../worker/worker.ts";
import { ownPlace } from "./pretty.ts";

const TYPESCRIPT = /\.[mc]?tsx?$/;

/**
 * The workers that modules export by default. TypeScript is translated on the fly.
 *
 * @throws AsyncError `invalid_module`
 */
export async function loadWorkers(paths: string[]): Promise<Worker[]> {
  const workers: Worker[] = [];
  for (const path of paths) workers.push(await loadWorker(path));
  return workers;
}

async function loadWorker(path: string): Promise<Worker> {
  if (!existsSync(path)) throw new AsyncError("invalid_module", `cannot load ${path}: there is no such file`);
  let module: { default?: unknown };
  try {
    module = await load(pathToFileURL(resolve(path)).href, TYPESCRIPT.test(path));
  } catch (cause) {
    const why = await whyNot(path, cause);
    throw new AsyncError("invalid_module", `cannot load ${path}: ${why}`, { cause });
  }
  const worker = defaultOf(module);
  if (isWorker(worker)) return worker;
  throw new AsyncError(
    "invalid_module",
    `${path} does not export a worker; write: export default new Worker().func("name", handler)`,
  );
}

/** What was thrown, with its place in the source, but without the calls. */
async function whyNot(path: string, thrown: unknown): Promise<string> {
  if (!(thrown instanceof Error)) return String(thrown);
  const head = withoutCalls(thrown.stack ?? "");
  if (!head.includes(thrown.message)) return thrown.message;
  // The stack of a syntax error begins with its place, except in a module that is imported.
  if (thrown instanceof SyntaxError && head.startsWith("SyntaxError")) return (await syntaxErrorIn(path)) ?? head;
  const place = ownPlace(thrown.stack ?? "");
  return place ? `${head} at ${place}` : head;
}

function withoutCalls(stack: string): string {
  return stack.split(/\n\s+at /)[0] ?? "";
}

/** What Node says of the syntax of the file, with the place; undefined if it is another file that is wrong. Executes nothing. */
function syntaxErrorIn(path: string): Promise<string | undefined> {
  return new Promise((done) => {
    execFile(process.execPath, ["--check", path], (_error, _output, problem) => {
      const head = withoutCalls(problem);
      done(head.includes("SyntaxError") ? head : undefined);
    });
  });
}

/**
 * TypeScript is translated by tsx, also where it is CommonJS: as its package says, or by its name. There `async` itself is
 * required and translated, and so there are two copies of it in this process; hence workers and errors are known by
 * their shape. With the hook for imports alone, Node would require a module that it is about to import, and refuses.
 */
async function load(url: string, typescript: boolean): Promise<{ default?: unknown }> {
  if (!typescript) return import(url);
  const [commonjs, modules] = await Promise.all([import("tsx/cjs/api"), import("tsx/esm/api")]);
  commonjs.register();
  modules.register();
  if (!/\.ctsx?$/.test(url)) return import(url);
  return { default: createRequire(import.meta.url)(fileURLToPath(url)) };
}

/** The default export. Seen from a module, that of compiled CommonJS (`exports.default`) is one `default` deeper. */
function defaultOf(module: { default?: unknown }): unknown {
  let value = module.default;
  for (let depth = 0; depth < 2 && !isWorker(value); depth++)
    value = (value as { default?: unknown } | undefined)?.default;
  return value;
}

/** By its shape, because the module may have a copy of the class of its own. */
function isWorker(value: unknown): value is Worker {
  const worker = value as Partial<Worker> | null | undefined;
  return typeof worker?.start === "function" && typeof worker.close === "function" && Array.isArray(worker.functions);
}
