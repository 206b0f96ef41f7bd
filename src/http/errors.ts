import { STATUS as API_STATUS } from "../api/status.ts";
import { type ErrorCode, isAsyncError } from "../job/errors.ts";

/** Those of the request API, and what only comes up on our side of it. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  ...API_STATUS,
  invalid_submission: 400,
  undecodable: 400,
  forbidden_host: 403,
  unsupported_encoding: 415,
  no_responders: 503,
  jobs_full: 503,
};

/** Those of Fastify's own errors that we answer in our own words. */
const CODES: Record<string, string> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "payload_too_large",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "unsupported_encoding",
};

/** The HTTP status and the stable code of whatever was thrown. */
export function statusOf(error: Error & { statusCode?: number; code?: string }): { status: number; code: string } {
  if (isAsyncError(error)) return { status: STATUS[error.code] ?? 500, code: error.code };
  const status = error.statusCode ?? 500;
  if (status >= 500) return { status: 500, code: "internal" };
  return { status, code: CODES[error.code ?? ""] ?? "invalid_request" };
}
