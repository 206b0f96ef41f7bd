/**
 * The HTTP bridge: translates the routes of the original system, and ours, to the bus and holds no state. Every request ends
 * within seconds, also when NATS is away.
 */

import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  LogController,
} from "fastify";
import type { Logger } from "pino";
import { decode } from "../bus/messages/codec.ts";
import { WriteProbe } from "../bus/write-probe.ts";
import type { Client } from "../client/client.ts";
import { checkJob, parseSubmission } from "../job/check.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError, InvalidInputError, isAsyncError } from "../job/errors.ts";
import { JOB_SCHEMA_PATH, jobSchema } from "../job/json-schema.ts";
import { fromDefinition, isNamed, parseNamed } from "../job/named.ts";
import { entryOf } from "../job/names.ts";
import { orderOf } from "../job/order.ts";
import { isRecord } from "../job/plain.ts";
import type { RetryPatch } from "../job/retry-patch.ts";
import { statusOf } from "./errors.ts";
import { addKeptRoutes } from "./kept-routes.ts";
import { applyLimits, TIMEOUTS } from "./limits.ts";
import {
  type ListQuery,
  parseCancelQuery,
  parseDryRun,
  parseEventsQuery,
  parseItemsQuery,
  parseListQuery,
  type Query,
} from "./queries.ts";
import { Questions } from "./questions.ts";
import { type Health, readiness } from "./readiness.ts";
import { Refusals } from "./refusals.ts";
import { answerUnrouted } from "./routes.ts";

export interface BridgeOptions {
  client: Client;
  /** Default 127.0.0.1: whoever reaches the port may submit jobs. */
  host?: string;
  /** Default 8000; 0 takes a free one. */
  port?: number;
  log?: Logger;
  /** See `limits.ts`. Default 512, or half of the files that this process may open if that is less. */
  maxConnections?: number;
}

export interface Bridge {
  /** e.g. http://127.0.0.1:8000 */
  readonly url: string;
  /** Answers what is under way, then closes the port. */
  close(): Promise<void>;
}

const SUBMIT_TIMEOUT_MS = 3_000;
/** No answer takes longer; what is open then is a connection that asks nothing. */
const CLOSE_LIMIT_MS = 4_000;
/** Most characters of an id in a path that are looked at. */
const MAX_PARAM_LENGTH = 4_096;
/** Room that the envelope of a submission takes in a message. */
const ENVELOPE_BYTES = 1_024;

const CONTENT_TYPES: Record<string, Encoding> = {
  "application/json": "json",
  "application/msgpack": "msgpack",
  "application/x-msgpack": "msgpack",
  "application/vnd.msgpack": "msgpack",
};

/** @throws AsyncError `port_taken` */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const { client, host = "127.0.0.1", port = 8000, log, maxConnections } = options;
  const bodyLimit = client.bus.maxPayload - ENVELOPE_BYTES;
  const refusals = new Refusals(log);
  const app: FastifyInstance = Fastify({
    bodyLimit,
    // Longer ids than there can be are refused for what they are.
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    ...TIMEOUTS,
    forceCloseConnections: "idle",
    // What fails before there is a route, such as a path that cannot be decoded.
    frameworkErrors: (error, _request, reply) => void sendError(error, reply, { log, refusals }),
    ...(log && {
      loggerInstance: log as FastifyBaseLogger,
      logController: new LogController({ disableRequestLogging: true }),
    }),
  });
  applyLimits(app, host, bodyLimit, maxConnections);
  parseBodies(app);
  reportErrors(app, { log, refusals });
  answerUnrouted(app);
  addRoutes(app, client);
  try {
    const url = await app.listen({ host, port });
    return { url, close: () => closeBridge(app).finally(() => refusals.close()) };
  } catch (cause) {
    await app.close();
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") throw cause;
    const next = "end the program that has it or choose another with --http host:port";
    throw new AsyncError("port_taken", `port ${port} of ${host} is in use; ${next}`, { cause });
  }
}

async function closeBridge(app: FastifyInstance): Promise<void> {
  const limit = setTimeout(() => app.server.closeAllConnections(), CLOSE_LIMIT_MS);
  await app.close();
  clearTimeout(limit);
}

