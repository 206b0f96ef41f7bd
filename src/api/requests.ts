/** The bodies of requests to supervisors, and of their answers: JSON. What comes in is checked here. */
import { AsyncError, type Reason } from "../job/errors.ts";
import type { JobEvent, RejectedEvent } from "../job/events.ts";
import { jobIdProblem } from "../job/names.ts";
import { isRecord } from "../job/plain.ts";
import { MAX_BY_LENGTH, type RetryPatch } from "../job/retry-patch.ts";
import type { FunctionSettings } from "../job/settings.ts";
import { STATE_NAMES, type StateName } from "../job/state.ts";
import type { JobView } from "../job/view.ts";
import { allTags, checkTags, parseTags, type Tags } from "./tags.ts";

/** Body of a request to `job.list`; empty for the first page of all jobs. */
export interface PageRequest {
  state?: StateName;
  /** Only jobs that have all of these tags. By hand also `tag: "name:value"`, or a list of such texts. */
  tags?: Tags;
  /** Most jobs in the answer, 1 to 1,000. Default 100. */
  limit?: number;
  /** `next` of the page before; it knows the order. */
  cursor?: string;
  /** Which jobs come first: the longest unchanged (`oldest`, the default), or those that have changed last. */
  order?: ListOrder;
  /** How long the asker waits, in ms. The answer ends earlier then. */
  timeout_ms?: number;
  /** Also jobs that are children of others. Default: they are left out. */
  children?: boolean;
  /** Only the children of that job. */
  parent?: string;
}

export type ListOrder = "oldest" | "newest";
export const LIST_ORDERS: readonly ListOrder[] = ["oldest", "newest"];

/** A job in a list. */
export interface ListedJob extends JobView {
  /** It does not fit into an answer, so its data, args and results are left out. */
  truncated?: true;
}

/** The answer to it. */
export interface ListReply {
  jobs: ListedJob[];
  /** Where to go on; absent when there is no more. An answer may have fewer jobs than were asked for, or none, and a `next`. */
  next?: string;
}

/** The body of an answer that is an error; its header `Nats-Service-Error-Code` has the status of the code. */
export interface ErrorReply {
  code: string;
  message: string;
  /** All that is wrong with what was sent, where that is checked so. */
  reasons?: Reason[];
}

export const DEFAULT_PAGE_LIMIT = 100;
export const MAX_PAGE_LIMIT = 1_000;

/** Body of a request to `job.events.<id>`; empty for the first page. */
export interface EventsRequest {
  /** Most events in the answer, 1 to 1,000. Default 100. */
  limit?: number;
  /** `next` of the page before. */
  cursor?: string;
}

/** An event that was kept. */
export type ListedEvent = (JobEvent | RejectedEvent) & {
  /** It does not fit into an answer, so what made it large is left out. */
  truncated?: true;
};

/** The answer to it: the older ones first. */
export interface EventsReply {
  events: ListedEvent[];
  /** Where to go on; absent when there is no more. An answer may have fewer events than were asked for, or none, and a `next`. */
  next?: string;
}

/** @throws AsyncError `invalid_request` */
export function checkEventsRequest(body: Record<string, unknown>): EventsRequest {
  const { limit, cursor } = body;
  requirePageLimit(limit);
  if (cursor !== undefined && !(typeof cursor === "string" && /^\d{1,15}$/.test(cursor))) {
    throw new AsyncError("invalid_request", `not a cursor: ${JSON.stringify(cursor)}; use the one of the page before`);
  }
  return body as EventsRequest;
}

/** @throws AsyncError `invalid_request` */
export function requirePageLimit(limit: unknown): void {
  const isFine = Number.isInteger(limit) && (limit as number) >= 1 && (limit as number) <= MAX_PAGE_LIMIT;
  if (limit === undefined || isFine) return;
  throw new AsyncError("invalid_request", `limit must be an integer from 1 to ${MAX_PAGE_LIMIT}`);
}

/** @throws AsyncError `invalid_request` */
export function checkPageRequest(body: Record<string, unknown>): PageRequest {
  const { tag, ...request } = body;
  const { state, limit, cursor, order, timeout_ms, tags, children, parent } = request;
  if (state !== undefined && !STATE_NAMES.includes(state as StateName)) {
    throw new AsyncError("invalid_request", `state must be one of ${STATE_NAMES.join(", ")}`);
  }
  requirePageLimit(limit);
  if (order !== undefined && !LIST_ORDERS.includes(order as ListOrder)) {
    throw new AsyncError("invalid_request", `order must be one of ${LIST_ORDERS.join(", ")}`);
  }
  if (timeout_ms !== undefined && !(typeof timeout_ms === "number" && timeout_ms > 0)) {
    throw new AsyncError("invalid_request", "timeout_ms must be a number of ms");
  }
  if (cursor !== undefined && typeof cursor !== "string")
    throw new AsyncError("invalid_request", "cursor must be a string");
  if (children !== undefined && typeof children !== "boolean")
    throw new AsyncError("invalid_request", "children must be true or false");
  const problem = parent === undefined ? undefined : jobIdProblem(parent as string);
  if (problem !== undefined) throw new AsyncError("invalid_request", `parent ${problem}`);
  if (tag === undefined && tags === undefined) return request;
  return { ...(request as PageRequest), tags: tagsOf(tag, tags) };
}

/** What is asked for as text, and as an object. */
function tagsOf(tag: unknown = [], tags: unknown = {}): Tags {
  const texts = Array.isArray(tag) ? tag : [tag];
  if (!texts.every((text) => typeof text === "string")) {
    throw new AsyncError("invalid_request", "tag must be text, name:value, or a list of such texts");
  }
  return allTags(checkTags(tags), parseTags(texts));
}

