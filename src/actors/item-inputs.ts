/** What items are, and what their attempts are handed. */

import { decodeOurs } from "../bus/messages/codec.ts";
import type { GivenInput } from "../bus/messages/invocation.ts";
import type { ItemStore } from "../bus/store/item-store.ts";
import { isAsyncError } from "../job/errors.ts";
import { expressionFailure } from "../job/expressions.ts";
import type { Failure } from "../job/failure.ts";
import { callOf, type FunctionState, newFunction } from "../job/function-state.ts";
import { argsOf, type EntryInput, keyOf, withNeeds } from "../job/input.ts";
import { type ItemPart, UNCERTAIN } from "../job/item-part.ts";
import { type ItemSource, itemAt } from "../job/items.ts";
import { PART_ITEMS } from "../job/items-state.ts";
import type { Plan } from "../job/plan.ts";
import { functionAt, type Graph } from "../job/state.ts";
import { hasExpressions } from "../job/templates.ts";
import { MissingValue, type More, valuesFor } from "../job/values.ts";
import type { TimeShare } from "../util/time-share.ts";
import type { GraphHost } from "./actor-context.ts";

/** Reads results of entries that are stored besides the job, into `plan.loaded`. */
export interface ResultLoader {
  load(job: Graph, indexes: readonly number[]): Promise<unknown>;
}

const NONE: readonly number[] = [];

export class ItemInputs {
  readonly #plan: Plan;
  readonly #store: ItemStore;
  readonly #loader: ResultLoader;
  readonly #index: number;
  readonly #share: TimeShare;
  readonly #host: Pick<GraphHost, "insist">;
  /** Undefined where a function lists them: then they are in their parts. */
  #source: ItemSource | undefined;
  /** The args of all items, where they have no expressions; undefined otherwise. */
  #args: { value: unknown } | undefined;

  /** @param share of the time of the process that evaluations have */
  constructor(
    plan: Plan,
    store: ItemStore,
    loader: ResultLoader,
    index: number,
    host: Pick<GraphHost, "insist">,
    share: TimeShare,
  ) {
    this.#plan = plan;
    this.#store = store;
    this.#loader = loader;
    this.#index = index;
    this.#share = share;
    this.#host = host;
  }

