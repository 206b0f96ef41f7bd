/**
 * What must be true of the items of a `for_each`.
 *
 * SIM-15 An item that has ended stays as it is, as long as the items are not gone through once more; then what was done stays so, unless
 *     it was undone. What an item has returned is of an attempt of its own. Each is counted once, and the result of the entry has what
 *     is stored of each of them, in order. None is invoked before the state of the job says that its part is open, nor again after
 *     its end, but for what was on its way.
 */
import { isDeepStrictEqual } from "node:util";
import { outcomesIn, ownerOfItems, readPart, type StoredPart } from "../../src/bus/store/item-parts.ts";
import { kindOf } from "../../src/job/function-state.ts";
import { FAILED, UNDONE } from "../../src/job/item-part.ts";
import { PART_ITEMS } from "../../src/job/items-state.ts";
import type { Graph } from "../../src/job/state.ts";
import { type Executed, type Execution, type Seen, Violation } from "./seen.ts";

const OUTCOME = 7;

interface Ended {
  /** In which run of the items. */
  run: number;
  isDone: boolean;
  isUndone: boolean;
  result: unknown;
  /** When that was stored, in virtual ms, and of which of the jobs that had the id: one whose state has expired begins anew. */
  at: number;
  generation: number | undefined;
}

export class ItemInvariants {
  readonly #now: () => number;
  readonly #executionOf: (jobId: string, number: number | undefined) => Execution | undefined;
  /** By the key of the part: whose items they are, and those that have ended, by number. */
  readonly #parts = new Map<string, { owner: StoredPart["owner"]; ended: Map<number, Ended> }>();

  constructor(now: () => number, executionOf: (jobId: string, number: number | undefined) => Execution | undefined) {
    this.#now = now;
    this.#executionOf = executionOf;
  }

  /** A part is stored. @param seen the job, if that is stored */
  onPart(key: string, data: Uint8Array, seen: Seen | undefined): void {
    const jobId = ownerOfItems(key);
    const [, kind, index, number] = key.split(".");
    if (jobId === undefined || kind !== "items" || number === undefined) return;
    const part = readPart(data);
    if (!part) {
      if (data.length > 0) throw violation(`${key} is none of ours`);
      return;
    }
    const before = this.#parts.get(key);
    const known = before && isDeepStrictEqual(before.owner, part.owner) ? before.ended : new Map<number, Ended>();
    const ended = new Map<number, Ended>();
    for (const { offset, state, result } of outcomesIn(part)) {
      const item = Number(number) * PART_ITEMS + offset;
      if ((state & OUTCOME) === 0) continue;
      const was = known.get(item);
      const generation = seen?.generation;
      const now: Ended = {
        run: part.run,
        isDone: (state & OUTCOME) !== FAILED,
        isUndone: (state & UNDONE) !== 0,
        result: result ?? null,
        at: was && was.generation === generation ? was.at : this.#now(),
        generation,
      };
      if (!was) this.#requireOwn(jobId, Number(index), item, now, seen);
      ended.set(item, now);
    }
    for (const [item, was] of known) {
      const now = ended.get(item);
      const what = `item ${item} of entry ${index} of ${jobId}`;
      // Another pass begins what has failed, or was undone, once more.
      const mayBegin = part.run > was.run && (!was.isDone || was.isUndone);
      if (!now && !mayBegin) throw violation(`${what} had ended, and has been forgotten`);
      if (!now || mayBegin) continue;
      if (now.isDone !== was.isDone || !isDeepStrictEqual(now.result, was.result))
        throw violation(`${what} had ended, and has changed: ${JSON.stringify([was, now])}`);
      if (was.isUndone && !now.isUndone) throw violation(`${what} was undone, and is not any more`);
    }
    this.#parts.set(key, { owner: part.owner, ended });
  }

  #requireOwn(jobId: string, index: number, item: number, { isDone, result }: Ended, seen: Seen | undefined): void {
    const fn = seen?.state.functions.at(index);
    if (!isDone || !fn || kindOf(fn) !== "function") return; // of children: SIM-14
    const execution = this.#executionOf(jobId, (result as { number?: number } | null)?.number);
    if (execution?.index === index && execution.item === item && !execution.undo) return;
    throw violation(`item ${item} of entry ${index} of ${jobId} has the result ${JSON.stringify(result)}`);
  }

  /** What an entry has come to by its items. */
  requireResult(job: Graph, index: number): void {
    const { items, result, results, apart } = job.functions.at(index) ?? {};
    const { job_id: jobId } = job;
    if (!items) {
      if (results === "none" ? result === null : isDeepStrictEqual(result, [])) return;
      throw violation(`entry ${index} of ${jobId} has no items, and the result ${JSON.stringify(result)}`);
    }
    const { count = 0, done, failed, open, list } = items;
    if (done + failed !== count || open.length > 0)
      throw violation(`entry ${index} of ${jobId} has ended with ${JSON.stringify(items)}`);
    const expected = Array.from({ length: count }, (_, item) => this.#ended(job, index, item, list));
    const missing = expected.indexOf(undefined);
    if (missing !== -1) throw violation(`entry ${index} of ${jobId} has ended before its item ${missing}`);
    const counted = expected.filter((one) => one?.isDone).length;
    if (counted !== done)
      throw violation(`entry ${index} of ${jobId} counts ${done} items as done, and ${counted} are`);
    if (results === "none" || apart !== undefined) return;
    const values = expected.map((one) => (one?.isDone ? one.result : null));
    if (!isDeepStrictEqual(result, values))
      throw violation(`entry ${index} of ${jobId} has ${JSON.stringify(result)}, its items ${JSON.stringify(values)}`);
  }

  /** An invocation reaches the server. @param staleMs for how long it may have been on its way */
  invoked({ state, generation }: Seen, { index, item, undo }: Executed, staleMs: number): void {
    if (item === undefined || undo) return;
    const { items } = state.functions.at(index) ?? {};
    // A retry by hand begins with the first part.
    const isOpened = !items || Math.floor(item / PART_ITEMS) < items.next || state.retries !== undefined;
    if (!isOpened)
      throw violation(`item ${item} of entry ${index} of ${state.job_id} is invoked before its part is open`);
    const ended = items && this.#ended(state as Graph, index, item, items.list);
    if (!ended || ended.generation !== generation || ended.run < items.run || this.#now() - ended.at <= staleMs) return;
    throw violation(`item ${item} of entry ${index} of ${state.job_id} is invoked after its end`);
  }

  #ended({ job_id, created_at, functions }: Graph, index: number, item: number, list: number): Ended | undefined {
    const part = this.#parts.get(`${job_id}.items.${index}.${Math.floor(item / PART_ITEMS)}`);
    const { runs = 0 } = functions.at(index) ?? {};
    const isOwn =
      part?.owner.list === list && part.owner.runs === runs && Math.abs(part.owner.created_at - created_at) <= 1;
    return isOwn ? part.ended.get(item) : undefined;
  }
}

function violation(message: string): Violation {
  return new Violation("SIM-15", message);
}
