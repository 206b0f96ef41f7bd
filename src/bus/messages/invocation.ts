/** The messages of an attempt: the invocation, and what a worker may reply. */
import type { Msg, MsgHdrs, Payload } from "nats";
import {
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  HEARTBEAT_MS_HEADER,
  NO_ROOM_CODE,
  RESULTS_AT_HEADER,
  STATUS_HEADER,
} from "../../api/headers.ts";
import type { Encoding } from "../../job/encoding.ts";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import type { Failure } from "../../job/failure.ts";
import { callOf, type FunctionState } from "../../job/function-state.ts";
import type { Functions } from "../../job/functions.ts";
import { type EntryInput, inputOf } from "../../job/input.ts";
import { isRecord, toJsonValue } from "../../job/plain.ts";
import type { Plan } from "../../job/plan.ts";
import { MAX_DURATION_MS } from "../../job/schema.ts";
import { type AttemptAddress, functionAt, isGraph, type LiveJob, trialOf } from "../../job/state.ts";
import { iso } from "../../job/time.ts";
import { resultAt } from "../../job/values.ts";
import { RawHeaders } from "../wire/headers.ts";
import { isNoResponders } from "../wire/jetstream.ts";
import { decode, decodeOurs, decodeReply, encode, encodePayload, encodingOf, readJsonObject } from "./codec.ts";
import { EncodedArray } from "./encoded-array.ts";
import { readHeartbeatMs } from "./heartbeat.ts";

/** The body of an invocation. `data`, `args` and `results` are as submitted and as returned. */
export interface Invocation {
  job_id: string;
  job_name: string;
  function: string;
  /** Index of the function in the job. */
  index: number;
  /** From 1. */
  attempt: number;
  args: unknown;
  data: unknown;
  /** When the attempt is given up, ISO 8601 by the supervisor's clock; null if never. */
  deadline: string | null;
  /** The same as a duration from now, for workers whose clock differs. */
  timeout_ms: number | null;
  /** Parallel to `results`: the id of the entry that each comes from, null if it has none. Only where one of them has an id. */
  result_ids?: (string | null)[];
  /** Of an item of a `for_each`: it, and its number, from 0. */
  item?: unknown;
  item_index?: number;
  /** Of a function that lists items: what it has answered last; null at first. */
  cursor?: unknown;
  /** It is to undo what the entry, or the item, has done, which has returned `result`. */
  undo?: true;
  result?: unknown;
  /** Of an entry that runs in place of one that failed: why that one did. Of an undo: why the job has failed. */
  error?: Failure;
  /** Of an undo: it is not known whether what it undoes was done. */
  uncertain?: true;
  /** Of what is called once a job has failed: which of its entries did, by id or index. */
  failed?: (string | number)[];
  /** Of an undo: the idempotency key of what it undoes. */
  undo_of?: string;
  /** In place of `<job_id>/<index>`: where the entry is run again by hand, it is to be done anew. */
  idempotency_key?: string;
  /** What earlier attempts told last of how far they were, if any did. */
  last_progress?: unknown;
  /** Results of the functions before this one, in order. The last field, see {@link EncodedResults}. */
  results: unknown[];
}

/**
 * How long an attempt of that function may take from `now`: the function's timeout, or what is left of the job's.
 *
 * @param setMs the timeout that is set at the function, where the job has none for it
 */
export function attemptTimeoutMs(
  job: LiveJob,
  index: number,
  now: number,
  { timeout_ms }: Pick<FunctionState, "timeout_ms"> = callOf(functionAt(job, index)),
  setMs?: number,
): number | undefined {
  const left = job.deadline_at === undefined ? Number.POSITIVE_INFINITY : Math.max(0, job.deadline_at - now);
  const timeout = Math.min(timeout_ms ?? setMs ?? Number.POSITIVE_INFINITY, left);
  return timeout === Number.POSITIVE_INFINITY ? undefined : timeout;
}

/**
 * The body of the invocation of an attempt that may take `timeoutMs` from `now`; with the `results` of the same job if they
 * are encoded: then it is good until the next call with them.
 *
 * @param plan of a graph
 * @param given what it is handed, where that is known, and what it calls
 * @throws ExpressionError where the args of an entry cannot be had; MissingValue where a result has to be read before
 */
export function encodeInvocation(
  job: LiveJob,
  address: AttemptAddress,
  now: number,
  timeoutMs: number | undefined,
  results?: EncodedResults,
  plan?: Plan,
  given?: GivenInput,
): Payload {
  const { index, attempt } = address;
  const fn = given ? given.fn : trialOf(job, address);
  if (plan || fn.last_progress !== undefined) {
    const input = given?.input ?? (plan && isGraph(job) ? inputOf(job, address, plan) : undefined);
    return encodeEntry(job, fn, address, now, timeoutMs, results, plan, input);
  }
  const body: Invocation = {
    job_id: job.job_id,
    job_name: job.name,
    function: fn.name,
    index,
    attempt,
    args: fn.args ?? null,
    data: job.data,
    deadline: timeoutMs === undefined ? null : iso(now + timeoutMs),
    timeout_ms: timeoutMs ?? null,
    results: results ? [] : job.functions.slice(0, index).map(resultOf),
  };
  if (!results) return encodePayload(body, job.encoding);
  return results.insertedInto(encode(body, job.encoding), job.functions, index);
}

