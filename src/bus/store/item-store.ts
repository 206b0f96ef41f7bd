/** The stored items of one entry of a job: reads and writes of their parts (`item-parts.ts`), and what others read of them. */

import type { FunctionState } from "../../job/function-state.ts";
import {
  FAILED,
  type ItemPart,
  type ItemTrial,
  type PartOwner,
  UNCERTAIN,
  UNDO_FAILED,
  UNDONE,
} from "../../job/item-part.ts";
import type { ItemStateName, ItemView } from "../../job/item-view.ts";
import { partCount, sizeOfPart } from "../../job/items.ts";
import { PART_ITEMS, partsReached } from "../../job/items-state.ts";
import { functionAt, type JobState } from "../../job/state.ts";
import { isWrongSequence } from "../wire/jetstream.ts";
import {
  isPartOf,
  itemKey,
  itemResultKey,
  openedPart,
  outcomesIn,
  packPart,
  packValue,
  partKey,
  readPart,
  readValue,
  type StoredPart,
} from "./item-parts.ts";
import type { JobStore } from "./job-store.ts";

/** So many reads are under way at a time. */
const WINDOW = 16;
/** How often a value is stored again where somebody else has written it meanwhile. */
const TRIES = 5;

/** A job as far as it says whose its items are. */
export type OwnerOfItems = Pick<JobState, "job_id" | "created_at">;

/** Whose items those of an entry are. */
export function ownerOf({ created_at }: OwnerOfItems, { runs = 0, items }: FunctionState): PartOwner {
  return { created_at, runs, list: items?.list ?? 0 };
}

export class ItemStore {
  readonly owner: PartOwner;
  readonly #store: JobStore;
  readonly #jobId: string;
  readonly #index: number;

  constructor(store: JobStore, job: OwnerOfItems, index: number, fn: FunctionState) {
    this.#store = store;
    this.#jobId = job.job_id;
    this.#index = index;
    this.owner = ownerOf(job, fn);
  }

  /** The part, if there is one of this entry, and the sequence that the next write follows. @throws AsyncError of the bus */
  async read(number: number): Promise<{ part: ItemPart | undefined; sequence: number }> {
    const { stored, sequence } = await this.readStored(number);
    return { part: stored && openedPart(number, stored), sequence };
  }

  /** The same as it is stored. @throws AsyncError of the bus */
  async readStored(number: number): Promise<{ stored: StoredPart | undefined; sequence: number }> {
    const found = await this.#store.part(partKey(this.#jobId, this.#index, number));
    const stored = found && readPart(found.data);
    return {
      stored: stored && isPartOf(stored.owner, this.owner) ? stored : undefined,
      sequence: found?.sequence ?? 0,
    };
  }

  /**
   * Stores the part as the successor of the one with that sequence.
   *
   * @returns its sequence, and how many bytes it has; undefined if somebody else has written it
   * @throws AsyncError of the bus: it may be stored, or too large
   */
  async write(part: ItemPart, after: number): Promise<{ sequence: number; bytes: number } | undefined> {
    const body = packPart(this.owner, part);
    try {
      const sequence = await this.#store.putPart(partKey(this.#jobId, this.#index, part.number), body, after);
      return { sequence, bytes: body.length };
    } catch (error) {
      if (isWrongSequence(error)) return undefined;
      throw error;
    }
  }

  /**
   * Stores the result of an item by itself. If one is there already that is its result: it was stored by who went on with the item before.
   *
   * @returns the bytes of the one that counts
   * @throws AsyncError of the bus
   */
  async putResult(item: number, again: number, bytes: Uint8Array): Promise<number> {
    const key = itemResultKey(this.#jobId, this.#index, item);
    const body = packValue(this.owner, again, bytes);
    const found = await this.#putFirst(key, body);
    if (!found) return bytes.length;
    const before = readValue(found.data, this.owner);
    if (before?.again === again)
      return bytes.length === 0 ? 0 : Math.max(1, found.data.length - (body.length - bytes.length));
    await this.#replace(key, body, found.sequence);
    return bytes.length;
  }

  /** Stores what was listed. What is there already was listed by who did not come to say so: it has not begun. @throws AsyncError of the bus */
  async putItem(item: number, bytes: Uint8Array): Promise<void> {
    const key = itemKey(this.#jobId, this.#index, item);
    const body = packValue(this.owner, 0, bytes);
    const found = await this.#putFirst(key, body);
    if (found) await this.#replace(key, body, found.sequence);
  }

  /** @returns what is there already, if something is */
  async #putFirst(key: string, body: Uint8Array): Promise<{ sequence: number; data: Uint8Array } | undefined> {
    try {
      await this.#store.putPart(key, body, 0);
      return undefined;
    } catch (error) {
      if (!isWrongSequence(error)) throw error;
    }
    const found = await this.#store.part(key);
    if (!found) await this.#replace(key, body, 0); // it has gone in between
    return found;
  }

  async #replace(key: string, body: Uint8Array, after: number): Promise<void> {
    let sequence = after;
    for (let tries = 1; ; tries++) {
      try {
        await this.#store.putPart(key, body, sequence);
        return;
      } catch (error) {
        if (!isWrongSequence(error) || tries >= TRIES) throw error;
        sequence = (await this.#store.part(key))?.sequence ?? 0;
      }
    }
  }

  /** A result that is stored by itself; null if it is gone. @throws AsyncError of the bus */
  async readResult(item: number): Promise<unknown> {
    return this.#readValue(itemResultKey(this.#jobId, this.#index, item));
  }

  /** The same of what was listed. */
  async readItem(item: number): Promise<unknown> {
    return this.#readValue(itemKey(this.#jobId, this.#index, item));
  }

  async #readValue(key: string): Promise<unknown> {
    const found = await this.#store.part(key);
    return (found && readValue(found.data, this.owner)?.value) ?? null;
  }
}

