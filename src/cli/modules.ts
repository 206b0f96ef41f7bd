import { createRequire } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AsyncError } from "../job/errors.ts";
import type { Worker } from "../worker/worker.ts";

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
  let module: { default?: unknown };
  try {
    module = await load(pathToFileURL(resolve(path)).href, TYPESCRIPT.test(path));
  } catch (cause) {
    const why = withoutCalls(cause);
    throw new AsyncError("invalid_module", `cannot load ${path}: ${why}`, { cause });
  }
  const worker = defaultOf(module);
  if (isWorker(worker)) return worker;
  throw new AsyncError(
    "invalid_module",
    `${path} does not export a worker; write: export default new Worker().func("name", handler)`,
  );
}

/** What was thrown, with the place in the source that the stack of a syntax error begins with, but without the calls. */
function withoutCalls(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const [head = ""] = (thrown.stack ?? "").split(/\n\s+at /);
  return head.includes(thrown.message) ? head : thrown.message;
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