interface ParsedBody {
  value: unknown;
  encoding: Encoding;
}

function parseBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  for (const [type, encoding] of Object.entries(CONTENT_TYPES)) {
    app.addContentTypeParser(type, { parseAs: "buffer" }, (_request, body: Buffer, done) => {
      if (body.length === 0) return done(null, undefined);
      try {
        done(null, { value: decode(body, encoding), encoding } satisfies ParsedBody);
      } catch (error) {
        done(error as Error);
      }
    });
  }
  // What is not there is of no type.
  app.addContentTypeParser("*", { parseAs: "buffer" }, (request, body: Buffer, done) => {
    if (body.length === 0) return done(null, undefined);
    const type = JSON.stringify(request.headers["content-type"] ?? "");
    done(new AsyncError("unsupported_encoding", `a body of type ${type} cannot be read; send JSON or MessagePack`));
  });
}

function addRoutes(app: FastifyInstance, client: Client): void {
  const questions = new Questions();
  app.post<{ Body: ParsedBody | undefined; Querystring: Query }>("/v1/job", async ({ body, query, raw }) => {
    const isDryRun = parseDryRun(query);
    if (!body) throw new AsyncError("invalid_request", "the request has no body; send a job as JSON or MessagePack");
    const { value, encoding } = body;
    const submit = () => client.submit(value, { encoding, timeoutMs: SUBMIT_TIMEOUT_MS });
    // Its definition is asked for, which may be as large as a message.
    if (isNamed(value)) {
      return questions.ask(raw, async () => (isDryRun ? checked(await wholeOf(body, value, client)) : submit()));
    }
    return isDryRun ? checked(body) : submit();
  });
  app.get(JOB_SCHEMA_PATH, async (_request, reply) => {
    void reply.header("Content-Type", "application/schema+json; charset=utf-8");
    return JSON.stringify(jobSchema());
  });
  app.get<{ Params: { id: string } }>("/v1/job/:id", async ({ params, raw }) => ({
    Job: await questions.ask(raw, () => client.get(params.id)),
  }));
  app.delete<{ Params: { id: string }; Querystring: Query }>("/v1/job/:id", async ({ params, query, raw }) => {
    const options = parseCancelQuery(query);
    return { Job: await questions.ask(raw, () => client.cancel(params.id, options)) };
  });
  app.post<{ Params: { id: string }; Body: ParsedBody | undefined }>(
    "/v1/job/:id/retry",
    async ({ params, body, raw, ip }) => ({
      Job: await questions.ask(raw, () => client.retry(params.id, signed(parsePatch(body?.value), ip))),
    }),
  );
  app.post<{ Params: { id: string; name: string }; Body: ParsedBody | undefined }>(
    "/v1/job/:id/signal/:name",
    async ({ params, body, headers, raw }) => {
      const key = headers["idempotency-key"];
      const options = { ...(body && { encoding: body.encoding }), ...(key !== undefined && { key: String(key) }) };
      return questions.ask(raw, () => client.signal(params.id, params.name, body?.value, options));
    },
  );
  app.get<{ Params: { id: string }; Querystring: Query }>("/v1/job/:id/events", (request) =>
    questions.ask(request.raw, () => listEvents(client, request.params.id, request.query)),
  );
  app.get<{ Params: { id: string } }>("/v1/job/:id/result", async ({ params, raw }) => ({
    Result: await questions.ask(raw, () => client.result(params.id)),
  }));
  app.get<{ Params: { id: string; entry: string } }>("/v1/job/:id/result/:entry", async ({ params, raw }) => ({
    Result: await questions.ask(raw, () => client.result(params.id, entryOf(params.entry))),
  }));
  app.get<{ Params: { id: string; entry: string }; Querystring: Query }>(
    "/v1/job/:id/items/:entry",
    ({ params, query, raw }) => questions.ask(raw, () => listItems(client, params.id, params.entry, query)),
  );
  app.get<{ Params: { id: string } }>("/v1/job/:id/explain", async ({ params, raw }) => ({
    Explanation: await questions.ask(raw, () => client.explain(params.id)),
  }));
  app.get<{ Querystring: ListQuery }>("/v1/job", async ({ query, raw }) =>
    questions.ask(raw, () => listJobs(client, query)),
  );
  app.get("/v1/function", async () => {
    const { functions, omitted } = await client.functions();
    return { Count: functions.length, Functions: functions, ...(omitted !== undefined && { Omitted: omitted }) };
  });
  app.get("/v1/worker", async () => ({ Workers: await client.workers() }));
  app.get("/healthz", async () => ({ status: "ok" }));
  addKeptRoutes(app, client, questions);
  const probe = new WriteProbe(client.bus);
  app.get("/readyz", async (_request, reply): Promise<Health> => {
    const health = await readiness(client.bus, probe, client.storage.refusal);
    if (!health.ready) unavailable(reply);
    return health;
  });
}