/** The results of all items of an entry, in order; null where an item has none. @throws AsyncError of the bus */
export async function readItemResults(
  store: JobStore,
  job: OwnerOfItems & Pick<JobState, "functions">,
  index: number,
): Promise<unknown[]> {
  const fn = functionAt(job as JobState, index);
  const { items } = fn;
  const length = items?.count ?? items?.listed ?? 0;
  const results: unknown[] = new Array(length).fill(null);
  const reader = new ItemStore(store, job, index, fn);
  await inWindows(partCount(length), async (number) => {
    const { stored } = await reader.readStored(number);
    const first = number * PART_ITEMS;
    for (const { offset, result, bytes } of stored ? outcomesIn(stored) : []) {
      if (first + offset >= length) continue;
      results[first + offset] = bytes === undefined ? (result ?? null) : await reader.readResult(first + offset);
    }
  });
  return results;
}

async function inWindows(count: number, read: (number: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += WINDOW) {
    const numbers = Array.from({ length: Math.min(WINDOW, count - from) }, (_, at) => from + at);
    await Promise.all(numbers.map(read));
  }
}

export interface ItemPage {
  items: ItemView[];
  /** The number of the item to go on with; undefined if there are no more. */
  next: number | undefined;
}

/**
 * Items of an entry, from number `from` on: as far as they have been stored, so one that is under way is still pending.
 *
 * @param limit of items on the page; it may have fewer, and there are more all the same
 * @param state only those in that state
 * @param isTime whether it is time to end the page, asked from its second part on
 * @throws AsyncError of the bus
 */
export async function readItems(
  store: JobStore,
  job: OwnerOfItems & Pick<JobState, "functions">,
  index: number,
  {
    from = 0,
    limit,
    state,
    maxBytes = 256 * 1024,
    isTime = () => false,
  }: { from?: number; limit: number; state?: ItemStateName | undefined; maxBytes?: number; isTime?: () => boolean },
): Promise<ItemPage> {
  const fn = functionAt(job as JobState, index);
  const { items } = fn;
  const page: ItemView[] = [];
  if (!items) return { items: page, next: undefined };
  const reader = new ItemStore(store, job, index, fn);
  const length = items.count ?? items.listed ?? 0;
  let bytes = 0;
  const reached = partsReached(items);
  // So that a page ends also where few items fit.
  const firstPart = Math.floor(from / PART_ITEMS);
  for (let number = firstPart; number * PART_ITEMS < length; number++) {
    if (number >= firstPart + MAX_PARTS_PER_PAGE || (number > firstPart && isTime()))
      return { items: page, next: number * PART_ITEMS };
    const stored = number < reached ? (await reader.readStored(number)).stored : undefined;
    const known = new Map([...(stored ? outcomesIn(stored) : [])].map((one) => [one.offset, one]));
    const trials = new Map(stored?.trials);
    for (let offset = 0; offset < sizeOfPart({ count: length }, number); offset++) {
      const item = number * PART_ITEMS + offset;
      if (item < from) continue;
      const view = viewOf(item, known.get(offset)?.state ?? 0, trials.get(offset), isOld(stored, items.run));
      if (state !== undefined && view.state !== state) continue;
      if (page.length >= limit || (bytes > maxBytes && page.length > 0)) return { items: page, next: item };
      const outcome = known.get(offset);
      if (view.state !== "failed" && view.state !== "pending") {
        view.result = outcome?.bytes === undefined ? (outcome?.result ?? null) : await reader.readResult(item);
        bytes += outcome?.bytes ?? JSON.stringify(view.result ?? null, inJson)?.length ?? 0;
      }
      page.push(view);
    }
  }
  return { items: page, next: undefined };
}

/** Parts of a page at most: where few items are in the state that is asked for, there are pages with fewer. */
const MAX_PARTS_PER_PAGE = 64;

function inJson(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

/** What failed in an earlier run is done again by this one. */
function isOld(stored: StoredPart | undefined, run: number): boolean {
  return stored !== undefined && stored.run < run;
}

function viewOf(item: number, state: number, trial: ItemTrial | undefined, isOfEarlierRun: boolean): ItemView {
  const outcome = state & 7;
  const name = nameOf(state, isOfEarlierRun);
  const isEnded = outcome !== 0;
  return {
    item,
    state: name,
    retry_count: trial?.retry_count || (isEnded ? 1 : 0),
    ...(trial?.error && name !== "completed" && { error: trial.error }),
    ...((state & UNCERTAIN) !== 0 && { uncertain: true as const }),
  };
}

function nameOf(state: number, isOfEarlierRun: boolean): ItemStateName {
  if ((state & UNDONE) !== 0) return "undone";
  if ((state & UNDO_FAILED) !== 0) return "undo_failed";
  const outcome = state & 7;
  if (outcome === FAILED) return isOfEarlierRun ? "pending" : "failed";
  return outcome === 0 ? "pending" : "completed";
}
