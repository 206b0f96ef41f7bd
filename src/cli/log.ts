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
  const file = destination({ dest: STDERR, sync: true });
  if ((logFormat ?? (isatty(STDERR) ? "pretty" : "json")) === "json") return pino({ name, level }, file);
  const options = { color: isatty(STDERR) && !process.env.NO_COLOR, stacks: level === "debug" || level === "trace" };
  return pino({ name, level }, { write: (line: string) => file.write(pretty(line, options)) });
}
