/**
 * Answers to `job.events.<id>`: what stream EVENTS keeps of a job, in order. The state of a job says what has become of it; what
 * happened on the way, such as the errors of attempts before the one that succeeded, is here, as long as the stream keeps it.
 *
 * HISTORY-1  A page has a limit in events and in bytes, and gets on: an event that fits into no answer leaves out what makes it
 *     large, `truncated: true`.
 */
import { DEFAULT_PAGE_LIMIT, type EventsRequest, type ListedEvent } from "../api/requests.ts";
import { eventSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readEvent } from "../bus/messages/events.ts";
import { readBatch } from "../bus/store/stream-read.ts";
import { EVENTS } from "../bus/topology.ts";
import { withoutFolders } from "../job/answer.ts";
import { AsyncError } from "../job/errors.ts";
import { type JobEvent, type RejectedEvent, shortened } from "../job/events.ts";
import { requireJobId } from "../job/names.ts";
import { Limiter } from "../util/limiter.ts";

const MAX_PAGES = 4;
/** Beyond this an answer ends early, well below the server's limit of a message (1 MiB by default). */
const MAX_REPLY_BYTES = 512 * 1024;
const ENVELOPE_BYTES = 1_024;
/** Of the message of an error, where the event would not fit otherwise. */
const SHORT_LENGTH = 200;

export class History {
  readonly #bus: Bus;
  readonly #requireJob: (jobId: string) => Promise<unknown>;
  readonly #pages = new Limiter(() => MAX_PAGES);

  /** `requireJob` throws if there is no such job. */
  constructor(bus: Bus, requireJob: (jobId: string) => Promise<unknown>) {
    this.#bus = bus;
    this.#requireJob = requireJob;
  }

  /**
   * The answer as JSON (`EventsReply`).
   *
   * @throws AsyncError `invalid_job_id`, `job_not_found` if nothing is kept and there is no such job, `bus_overloaded`, or what the
   * bus throws
   */
  async page(jobId: string, request: EventsRequest): Promise<string> {
    requireJobId(jobId);
    const why = `this supervisor reads the events of ${MAX_PAGES} jobs already; try again`;
    return this.#pages.runNow(
      () => this.#page(jobId, request),
      () => new AsyncError("bus_overloaded", why),
    );
  }

  async #page(jobId: string, { limit = DEFAULT_PAGE_LIMIT, cursor }: EventsRequest): Promise<string> {
    const mostForOne = this.#bus.maxPayload - ENVELOPE_BYTES;
    const most = Math.min(MAX_REPLY_BYTES, mostForOne);
    const query = { filter: eventSubject(jobId, "*"), from: Number(cursor ?? 1), batch: limit, maxBytes: most };
    const { messages, pending } = await readBatch(this.#bus, EVENTS, query);
    if (messages.length === 0 && cursor === undefined) await this.#requireJob(jobId);
    const texts: string[] = [];
    let bytes = 0;
    let next: number | undefined;
    for (const message of messages) {
      const event = readEvent(message);
      if (event?.job_id !== jobId) continue; // a stranger's
      const text = textOf(event, mostForOne);
      bytes += Buffer.byteLength(text) + 1;
      if (texts.length > 0 && bytes > most) {
        next = message.sequence;
        break;
      }
      texts.push(text);
    }
    const last = messages.at(-1);
    if (next === undefined && last && pending > 0) next = last.sequence + 1;
    return `{"events":[${texts.join(",")}]${next === undefined ? "" : `,"next":"${next}"`}}`;
  }
}

/** HISTORY-1 */
function textOf(event: JobEvent | RejectedEvent, most: number): string {
  const shown: ListedEvent = "error" in event ? { ...event, error: withoutFolders(event.error) } : event;
  const text = JSON.stringify(shown);
  if (Buffer.byteLength(text) <= most) return text;
  const smaller: ListedEvent = { ...shortened(shown), truncated: true };
  if (smaller.type === "progress") smaller.progress = null;
  if ("error" in smaller) {
    const { code, name, message } = smaller.error;
    smaller.error = { code, name, message: message.slice(0, SHORT_LENGTH) };
  }
  return JSON.stringify(smaller);
}
