/**
 * The state of a job as bytes: a MessagePack array of its fields, in the order of {@link packState}. With their names it would
 * be three times as long, and each byte of a commit costs the supervisor and the server some 13 ns together (measured):
 * most of what a chain of short functions costs would be the names of its fields.
 *
 * Fields that are mostly absent stand with their names in a map at the end, which is nil if there is none; that of a
 * function is left out. States that version 0.2 has stored, which are maps with all names, are read too.
 */
import { isRecord } from "../job/schema.ts";
import type { FunctionState, JobState } from "../job/state.ts";
import { decode, encode } from "./codec.ts";

const FIELDS = 16;
/** The first bytes of an array of so many elements: `array 16`. */
const ARRAY_16 = 0xdc;

export function packState(state: JobState): Uint8Array {
  const fields: unknown[] = [
    state.job_id,
    state.name,
    state.state,
    state.data,
    state.functions.map(packFunction),
    state.current_function,
    state.attempt,
    state.encoding,
    state.created_at,
    state.scheduled_at === state.created_at ? null : state.scheduled_at,
    state.sequence,
    state.token,
    state.version,
    state.writer,
    "finished_at" in state ? state.finished_at : null,
    rareOf(state),
  ];
  return encode(fields, "msgpack");
}

/** The fields that most states do not have; null if this one has none either. */
function rareOf(state: JobState): object | null {
  const { started_at, retried_at, retries, timeout_ms, deadline_at } = state;
  const { error, waiting_for, due_at } = state as { error?: unknown; waiting_for?: unknown; due_at?: unknown };
  if (
    (started_at ?? retried_at ?? retries ?? timeout_ms ?? deadline_at ?? error ?? waiting_for ?? due_at) === undefined
  ) {
    return null;
  }
  return present({ started_at, retried_at, retries, timeout_ms, deadline_at, error, waiting_for, due_at });
}

function packFunction(fn: FunctionState): unknown[] {
  const { name, args = null, retry_count, retry_options, timeout_ms, failures, lost, started_at, error } = fn;
  const isDone = fn.finished_at !== undefined;
  if ((retry_options ?? timeout_ms ?? failures ?? lost ?? started_at ?? error) === undefined) {
    return isDone ? [name, retry_count, args, fn.result ?? null, fn.finished_at] : [name, retry_count, args];
  }
  const rare = present({ retry_options, timeout_ms, failures, lost, started_at, error });
  return [name, retry_count, args, isDone ? (fn.result ?? null) : null, fn.finished_at ?? null, rare];
}

/** What has a value. */
function present(fields: Record<string, unknown>): Record<string, unknown> {
  const some: Record<string, unknown> = {};
  for (const name in fields) if (fields[name] !== undefined) some[name] = fields[name];
  return some;
}

/** What was stored, with the names of its fields: a state if {@link packState} made it. @throws AsyncError `undecodable` */
export function unpackState(data: Uint8Array): unknown {
  const value = decode(data, "msgpack");
  if (data[0] !== ARRAY_16 || !Array.isArray(value) || value.length !== FIELDS) return value;
  const [job_id, name, state, input, functions, current_function, attempt, encoding, created_at, ...rest] = value;
  const [scheduled_at, sequence, token, version, writer, finished_at, rare] = rest;
  return {
    ...{ job_id, name, state, data: input, current_function, attempt, encoding, created_at },
    ...{ sequence, token, version, writer },
    functions: Array.isArray(functions) ? functions.map(unpackFunction) : functions,
    scheduled_at: scheduled_at ?? created_at,
    ...(finished_at !== null && { finished_at }),
    ...(isRecord(rare) && rare),
  };
}

function unpackFunction(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const [name, retry_count, args, result, finished_at, rare] = value;
  return {
    name,
    retry_count,
    ...(args !== null && { args }),
    ...(finished_at !== null && finished_at !== undefined && { finished_at, result }),
    ...(isRecord(rare) && rare),
  };
}
