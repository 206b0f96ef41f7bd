/**
 * Lifecycle events on `job.event.<id>.<type>`. They are notices: the record of what has become of a job is its state.
 *
 * Stream EVENTS keeps all but one of them: the event of a job that completes is published for who listens now, and kept only
 * where the stream was made so (`storeCompleted`). It would be as many messages again as there are jobs. What is kept of the end
 * of a job is stored with an acknowledgement; all else, progress too, is published once and may be missed.
 *
 * EVENTS-1  Whom the submission names is notified of the end right after its event is sent, with the same write, and again each
 *     time that is repeated. (In this order the server stores the event while it tells them: 5 % less latency.)
 * EVENTS-2  The event of an end that is kept is stored before the token of its job goes, and once: repeated soon, the server
 *     knows its message id; repeated late, it is looked for, and not stored again where it may have been there and gone.
 */
import type { Payload } from "nats";
import { eventSubject, notifySubject } from "../../api/subjects.ts";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import { type JobEvent, type RejectedEvent, shortened } from "../../job/events.ts";
import type { Bus } from "../connection.ts";
import { encodePayload } from "../messages/codec.ts";
import { readEvent } from "../messages/events.ts";
import { EVENTS } from "../topology.ts";
import { headersOf } from "../wire/headers.ts";
import { isWrongSequence, type OnStored } from "../wire/jetstream.ts";
import { mayHaveForgotten, readLast } from "./stream-read.ts";

const TIMEOUT_MS = 2_000;
/** The server knows a message id for two minutes; clocks differ a little. */
const SOON_MS = 90_000;
/** By as much the server's clock may differ from that of who ended the job. */
const CLOCK_SKEW_MS = 60_000;

export class EventLog {
  readonly #bus: Bus;
  readonly #storesCompleted: boolean;

  constructor(bus: Bus, { storesCompleted }: { storesCompleted: boolean }) {
    this.#bus = bus;
    this.#storesCompleted = storesCompleted;
  }

  /** Dropped while disconnected, or when it does not fit into a message (a progress that fills one). */
  publish(event: JobEvent): void {
    this.#publish(eventSubject(event.job_id, event.type), encodePayload(event, "json"));
  }

  /**
   * Tells of the end of a job, and stores its event if it is one that is kept. `done` is told whether that is done, maybe
   * before this returns; if not, repeat it with {@link record}.
   */
  recordFirst(event: JobEvent, notify: string | undefined, done: (recorded: boolean) => void): void {
    if (this.#isKept(event)) {
      this.#store(event, notify, { "Nats-Msg-Id": messageId(event) }, (error) => done(!error));
      return;
    }
    const body = this.#fitting(event);
    this.#publish(eventSubject(event.job_id, event.type), body);
    if (notify !== undefined) this.#publish(notifySubject(notify), body);
    done(true);
  }

  /**
   * The same for the event of an end, or of a rejection, which may have been recorded before (EVENTS-2).
   *
   * @param notify who is to be told as well
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async record(event: JobEvent | RejectedEvent, notify?: string): Promise<void> {
    if (!this.#isKept(event)) return;
    const at = Date.parse(event.at);
    if (Date.now() - at < SOON_MS) {
      await this.#storeFitting(event, notify, { "Nats-Msg-Id": messageId(event) });
      return;
    }
    // A job that was retried by hand may end in the same way again: then there is a newer one.
    const last = await readLast(this.#bus, EVENTS, eventSubject(event.job_id, event.type));
    if (last && Date.parse(readEvent(last)?.at ?? "") >= at) return;
    if (!last && (await mayHaveForgotten(this.#bus, EVENTS, at - CLOCK_SKEW_MS))) return;
    try {
      await this.#storeFitting(event, notify, { "Nats-Expected-Last-Subject-Sequence": String(last?.sequence ?? 0) });
    } catch (error) {
      if (!isWrongSequence(error)) throw error;
      throw new AsyncError("jetstream_unavailable", `someone else records the end of ${event.job_id}; repeat it`);
    }
  }

  #isKept({ type }: JobEvent | RejectedEvent): boolean {
    return type !== "completed" || this.#storesCompleted;
  }

  async #storeFitting(
    event: JobEvent | RejectedEvent,
    notify: string | undefined,
    headers: Record<string, string>,
  ): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#store(event, notify, headers, (error) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      const smaller = shortened(event);
      if (!isAsyncError(error, "payload_too_large") || smaller === event) throw error;
      await this.#storeFitting(smaller, notify, headers);
    }
  }

  /** EVENTS-1 */
  #store(
    event: JobEvent | RejectedEvent,
    notify: string | undefined,
    headers: Record<string, string>,
    done: OnStored,
  ): void {
    const body = encodePayload(event, "json");
    this.#bus.mux.store(eventSubject(event.job_id, event.type), body, headersOf(headers), TIMEOUT_MS, done);
    if (notify !== undefined) this.#publish(notifySubject(notify), body);
  }

  /** An event that would not fit into a message is shortened. */
  #fitting(event: JobEvent): Payload {
    const body = encodePayload(event, "json");
    return this.#fits(body) ? body : encodePayload(shortened(event), "json");
  }

  #fits(body: Payload): boolean {
    const most = this.#bus.nc.info?.max_payload ?? Number.POSITIVE_INFINITY;
    // In UTF-8 a character takes up to three bytes: only long texts have to be measured.
    return body.length * 3 <= most || Buffer.byteLength(body) <= most;
  }

  #publish(subject: string, body: Payload): void {
    if (this.#bus.connected && this.#fits(body)) this.#bus.nc.publish(subject, body);
  }
}

/** The same for each repetition of the event, and for no other one. */
function messageId(event: JobEvent | RejectedEvent): string {
  const { job_id, type, at } = event;
  // By a clock that was set back, another run of the job may end at the same time.
  const run = "run" in event && event.run > 1 ? `:${event.run}` : "";
  return `${job_id}:${type}:${at}${run}`;
}
