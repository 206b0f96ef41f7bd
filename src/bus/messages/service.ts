/**
 * The NATS service protocol (ADR-32): answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, so that `nats micro ls` and our
 * own registry see workers and supervisors. The library's implementation has no release that fits the client's types.
 *
 * SERVICE-1  An answer fits into a message. A service with more endpoints than that names the first of them, and says in its
 *     metadata how many it has (`endpoints_total`). Who wants the others asks this service: `$SRV.INFO.<name>.<id>` with the body
 *     `{"endpoints_from": n}` names those from the n-th on.
 */
import { randomBytes } from "node:crypto";
import type { Msg } from "nats";
import { isAsyncError } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";
import type { Bus } from "../connection.ts";
import type { Listening } from "../wire/steady-subscription.ts";
import { readJsonObject } from "./codec.ts";

export interface ServiceEndpoint {
  /** Letters, digits, `-` and `_`. */
  name: string;
  subject: string;
  queue_group: string;
  metadata: Record<string, string>;
}

/** What a service says about itself on `$SRV.INFO`. */
export interface ServiceInfo {
  type: "io.nats.micro.v1.info_response";
  id: string;
  name: string;
  version: string;
  description: string;
  metadata: Record<string, string>;
  endpoints: ServiceEndpoint[];
}

export interface ServiceOptions {
  name: string;
  /** Semantic version. */
  version: string;
  description: string;
  /** Asked at each request, so that it may change (a worker's state). Values are strings by the protocol. */
  metadata: () => Record<string, string>;
  endpoints: () => ServiceEndpoint[];
}

/** Of the last error, as it is told to who asks. */
const MAX_ERROR_LENGTH = 512;
/** Of an answer, if the server does not allow for less. */
const MAX_ANSWER_BYTES = 256 * 1024;
/** For what an answer has besides its endpoints. */
const ENVELOPE_BYTES = 2_048;
/** Most questions to one service for the endpoints that its answers had no room for. */
const MAX_PARTS = 200;
const TOTAL = "endpoints_total";

/** Counts of one endpoint; times in ns, as the protocol has them. */
class EndpointStats {
  requests = 0;
  errors = 0;
  lastError = "";
  processingMs = 0;
}

export class Service {
  readonly id = randomBytes(11).toString("base64url").replaceAll(/[-_]/g, "x");
  readonly #bus: Bus;
  readonly #options: ServiceOptions;
  readonly #started = new Date().toISOString();
  readonly #stats = new Map<string, EndpointStats>();
  readonly #subscriptions: Listening[];

  constructor(bus: Bus, options: ServiceOptions) {
    this.#bus = bus;
    this.#options = options;
    const verbs = { PING: () => this.#ping(), INFO: () => this.info(), STATS: () => this.#statsReply() };
    this.#subscriptions = Object.entries(verbs).flatMap(([verb, reply]) =>
      [`$SRV.${verb}`, `$SRV.${verb}.${options.name}`, `$SRV.${verb}.${options.name}.${this.id}`].map((subject) =>
        this.#bus.subscribe(subject, (message) => {
          message.respond(this.#fitting(reply(), endpointsFrom(message.data)));
        }),
      ),
    );
  }

  /** Counts one request to the endpoint of that name; `error` is what it failed with. */
  count(endpoint: string, processingMs: number, error?: string): void {
    const stats = this.#stats.get(endpoint) ?? new EndpointStats();
    this.#stats.set(endpoint, stats);
    stats.requests += 1;
    stats.processingMs += processingMs;
    if (error === undefined) return;
    stats.errors += 1;
    stats.lastError = error.slice(0, MAX_ERROR_LENGTH);
  }

  info(): ServiceInfo {
    return {
      type: "io.nats.micro.v1.info_response",
      ...this.#identity(),
      description: this.#options.description,
      endpoints: this.#options.endpoints(),
    };
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }

  #identity() {
    const { name, version, metadata } = this.#options;
    return { id: this.id, name, version, metadata: metadata() };
  }

  #ping() {
    return { type: "io.nats.micro.v1.ping_response", ...this.#identity() };
  }

  #statsReply() {
    const endpoints = this.#options.endpoints().map(({ name, subject, queue_group }) => {
      const { requests, errors, lastError, processingMs } = this.#stats.get(name) ?? new EndpointStats();
      const processing_time = Math.round(processingMs * 1e6);
      return {
        name,
        subject,
        queue_group,
        num_requests: requests,
        num_errors: errors,
        last_error: lastError,
        processing_time,
        average_processing_time: requests === 0 ? 0 : Math.round(processing_time / requests),
      };
    });
    return { type: "io.nats.micro.v1.stats_response", ...this.#identity(), started: this.#started, endpoints };
  }

  /** SERVICE-1 */
  #fitting(reply: Reply, from: number): string {
    const most = Math.min(MAX_ANSWER_BYTES, this.#bus.maxPayload);
    if (from === 0) {
      const whole = JSON.stringify(reply);
      if (!reply.endpoints || Buffer.byteLength(whole) <= most) return whole;
    }
    const all = reply.endpoints ?? [];
    let room = most - ENVELOPE_BYTES;
    let end = from;
    for (; end < all.length; end++) {
      room -= Buffer.byteLength(JSON.stringify(all[end])) + 1;
      if (room < 0 && end > from) break;
    }
    const metadata = { ...reply.metadata, [TOTAL]: String(all.length) };
    return JSON.stringify({ ...reply, metadata, endpoints: all.slice(from, end) });
  }
}

