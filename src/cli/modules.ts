import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { AsyncError } from "../job/errors.ts";
import type { Worker } from "../worker/worker.ts";

const TYPESCRIPT = /\.[mc]?tsx?$/;

/**
 * The workers that modules export by default. TypeScript is translated on the fly.
 *
 * @throws AsyncError `invalid_module`
 */
export async function loadWorkers(paths: string[]): Promise<Worker[]> {
  if (paths.some((path) => TYPESCRIPT.test(path))) {
    const { register } = await import("tsx/esm/api");
    register();
  }
  const workers: Worker[] = [];
  for (const path of paths) workers.push(await loadWorker(path));
  return workers;
}

async function loadWorker(path: string): Promise<Worker> {
  let module: { default?: unknown };
  try {
    module = await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    throw new AsyncError("invalid_module", `cannot load ${path}: ${why}`, { cause });
  }
  if (isWorker(module.default)) return module.default;
  throw new AsyncError(
    "invalid_module",
    `${path} does not export a worker; write: export default new Worker().func("name", handler)`,
  );
}

/** By its shape, because the module may have a copy of the class of its own. */
function isWorker(value: unknown): value is Worker {
  const worker = value as Partial<Worker> | null | undefined;
  return typeof worker?.start === "function" && typeof worker.close === "function" && Array.isArray(worker.functions);
}
