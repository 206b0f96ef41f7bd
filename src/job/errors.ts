import { describeThrown } from "./describe.ts";
import type { Failure } from "./failure.ts";

/**
 * Every error this package throws on purpose. `code` is stable and safe to match on; the message says what is
 * wrong and what to do next; `cause` keeps what was caught.
 */
export type ErrorCode =
  // wrong input
  | "invalid_submission"
  | "invalid_job_id"
  | "invalid_function_name"
  | "invalid_request"
  | "undecodable"
  | "unsupported_encoding"
  | "forbidden_host"
  | "payload_too_large"
  | "job_not_found"
  | "job_not_ended"
  | "job_ended"
  | "job_undoing"
  | "undo_first"
  | "job_exists"
  | "no_entry"
  | "signals_full"
  | "unknown_signal"
  | "definition_not_found"
  | "definitions_full"
  | "settings_full"
  | "corrupt_state"
  | "newer_format"
  | "job_failed"
  | "job_cancelled"
  // the bus
  | "not_connected"
  | "permission_denied"
  | "bus_timeout"
  | "no_responders"
  | "jetstream_unavailable"
  | "jetstream_error"
  | "jobs_full"
  | "storage_full"
  | "bus_overloaded"
  | "server_too_old"
  | "topology_mismatch"
  // the embedded server
  | "no_server_binary"
  | "port_taken"
  | "store_not_writable"
  | "store_in_use"
  | "server_exited"
  // running
  | "closed"
  | "duplicate_function"
  | "invalid_module"
  | "invalid_option"
  // answers to requests
  | "no_route"
  | "method_not_allowed"
  | "internal";

/** By this one copy of the package knows the errors of another: a CommonJS worker in TypeScript loads its own. */
const BRAND = Symbol.for("async.AsyncError");

export class AsyncError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "AsyncError";
    this.code = code;
  }

  /** @internal */
  get [BRAND](): true {
    return true;
  }
}

/** One thing that is wrong with an input, at `path` (a JSON pointer; "" is the whole input). */
export interface Reason {
  path: string;
  message: string;
}

/** The input was refused; `reasons` lists everything that is wrong with it, not only the first. */
export class InvalidInputError extends AsyncError {
  readonly reasons: Reason[];
  /** What was refused, without the reasons, e.g. "not a valid job". */
  readonly summary: string;

  constructor(code: "invalid_submission" | "invalid_request", message: string, reasons: Reason[]) {
    super(code, `${message}: ${reasons.map((r) => `${r.path || "/"} ${r.message}`).join("; ")}`);
    this.name = "InvalidInputError";
    this.reasons = reasons;
    this.summary = message;
  }
}

/** A job that was run for its result has ended without one. */
export class JobFailedError extends AsyncError {
  readonly jobId: string;
  /** Why it has failed; undefined if it was cancelled. */
  readonly failure: Failure | undefined;

  constructor(jobId: string, failure: Failure | undefined) {
    super(
      failure ? "job_failed" : "job_cancelled",
      failure ? `job ${jobId} has failed: ${failure.message}` : `job ${jobId} was cancelled`,
    );
    this.name = "JobFailedError";
    this.jobId = jobId;
    this.failure = failure;
  }
}

/** What was thrown, in its own words and with a limit; anything can be thrown. Never throws itself. */
export function messageOf(thrown: unknown): string {
  // Ours say what matters of their cause; their code is told apart from the message.
  return isAsyncError(thrown) ? thrown.message : describeThrown(thrown).message;
}

/** A proxy may throw when it is asked. */
function isBranded(error: unknown): error is AsyncError {
  try {
    return error instanceof Error && BRAND in error;
  } catch {
    return false;
  }
}

export function isAsyncError(error: unknown, code?: ErrorCode): error is AsyncError {
  return isBranded(error) && (code === undefined || error.code === code);
}
