/**
 * The NATS service protocol (ADR-32): answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, so that `nats micro ls` and our
 * own registry see workers and supervisors. The library's implementation has no release that fits the client's types.
 */
import { randomBytes } from "node:crypto";
import type { Msg } from "nats";
import { isRecord } from "../../job/plain.ts";
import type { Bus } from "../connection.ts";
import type { Listening } from "../wire/steady-subscription.ts";

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
        this.#bus.subscribe(subject, (message) => this.#answer(message, reply())),
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

  #answer(message: Msg, body: unknown): void {
    message.respond(JSON.stringify(body));
  }
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

/** Every service that answers until it has been quiet for `quietMs`, or for `maxWaitMs` at most. @throws AsyncError of the bus */
export async function discoverServices(bus: Bus, { quietMs = 150, maxWaitMs = 1_000 } = {}): Promise<ServiceInfo[]> {
  const replies = await bus.mux.requestMany("$SRV.INFO", "", maxWaitMs, quietMs);
  return replies.flatMap((reply) => {
    try {
      const info = readInfo(reply.json<unknown>());
      return info ? [info] : [];
    } catch {
      return []; // some other program answers nonsense on $SRV.INFO: not a service we could list
    }
  });
}
