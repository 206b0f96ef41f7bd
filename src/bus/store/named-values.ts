/**
 * Values in bucket `jobs` that belong to no job, each under a name: definitions, and the settings of functions. Their keys are
 * `-.<kind>.<name in base64url>`, as a name may be any text. Each write is compare-and-set on what was read.
 *
 * NAMED-1  No job has such a key, as `-` with more parts is none of a job: lists and the sweep pass over them, and nothing of them
 *     expires but what has been removed.
 * NAMED-2  What cannot be read (somebody else has written it) counts as not there, and is replaced by the next write.
 */
import { AsyncError, type ErrorCode, isAsyncError } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";
import type { Bus } from "../connection.ts";
import { decode, encode } from "../messages/codec.ts";
import { streamInfo } from "../stream-info.ts";
import { KV_JOBS, KV_PREFIX } from "../topology.ts";
import { isWrongSequence } from "../wire/jetstream.ts";
import type { JobStore } from "./job-store.ts";
import { readBatch } from "./stream-read.ts";

export type Value = Record<string, unknown>;

export interface NamedValue {
  value: Value;
  /** How many bytes are stored. */
  bytes: number;
}

export interface NamedPage {
  values: NamedValue[];
  /** Where the next page begins; absent after the last one. */
  next?: number;
}

export interface NamedOptions {
  kind: "definition" | "function";
  /** Most names that there may be, and the code of the refusal of another one. */
  most: number;
  full: ErrorCode;
}

const PREFIX = "-.";
const TOO_MANY = { definition: "there are too many definitions", function: "too many functions have settings" };
const TRIES = 5;
const TIMEOUT_MS = 2_000;
const PAUSE_MS = 50;

/** Whether a key of the bucket is of such a value (NAMED-1). */
export function isNamedValue(key: string): boolean {
  return key.startsWith(PREFIX);
}

export class NamedValues {
  readonly #bus: Bus;
  readonly #store: JobStore;
  readonly #options: NamedOptions;

  constructor(bus: Bus, store: JobStore, options: NamedOptions) {
    this.#bus = bus;
    this.#store = store;
    this.#options = options;
  }

  /** @throws AsyncError of the bus */
  async get(name: string): Promise<NamedValue | undefined> {
    return (await this.#read(name)).found;
  }

  /**
   * Stores what `decide` makes of what is there; null removes it, undefined leaves it as it is. It may be asked several times.
   *
   * @returns what is stored then, and what was before; `changed` is false where it was left
   * @throws AsyncError `storage_full`, `payload_too_large`, the code for too many, `bus_timeout` if it is not known whether it is stored, or
   * what the bus or `decide` throws
   */
  async change(
    name: string,
    decide: (found: NamedValue | undefined) => Value | null | undefined,
  ): Promise<{ value: Value | undefined; before: Value | undefined; changed: boolean }> {
    let cause: unknown;
    for (let tries = 0; tries < TRIES; tries++) {
      const { found, sequence } = await this.#read(name);
      const next = decide(found);
      const before = found?.value;
      if (next === undefined || (next === null && !found)) return { value: before, before, changed: false };
      try {
        if (next === null) await this.#store.dropPart(this.#keyOf(name), sequence);
        else {
          if (!found) await this.#requireRoom();
          await this.#store.putPart(this.#keyOf(name), encode(next, "msgpack"), sequence);
        }
        return { value: next ?? undefined, before, changed: true };
      } catch (error) {
        if (isAsyncError(error, "jobs_full")) throw noRoom(error);
        // It may be stored all the same: then `decide` finds it.
        if (!isWrongSequence(error) && !isAsyncError(error, "bus_timeout")) throw error;
        cause = error;
        await new Promise((resolve) => setTimeout(resolve, tries * PAUSE_MS));
      }
    }
    const what = `${this.#options.kind} ${JSON.stringify(name)} could not be changed in time: look what became of it, try again`;
    throw new AsyncError("bus_timeout", what, { cause });
  }

  /** Those from a sequence on, in the order in which they were written last. @throws AsyncError of the bus */
  async page(from: number, batch: number, maxBytes?: number): Promise<NamedPage> {
    const query = { filter: this.#filter, from, batch, ...(maxBytes !== undefined && { maxBytes }) };
    const { messages, pending } = await readBatch(this.#bus, KV_JOBS, query);
    const values = messages.flatMap(({ data }) => read(data) ?? []);
    const last = messages.at(-1);
    return last && pending > 0 ? { values, next: last.sequence + 1 } : { values };
  }

  /** What was removed in the last seconds counts, too. @throws AsyncError */
  async #requireRoom(): Promise<void> {
    const { kind, most, full } = this.#options;
    if (this.#store.storage?.full) throw noRoom();
    const { state } = await streamInfo(this.#bus, KV_JOBS, TIMEOUT_MS, { subjects_filter: this.#filter });
    if (Object.keys(state?.subjects ?? {}).length < most) return;
    throw new AsyncError(full, `${TOO_MANY[kind]}: at most ${most}; remove some first`);
  }

  get #filter(): string {
    return `${KV_PREFIX}.${PREFIX}${this.#options.kind}.*`;
  }

  #keyOf(name: string): string {
    return `${PREFIX}${this.#options.kind}.${Buffer.from(name).toString("base64url")}`;
  }

  async #read(name: string): Promise<{ found: NamedValue | undefined; sequence: number }> {
    const part = await this.#store.part(this.#keyOf(name));
    return { found: part && read(part.data), sequence: part?.sequence ?? 0 };
  }
}

function noRoom(cause?: unknown): AsyncError {
  const what = "there is no room for it in the bucket of states; ended jobs that expire make room";
  return new AsyncError("storage_full", what, { cause });
}

/** NAMED-2 */
function read(data: Uint8Array): NamedValue | undefined {
  if (data.length === 0) return undefined; // it was removed
  try {
    const value = decode(data, "msgpack");
    return isRecord(value) ? { value, bytes: data.length } : undefined;
  } catch (error) {
    if (!isAsyncError(error, "undecodable")) throw error;
    return undefined;
  }
}
