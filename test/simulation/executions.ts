/**
 * What has been executed, how often, and which execution a result is of.
 *
 * SIM-3  Executions of an entry never exceed its limit, and that of its `on_error`, but for what was lost or taken over. The same goes
 *     for its undo, and for what is called once the job has failed. Attempts of items are stored after the fact: those that were not
 *     when the job was taken over are made once more.
 */
import { type FunctionState, namedCall } from "../../src/job/function-state.ts";
import { PART_ITEMS } from "../../src/job/items-state.ts";
import type { RetryOptions } from "../../src/job/schema.ts";
import { mostExecutions } from "./documents.ts";
import { type Executed, type Execution, ON_FAILURE, partKey, type Seen, Violation } from "./seen.ts";

/** Of an entry whose items have not been counted. */
const MOST_ITEMS = 40;
/** How often an undo is executed at most, if its document does not say. */
const UNDO_RETRY_LIMIT = 10;

export class Executions {
  readonly #known = new Map<string, Execution>();
  readonly #counts = new Map<string, number>();
  /** Of items, by job and part: how often each was executed since the part was stored. */
  readonly #unwritten = new Map<string, Map<string, Map<string, number>>>();
  /** Of items: how often each was executed without that being known to whoever took the job over. */
  readonly #forgotten = new Map<string, number>();

  find(jobId: string, number: number | undefined): Execution | undefined {
    return this.#known.get(`${jobId}#${number}`);
  }

  /** @param generation which of the jobs that had the id it is of */
  add(execution: Execution, generation: number): void {
    const key = keyOf(execution.jobId, generation, execution);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.#known.set(`${execution.jobId}#${execution.number}`, execution);
    if (execution.item !== undefined)
      this.#addUnwritten(execution.jobId, generation, execution.item, execution.index, key);
  }

  #addUnwritten(jobId: string, generation: number, item: number, index: number, key: string): void {
    const job = `${jobId}~${generation}`;
    const parts = this.#unwritten.get(job) ?? new Map<string, Map<string, number>>();
    this.#unwritten.set(job, parts);
    const part = `${index}.${Math.floor(item / PART_ITEMS)}`;
    const counts = parts.get(part) ?? new Map<string, number>();
    parts.set(part, counts);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  /** A part of items is stored, with the attempts of these. @param part `<index>.<number>` */
  written(jobId: string, generation: number, part: string): void {
    this.#unwritten.get(`${jobId}~${generation}`)?.delete(part);
  }

  /** The attempts of items that are not stored are made again (BOOK-1): as many as could not be, where nothing could be stored. */
  takenOver(jobId: string, generation: number): void {
    const job = `${jobId}~${generation}`;
    for (const counts of this.#unwritten.get(job)?.values() ?? []) {
      for (const [key, count] of counts) this.#forgotten.set(key, (this.#forgotten.get(key) ?? 0) + count);
    }
    this.#unwritten.delete(job);
  }

  count(jobId: string, generation: number, executed: Executed): number {
    return this.#counts.get(keyOf(jobId, generation, executed)) ?? 0;
  }

  /** Of a job that has ended, when all is quiet. */
  requireLimits(jobId: string, seen: Seen, faultless: boolean, wasFull: boolean): void {
    for (const [index, fn] of [...seen.state.functions].entries()) {
      const onError = typeof fn.on_error === "object" ? fn.on_error : undefined;
      const limits = onError ? [fn.retry_options, onError.retry_options] : [fn.retry_options];
      const begunInVain = wasFull && seen.begunInVain.has(index) ? 1 : 0;
      this.#require(jobId, seen, { index }, limits, begunInVain, faultless);
      if (fn.for_each !== undefined) this.#requireOfItems(jobId, seen, index, fn, faultless);
      const undo = undoOptions(fn);
      if (undo) this.#require(jobId, seen, { index, undo: true }, [undo], 0, faultless);
    }
    const { on_failure: onFailure } = seen.state;
    if (onFailure === undefined) return;
    const { retry_options } = namedCall(onFailure);
    this.#require(jobId, seen, { index: ON_FAILURE }, [retry_options], 0, faultless);
  }

  /** Each item has the whole limit, and so has its undo. */
  #requireOfItems(jobId: string, seen: Seen, index: number, fn: FunctionState, faultless: boolean): void {
    const { count = MOST_ITEMS } = fn.items ?? {};
    const undo = undoOptions(fn);
    for (let item = 0; item < count; item++) {
      this.#require(jobId, seen, { index, item }, [fn.retry_options], 0, faultless);
      if (undo) this.#require(jobId, seen, { index, item, undo: true }, [undo], 0, faultless);
    }
  }

  /** @param limits one after the other: each function has its own */
  #require(
    jobId: string,
    { generation, retries, takeovers, state }: Seen,
    executed: Executed,
    limits: (RetryOptions | undefined)[],
    more: number,
    faultless: boolean,
  ): void {
    const runs = 1 + retries;
    const most = limits.reduce((sum, options) => sum + mostExecutions(options), 0) * runs + more;
    const forgotten = this.#forgotten.get(keyOf(jobId, generation, executed)) ?? 0;
    const lost = faultless ? 0 : takeovers + 5 * limits.length * runs + forgotten;
    const count = this.count(jobId, generation, executed);
    // The time for which it is tried passes by the clock of whoever has it, and a backoff outside of memory by that of the server.
    const isOfOneClock = takeovers === 0 && state.token === 0;
    const isLimited = isOfOneClock || limits[0]?.retry_for_ms === undefined;
    if (count > most + lost && isLimited) {
      const what = `${partKey(executed)} of ${jobId}`;
      throw new Violation("SIM-3", `function ${what} was executed ${count} times of ${most + lost}`);
    }
  }
}

function undoOptions({ undo }: FunctionState): RetryOptions | undefined {
  if (undo === undefined) return undefined;
  const { retry_options } = namedCall(undo);
  return { retry_limit: UNDO_RETRY_LIMIT, ...retry_options };
}

function keyOf(jobId: string, generation: number, executed: Executed): string {
  return `${jobId}~${generation}/${partKey(executed)}`;
}
