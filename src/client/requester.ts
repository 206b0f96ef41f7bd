/** How a client asks supervisors: again while that may help, and page after page. */
import type { Msg, MsgHdrs, Payload } from "nats";
import { MAX_PAGE_LIMIT } from "../api/requests.ts";
import type { Bus } from "../bus/connection.ts";
import { AsyncError, type ErrorCode, isAsyncError } from "../job/errors.ts";
import { answerIn, errorIn, unreadable } from "./answers.ts";
import { mayPass, patiently, wasNotDone } from "./patience.ts";

export const REQUEST_TIMEOUT_MS = 2_000;
/** Of what is not asked for again where no answer comes: half of it is for the answer. */
const ONCE_TIMEOUT_MS = 6_000;
/** Answers of a supervisor that another one may do better on. */
const ASK_ANOTHER = new Set<ErrorCode>(["newer_format", "bus_overloaded", "jetstream_unavailable"]);
/** When and where a list ends early. */
const LIST_MS = 4_000;
const MAX_LIST_BYTES = 8 * 1024 ** 2;

export class Requester {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * Asks for page after page, until there are `limit` entries or no more, or enough for one answer. `take` is given each page, and
   * returns how many entries there are by then. Returns the cursor of what is left.
   */
  async pages<Page extends { next?: string }>(
    subject: string,
    request: { cursor?: string },
    limit: number,
    take: (page: Page) => number,
  ): Promise<string | undefined> {
    const end = performance.now() + LIST_MS;
    let count = 0;
    let bytes = 0;
    let next = request.cursor;
    do {
      const most = Math.min(MAX_PAGE_LIMIT, limit - count);
      const wanted = { ...request, limit: most, ...(next !== undefined && { cursor: next }) };
      const reply = await this.#reply(subject, wanted, REQUEST_TIMEOUT_MS);
      const page = answerIn(reply) as Page;
      count = take(page);
      bytes += reply.data.length;
      next = page.next;
      if (next !== undefined && typeof next !== "string") throw unreadable("has no cursor");
    } while (next !== undefined && count < limit && bytes < MAX_LIST_BYTES && performance.now() < end);
    return next;
  }

  async ask(subject: string, request?: unknown, timeoutMs = REQUEST_TIMEOUT_MS): Promise<object> {
    return answerIn(await this.#reply(subject, request, timeoutMs));
  }

  #reply(subject: string, request: unknown, timeoutMs: number): Promise<Msg> {
    return this.send(subject, request === undefined ? "" : JSON.stringify(request), timeoutMs);
  }

  /**
   * What must not be done twice: it is asked for again only where it was not done.
   *
   * @throws AsyncError: then it may be done
   */
  async askOnce(subject: string, request: unknown): Promise<object> {
    return answerIn(await this.send(subject, JSON.stringify(request), ONCE_TIMEOUT_MS, undefined, wasNotDone));
  }

  /** Asked a single time, for what is done without an answer as well. */
  async askQuickly(subject: string, request: unknown, timeoutMs: number): Promise<object> {
    const reply = await this.#request(subject, JSON.stringify(request), timeoutMs);
    const error = errorIn(reply);
    if (error) throw error;
    return answerIn(reply);
  }

  async send(subject: string, body: Payload, timeoutMs: number, headers?: MsgHdrs, passes = mayPass): Promise<Msg> {
    const reply = await patiently(
      this.#bus,
      timeoutMs,
      (leftMs) => this.#request(subject, body, leftMs, headers),
      passes,
    );
    const error = errorIn(reply);
    if (error) throw error;
    return reply;
  }

  async #request(subject: string, body: Payload, timeoutMs: number, headers?: MsgHdrs): Promise<Msg> {
    let reply: Msg;
    try {
      reply = await this.#bus.mux.request(subject, body, timeoutMs, headers);
    } catch (error) {
      if (!isAsyncError(error, "no_responders")) throw error;
      throw new AsyncError("no_responders", "no supervisor is running; start one with `async server`", {
        cause: error,
      });
    }
    // The next one that is asked may be another supervisor.
    const error = errorIn(reply);
    if (error && ASK_ANOTHER.has(error.code)) throw error;
    return reply;
  }
}
