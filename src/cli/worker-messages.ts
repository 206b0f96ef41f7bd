/**
 * What a worker process tells `async dev`, over the channel between them. Whoever else starts a worker with such a channel gets
 * two small messages, and may ignore them.
 *
 * Node tells there as well which files it loads, if the environment asks for it ({@link REPORT_FILES}): `node --watch` is built
 * on that. Modules may send what they like, so everything that comes is checked.
 */
import { fileURLToPath } from "node:url";
import { isRecord } from "../job/plain.ts";

export type WorkerMessage =
  | { is: "serving"; functions: string[] }
  /** It has left its queue groups; so many attempts may end. */
  | { is: "draining"; attempts: number }
  | { is: "loading"; files: string[] };

export const REPORT_FILES = { WATCH_REPORT_DEPENDENCIES: "1" } as const;

export function tellParent(message: Exclude<WorkerMessage, { is: "loading" }>): void {
  if (!process.connected) return;
  process.send?.({ async: message }, () => {}); // the parent may have gone just now: then there is nobody to tell
}

/** Undefined for what is none of these. */
export function readWorkerMessage(message: unknown): WorkerMessage | undefined {
  if (!isRecord(message)) return undefined;
  const files = [message["watch:import"], message["watch:require"]].flat().flatMap(pathOf);
  if (files.length > 0) return { is: "loading", files };
  const { async: ours } = message;
  if (!isRecord(ours)) return undefined;
  const { is, functions, attempts } = ours;
  if (is === "serving" && Array.isArray(functions)) return { is, functions: functions.map(String) };
  return is === "draining" && typeof attempts === "number" ? { is, attempts } : undefined;
}

/** The file of a path or URL; none for what is part of Node. Translators add queries, also with an encoded `?`. */
function pathOf(file: unknown): string[] {
  if (typeof file !== "string") return [];
  if (file.startsWith("/")) return [file];
  if (!file.startsWith("file:")) return [];
  try {
    return [fileURLToPath(file.replace(/(?:\?|%3F).*$/s, ""))];
  } catch {
    return []; // not a path of this system
  }
}
