import type { Msg } from "nats";
import type { JobEvent, RejectedEvent } from "../../job/events.ts";
import { readJsonObject } from "./codec.ts";

/** The event in a message of `job.event.>`; undefined if it is none of ours, since anyone may be allowed to publish. */
export function readEvent({ data }: Pick<Msg, "data">): JobEvent | RejectedEvent | undefined {
  const body = readJsonObject(data);
  return typeof body?.type === "string" ? (body as unknown as JobEvent | RejectedEvent) : undefined;
}
