/**
 * The request API of supervisors: JSON in and out, a NATS service named `async`, answered by whichever supervisor is
 * free. What it answers with is in the store, so any supervisor can answer for any job.
 */
import type { Msg } from "nats";
import { ERROR_CODE_HEADER, ERROR_HEADER, SIGNAL_KEY_HEADER } from "../api/headers.ts";
import { checkItemsRequest } from "../api/items.ts";
import {
  checkCancelRequest,
  checkEventsRequest,
  checkLookRequest,
  checkPageRequest,
  checkResultRequest,
  checkRetryPatch,
  type ErrorReply,
  type SubmittedJob,
} from "../api/requests.ts";
import { STATUS } from "../api/status.ts";
import {
  API_QUEUE,
  API_SERVICE,
  afterPrefix,
  CANCEL_PREFIX,
  EVENTS_PREFIX,
  EXPLAIN_PREFIX,
  FUNCTION_LIST,
  GET_PREFIX,
  ITEMS_PREFIX,
  LIST,
  RESULT_PREFIX,
  RETRY_PREFIX,
  SIGNAL_PREFIX,
} from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { decode } from "../bus/messages/codec.ts";
import { Service, type ServiceEndpoint } from "../bus/messages/service.ts";
import type { Definitions } from "../bus/store/definitions.ts";
import type { JobList } from "../bus/store/job-list.ts";
import { headersOf } from "../bus/wire/headers.ts";
import { leave } from "../bus/wire/leave.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import { answerOf, fitted } from "../job/answer.ts";
import { AsyncError, InvalidInputError, isAsyncError, messageOf } from "../job/errors.ts";
import { isRecord } from "../job/plain.ts";
import type { JobView } from "../job/view.ts";
import { VERSION } from "../version.ts";
import type { Depths } from "./depths.ts";
import { Explaining } from "./explaining.ts";
import type { SettingsOf } from "./function-settings.ts";
import { History } from "./history.ts";
import type { JobControl } from "./job-control.ts";
import { Listing } from "./listing.ts";
import type { SignalRequests } from "./signals.ts";

/** What is wrong may quote what was asked, and that may be as long as a message: so it is cut. */
const MAX_ERROR_LENGTH = 4_096;
const MAX_HEADER_LENGTH = 256;

export interface RequestApiContext {
  bus: Bus;
  list: JobList;
  control: JobControl;
  depths: Depths;
  signals: SignalRequests;
  definitions: Definitions;
  settings: SettingsOf;
}

export interface RequestEndpoint {
  name: string;
  subject: string;
  /** As JSON. What it throws is answered as an error. */
  answer: (message: Msg) => Promise<string>;
}

export class RequestApi {
  readonly #bus: Bus;
  readonly #service: Service;
  readonly #subscriptions: Listening[];

