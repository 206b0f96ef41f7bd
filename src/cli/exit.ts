import { CommanderError } from "commander";
import { type ErrorCode, InvalidInputError, isAsyncError, messageOf } from "../job/errors.ts";
import { describeReasons } from "./reasons.ts";

export const EXIT = {
  done: 0,
  /** The job failed or was cancelled, or something else went wrong. */
  failed: 1,
  /** Wrong use: arguments, options, an invalid job or module. */
  usage: 2,
  /** NATS, JetStream or every supervisor is away. */
  unreachable: 3,
} as const;

const USAGE = new Set<ErrorCode>([
  "invalid_submission",
  "invalid_job_id",
  "invalid_function_name",
  "invalid_request",
  "invalid_option",
  "invalid_module",
  "undecodable",
]);

const UNREACHABLE = new Set<ErrorCode>([
  "not_connected",
  "bus_timeout",
  "no_responders",
  "jetstream_unavailable",
  "server_too_old",
  "newer_format",
  "storage_full",
  "no_server_binary",
]);

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (!isAsyncError(error)) return EXIT.failed;
  if (USAGE.has(error.code)) return EXIT.usage;
  return UNREACHABLE.has(error.code) ? EXIT.unreachable : EXIT.failed;
}

/** What went wrong, for a person: without a stack unless `ASYNC_LOG_LEVEL` is `debug`. */
export function reportError(error: unknown): void {
  const debug = process.env.ASYNC_LOG_LEVEL === "debug" || process.env.ASYNC_LOG_LEVEL === "trace";
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (error instanceof InvalidInputError) {
    process.stderr.write(`async: ${error.summary} [${error.code}]\n${describeReasons(error.reasons)}\n`);
  } else if (isAsyncError(error)) process.stderr.write(`async: ${error.message} [${error.code}]\n`);
  else process.stderr.write(`async: unexpected failure: ${messageOf(error)}; ASYNC_LOG_LEVEL=debug shows where\n`);
}
