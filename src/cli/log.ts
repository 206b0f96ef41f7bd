import { destination, type Logger, pino } from "pino";

/** Logs go to standard error; the level is `ASYNC_LOG_LEVEL`. */
export function createLog(name: string, level = process.env.ASYNC_LOG_LEVEL || "info"): Logger {
  return pino({ name, level }, destination({ dest: 2, sync: true }));
}