/** What waits for a function, and who serves it. */
export interface FunctionDepth {
  name: string;
  /** Jobs that wait for a worker of it. */
  waiting: number;
  /** Invocations that have been sent and not been answered. */
  in_flight: number;
  /** For how long the first of those that wait has been waiting, in ms. Absent: none is, or it was not told in time. */
  oldest_ms?: number;
  /** Jobs wait, and nobody serves it, as far as can be seen. */
  unserved?: true;
  /** Workers that serve it, and their attempts at a time; those are shared with whatever else a worker serves. */
  workers: number;
  slots: number;
  /** What is set at it, where a job does not say it. */
  settings?: FunctionSettings;
}

/** The line of a function in one supervisor. */
export type LineDepth = Pick<FunctionDepth, "name" | "waiting" | "in_flight" | "oldest_ms" | "unserved">;

/** The answer to `function.list`: the functions that most wait for come first. */
export interface FunctionsReply {
  functions: FunctionDepth[];
  /** How many functions there are besides. */
  omitted?: number;
}

/** Most functions in an answer. */
export const MAX_FUNCTIONS = 1_000;

/** Body of a request to `job.get.<id>`; empty to be shown the job. */
export interface LookRequest {
  /** Sequence of a submission in stream JOBS: the answer has `existing: true` if the job was made by another one. */
  submission?: number;
}

/** The answer to a submission: the job, and whether it was there before. */
export interface SubmittedJob extends JobView {
  /** The id exists already: this is the job that has it, and the submission has changed nothing. */
  existing?: true;
  /** In what the existing job is another one than was submitted. Absent if it is the same. */
  differs?: ("name" | "functions")[];
  /** The job is stored, but nobody could be asked just now whether the id existed before. */
  unconfirmed?: true;
}

/** @throws AsyncError `invalid_request` */
export function checkLookRequest({ submission }: Record<string, unknown>): LookRequest {
  if (submission === undefined) return {};
  if (Number.isSafeInteger(submission) && (submission as number) > 0) return { submission: submission as number };
  throw new AsyncError("invalid_request", "submission must be the sequence of one in stream JOBS");
}

/** Body of a request to `job.cancel.<id>`; empty to have what was done undone before. */
export interface CancelRequest {
  /** What has not been undone yet is left as it is. */
  undo?: "skip";
}

/** @throws AsyncError `invalid_request` */
export function checkCancelRequest(body: Record<string, unknown>): CancelRequest {
  const unknown = Object.keys(body).find((key) => key !== "undo");
  if (unknown !== undefined) {
    throw new AsyncError("invalid_request", `${unknown.slice(0, 64)} is not a known field; there is undo`);
  }
  const { undo } = body;
  if (undo === undefined) return {};
  if (undo === "skip") return { undo };
  throw new AsyncError("invalid_request", 'undo must be "skip", or left out');
}

const RETRY_FIELDS = ["data", "args", "args_by_id", "from", "failed", "force", "by"];

/**
 * Body of a request to `job.retry.<id>`; empty to change nothing. Whether the job has the entries that it names is not known here.
 *
 * @throws AsyncError `invalid_request`
 */
export function checkRetryPatch(body: Record<string, unknown>): RetryPatch {
  const problem = retryProblem(body);
  if (problem !== undefined) throw new AsyncError("invalid_request", problem);
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
}

function retryProblem(body: Record<string, unknown>): string | undefined {
  const unknown = Object.keys(body).find((key) => !RETRY_FIELDS.includes(key));
  if (unknown !== undefined)
    return `${unknown.slice(0, 64)} is not a known field; there are ${RETRY_FIELDS.join(", ")}`;
  const { args_by_id, from, failed, force, by } = body;
  if (args_by_id !== undefined && !isRecord(args_by_id)) return "args_by_id must be an object {id: args}";
  if (from !== undefined && !isEntryName(from)) {
    return "from must be the id of an entry, or its index in the list: an integer from 0 on";
  }
  for (const [name, value] of Object.entries({ failed, force })) {
    if (value !== undefined && typeof value !== "boolean") return `${name} must be true or false`;
  }
  if (from !== undefined && failed === true)
    return "from and failed cannot be asked for together: name an entry, or all that failed";
  const isWord = typeof by === "string" && by.length > 0 && by.length <= MAX_BY_LENGTH;
  return by === undefined || isWord ? undefined : `by must be text of 1 to ${MAX_BY_LENGTH} characters`;
}

/** An id, or an index from 0 on. */
export function isEntryName(value: unknown): value is string | number {
  return typeof value === "number"
    ? Number.isSafeInteger(value) && value >= 0
    : typeof value === "string" && value !== "";
}

/** Body of a request to `job.result.<id>`; empty for the result of the job. */
export interface ResultRequest {
  /** The id of an entry, or its index in the list. */
  entry?: string | number;
}

/** @throws AsyncError `invalid_request` */
export function checkResultRequest({ entry }: Record<string, unknown>): ResultRequest {
  if (entry === undefined) return {};
  if (isEntryName(entry)) return { entry };
  throw new AsyncError(
    "invalid_request",
    "entry must be the id of an entry, or its index in the list: an integer from 0 on",
  );
}

/** The answer to it. */
export interface ResultReply {
  job_id: string;
  index: number;
  /** Of the entry, if it has one. */
  id?: string;
  result: unknown;
}

/** The answer to a request on `job.signal.<id>.<name>`: the signal is stored. */
export interface SignalReply {
  job_id: string;
  name: string;
  /** The how many-th signal of that name it is to the job, from 1. */
  number: number;
  /** A signal with the same key was stored before, under that number. This one has changed nothing. */
  repeated?: true;
}
