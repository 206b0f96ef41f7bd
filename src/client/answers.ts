/** What is answered to a client. Whoever may listen to requests may have answered, and anything. */
import type { Msg } from "nats";
import { ERROR_CODE_HEADER } from "../api/headers.ts";
import type { ErrorReply } from "../api/requests.ts";
import { readJsonObject } from "../bus/messages/codec.ts";
import { AsyncError, type ErrorCode, InvalidInputError, type Reason } from "../job/errors.ts";
import { isRecord } from "../job/plain.ts";
import type { JobView } from "../job/view.ts";

/** How supervisors of format 1 refuse a retry that says more than they know. */
const SAYS_MORE = " is not a known field; there are data and args";

/** What a supervisor answers instead of what it was asked for. */
export function errorIn(reply: Msg): AsyncError | undefined {
  if (!reply.headers?.has(ERROR_CODE_HEADER)) return undefined;
  const { code, message, reasons } = answerIn(reply) as ErrorReply;
  if (code === "invalid_request" && typeof message === "string" && message.endsWith(SAYS_MORE)) return tooOld(message);
  const isOfInput = code === "invalid_submission" || code === "invalid_request";
  if (isOfInput && typeof message === "string" && Array.isArray(reasons) && reasons.every(isReason)) {
    return new InvalidInputError(code, message.split(": ")[0] ?? "", reasons);
  }
  return new AsyncError(code as ErrorCode, message);
}

function isReason(value: unknown): value is Reason {
  return isRecord(value) && typeof value.path === "string" && typeof value.message === "string";
}

/** It may be a field that others know, while a fleet is upgraded. */
function tooOld(message: string): AsyncError {
  const next = "the supervisor that was asked is of an older version; if that field is meant, upgrade it";
  return new AsyncError("newer_format", `${message}: ${next}`);
}

/** @throws AsyncError `bus_timeout`: who may listen to requests may have answered, and anything, so the outcome is not known */
export function answerIn(reply: Msg): object {
  const answer = readJsonObject(reply.data);
  if (answer) return answer;
  throw unreadable("is no JSON object");
}

/** @throws AsyncError `bus_timeout` if it is no job */
export function jobIn(answer: Partial<JobView>): JobView {
  const isJob = typeof answer.job_id === "string" && typeof answer.state === "string" && areRecords(answer.functions);
  if (!isJob) throw unreadable("is no job");
  return answer as JobView;
}

/** The outcome of what was asked for is not known. */
export function unreadable(why: string): AsyncError {
  return new AsyncError("bus_timeout", `the answer cannot be read, as it ${why}; try again`);
}

export function areRecords(values: unknown): values is Record<string, unknown>[] {
  return Array.isArray(values) && values.every(isRecord);
}

/** What a page has of them. @throws AsyncError `bus_timeout` */
export function recordsIn<T>(values: T[] = []): T[] {
  if (!areRecords(values)) throw unreadable("is no page of a list");
  return values;
}