  /** Finds out which items there are. @throws ExpressionError, AsyncError of the bus */
  async prepare(job: Graph): Promise<void> {
    await this.withLoaded(job, () => {
      const fn = functionAt(job, this.#index);
      this.#args = hasExpressions(fn.args) ? undefined : { value: fn.args ?? null };
      this.#source = this.#sourceOf(job, fn);
    });
  }

  /** The same, however long the bus is away. Returns why it cannot be found out. */
  async prepareAtLast(job: Graph): Promise<Failure | undefined> {
    let failure: Failure | undefined;
    await this.#host.insist("cannot read what items are made of", async () => {
      try {
        await this.prepare(job);
      } catch (error) {
        if (isAsyncError(error)) throw error;
        failure = expressionFailure(error);
      }
    });
    return failure;
  }

  /** What `call` gives, once the results have been read that it asks for. */
  async withLoaded<T>(job: Graph, call: () => T): Promise<T> {
    for (;;) {
      try {
        return await this.#share.run(call);
      } catch (error) {
        if (!(error instanceof MissingValue)) throw error;
        await this.#loader.load(job, [error.index]);
      }
    }
  }

  #sourceOf(job: Graph, { for_each: from, slice }: FunctionState): ItemSource | undefined {
    if (typeof from === "object") return undefined;
    const value =
      typeof from === "number"
        ? from
        : this.#plan.expressions.evaluate(String(from), valuesFor(String(from), job, this.#plan));
    const list = Array.isArray(value) ? value : undefined;
    return { list, slice, length: list ? list.length : Number(value) };
  }

  /** The item; a promise of it where it has to be read. */
  itemOf(part: ItemPart, item: number): unknown {
    if (this.#source) return itemAt(this.#source, item);
    const value = part.items?.[item - part.first];
    if (value !== undefined) return value;
    return part.itemsApart.has(item - part.first) ? this.#read(() => this.#store.readItem(item)) : null;
  }

  /** What is stored by itself, however long the bus is away; null if the job has left meanwhile. */
  async #read(read: () => Promise<unknown>): Promise<unknown> {
    let value: unknown = null;
    await this.#host.insist("cannot read an item", async () => {
      value = await read();
    });
    return value;
  }

  /** @throws ExpressionError */
  given(job: Graph, part: ItemPart, item: number, fn: FunctionState): GivenInput | Promise<GivenInput> {
    const value = this.itemOf(part, item);
    if (value instanceof Promise)
      return value.then((read) => this.withLoaded(job, () => this.#given(job, part, item, read, fn)));
    try {
      // Expressions may take long, and as many items begin together as are to be under way.
      if (!this.#args) return this.#share.run(() => this.#given(job, part, item, value, fn));
      return this.#given(job, part, item, value, fn);
    } catch (error) {
      if (!(error instanceof MissingValue)) throw error;
      return this.withLoaded(job, () => this.#given(job, part, item, value, fn));
    }
  }

  #given(job: Graph, part: ItemPart, item: number, value: unknown, fn: FunctionState): GivenInput {
    const entry = functionAt(job, this.#index);
    const args = this.#args ? this.#args.value : argsOf(entry.args, job, this.#plan, { item: value, item_index: item });
    const idempotency_key = this.keyOf(job, part, item);
    if (entry.context) {
      const input = withNeeds(args, this.#index, this.#plan);
      this.#requireLoaded(job, input);
      input.item = value;
      input.item_index = item;
      input.idempotency_key = idempotency_key;
      return { fn, input };
    }
    return { fn, input: { args, data: null, needs: NONE, item: value, item_index: item, idempotency_key } };
  }

  /** @throws MissingValue */
  #requireLoaded(job: Graph, { needs }: EntryInput): void {
    const { loaded } = this.#plan;
    for (let at = 0; at < (needs?.length ?? this.#index); at++) {
      const index = needs ? (needs[at] as number) : at;
      if (functionAt(job, index).apart !== undefined && !loaded.has(index))
        throw new MissingValue(index, job.functions);
    }
  }

  /** The key by which others know the item again; another one once it has been undone. */
  keyOf(job: Graph, part: ItemPart, item: number): string {
    const entry = functionAt(job, this.#index);
    const again = part.trials.size === 0 ? undefined : part.trials.get(item - part.first)?.again;
    if (again === undefined) return keyOf(job, entry, this.#index, `/${item}`);
    return `${job.job_id}/${this.#index}/${item}/r${entry.runs ?? 0}.${again}`;
  }

  /** What expressions of a child find besides what those of the entry do. */
  moreOf(part: ItemPart, item: number): More | Promise<More> {
    const value = this.itemOf(part, item);
    if (value instanceof Promise) return value.then((read) => ({ item: read, item_index: item }));
    return { item: value, item_index: item };
  }

  /** What the undo of an item is handed: what it undoes, and why. */
  async givenForUndo(job: Graph, part: ItemPart, item: number, fn: FunctionState): Promise<GivenInput> {
    const offset = item - part.first;
    const value = await this.itemOf(part, item);
    const kept = part.results[offset];
    const result =
      typeof kept === "number"
        ? await this.#read(() => this.#store.readResult(item))
        : kept
          ? decodeOurs(kept, "msgpack")
          : null;
    const { error } = job.outcome ?? {};
    const { undoing } = functionAt(job, this.#index);
    const more: More = { item: value, item_index: item, result, ...(error && { error }) };
    const undo_of = this.keyOf(job, part, item);
    const input: EntryInput = {
      args: await this.withLoaded(job, () => argsOf(undoing?.args, job, this.#plan, more)),
      data: null,
      needs: NONE,
      item: value,
      item_index: item,
      undo: true,
      result,
      undo_of,
      idempotency_key: `${undo_of}/undo`,
    };
    if (error) input.error = error;
    if (part.has(offset, UNCERTAIN)) input.uncertain = true;
    return { fn, input };
  }

  /** What the function that lists items is handed. @param listed how many it has listed so far */
  async givenForListing(job: Graph, fn: FunctionState, cursor: unknown, listed: number): Promise<GivenInput> {
    const entry = functionAt(job, this.#index);
    const call = entry.for_each as { args?: unknown };
    const input = await this.withLoaded(job, () => {
      const next = withNeeds(argsOf(call.args, job, this.#plan, {}), this.#index, this.#plan);
      this.#requireLoaded(job, next);
      return next;
    });
    input.cursor = cursor ?? null;
    // Each page is a call of its own to whoever goes by the key.
    input.idempotency_key = keyOf(job, entry, this.#index, `/list/${listed}`);
    return { fn, input };
  }
}

/** The function of an entry's items, without any attempt. */
export function baseOf(fn: FunctionState): FunctionState {
  const { name, retry_options, timeout_ms } = callOf(fn);
  return newFunction({
    name,
    ...(retry_options !== undefined && { retry_options }),
    ...(timeout_ms !== undefined && { timeout_ms }),
  });
}

/** The part in which an item is. */
export function partOf(item: number): number {
  return Math.floor(item / PART_ITEMS);
}
