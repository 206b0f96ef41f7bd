/**
 * The items of a `for_each` as bucket `jobs` has them: 128 to a part, each part under a key of its own, `<id>.items.<index>.<part>`. A value
 * of an item, or its result, that is large is stored by itself, `<id>.item.<index>.<item>` and `<id>.result.<index>.<item>`, before the part
 * that names it. Here is what they look like; who writes them when: `actors/item-book.ts`.
 *
 * ITEMS-1  Each write of a part is compare-and-set on the one before. It says whose items it has: what is of another job that had the id, or
 *     of another list of the entry, counts as empty, and so does what somebody else has written.
 * ITEMS-2  A part has no time to live, as nobody knows when its job will end, and as a job of a million items would have to write all of them
 *     once more at its end. They live as long as the state of the job: `actors/part-sweep.ts` removes those of jobs that are gone.
 *
 * A part is a MessagePack array: the time of the job, runs of the entry, list, run, which undo, states (a byte for each item, without open ones
 * at the end), results that are in the part, sizes of those that are not, trials, and what was listed. So an item with the result null takes a byte.
 */
import {
  DONE,
  DONE_APART,
  FAILED,
  ItemPart,
  type ItemTrial,
  type KeptResult,
  type PartOwner,
} from "../../job/item-part.ts";
import { PART_ITEMS } from "../../job/items-state.ts";
import { isRecord } from "../../job/plain.ts";
import { isTime } from "../../job/time.ts";
import { decodePart, encode } from "../messages/codec.ts";
import { SAME_TIME_MS } from "./inbox.ts";

/** From so many bytes on a value is stored by itself, where messages may have 1 MiB. */
export const APART_BYTES = 4_096;
/** What an attempt has told of its progress is kept up to this size. */
const MAX_PROGRESS_BYTES = 1_024;

export function partKey(jobId: string, index: number, part: number): string {
  return `${jobId}.items.${index}.${part}`;
}

/** Of what a function has listed. */
export function itemKey(jobId: string, index: number, item: number): string {
  return `${jobId}.item.${index}.${item}`;
}

export function itemResultKey(jobId: string, index: number, item: number): string {
  return `${jobId}.result.${index}.${item}`;
}

/** The job whose items, or results of items, are under that key; undefined if it is something else. */
export function ownerOfItems(key: string): string | undefined {
  const [jobId = "", kind = "", index = "", number = "", ...more] = key.split(".");
  const isOfItems = kind === "items" || kind === "item" || kind === "result";
  if (!isOfItems || jobId === "" || more.length > 0) return undefined;
  return isWholeNumber(index) && isWholeNumber(number) ? jobId : undefined;
}

/** Fits the first part of each entry that has any: it is the first to be stored, and the last to go. */
export const FIRST_PARTS = "*.items.*.0";

/** Fit all that is stored of the items of a job. */
export function itemFilters(jobId: string): string[] {
  return [`${jobId}.item.>`, `${jobId}.result.*.*`, `${jobId}.items.>`];
}

function isWholeNumber(text: string): boolean {
  return /^[0-9]{1,8}$/.test(text);
}

/** Of a part. The first six are encoded together, and say that they are ten. */
const FIELDS = 10;
const FIX_ARRAY = 0x90;
const MAX_FIX_ARRAY = 15;
const ARRAY_16 = 0xdc;

/** As it is stored. Results of more than `apartBytes` have to be apart by now, and so has what was listed. */
export function packPart(owner: PartOwner, part: ItemPart): Uint8Array {
  const { created_at, runs, list } = owner;
  const head = encode([created_at, runs, list, part.run, part.unwind ?? null, trimmed(part.states)], "msgpack");
  head[0] = FIX_ARRAY | FIELDS;
  const inline: Uint8Array[] = [];
  const apart: number[] = [];
  for (let offset = 0; offset < part.states.length; offset++) {
    const result = part.results[offset];
    if (typeof result === "number") apart.push(result);
    else if (result) inline.push(result);
  }
  part.packedItems ??= packItems(part);
  const rest = [encode(apart, "msgpack"), encode(trialsOf(part), "msgpack"), part.packedItems];
  return Buffer.concat([head, arrayHead(inline.length), ...inline, ...rest]);
}

function trimmed(states: Uint8Array): Uint8Array {
  let length = states.length;
  while (length > 0 && states[length - 1] === 0) length -= 1;
  return states.subarray(0, length);
}

function arrayHead(length: number): Uint8Array {
  if (length <= MAX_FIX_ARRAY) return Uint8Array.of(FIX_ARRAY | length);
  return Uint8Array.of(ARRAY_16, length >> 8, length & 0xff);
}

function trialsOf({ trials }: ItemPart): [number, ItemTrial][] {
  return [...trials].map(([offset, trial]) => {
    const { last_progress, ...rest } = trial;
    const isSmall = last_progress !== undefined && encode(last_progress, "msgpack").length <= MAX_PROGRESS_BYTES;
    return [offset, isSmall ? trial : rest];
  });
}

/** Where nothing was listed, null. What is apart has null in its place. */
function packItems({ items, itemsApart }: ItemPart): Uint8Array {
  if (!items) return encode(null, "msgpack");
  const values = itemsApart.size === 0 ? items : items.map((item, offset) => (itemsApart.has(offset) ? null : item));
  return encode([values, [...itemsApart]], "msgpack");
}