  /** @param more of what it answers, besides requests about jobs */
  constructor(
    { bus, list, control, depths, signals, definitions, settings }: RequestApiContext,
    more: readonly RequestEndpoint[] = [],
  ) {
    this.#bus = bus;
    const listing = new Listing(bus, list, (name) => definitions.glance(name));
    const history = new History(bus, (jobId) => control.find(jobId));
    const explaining = new Explaining(control, depths, settings);
    const endpoint = (name: string, subject: string): ServiceEndpoint => ({
      name,
      subject,
      queue_group: API_QUEUE,
      metadata: {},
    });
    this.#service = new Service(bus, {
      name: API_SERVICE,
      version: VERSION,
      description: "async: jobs",
      metadata: () => ({}),
      endpoints: () => endpoints.map(({ name, subject }) => endpoint(name, subject)),
    });
    type Answer<A> = (jobId: string, body: Uint8Array, headers: Msg["headers"]) => Promise<A>;
    const ofId = (name: string, prefix: string, answer: Answer<string>) => ({
      name,
      // All that may be meant for an id, so that a bad one is told to be bad.
      subject: `${prefix}.>`,
      answer: ({ subject, data, headers }: Msg) => answer(afterPrefix(subject, prefix) ?? "", data, headers),
    });
    const ofJob = (name: string, prefix: string, answer: Answer<JobView>) =>
      ofId(name, prefix, async (jobId, body, headers) => fitted(await answer(jobId, body, headers), bus.maxPayload));
    const get = async (jobId: string, body: Uint8Array): Promise<SubmittedJob> => {
      const { submission } = checkLookRequest(parseBody(body));
      const { state, isTaken } = await control.look(jobId);
      const view: SubmittedJob = answerOf(state, Date.now(), isTaken);
      await control.items.countOpen(state, view);
      if (submission !== undefined && state.sequence !== submission) view.existing = true;
      return view;
    };
    const endpoints: RequestEndpoint[] = [
      ofJob("get", GET_PREFIX, get),
      ofJob("cancel", CANCEL_PREFIX, async (jobId, body) =>
        answerOf(await control.cancel(jobId, checkCancelRequest(parseBody(body))), Date.now()),
      ),
      ofJob("retry", RETRY_PREFIX, async (jobId, body) =>
        answerOf(await control.retry(jobId, checkRetryPatch(parseBody(body))), Date.now()),
      ),
      ofId("signal", SIGNAL_PREFIX, async (target, body, headers) => {
        const key = headers?.has(SIGNAL_KEY_HEADER) ? headers.get(SIGNAL_KEY_HEADER) : undefined;
        return JSON.stringify(await signals.take(target, body, key));
      }),
      ofId("events", EVENTS_PREFIX, async (jobId, body) => history.page(jobId, checkEventsRequest(parseBody(body)))),
      ofId("result", RESULT_PREFIX, async (jobId, body) => {
        const { entry } = checkResultRequest(parseBody(body));
        const { state } = await control.look(jobId);
        return JSON.stringify(await control.results.answer(state, entry));
      }),
      ofId("items", ITEMS_PREFIX, async (jobId, body) => {
        const request = checkItemsRequest(parseBody(body));
        return control.items.page((await control.look(jobId)).state, request);
      }),
      ofId("explain", EXPLAIN_PREFIX, (jobId) => explaining.answer(jobId)),
      { name: "list", subject: LIST, answer: (message) => listing.page(checkPageRequest(parseBody(message.data))) },
      { name: "functions", subject: FUNCTION_LIST, answer: async () => JSON.stringify(await depths.list()) },
      ...more,
    ];
    this.#subscriptions = endpoints.map(({ name, subject, answer }) =>
      bus.subscribe(subject, (message) => void this.#serve(name, message, answer), { queue: API_QUEUE }),
    );
  }

  /** Requests under way are still taken. */
  async close(): Promise<void> {
    this.#service.close();
    await leave(this.#subscriptions);
  }

  async #serve(name: string, message: Msg, answer: (message: Msg) => Promise<string>): Promise<void> {
    const begun = performance.now();
    let failure: string | undefined;
    try {
      respond(message, await answer(message));
    } catch (error) {
      failure = messageOf(error).slice(0, MAX_ERROR_LENGTH);
      const text = failure;
      const told = isAsyncError(error, "permission_denied") ? notPermitted(error) : error;
      this.#bus.callGuarded(`a request on ${message.subject} gets no answer`, () => respondError(message, told, text));
    }
    this.#service.count(name, performance.now() - begun, failure);
  }
}

/** A request is a JSON object or empty. It may not be deeper than what can be stored. */
export function parseBody(data: Uint8Array): Record<string, unknown> {
  let body: unknown;
  try {
    body = data.length === 0 ? {} : decode(data, "json");
  } catch (cause) {
    throw new AsyncError("invalid_request", `the request cannot be read: ${messageOf(cause)}`, { cause });
  }
  if (!isRecord(body)) throw new AsyncError("invalid_request", "the request must be an object");
  return body;
}

/** @throws AsyncError `payload_too_large` */
function respond(message: Msg, body: string): void {
  try {
    message.respond(body);
  } catch (cause) {
    const next = "read its state from the bucket `jobs`, or raise the server's max_payload";
    throw new AsyncError("payload_too_large", `the answer does not fit into a message; ${next}`, { cause });
  }
}

/** It is this supervisor that may not do it, not who has asked: another one may. */
function notPermitted(cause: AsyncError): AsyncError {
  return new AsyncError("jetstream_unavailable", cause.message, { cause });
}

function respondError(message: Msg, error: unknown, text: string): void {
  const code = isAsyncError(error) ? error.code : "internal";
  const status = isAsyncError(error) ? (STATUS[error.code] ?? 500) : 500;
  const headline = text.replaceAll(/\s+/g, " ").slice(0, MAX_HEADER_LENGTH);
  const headers = headersOf({ [ERROR_CODE_HEADER]: String(status), [ERROR_HEADER]: headline });
  const reasons = error instanceof InvalidInputError ? { reasons: error.reasons } : {};
  message.respond(JSON.stringify({ code, message: text, ...reasons } satisfies ErrorReply), { headers });
}