/** `Next` is the cursor of the jobs that did not fit; pass it as `?cursor=`. */
async function listJobs(client: Client, query: ListQuery) {
  const { jobs, next } = await client.list(parseListQuery(query));
  return { Count: jobs.length, Jobs: jobs, ...(next !== undefined && { Next: next }) };
}

async function listEvents(client: Client, jobId: string, query: Query) {
  const { events, next } = await client.events(jobId, parseEventsQuery(query));
  return { Count: events.length, Events: events, ...(next !== undefined && { Next: next }) };
}

/** `Total` is null as long as it is not known how many items there are. */
async function listItems(client: Client, jobId: string, entry: string, query: Query) {
  const { count, items, next } = await client.items(jobId, entryOf(entry), parseItemsQuery(query));
  return { Count: items.length, Total: count, Items: items, ...(next !== undefined && { Next: next }) };
}

/** What a job without functions would be now. @throws AsyncError `definition_not_found`, or what the bus throws */
async function wholeOf({ encoding }: ParsedBody, value: { name: string }, client: Client): Promise<ParsedBody> {
  const said = parseNamed(value, Date.now());
  const { document, encoding: stored = encoding } = await client.definition(said.name);
  return { value: fromDefinition(document, said), encoding: stored };
}

/** @throws InvalidInputError `invalid_submission` with all that is wrong, as a submission would */
function checked({ value, encoding }: ParsedBody): { valid: true; order: (string | number)[][] } {
  const reasons = checkJob(value, { encoding });
  if (reasons.length > 0) throw new InvalidInputError("invalid_submission", "not a valid job", reasons);
  return { valid: true, order: orderOf(parseSubmission(value)) };
}

/** What is changed is told of with whom it came from, if the body does not say that. */
function signed(patch: RetryPatch, ip: string): RetryPatch {
  const isEdit = (patch.data ?? patch.args ?? patch.args_by_id) !== undefined;
  return isEdit ? { by: `http ${ip}`, ...patch } : patch;
}

/** The optional body of a retry. */
function parsePatch(value: unknown): RetryPatch {
  if (value === undefined || value === null) return {};
  if (!isRecord(value))
    throw new AsyncError("invalid_request", 'the body of a retry must be an object, e.g. {"args": [1]}');
  return value; // the supervisor checks what is in it
}

function unavailable(reply: FastifyReply): void {
  void reply.code(503).header("Retry-After", "1");
}

/** Every error has the body `{error: {code, message, reasons?}}`. */
function reportErrors(app: FastifyInstance, telling: Telling): void {
  app.setErrorHandler((error: FastifyError, _request, reply) => sendError(error, reply, telling));
}

interface Telling {
  log: Pick<Logger, "error"> | undefined;
  refusals: Refusals;
}

function sendError(error: FastifyError, reply: FastifyReply, { log, refusals }: Telling): FastifyReply {
  const { status, code } = statusOf(error);
  if (status === 503) {
    unavailable(reply);
    refusals.note(code, error.message);
  }
  if (status === 500) log?.error({ err: error }, "unexpected failure");
  const reasons = error instanceof InvalidInputError ? { reasons: error.reasons } : {};
  const message =
    status === 500 && !isAsyncError(error) ? "unexpected failure; see the log of the bridge" : error.message;
  return reply.code(status).send({ error: { code, message, ...reasons } });
}