/** What {@link packPart} has packed. */
export interface StoredPart {
  owner: PartOwner;
  run: number;
  unwind: number | undefined;
  states: Uint8Array;
  /** Those that are in the part, in order; and the sizes of those that are not. */
  results: unknown[];
  apart: number[];
  trials: [number, ItemTrial][];
  items: unknown[] | undefined;
  itemsApart: number[];
}

/** Undefined if it is something else, as someone else has written it. Never throws. */
export function readPart(bytes: Uint8Array): StoredPart | undefined {
  const value = decodePart(bytes);
  if (!Array.isArray(value) || value.length !== FIELDS) return undefined;
  const [created_at, runs, list, run, unwind, states, results, apart, trials, listed] = value as unknown[];
  if (!isTime(created_at) || ![runs, list, run, unwind ?? 0].every(isCount)) return undefined;
  if (!(states instanceof Uint8Array) || !Array.isArray(results) || !Array.isArray(apart)) return undefined;
  if (states.length > PART_ITEMS || !apart.every(isCount) || !Array.isArray(trials)) return undefined;
  const isCounted = count(states, DONE) === results.length && count(states, DONE_APART) === apart.length;
  if (!isCounted || states.some((state) => (state & 7) > FAILED) || !trials.every(isTrial)) return undefined;
  const items = readItems(listed);
  if (!items) return undefined;
  return {
    owner: { created_at, runs: runs as number, list: list as number },
    run: run as number,
    unwind: (unwind as number | null) ?? undefined,
    states,
    results,
    apart: apart as number[],
    trials: trials as [number, ItemTrial][],
    ...items,
  };
}

function count(states: Uint8Array, outcome: number): number {
  let found = 0;
  for (const state of states) if ((state & 7) === outcome) found += 1;
  return found;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isOffset(value: unknown): value is number {
  return isCount(value) && value < PART_ITEMS;
}

function isTrial(value: unknown): boolean {
  if (!Array.isArray(value) || !isOffset(value[0]) || !isRecord(value[1])) return false;
  const { retry_count, failures = 0, lost = 0, interrupted = 0, tried_at = 0, due_at = 0, error, again = 0 } = value[1];
  if (![retry_count, failures, lost, interrupted, again].every(isCount)) return false;
  if (typeof tried_at !== "number" || typeof due_at !== "number") return false;
  return (
    error === undefined || (isRecord(error) && typeof error.code === "string" && typeof error.message === "string")
  );
}

function readItems(value: unknown): Pick<StoredPart, "items" | "itemsApart"> | undefined {
  if (value === null) return { items: undefined, itemsApart: [] };
  if (!Array.isArray(value) || !Array.isArray(value[0]) || !Array.isArray(value[1])) return undefined;
  const [items, itemsApart] = value;
  if (items.length > PART_ITEMS || !itemsApart.every(isOffset)) return undefined;
  return { items, itemsApart };
}

/** ITEMS-1 */
export function isPartOf({ created_at, runs, list }: PartOwner, owner: PartOwner): boolean {
  return Math.abs(created_at - owner.created_at) <= SAME_TIME_MS && runs === owner.runs && list === owner.list;
}

/** The part as it is kept in memory while its items go on. */
export function openedPart(number: number, stored: StoredPart): ItemPart {
  const part = new ItemPart(number, stored.run);
  part.unwind = stored.unwind;
  for (const { offset, state, result, bytes } of outcomesIn(stored)) {
    const kept: KeptResult = bytes ?? (result === undefined ? undefined : encode(result, "msgpack"));
    part.restore(offset, state, kept);
  }
  for (const [offset, trial] of stored.trials) part.trials.set(offset, trial);
  part.items = stored.items;
  for (const offset of stored.itemsApart) {
    part.itemsApart.add(offset);
    if (part.items) part.items[offset] = undefined; // it is read when it is needed
  }
  return part;
}

/** An item of which something is known. */
export interface StoredOutcome {
  offset: number;
  state: number;
  /** Where it is in the part; undefined if it is null, or there is none. */
  result?: unknown;
  /** The size of one that is stored by itself. */
  bytes?: number;
}

/** In order. */
export function* outcomesIn({ states, results, apart }: StoredPart): Generator<StoredOutcome> {
  let inline = 0;
  let large = 0;
  for (let offset = 0; offset < states.length; offset++) {
    const state = states[offset] ?? 0;
    if (state === 0) continue;
    const outcome = state & 7;
    if (outcome === DONE) yield { offset, state, result: results[inline++] };
    else if (outcome === DONE_APART) yield { offset, state, bytes: apart[large++] ?? 0 };
    else yield { offset, state };
  }
}

/** A value that is stored by itself: whose it is, and what began it anew after it had been undone. */
export function packValue({ created_at, runs, list }: PartOwner, again: number, value: Uint8Array): Uint8Array {
  const head = encode([created_at, runs, list, again], "msgpack");
  head[0] = FIX_ARRAY | VALUE_FIELDS;
  return Buffer.concat([head, value]);
}

const VALUE_FIELDS = 5;

/** Undefined if it is something else, or of somebody else. Never throws. */
export function readValue(bytes: Uint8Array, owner: PartOwner): { again: number; value: unknown } | undefined {
  const stored = decodePart(bytes);
  if (!Array.isArray(stored) || stored.length !== VALUE_FIELDS) return undefined;
  const [created_at, runs, list, again, value] = stored;
  if (!isTime(created_at) || ![runs, list, again].every(isCount)) return undefined;
  return isPartOf({ created_at, runs, list }, owner) ? { again, value } : undefined;
}
