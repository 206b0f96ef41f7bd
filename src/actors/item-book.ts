/**
 * The parts of the items of one entry that are open here: it reads them, keeps them in memory while items of them are under way, and writes
 * what becomes of these. What begins when is none of its business (`item-runner.ts`).
 *
 * Example: the first of 128 items is done. Its part is written at once. Those that are done in the next 10 ms are written together, and what
 * is done while that write is under way, after it.
 *
 * BOOK-1  A part has one write under way at a time, and no more than one each `WRITE_MS`, of a large part less often (`restMs`); `flush` waits
 *     for no time. What was done since the last write is done again if this process dies.
 * BOOK-2  A value that is stored by itself is stored before the part that names it.
 * BOOK-3  If somebody else has written the part it is read, and what counts is what they have stored (PART-2); all else is written again.
 * BOOK-4  What is known when it is closed is written once more, without waiting for it: if the job has another owner by now that fails, or
 *     tells them what they would find out by doing it again.
 */

import type { Bus } from "../bus/connection.ts";
import { encode } from "../bus/messages/codec.ts";
import { APART_BYTES } from "../bus/store/item-parts.ts";
import type { ItemStore } from "../bus/store/item-store.ts";
import { isTooLarge } from "../bus/wire/jetstream.ts";
import { isAsyncError } from "../job/errors.ts";
import { ItemPart } from "../job/item-part.ts";
import { PART_ITEMS } from "../job/items-state.ts";
import { untilDone } from "./retrying.ts";

const WRITE_MS = 10;
const MAX_WRITE_MS = 1_000;
/** A part is written as a whole for each item that ends: one of large values, whose items take long, would be all that the disk does. */
const BYTES_PER_MS = 256;
/** A message takes at least so many values of the size at which they are stored by themselves. */
const VALUES_PER_MESSAGE = 256;
/** Where even the smallest are too many together: all that are larger than this are stored by themselves. */
const LEAST_APART_BYTES = 16;
/** Values that are stored by themselves at a time. */
const VALUES_AT_A_TIME = 16;

/** Who has the job. */
export interface BookHost {
  readonly isGone: boolean;
  onTrouble(what: string, error: unknown, isOver?: () => boolean): void;
  onFault(error: unknown): void;
}

/** Who sees to the items. */
export interface BookOwner {
  /** All that is known of the part is stored. */
  onWritten(page: Page): void;
  /** Somebody else has stored how these items have ended. */
  onTaken(page: Page, offsets: readonly number[]): void;
}

/** An open part. */
export interface Page {
  readonly part: ItemPart;
  /** Of what is stored. */
  sequence: number;
  /** Something is known that is not stored. */
  isDirty: boolean;
  isWriting: boolean;
  writtenAt: number;
  /** Until it may be written again, from then on. */
  restMs: number;
  timer: NodeJS.Timeout | undefined;
  /** From so many bytes on its values are stored by themselves. */
  apartBytes: number;
  /** Even that is not enough: errors are cut short. */
  isShort: boolean;
  /** All that was listed is small enough for that, or apart. */
  areItemsFit: boolean;
  /** Of results that the write which is under way does not have. */
  newBytes: number;
  /** Called as soon as all that is known of it is stored. */
  waiting: (() => void)[] | undefined;
}

export class ItemBook {
  /** By number. */
  readonly pages = new Map<number, Page>();
  /** How often something more was known of an item. */
  touches = 0;
  readonly #bus: Bus;
  readonly #store: ItemStore;
  readonly #host: BookHost;
  readonly #owner: BookOwner;
  #unwritten = 0;
  #unstoredBytes = 0;
  #isClosed = false;

  constructor(bus: Bus, store: ItemStore, host: BookHost, owner: BookOwner) {
    this.#bus = bus;
    this.#store = store;
    this.#host = host;
    this.#owner = owner;
  }

  /** Everything that is known is stored. */
  get isClean(): boolean {
    return this.#unwritten === 0;
  }

  /** Of results that have come, and are not stored yet. */
  get unstoredBytes(): number {
    return this.#unstoredBytes;
  }

  /** Opens a part of which nothing can be stored yet. */
  openNew(number: number, run: number): Page {
    return this.#add(new ItemPart(number, run), 0);
  }

