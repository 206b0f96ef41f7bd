/**
 * The state of a job as bytes: a MessagePack array of its fields, in the order of {@link packFields}. With their names it would
 * be three times as long, and each byte of a commit costs the supervisor and the server some 13 ns together (measured):
 * most of what a chain of short functions costs would be the names of its fields.
 *
 * Fields that are mostly absent stand with their names in a map, which is nil if there is none; that of a function is left
 * out. The states of long jobs leave out more (`brief-state.ts`). Those that version 0.2 has stored, which are maps with
 * all names, are read too.
 */
import { isRecord } from "../job/schema.ts";
import type { FunctionState, JobState } from "../job/state.ts";
import { decode, encode } from "./codec.ts";

const FIELDS = 16;
/** The first byte of an array of so many elements: `array 16`. */
const ARRAY_16 = 0xdc;

export function packState(state: JobState): Uint8Array {
  return packFields(state, state.name, state.data, state.functions.map(packFunction));
}

/** The last three fields of a brief state are others; `functions` is the last of all, so that more can be appended to it. */
export function packFields(state: JobState, name: string | null, data: unknown, functions: unknown[]): Uint8Array {
  const fields: unknown[] = [
    state.job_id,
    state.state,
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
    name,
    data,
    functions,
  ];
  return encode(fields, "msgpack");
}

/** The fields that most states do not have; null if this one has none either. */
function rareOf(state: JobState): object | null {
  const { started_at, retried_at, retries, timeout_ms, deadline_at, notify } = state;
  const { error, waiting_for, due_at } = state as { error?: unknown; waiting_for?: unknown; due_at?: unknown };
  if (
    (started_at ?? retried_at ?? retries ?? timeout_ms ?? deadline_at ?? notify ?? error ?? waiting_for ?? due_at) ===
    undefined
  ) {
    return null;
  }
  return present({ started_at, retried_at, retries, timeout_ms, deadline_at, notify, error, waiting_for, due_at });
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

/** What {@link packFields} has packed. */
export interface Unpacked {
  /** All fields but the last three. */
  head: Record<string, unknown>;
  name: unknown;
  data: unknown;
  functions: unknown;
}

/** What was stored: the fields of a state if it is one of ours, else whatever it is. @throws AsyncError `undecodable` */
export function unpack(bytes: Uint8Array): { fields: Unpacked } | { value: unknown } {
  const value = decode(bytes, "msgpack");
  if (bytes[0] !== ARRAY_16 || !Array.isArray(value) || value.length !== FIELDS) return { value };
  const [job_id, state, current_function, attempt, encoding, created_at, scheduled_at, sequence, ...rest] = value;
  const [token, version, writer, finished_at, rare, name, data, functions] = rest;
  const head = {
    ...{ job_id, state, current_function, attempt, encoding, created_at, sequence, token, version, writer },
    scheduled_at: scheduled_at ?? created_at,
    ...(finished_at !== null && { finished_at }),
    ...(isRecord(rare) && rare),
  };
  return { fields: { head, name, data, functions } };
}

/** Of a state that is stored in full. */
export function stateFrom({ head, name, data, functions }: Unpacked): unknown {
  return { ...head, name, data, functions: Array.isArray(functions) ? functions.map(unpackFunction) : functions };
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
