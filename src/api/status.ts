import type { ErrorCode } from "../job/errors.ts";

/** The service error code of each error that the request API answers with; the ones of HTTP, as is the custom of NATS services. */
export const STATUS: Partial<Record<ErrorCode, number>> = {
  invalid_job_id: 400,
  invalid_request: 400,
  invalid_submission: 400,
  invalid_function_name: 400,
  permission_denied: 403,
  job_not_found: 404,
  unknown_signal: 404,
  definition_not_found: 404,
  definitions_full: 409,
  settings_full: 409,
  job_ended: 409,
  job_not_ended: 409,
  job_undoing: 409,
  undo_first: 409,
  job_exists: 409,
  no_entry: 404,
  signals_full: 409,
  /** Somebody else has written into the bucket; the next sweep, or `async doctor --fix`, makes it a failed job. */
  corrupt_state: 409,
  payload_too_large: 413,
  jetstream_unavailable: 503,
  jetstream_error: 503,
  closed: 503,
  not_connected: 503,
  bus_timeout: 503,
  bus_overloaded: 503,
  newer_format: 503,
  storage_full: 503,
};