interface Reply {
  metadata: Record<string, string>;
  endpoints?: unknown[];
}

function endpointsFrom(data: Uint8Array): number {
  const from = data.length === 0 ? 0 : readJsonObject(data)?.endpoints_from;
  return typeof from === "number" && Number.isSafeInteger(from) && from > 0 ? from : 0;
}

/** What anyone may have answered, as far as it is what the protocol says; undefined if it is no service. */
function readInfo(info: unknown): ServiceInfo | undefined {
  if (!isRecord(info) || !Array.isArray(info.endpoints)) return undefined;
  const endpoints = info.endpoints.filter(isRecord).map((endpoint) => ({
    name: text(endpoint.name),
    subject: text(endpoint.subject),
    queue_group: text(endpoint.queue_group),
    metadata: texts(endpoint.metadata),
  }));
  const { id, name, version, description, metadata } = info;
  return {
    type: "io.nats.micro.v1.info_response",
    id: text(id),
    name: text(name),
    version: text(version),
    description: text(description),
    metadata: texts(metadata),
    endpoints,
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function texts(value: unknown): Record<string, string> {
  const entries = isRecord(value) ? Object.entries(value) : [];
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/** How many endpoints a service has that are not named here. */
export function unnamedEndpoints({ metadata, endpoints }: ServiceInfo): number {
  return Math.max(0, (Number(metadata[TOTAL]) || 0) - endpoints.length);
}

/**
 * Every service that answers until it has been quiet for `quietMs`, or for `maxWaitMs` at most. Those with more endpoints than
 * fit into an answer are asked for the others (SERVICE-1), for as long again at most.
 *
 * @throws AsyncError of the bus
 */
export async function discoverServices(bus: Bus, { quietMs = 150, maxWaitMs = 1_000 } = {}): Promise<ServiceInfo[]> {
  const replies = await bus.mux.requestMany("$SRV.INFO", "", maxWaitMs, quietMs);
  const services = replies.flatMap((reply) => readReply(reply) ?? []);
  const end = performance.now() + maxWaitMs;
  const cut = services.filter((info) => unnamedEndpoints(info) > 0);
  if (cut.length > 0) await Promise.all(cut.map((info) => complete(bus, info, end)));
  return services;
}

/** Asks for the endpoints that are missing. What has not been told in time stays missing. */
async function complete(bus: Bus, info: ServiceInfo, end: number): Promise<void> {
  const { name, id } = info;
  if (!TOKEN.test(name) || !TOKEN.test(id)) return; // no subject could be made of it
  for (let parts = 0; parts < MAX_PARTS && unnamedEndpoints(info) > 0; parts++) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) return;
    try {
      const question = JSON.stringify({ endpoints_from: info.endpoints.length });
      const part = readReply(await bus.mux.request(`$SRV.INFO.${name}.${id}`, question, leftMs));
      if (!part || part.endpoints.length === 0) return;
      info.endpoints.push(...part.endpoints);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return; // it has gone meanwhile, or is too busy
    }
  }
}

const TOKEN = /^[-\w]+$/;

function readReply(reply: Msg): ServiceInfo | undefined {
  try {
    return readInfo(reply.json<unknown>());
  } catch {
    return undefined; // some other program answers nonsense on $SRV.INFO: not a service we could list
  }
}
