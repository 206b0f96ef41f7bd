/**
 * How much of the memory of this process the live jobs take, as far as it can be told: by counting them, and by what is known
 * of the large ones. The budget is a third of what the process may take beyond what it needs itself: the rest is for what is on
 * its way, and for garbage that has not been collected.
 *
 * MEMORY-1  A large job for which there is no room waits in the backlog of its function, so that it keeps nobody else out.
 * MEMORY-2  A job that is larger than the budget runs all the same, when hardly anything else is live.
 */
import type { JobState } from "../job/state.ts";

export const DEFAULT_MAX_MEMORY_BYTES = 512 * 1024 ** 2;

/** What the process takes without jobs. */
const PROCESS_BYTES = 128 * 1024 ** 2;
const BUDGET_SHARE = 1 / 3;
const MIN_BUDGET_BYTES = 16 * 1024 ** 2;
/** Beyond this part of the budget nothing more is taken, not even to be put on disk. */
const MOST_SHARE = 2;
/** From this part of the budget on, large jobs wait: the rest is for the others. */
const CROWDED_SHARE = 3 / 4;
/** A job of at least this part of the budget is large. */
const LARGE_SHARE = 1 / 64;
/** Where the budget is used up, one of this size is. */
const LARGE_BYTES = 16_384;
/** The part of the budget that may be in use when a job larger than all of it begins (MEMORY-2). */
const ALONE_SHARE = 1 / 8;
/** A live job that has next to nothing in it. */
const BASE_BYTES = 4_096;
/** A message shorter than this is not looked into. */
const SHORT_BYTES = 1_024;
/** What a byte of a short message takes in memory, and of a message that nobody has looked into yet. */
const BYTES_PER_BYTE = 12;
const BYTES_PER_BYTE_AHEAD = 24;

export class Memory {
  readonly #budget: number;
  #used = 0;
  /** Of jobs that are being stored, to wait on disk: there is room for others as soon as that is done. */
  #passing = 0;
  /** What a job took at last, when there was one. */
  #average = BASE_BYTES;

  constructor(maxMemoryBytes: number) {
    this.#budget = Math.max(MIN_BUDGET_BYTES, (maxMemoryBytes - PROCESS_BYTES) * BUDGET_SHARE);
  }

  /** What the jobs take that are here to stay. */
  get used(): number {
    return this.#used;
  }

  hold(bytes: number): void {
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }

  /** A job that was here to stay is stored, to wait on disk. */
  pass(bytes: number): void {
    this.release(bytes);
    this.holdPassing(bytes);
  }

  holdPassing(bytes: number): void {
    this.#passing += bytes;
  }

  releasePassing(bytes: number): void {
    this.#passing -= bytes;
  }

  /** As little as possible is brought in. */
  get crowded(): boolean {
    return this.#all >= this.#budget * CROWDED_SHARE;
  }

  /** The budget is used up. Small jobs are still taken one by one, and large ones to be put on disk; not beyond all bounds. */
  get full(): boolean {
    return this.#all >= this.#budget;
  }

  get overfull(): boolean {
    return this.#all >= this.#budget * MOST_SHARE;
  }

  /** How many bytes of messages may be asked for. */
  get roomBytes(): number {
    return Math.max(0, (this.#budget - this.#all) / BYTES_PER_BYTE_AHEAD);
  }

  get #all(): number {
    return this.#used + this.#passing;
  }

  /** How many more jobs may be called, if they are like the `live` ones; one to find out. */
  roomLike(live: number): number {
    if (live > 0) this.#average = Math.max(BASE_BYTES, this.#all / live);
    return Math.max(1, Math.floor((this.#budget * CROWDED_SHARE - this.#all) / this.#average));
  }

  /** MEMORY-1: whether a job that takes `bytes` has to wait while `others` are taken by others. */
  mustWait(bytes: number, others: number): boolean {
    if (others + bytes < this.#budget * CROWDED_SHARE || others < this.#budget * ALONE_SHARE) return false;
    return bytes >= (others + bytes > this.#budget ? LARGE_BYTES : this.#budget * LARGE_SHARE);
  }
}

/** What a job takes whose messages have `encodedBytes`. Only long ones are looked into. */
export function footprintOf(state: JobState, encodedBytes: number): number {
  const short = BASE_BYTES + BYTES_PER_BYTE * Math.min(encodedBytes, SHORT_BYTES);
  if (encodedBytes < SHORT_BYTES) return short;
  let bytes = short + encodedBytes;
  if ("data" in state) bytes += sizeOf(state.data);
  for (const { args, result } of state.functions) bytes += FUNCTION_BYTES + sizeOf(args) + sizeOf(result);
  return bytes;
}

const FUNCTION_BYTES = 200;
/** An array without elements, or an object without fields. */
const OBJECT_BYTES = 56;
const SLOT_BYTES = 8;
/** A field of an object, where it is kept as in a table. */
const FIELD_BYTES = 32;
/** What is not in the slot itself: a fraction, or the head of a text. */
const BOXED_BYTES = 16;

/** About what a decoded value takes. It is nested at most 200 levels deep (see `codec.ts`). */
export function sizeOf(value: unknown): number {
  if (typeof value === "string") return SLOT_BYTES + BOXED_BYTES + value.length;
  if (typeof value === "number") return Number.isInteger(value) ? SLOT_BYTES : SLOT_BYTES + BOXED_BYTES;
  if (typeof value !== "object" || value === null) return SLOT_BYTES;
  if (ArrayBuffer.isView(value)) return 2 * OBJECT_BYTES + value.byteLength;
  let bytes = SLOT_BYTES + OBJECT_BYTES;
  if (Array.isArray(value)) for (const one of value) bytes += sizeOf(one);
  else for (const key in value) bytes += FIELD_BYTES + key.length + sizeOf((value as Record<string, unknown>)[key]);
  return bytes;
}
