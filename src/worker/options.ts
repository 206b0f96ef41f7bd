import type { Logger } from "pino";
import type { Bus, BusOptions } from "../bus/connection.ts";
import { AsyncError } from "../job/errors.ts";

export interface WorkerOptions {
  /** Address of NATS. Default: `NATS_URL`, else nats://127.0.0.1:4222. */
  url?: string;
  /** Shown in lists of workers; letters, digits, `-` and `_`. Default `async-worker`. */
  name?: string;
  /** Attempts at a time, over all functions. Default: `ASYNC_CONCURRENCY`, else 2. */
  concurrency?: number;
  /** Interval of heartbeats. Default 1,500 ms. An attempt is given up when three are missing. */
  heartbeatMs?: number;
  /**
   * When the slot of a handler that goes on although its attempt was given up is given to others, in ms. Default 60 s.
   */
  abandonedAfterMs?: number;
  /**
   * Instead of giving slots to others, end the process with 1 when such handlers have all of them: whoever started it starts it
   * again. Default false.
   */
  exitWhenStuck?: boolean;
  /** Default: pino at level `info`. */
  log?: Logger;
  /**
   * Further options of the connection (credentials, inbox prefix), or one that is there and stays open: on that of a
   * supervisor, invocations of this process come straight from it, see `async server [modules...]`.
   */
  bus?: Partial<BusOptions> | Bus;
}

const DEFAULT_CONCURRENCY = 2;
export const MAX_CONCURRENCY = 100_000;

/** @throws AsyncError `invalid_option` */
export function concurrencyFrom(option: number | undefined): number {
  const value = option ?? Number(process.env.ASYNC_CONCURRENCY || DEFAULT_CONCURRENCY);
  if (Number.isInteger(value) && value >= 1 && value <= MAX_CONCURRENCY) return value;
  throw new AsyncError("invalid_option", `concurrency must be an integer from 1 to ${MAX_CONCURRENCY}, not ${value}`);
}

/** @throws AsyncError `invalid_option` */
export function requireName(name: string | undefined): void {
  if (name === undefined || /^[-\w]{1,64}$/.test(name)) return;
  throw new AsyncError(
    "invalid_option",
    "the name of a worker must consist of at most 64 letters, digits, '-' and '_'",
  );
}
