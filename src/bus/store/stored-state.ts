/**
 * The state of a job as bytes: a MessagePack array of its fields, in the order of `job/record.ts`. With their names it would
 * be three times as long, and each byte of a commit costs the supervisor and the server some 13 ns together (measured):
 * most of what a chain of short functions costs would be the names of its fields.
 *
 *     [format, job_id, ...others that are always kept, {name: value} of those that rarely are, or nil, name, data, functions]
 *
 * Each function is an array of the same kind, `[...always, {rarely}]`, without what is nil at its end. The states of long
 * jobs leave out more (`brief-state.ts`).
 *
 * RECORD-1  A record of any version begins with its format and the id of its job. In one that is newer than ours, nothing else
 *     is looked at: it is for others to read.
 * RECORD-2  `functions` is the last field of all, so that a brief state can have its steps appended to it.
 */
import type { FunctionState } from "../../job/function-state.ts";
import { isRecord } from "../../job/plain.ts";
import { entriesOf, FORMAT, FUNCTION_FIELDS, JOB_FIELDS, type NamedField } from "../../job/record.ts";
import type { JobState } from "../../job/state.ts";
import { compile } from "../../util/compile.ts";
import { decodeOurs, encode } from "../messages/codec.ts";

interface Layout {
  /** Those with a place of their own, in order. */
  always: NamedField[];
  /** Those that are stored with their names. */
  rarely: NamedField[];
}

function layoutOf(fields: NamedField[]): Layout {
  const kept = (as: string) => fields.filter(([, field]) => field.kept === as);
  return { always: kept("always"), rarely: kept("rarely") };
}

const JOB_LAYOUT = layoutOf(entriesOf(JOB_FIELDS));
const FUNCTION_LAYOUT = layoutOf(entriesOf(FUNCTION_FIELDS));

/** How those fields of a job are packed, or unpacked, that are not stored as they are. */
function storedAs(how: "pack" | "unpack"): Record<string, unknown> {
  const others = JOB_LAYOUT.rarely.filter(([, { stored }]) => stored !== undefined);
  return Object.fromEntries(others.map(([name, { stored }]) => [name, stored?.[how]]));
}

// --- writing

export function packState(state: JobState): Uint8Array {
  return packFields(state, state.name, state.data, state.functions.map(packFunction));
}

/** The last three fields of a brief state are others. */
export function packFields(
  state: JobState,
  name: string | [number] | null,
  data: unknown,
  functions: unknown[],
): Uint8Array {
  return encode(jobArray(state, name, data, functions), "msgpack");
}

const jobArray = compile<
  (job: JobState, name: string | [number] | null, data: unknown, functions: unknown[]) => unknown[]
>(
  { packs: storedAs("pack") },
  `(job, name, data, functions) => {
    ${rareCode("job", JOB_LAYOUT)}
    return [job.format ?? 1, ${JOB_LAYOUT.always.map((field) => valueCode("job", field))}, rare, name, data, functions];
  }`,
);

const packFunction = compile<(fn: FunctionState) => unknown[]>(
  {},
  `(fn) => {
    ${rareCode("fn", FUNCTION_LAYOUT)}
    ${FUNCTION_LAYOUT.always.map(([name, field], index) => `const a${index} = ${valueCode("fn", [name, field])};`).join("\n")}
    ${shortestArrayCode([...FUNCTION_LAYOUT.always.map((_, index) => `a${index}`), "rare"])}
  }`,
);

function valueCode(whole: string, [name, { optional, mostly }]: NamedField): string {
  if (mostly) return `${whole}.${name} === ${whole}.${mostly} ? null : ${whole}.${name}`;
  return optional ? `${whole}.${name} ?? null` : `${whole}.${name}`;
}

/** Sets `rare` to a map of the fields that are there; null if none is. */
function rareCode(whole: string, { rarely }: Layout): string {
  const lines = rarely.map(([name, { stored }]) => {
    const value = stored ? `packs.${name}(${whole}.${name})` : `${whole}.${name}`;
    return `if (${whole}.${name} !== undefined) (rare ??= {}).${name} = ${value};`;
  });
  return `let rare = null; ${lines.join("\n")}`;
}

/** Returns the values up to the last that is not null. */
function shortestArrayCode(values: string[]): string {
  const lines = values.map((value, index) => `if (${value} !== null) return [${values.slice(0, index + 1)}];`);
  return [...lines.reverse(), "return [];"].join("\n");
}

// --- reading

/** What {@link packFields} has packed. */
export interface Unpacked {
  /** All fields but the last three. */
  head: Record<string, unknown>;
  name: unknown;
  data: unknown;
  functions: unknown;
}

/** What was stored as a state: its fields, or the number of its format if that is newer than ours (RECORD-1). */
export type ReadRecord = { type: "fields"; fields: Unpacked } | { type: "newer"; format: number } | { type: "none" };

