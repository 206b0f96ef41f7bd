import type { Msg } from "nats";
import { EVENT_TYPES, type JobEvent, type RejectedEvent } from "../../job/events.ts";
import { isRecord } from "../../job/plain.ts";
import { readJsonObject } from "./codec.ts";

/** The event in a message of `job.event.>`; undefined if it is none of ours, since anyone may be allowed to publish. */
export function readEvent({ data }: Pick<Msg, "data">): JobEvent | RejectedEvent | undefined {
  const body = readJsonObject(data);
  return body && isEvent(body) ? (body as unknown as JobEvent | RejectedEvent) : undefined;
}

const WITH_ERROR: ReadonlySet<unknown> = new Set<JobEvent["type"]>([
  "failed",
  "retrying",
  "item_failed",
  "undo_failed",
]);
const TYPES: ReadonlySet<unknown> = new Set(EVENT_TYPES);

/** Whether it has what is read of events. */
function isEvent({ type, job_id, at, error, reason }: Record<string, unknown>): boolean {
  if (!TYPES.has(type) || typeof job_id !== "string" || typeof at !== "string") return false;
  if (type === "rejected") return typeof reason === "string";
  if (type === "undoing") return error === undefined || isFailure(error); // a job that is cancelled has none
  return WITH_ERROR.has(type) ? isFailure(error) : error === undefined;
}

function isFailure(error: unknown): boolean {
  return isRecord(error) && [error.code, error.name, error.message].every((one) => typeof one === "string");
}
