/**
 * Removes what is stored of the items of jobs that are gone. Such parts have no time to live (ITEMS-2): a job that ends would have to write all
 * of them once more, hundreds of MB where there are a million items. Instead, the jobs that have some are looked up now and then, without reading
 * anything of their items; where the state has expired, all of that job goes with one request for each kind of key.
 *
 * PARTS-SWEEP-1  What is written while it looks stays: a job that is made anew with the id of one that is gone keeps its items.
 */
import { afterPrefix } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { FIRST_PARTS, itemFilters, ownerOfItems } from "../bus/store/item-parts.ts";
import type { JobStore } from "../bus/store/job-store.ts";
import { streamState } from "../bus/store/stream-read.ts";
import { streamInfo } from "../bus/stream-info.ts";
import { KV_JOBS, KV_PREFIX } from "../bus/topology.ts";
import { apiAnswer } from "../bus/wire/jetstream.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { timerMs } from "../job/time.ts";
import { around } from "./retrying.ts";

const TIMEOUT_MS = 5_000;
/** States that are looked up at a time. */
const WINDOW = 32;
const EVERY_MS = 60_000;
/** A job that had a state is not looked up again for about so long: each may be as large as a message. Some are looked up each minute. */
const SEEN_MS = 15 * 60_000;
const MAX_SEEN = 100_000;

export interface PartSweepContext {
  bus: Bus;
  store: JobStore;
}

/**
 * The jobs of which nothing is stored but their items.
 *
 * @param seen jobs that had a state when they were looked up, with the time until which they are taken for such, monotonic ms
 * @throws AsyncError of the bus
 */
export async function jobsGone(
  { bus, store }: PartSweepContext,
  stopped: () => boolean = () => false,
  seen: Map<string, number> = new Map(),
): Promise<string[]> {
  const gone: string[] = [];
  for (let offset = 0; !stopped(); ) {
    const { state } = await streamInfo(bus, KV_JOBS, TIMEOUT_MS, {
      subjects_filter: `${KV_PREFIX}.${FIRST_PARTS}`,
      offset,
    });
    const subjects = Object.keys(state?.subjects ?? {});
    if (subjects.length === 0) break;
    offset += subjects.length;
    const now = performance.now();
    const owners = new Set(subjects.map((subject) => ownerOfItems(afterPrefix(subject, KV_PREFIX) ?? "")));
    const ids = [...owners].filter((id) => id !== undefined && (seen.get(id) ?? 0) <= now);
    for (let from = 0; from < ids.length && !stopped(); from += WINDOW) {
      const found = await Promise.all(
        ids.slice(from, from + WINDOW).map(async (id) => ({ id, isGone: await isGone(store, id) })),
      );
      for (const { id = "", isGone } of found) {
        if (isGone) gone.push(id);
        else if (seen.size < MAX_SEEN) seen.set(id, now + around(SEEN_MS));
      }
    }
  }
  return gone;
}

async function isGone(store: JobStore, jobId: string | undefined): Promise<boolean> {
  if (jobId === undefined) return false;
  const stored = await store.get(jobId);
  // What cannot be read is replaced by whoever finds it, and then expires.
  return (stored?.state ?? stored?.problem ?? stored?.newer) === undefined;
}

/** Removes the items of jobs that are gone. Returns how many jobs there were. @throws AsyncError of the bus */
export async function sweepItems(
  context: PartSweepContext,
  stopped?: () => boolean,
  seen?: Map<string, number>,
): Promise<number> {
  const { bus } = context;
  const { lastSequence } = await streamState(bus, KV_JOBS); // before it is looked: PARTS-SWEEP-1
  const gone = await jobsGone(context, stopped, seen);
  for (const jobId of gone) {
    for (const filter of itemFilters(jobId)) await purge(bus, `${KV_PREFIX}.${filter}`, lastSequence + 1);
  }
  return gone.length;
}

/** Removes what fits the filter, and was stored before that sequence. */
async function purge(bus: Bus, filter: string, before: number): Promise<void> {
  const query = JSON.stringify({ filter, seq: before });
  const { error } = apiAnswer<{ error?: { description?: string } }>(
    await bus.mux.request(`${bus.apiPrefix}.STREAM.PURGE.${KV_JOBS}`, query, TIMEOUT_MS),
  );
  if (error)
    throw new AsyncError(
      "jetstream_unavailable",
      `items of jobs that are gone cannot be removed: ${error.description}`,
    );
}

/** Does that every minute or so, as long as it is open: what a small bucket is full of must not stay for long. */
export class PartSweep {
  readonly #context: PartSweepContext;
  readonly #onTrouble: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #seen = new Map<string, number>();

  constructor(context: PartSweepContext, onTrouble: (error: unknown) => void) {
    this.#context = context;
    this.#onTrouble = onTrouble;
    this.#plan();
  }

  #plan(): void {
    this.#timer = setTimeout(() => void this.#run(), timerMs(around(EVERY_MS)));
  }

  async #run(): Promise<void> {
    try {
      const now = performance.now();
      for (const [id, until] of this.#seen) if (until <= now) this.#seen.delete(id);
      await sweepItems(this.#context, () => this.#isClosed, this.#seen);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (!this.#isClosed) this.#onTrouble(error);
    }
    if (!this.#isClosed) this.#plan();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