/** Format, the fields that are always kept, those that rarely are, name, data, functions. */
const ELEMENTS = JOB_LAYOUT.always.length + 5;

/** What is stored under the key of a job. @throws AsyncError `undecodable` */
export function readRecord(jobId: string, bytes: Uint8Array): ReadRecord {
  const format = formatOf(jobId, bytes);
  if (format === undefined) return { type: "none" };
  if (format > FORMAT) return { type: "newer", format };
  const value = decodeOurs(bytes, "msgpack") as unknown[];
  if (format < 1 || value.length !== ELEMENTS) return { type: "none" };
  const [name, data, functions] = value.slice(-3);
  const head = unpackJob(value.slice(1, -3));
  if (format > 1) head.format = format;
  return { type: "fields", fields: { head, name, data, functions } };
}

/**
 * The state that a record says its job is in, without reading the rest of it: so lists can pass over most jobs quickly. Undefined
 * where that cannot be said so easily.
 */
export function peekStateName(jobId: string, bytes: Uint8Array): string | undefined {
  const id = encode(jobId, "msgpack");
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, MAX_HEAD)).indexOf(id);
  const length = (bytes[at + id.length] ?? 0) - EMPTY_TEXT;
  if (at < 0 || length < 0 || length > MAX_SHORT_TEXT || (formatOf(jobId, bytes) ?? FORMAT + 1) > FORMAT)
    return undefined;
  const from = at + id.length + 1;
  return Buffer.from(bytes.subarray(from, from + length)).toString("latin1");
}

/** Of a state that is stored in full. */
export function stateFrom({ head, name, data, functions }: Unpacked): unknown {
  return { ...head, name, data, functions: Array.isArray(functions) ? functions.map(unpackFunction) : functions };
}

function unpackFunction(value: unknown): unknown {
  return Array.isArray(value) ? unpackFunctionFields(value) : undefined;
}

type Unpack = (values: unknown[]) => Record<string, unknown>;

const unpackJob = compile<Unpack>({ isRecord, unpacks: storedAs("unpack") }, unpackCode(JOB_LAYOUT));
const unpackFunctionFields = compile<Unpack>({ isRecord }, unpackCode(FUNCTION_LAYOUT));

/** Code of a function that makes an object of fields from an array of them. */
function unpackCode({ always, rarely }: Layout): string {
  const lines = always.map(([name, { mostly, optional, presentWith }], index) => {
    const value = `values[${index}] ?? null`;
    if (mostly) return `fields.${name} = values[${index}] ?? fields.${mostly};`;
    if (!optional) return `fields.${name} = ${value};`;
    const isThere = `values[${index}] != null${presentWith ? ` || fields.${presentWith} !== undefined` : ""}`;
    return `if (${isThere}) fields.${name} = ${value};`;
  });
  const rare = rarely.map(([name, { stored }]) => {
    const value = stored ? `unpacks.${name}(rare.${name})` : `rare.${name}`;
    return `if (Object.hasOwn(rare, "${name}")) fields.${name} = ${value};`;
  });
  return `(values) => {
    const fields = {};
    ${lines.join("\n")}
    const rare = values[${always.length}];
    if (isRecord(rare)) { ${rare.join("\n")} }
    return fields;
  }`;
}

const EMPTY_TEXT = 0xa0;
const MAX_SHORT_TEXT = 31;
/** The longest id and what stands before it. */
const MAX_HEAD = 160;
const EMPTY_ARRAY = 0x90;
const LAST_FIX_ARRAY = 0x9f;
const ARRAY_16 = 0xdc;
const ARRAY_32 = 0xdd;
const MAX_FIX_INT = 0x7f;
const UINT_8 = 0xcc;
const UINT_16 = 0xcd;

/**
 * The format of a record of the job; undefined if it is none (RECORD-1). The rest of it is not decoded: we may not be able to.
 */
function formatOf(jobId: string, bytes: Uint8Array): number | undefined {
  const [first = 0] = bytes;
  let at: number;
  if (first > EMPTY_ARRAY && first <= LAST_FIX_ARRAY) at = 1;
  else if (first === ARRAY_16) at = 3;
  else if (first === ARRAY_32) at = 5;
  else return undefined;
  const [number = 0xff, high = 0, low = 0] = bytes.subarray(at, at + 3);
  let format: number;
  let length: number;
  if (number <= MAX_FIX_INT) [format, length] = [number, 1];
  else if (number === UINT_8) [format, length] = [high, 2];
  else if (number === UINT_16) [format, length] = [high * 256 + low, 3];
  else return undefined;
  const idAt = at + length;
  const id = encode(jobId, "msgpack");
  return Buffer.from(id).equals(bytes.subarray(idAt, idAt + id.length)) ? format : undefined;
}
