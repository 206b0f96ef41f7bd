/** What becomes of the items of one entry, as it is kept in their parts: results, failures, and what is known of attempts that came to nothing. */
import { encode } from "../bus/messages/codec.ts";
import type { Failure } from "../job/failure.ts";
import type { FunctionState } from "../job/function-state.ts";
import { trialOfItem, UNCERTAIN } from "../job/item-part.ts";
import { shortError } from "../job/items.ts";
import type { Outcome } from "../job/outcome.ts";
import { type ItemsReport, MAX_ITEM_EVENTS } from "../job/transition.ts";
import { isUnanswered } from "../job/undoable.ts";
import type { ItemBook, Page } from "./item-book.ts";
import type { ItemsOwner } from "./item-work.ts";

/** What a message has besides the result that is stored with it. */
const ENVELOPE_BYTES = 1_024;

type Failures = NonNullable<ItemsReport["failures"]>;

export class ItemOutcomes {
  readonly #book: ItemBook;
  readonly #pageOf: (item: number) => Page | undefined;
  /** It can be undone: so it has to be known what may have been done. */
  readonly #canBeUndone: boolean;
  /** Of a message. */
  readonly #maxBytes: () => number;
  #lastError: Failure | undefined;
  /** Failures that were told of, and those that are to be. */
  #told: number;
  #untold: Failures = [];

  /** @param maxBytes of a message */
  constructor(owner: Pick<ItemsOwner, "book" | "pageOf">, fn: FunctionState, maxBytes: () => number) {
    this.#maxBytes = maxBytes;
    this.#book = owner.book;
    this.#pageOf = (item) => owner.pageOf(item);
    this.#canBeUndone = fn.undo !== undefined;
    this.#told = fn.items?.failed ?? 0;
  }

  get lastError(): Failure | undefined {
    return this.#lastError;
  }

  /** Some failures are to be told of. */
  get hasUntold(): boolean {
    return this.#untold.length > 0;
  }

  /** Those, as they are told now. */
  takeUntold(): Pick<ItemsReport, "failures"> {
    if (!this.hasUntold) return {};
    const failures = this.#untold;
    this.#untold = [];
    return { failures };
  }

  /** Returns why its result cannot be kept: then it has failed. @param fn as it was executed */
  done(item: number, attempt: number, result: unknown, fn: FunctionState): Failure | undefined {
    const page = this.#pageOf(item);
    if (!page) return undefined;
    const kept = result === null || result === undefined ? undefined : encode(result, "msgpack");
    const most = this.#maxBytes() - ENVELOPE_BYTES;
    if (kept && kept.length > most) {
      const message = `the result has ${kept.length} bytes as it is stored, and ${most} fit: return less, or where it can be found`;
      const error: Failure = { code: "payload_too_large", name: "PayloadTooLarge", message };
      this.failed(item, { fn: { ...fn, retry_count: attempt }, error, retryAt: undefined });
      return error;
    }
    page.part.setDone(item - page.part.first, kept, attempt);
    this.#book.touch(page, kept?.length);
    return undefined;
  }

  tried(item: number, { fn, error, retryAt }: Outcome): void {
    const page = this.#markTried(item, error);
    if (!page) return;
    const offset = item - page.part.first;
    page.part.setTried(offset, trialOfItem(fn, page.part.trials.get(offset), retryAt));
    this.#book.touch(page);
  }

  failed(item: number, { fn, error }: Outcome): void {
    const page = this.#markTried(item, error);
    if (!page) return;
    const offset = item - page.part.first;
    page.part.setFailed(offset, trialOfItem(fn, page.part.trials.get(offset)));
    this.#book.touch(page);
    this.#lastError = error;
    if (this.#told >= MAX_ITEM_EVENTS) return;
    this.#told += 1;
    this.#untold.push({ item, error: shortError(error) });
  }

  #markTried(item: number, error: Failure): Page | undefined {
    const page = this.#pageOf(item);
    if (this.#canBeUndone && isUnanswered(error)) page?.part.mark(item - page.part.first, UNCERTAIN);
    return page;
  }

  /** It was told to stop, and has not answered. */
  unheard(item: number, attempt: number): void {
    const page = this.#pageOf(item);
    if (!page) return;
    const offset = item - page.part.first;
    if (this.#canBeUndone) page.part.mark(offset, UNCERTAIN);
    page.part.setTried(offset, { ...page.part.trials.get(offset), retry_count: attempt });
    this.#book.touch(page);
  }
}
