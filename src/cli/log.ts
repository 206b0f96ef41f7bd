import { isatty } from "node:tty";
import { destination, type Logger, levels, pino } from "pino";
import { AsyncError } from "../job/errors.ts";
import { pretty } from "./pretty.ts";

export const LOG_FORMATS = ["pretty", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogFlags {
  logFormat?: LogFormat;
}

const STDERR = 2;
/** Lines that cannot be written are kept up to here, until there is room for them. */
const MAX_UNWRITTEN = 1024 ** 2;

/**
 * Logs go to standard error: one readable line each in a terminal, JSON else. The level is `ASYNC_LOG_LEVEL`, `fallback` if that
 * is not set.
 *
 * @throws AsyncError `invalid_option`
 */
export function createLog(name: string, { logFormat }: LogFlags = {}, fallback = "info"): Logger {
  const level = process.env.ASYNC_LOG_LEVEL || fallback;
  const known = [...Object.keys(levels.values), "silent"];
  if (!known.includes(level))
    throw new AsyncError("invalid_option", `ASYNC_LOG_LEVEL must be one of ${known.join(", ")}, not "${level}"`);
  const file = destination({ dest: STDERR, sync: true, maxLength: MAX_UNWRITTEN });
  // A disk that is full of logs is no reason to leave the jobs.
  file.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
  });
  if ((logFormat ?? (isatty(STDERR) ? "pretty" : "json")) === "json") return pino({ name, level }, file);
  const options = { color: isatty(STDERR) && !process.env.NO_COLOR, stacks: level === "debug" || level === "trace" };
  return pino({ name, level }, { write: (line: string) => file.write(pretty(line, options)) });
}