  /**
   * Opens a part as it is stored, or as one of which nothing is known. Undefined if the job has left meanwhile.
   *
   * @param run of one of which nothing is known
   */
  async open(number: number, run: number): Promise<Page | undefined> {
    const known = this.pages.get(number);
    if (known) return known;
    let page: Page | undefined;
    await this.#insist("cannot read items", async () => {
      const { part = new ItemPart(number, run), sequence } = await this.#store.read(number);
      page = this.pages.get(number) ?? this.#add(part, sequence);
    });
    return page;
  }

  #add(part: ItemPart, sequence: number): Page {
    const apartBytes = Math.min(APART_BYTES, Math.floor(this.#bus.maxPayload / VALUES_PER_MESSAGE));
    const page: Page = {
      part,
      sequence,
      isDirty: false,
      isWriting: false,
      writtenAt: Number.NEGATIVE_INFINITY,
      restMs: WRITE_MS,
      timer: undefined,
      isShort: false,
      apartBytes,
      areItemsFit: false,
      newBytes: 0,
      waiting: undefined,
    };
    this.pages.set(part.number, page);
    return page;
  }

  /** Lets go of a part of which all is stored. */
  drop({ part }: Page): void {
    this.pages.delete(part.number);
  }

  /** Something has become of its items: it is written, soon. @param bytes of a result that has come */
  touch(page: Page, bytes = 0): void {
    this.touches += 1;
    page.newBytes += bytes;
    this.#unstoredBytes += bytes;
    if (!page.isDirty && !page.isWriting) this.#unwritten += 1;
    page.isDirty = true;
    this.#schedule(page);
  }

  #schedule(page: Page): void {
    if (page.isWriting || this.#isClosed) return;
    // Once all have ended it goes soon: then it leaves memory.
    const restMs = page.part.ended >= PART_ITEMS ? WRITE_MS : page.restMs;
    if (page.timer && restMs === page.restMs) return;
    clearTimeout(page.timer);
    const waitMs = page.writtenAt + restMs - performance.now();
    if (waitMs <= 0) this.#write(page);
    else page.timer = setTimeout(() => this.#write(page), Math.ceil(waitMs));
  }

  /** When all that is known of it by then is stored; never, if the job leaves before. */
  whenWritten(page: Page): Promise<void> {
    if (!page.isDirty && !page.isWriting) return Promise.resolve();
    return new Promise((resolve) => {
      page.waiting ??= [];
      page.waiting.push(resolve);
    });
  }

  /** What is not stored is written now. */
  flush(): void {
    if (this.isClean) return;
    for (const page of this.pages.values()) if (page.isDirty && !page.isWriting) this.#write(page);
  }

  #write(page: Page): void {
    clearTimeout(page.timer);
    page.timer = undefined;
    page.isWriting = true;
    page.writtenAt = performance.now();
    this.#writeAll(page).catch((error) => this.#host.onFault(error));
  }

  async #writeAll(page: Page): Promise<void> {
    const isStored = await this.#insist("cannot store items", () => this.#writeOnce(page));
    page.isWriting = false;
    if (this.#isClosed) {
      if (page.isDirty) this.#lastWrite(page);
    } else if (page.isDirty) this.#schedule(page);
    else if (isStored) {
      this.#unwritten -= 1;
      const { waiting = [] } = page;
      page.waiting = undefined;
      for (const go of waiting) go();
      this.#owner.onWritten(page);
    }
  }

  /** @throws AsyncError of the bus: it is tried again */
  async #writeOnce(page: Page): Promise<void> {
    for (;;) {
      page.isDirty = false;
      const bytes = page.newBytes;
      page.newBytes = 0;
      try {
        await this.#putApart(page);
        const stored = await this.#store.write(page.part, page.sequence);
        if (stored) {
          this.#unstoredBytes -= bytes;
          page.sequence = stored.sequence;
          page.restMs = Math.min(MAX_WRITE_MS, Math.max(WRITE_MS, Math.round(stored.bytes / BYTES_PER_MS)));
          return;
        }
        await this.#absorb(page);
        page.newBytes += bytes;
      } catch (error) {
        page.newBytes += bytes;
        if (!isTooLarge(error)) {
          page.isDirty = true;
          // What has been sent may be stored, so what is stored is not known.
          if (isAsyncError(error)) await this.#absorb(page);
          throw error;
        }
        if (page.apartBytes <= LEAST_APART_BYTES) {
          if (page.isShort) throw new TypeError("a part of items does not fit into a message");
          page.isShort = true;
          page.part.shorten();
        }
        page.apartBytes = Math.max(LEAST_APART_BYTES, page.apartBytes >> 1);
        page.areItemsFit = false;
      }
    }
  }

  /** BOOK-3 @throws AsyncError of the bus */
  async #absorb(page: Page): Promise<void> {
    const { part, sequence } = await this.#store.read(page.part.number);
    if (sequence === page.sequence) return;
    page.sequence = sequence;
    const taken = part ? page.part.absorb(part) : [];
    if (taken.length > 0) this.#owner.onTaken(page, taken);
  }

  /** BOOK-3, where nothing is written: what was read long ago may have been written by whoever had the job before. */
  async readAgain(): Promise<void> {
    for (const page of [...this.pages.values()]) {
      await this.#insist("cannot read items again", () => this.#takeNewer(page));
    }
  }

  /** @throws AsyncError of the bus */
  async #takeNewer(page: Page): Promise<void> {
    const { part, sequence } = await this.#store.read(page.part.number);
    // A write finds it out by itself; and what has been written meanwhile is newer than what was read.
    if (this.#isClosed || page.isWriting || sequence <= page.sequence || this.pages.get(page.part.number) !== page)
      return;
    page.sequence = sequence;
    const taken = part ? page.part.absorb(part) : [];
    if (taken.length === 0) return;
    this.touch(page); // a part of which all have ended is counted once it is written
    this.#owner.onTaken(page, taken);
  }

  /** BOOK-2 */
  async #putApart(page: Page): Promise<void> {
    const { part, apartBytes } = page;
    const work: (() => Promise<void>)[] = [];
    const { results, trials } = part;
    for (let offset = 0; offset < results.length; offset++) {
      const result = results[offset];
      if (!(result instanceof Uint8Array) || result.length <= apartBytes) continue;
      work.push(async () => {
        const bytes = await this.#store.putResult(part.first + offset, trials.get(offset)?.again ?? 0, result);
        if (part.results[offset] === result) part.setApart(offset, bytes);
      });
    }
    if (!page.areItemsFit) {
      page.areItemsFit = true; // more may be listed while these are being stored
      work.push(...this.#itemsToPutApart(page));
    }
    try {
      for (let from = 0; from < work.length; from += VALUES_AT_A_TIME) {
        await Promise.all(work.slice(from, from + VALUES_AT_A_TIME).map((put) => put()));
      }
    } catch (error) {
      page.areItemsFit = false;
      throw error;
    }
  }

  #itemsToPutApart({ part, apartBytes }: Page): (() => Promise<void>)[] {
    const { items = [], itemsApart } = part;
    const work: (() => Promise<void>)[] = [];
    for (let offset = 0; offset < items.length; offset++) {
      const item = items[offset];
      if (itemsApart.has(offset) || isSmall(item)) continue;
      const bytes = encode(item, "msgpack");
      if (bytes.length <= apartBytes) continue;
      work.push(async () => {
        await this.#store.putItem(part.first + offset, bytes);
        if (items[offset] !== item) return; // it was listed anew meanwhile
        itemsApart.add(offset);
        part.packedItems = undefined;
      });
    }
    return work;
  }

  #insist(what: string, call: () => Promise<void>): Promise<boolean> {
    const stopped = () => this.#isClosed || this.#host.isGone;
    return untilDone(this.#bus, stopped, (error, isOver) => this.#host.onTrouble(what, error, isOver), call);
  }

  /** BOOK-4 */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const page of this.pages.values()) {
      clearTimeout(page.timer);
      if (page.isDirty && !page.isWriting) this.#lastWrite(page);
    }
  }

  #lastWrite(page: Page): void {
    const write = async () => {
      await this.#putApart(page);
      await this.#store.write(page.part, page.sequence);
    };
    write().catch((error) => {
      if (!isAsyncError(error)) this.#host.onFault(error);
      // Else what is not stored is done again by whoever has the job next.
    });
  }
}

/** Certainly smaller than what is stored by itself: most are, and need not be encoded to find that out. */
function isSmall(value: unknown): boolean {
  return typeof value === "string" ? value.length <= LEAST_APART_BYTES : typeof value !== "object" || value === null;
}
