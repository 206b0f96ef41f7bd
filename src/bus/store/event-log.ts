/**
 * Lifecycle events on `job.event.<id>.<type>`, kept by stream EVENTS.
 *
 * The events of a job's end are recorded: stored before its token goes. All others are notices: published and not
 * waited for, because the state is the record.
 *
 * EVENTS-1  Whom the submission names is notified of the end right after its event is sent, with the same write, and again each
 *     time that is repeated. (In this order the server stores the event while it tells them: 5 % less latency.)
 */
import type { Payload } from "nats";
import { eventSubject, notifySubject } from "../../api/subjects.ts";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import { type JobEvent, type RejectedEvent, withoutResult } from "../../job/events.ts";
import type { Bus } from "../connection.ts";
import { encodePayload } from "../messages/codec.ts";
import { readEvent } from "../messages/events.ts";
import { EVENTS } from "../topology.ts";
import { expectSequence } from "../wire/headers.ts";
import { isWrongSequence, type OnStored } from "../wire/jetstream.ts";
import { readLast } from "./stream-read.ts";

const TIMEOUT_MS = 2_000;

export class EventLog {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Dropped while disconnected, or when it does not fit into a message (a progress that fills one). */
  publish(event: JobEvent): void {
    this.#publish(eventSubject(event.job_id, event.type), encodePayload(event, "json"));
  }

  /**
   * Stores the event of an end, or that of a rejection. Once, however often it is repeated, as long as stream EVENTS keeps it:
   * there is one subject for each job and kind of end, so its newest event shows whether this run's end is stored.
   *
   * @param notify who is to be told as well
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async record(event: JobEvent | RejectedEvent, notify?: string): Promise<void> {
    const subject = eventSubject(event.job_id, event.type);
    if (await this.#recordAfter(event, 0, notify)) return;
    // A job that was retried by hand may end in the same way again.
    const last = await readLast(this.#bus, EVENTS, subject);
    if (last && runOf(readEvent(last)) >= runOf(event)) return;
    if (await this.#recordAfter(event, last?.sequence ?? 0)) return; // who is to be notified has been
    throw new AsyncError("jetstream_unavailable", `someone else writes on ${subject} at the same time; repeat it`);
  }

  /**
   * The same for the event of an end that has most likely not been recorded yet. Tells whether it is now, maybe before
   * it returns; if not, repeat it with {@link record}.
   */
  recordFirst(event: JobEvent, notify: string | undefined, done: (recorded: boolean) => void): void {
    this.#store(event, 0, notify, (error) => done(!error));
  }

  /** Returns false if the newest message of the subject is not the one with that sequence (0: there is none). */
  async #recordAfter(event: JobEvent | RejectedEvent, sequence: number, notify?: string): Promise<boolean> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#store(event, sequence, notify, (error) => (error ? reject(error) : resolve()));
      });
      return true;
    } catch (error) {
      if (isWrongSequence(error)) return false;
      const smaller = withoutResult(event);
      if (!isAsyncError(error, "payload_too_large") || smaller === event) throw error;
      return this.#recordAfter(smaller, sequence, notify);
    }
  }

  /** EVENTS-1 */
  #store(event: JobEvent | RejectedEvent, sequence: number, notify: string | undefined, done: OnStored): void {
    const body = encodePayload(event, "json");
    const subject = eventSubject(event.job_id, event.type);
    this.#bus.mux.store(subject, body, expectSequence(sequence), TIMEOUT_MS, done);
    if (notify !== undefined) this.#publish(notifySubject(notify), body);
  }

  #publish(subject: string, body: Payload): void {
    const { connected, nc } = this.#bus;
    const most = nc.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (connected && Buffer.byteLength(body) <= most) nc.publish(subject, body);
  }
}

/** 0 for what is no event of ours. */
function runOf(event: JobEvent | RejectedEvent | undefined): number {
  if (event === undefined) return 0;
  return "run" in event && typeof event.run === "number" ? event.run : 1;
}