/** What an attempt is handed that is none of an entry, but of an item of one, or lists them. */
export interface GivenInput {
  fn: FunctionState;
  input: EntryInput;
}

/** The same with what only some have. */
function encodeEntry(
  job: LiveJob,
  fn: FunctionState,
  { index, attempt }: AttemptAddress,
  now: number,
  timeoutMs: number | undefined,
  encoded: EncodedResults | undefined,
  plan: Plan | undefined,
  input: EntryInput = { args: fn.args ?? null, needs: undefined },
): Payload {
  const { args, needs, data, result_ids, item, item_index, cursor, undo, result, error } = input;
  // What is stored besides the job is read for this invocation, and not kept encoded for others.
  const isFromAll = encoded !== undefined && needs === undefined && encoded.covers(job.functions, index);
  const results = isFromAll ? [] : (needs ?? indexesBefore(index)).map((one) => resultOfEntry(job, one, plan));
  const body: Partial<Invocation> = {
    job_id: job.job_id,
    job_name: job.name,
    function: callOf(fn).name,
    index,
    attempt,
    args,
    data: data === undefined ? job.data : data,
    deadline: timeoutMs === undefined ? null : iso(now + timeoutMs),
    timeout_ms: timeoutMs ?? null,
  };
  if (result_ids) body.result_ids = result_ids;
  if (item_index !== undefined) {
    body.item = item;
    body.item_index = item_index;
  }
  if (cursor !== undefined) body.cursor = cursor;
  if (undo) {
    body.undo = undo;
    body.result = result;
  }
  if (error) body.error = error;
  if (input.uncertain) body.uncertain = true;
  if (input.failed) body.failed = input.failed;
  if (input.idempotency_key !== undefined) body.idempotency_key = input.idempotency_key;
  if (input.undo_of !== undefined) body.undo_of = input.undo_of;
  if (fn.last_progress !== undefined) body.last_progress = fn.last_progress;
  body.results = results; // the last field
  if (encoded) encoded.headers = undefined;
  if (!isFromAll) return encodePayload(body, job.encoding);
  return encoded.insertedInto(encode(body, job.encoding), job.functions, index);
}

function resultOf({ result }: FunctionState): unknown {
  return result ?? null;
}

function indexesBefore(index: number): number[] {
  return Array.from({ length: index }, (_, before) => before);
}

/** @throws MissingValue */
function resultOfEntry(job: LiveJob, index: number, plan: Plan | undefined): unknown {
  return plan ? resultAt(job, index, plan) : resultOf(functionAt(job, index));
}

/**
 * The results of a job of many functions, as they go into its invocations. They do not change, so each is encoded once:
 * anew for each invocation, a thousand would be encoded half a million times.
 */
export class EncodedResults {
  /** Of the invocation that was made last. */
  headers: MsgHdrs | undefined;
  readonly #results: EncodedArray;
  /** Of the end of a body without results, from where they begin. */
  readonly #endLength: number;

  constructor(encoding: Encoding) {
    this.#results = new EncodedArray(encoding);
    this.#endLength = NO_RESULTS[encoding].length;
  }

