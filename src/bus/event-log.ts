/**
 * Lifecycle events on `job.event.<id>.<type>`, kept by stream EVENTS.
 *
 * The events of a job's end are recorded: stored before its token goes. All others are notices: published and not
 * waited for, because the state is the record.
 */
import type { Msg } from "nats";
import type { JobEvent, RejectedEvent } from "../job/events.ts";
import { isRecord } from "../job/schema.ts";
import type { Bus } from "./connection.ts";
import { headersOf } from "./raw-headers.ts";
import { eventSubject } from "./subjects.ts";

export class EventLog {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Dropped while disconnected. */
  publish(event: JobEvent): void {
    if (this.#bus.connected) this.#bus.nc.publish(eventSubject(event.job_id, event.type), JSON.stringify(event));
  }

  /**
   * Stores the event; recording it again within two minutes changes nothing.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async record(event: JobEvent | RejectedEvent): Promise<void> {
    const headers = headersOf({ "Nats-Msg-Id": `${event.job_id}.${event.type}.${event.at}` });
    await this.#bus.mux.publish(eventSubject(event.job_id, event.type), JSON.stringify(event), headers);
  }
}

/** The event in a message of `job.event.>`; undefined if it is none of ours, since anyone may be allowed to publish. */
export function readEvent(message: Msg): JobEvent | RejectedEvent | undefined {
  try {
    const body: unknown = message.json();
    return isRecord(body) && typeof body.type === "string" ? (body as unknown as JobEvent | RejectedEvent) : undefined;
  } catch {
    return undefined;
  }
}