  /** Whether it has, or can have, the results of the first `count` functions: none of them is stored besides the job. */
  covers(functions: Functions, count: number): boolean {
    while (this.#results.length < count) {
      const fn = functions.at(this.#results.length) as FunctionState;
      if (fn.apart !== undefined) return false;
      this.#results.push(resultOf(fn));
    }
    return true;
  }

  /**
   * `body` ends with an empty array, for the results of the first `count` functions, which it `covers`. To be called with one state
   * after the other of one job, and with no smaller count than before.
   */
  insertedInto(body: Uint8Array, functions: Functions, count: number): Uint8Array {
    if (!this.covers(functions, count)) throw new RangeError("a result is stored besides the job");
    const { length } = this.#results;
    this.headers =
      length < MANY_RESULTS ? undefined : RawHeaders.of(`${RESULTS_AT_HEADER}: ${body.length - this.#endLength}\r\n`);
    return this.#results.insertedInto(body);
  }
}

/** How a body ends that has none. */
const NO_RESULTS: Record<Encoding, Buffer> = { json: Buffer.from("[]}"), msgpack: Buffer.of(0x90) };
/** To read fewer costs no more than to read a header. */
const MANY_RESULTS = 64;

/** As much of a message as a worker needs of an invocation. */
export interface Request extends Pick<Msg, "reply" | "data" | "respond"> {
  headers?: MsgHdrs | undefined;
}

/** What a worker has got. */
export interface ReceivedInvocation {
  /** Whose own `results` may be missing. */
  body: Invocation;
  encoding: Encoding;
  /** Reads them; most functions of long jobs never look at theirs. */
  results(): unknown[];
}

/** @throws AsyncError `undecodable`, `invalid_request` */
export function readInvocation({ data, headers }: Pick<Request, "data" | "headers">): ReceivedInvocation {
  const encoding = encodingOf(data);
  const at = Number(headers?.get(RESULTS_AT_HEADER) || data.length);
  const late = at < data.length;
  const body = decodeOurs(late ? Buffer.concat([data.subarray(0, at), NO_RESULTS[encoding]]) : data, encoding);
  if (!isRecord(body) || typeof body.job_id !== "string" || typeof body.attempt !== "number") {
    throw new AsyncError("invalid_request", "not an invocation: send a job to job.submit instead");
  }
  const readLate = () => decodeOurs(encoding === "json" ? data.subarray(at, -1) : data.subarray(at), encoding);
  const results = () => (late ? readLate() : (body.results ?? [])) as unknown[];
  return { body: body as unknown as Invocation, encoding, results };
}

export type WorkerReply =
  | { type: "result"; result: unknown }
  /** `interrupted`: its worker drains and has ended the attempt, which says nothing about the function. */
  | { type: "error"; error: Failure; retryable: boolean; retryAfterMs?: number; interrupted?: true }
  /** `heartbeatMs` is the interval, if its worker promises one. */
  | { type: "heartbeat"; progress?: unknown; heartbeatMs: number | undefined }
  /** A worker without room answered, or there is no worker at all. */
  | { type: "no_room"; anyWorker: boolean };

/** Reads whatever came back. Never throws: a reply that makes no sense is an error of the worker. */
export function readReply(message: Msg, encoding: Encoding): WorkerReply {
  const { headers } = message;
  if (!headers) return readResult(message, encoding);
  if (isNoResponders(message)) return { type: "no_room", anyWorker: false };
  if (headers.get(STATUS_HEADER) === "heartbeat") return readHeartbeat(message, headers);
  const code = headers.get(ERROR_CODE_HEADER);
  if (code === NO_ROOM_CODE) return { type: "no_room", anyWorker: true };
  if (code || headers.has(ERROR_HEADER))
    return readError(message, headers.get(ERROR_HEADER) || `service error ${code}`);
  return readResult(message, encoding);
}

const CONTENT_TYPE_HEADER = "Content-Type";
const MESSAGE_PACK = /^application\/(x-|vnd\.)?msgpack/i;

function readResult(message: Msg, encoding: Encoding): WorkerReply {
  try {
    const { data, headers } = message;
    const isMessagePack = headers !== undefined && MESSAGE_PACK.test(headers.get(CONTENT_TYPE_HEADER));
    return { type: "result", result: decodeReply(data, encoding, isMessagePack) };
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return { type: "error", error: failure("InvalidReply", error.message), retryable: true };
  }
}

function readHeartbeat(message: Msg, headers: MsgHdrs): WorkerReply {
  const heartbeatMs = readHeartbeatMs(headers.get(HEARTBEAT_MS_HEADER));
  if (message.data.length === 0) return { type: "heartbeat", heartbeatMs };
  // It is only ever shown and told of, in JSON, whatever its job is encoded in.
  const progress = toJsonValue(decodeOr(undefined, message.data), encodingOf(message.data));
  return progress === undefined ? { type: "heartbeat", heartbeatMs } : { type: "heartbeat", progress, heartbeatMs };
}

const MAX_TEXT_LENGTH = 8_192;

function readError(message: Msg, headline: string): WorkerReply {
  // What is said of an error may be cut or rounded without harm.
  const body = message.data.length === 0 ? {} : (readJsonObject(message.data) ?? decodeOr({}, message.data));
  const fields = isRecord(body) ? body : {};
  const error = failure(text(fields.name) || "Error", text(fields.message) || headline);
  const stack = text(fields.stack);
  if (stack) error.stack = stack;
  const reply: WorkerReply = { type: "error", error, retryable: fields.retryable !== false };
  if (fields.interrupted === true && reply.retryable) reply.interrupted = true;
  const retryAfterMs = fields.retry_after_ms;
  if (typeof retryAfterMs === "number" && retryAfterMs >= 0) {
    reply.retryAfterMs = Math.min(Math.round(retryAfterMs), MAX_DURATION_MS);
  }
  return reply;
}

function failure(name: string, message: string): Failure {
  return { code: "function_failed", name, message };
}

function text(value: unknown): string {
  return typeof value === "string" ? value.slice(0, MAX_TEXT_LENGTH) : "";
}

/** Details that come with a status or an error are a courtesy: what cannot be read is left out. */
function decodeOr<T>(fallback: T, bytes: Uint8Array): unknown {
  try {
    return decode(bytes);
  } catch {
    return fallback;
  }
}
