/**
 * The results of one graph that are stored besides its state (`bus/store/results.ts`), as its actor sees to them: large ones are stored
 * before the state that names them, and are read before something is to be handed them.
 *
 * STORED-1  A result is put besides when it comes, if it has more than `APART_BYTES` and the job goes on; and whichever is the largest,
 *     when a state does not fit into a message. A job that ends keeps what fits: nothing writes it again, and who reads it has all.
 * STORED-2  In memory are those that an attempt in line or in flight is handed, or items that are at it: all others are forgotten, and
 *     read again when something is due that needs them. What they take is counted as memory of the job.
 */

import type { JobStore } from "../bus/store/job-store.ts";
import { isNamed, loadAny, resultKey, type StoreOutcome, storeResult } from "../bus/store/results.ts";
import { APART_BYTES, apartFor, asApart, carriedApart, missingFor } from "../job/apart.ts";
import { isAsyncError } from "../job/errors.ts";
import { LostValue } from "../job/expression-error.ts";
import { hasItems } from "../job/function-state.ts";
import type { Plan } from "../job/plan.ts";
import { type AttemptAddress, functionAt, type Graph, isEnded, type JobState, withoutPayloads } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import { MissingValue } from "../job/values.ts";
import type { GraphHost } from "./actor-context.ts";
import type { CommitResult, Commits, Found } from "./commits.ts";
import type { Footprint } from "./footprint.ts";
import { sizeOf } from "./memory.ts";
import { largestInline, tooMuch } from "./refusal.ts";

/** What it needs of an actor. */
export interface ResultsHost {
  host: Pick<GraphHost, "isGone" | "insist" | "onFault">;
  commits: Pick<Commits, "commit" | "compare" | "isOurs">;
  footprint: Pick<Footprint, "holdBesides">;
}

export interface ResultsContext {
  store: JobStore;
  bus: { readonly maxPayload: number };
}

const NONE: readonly number[] = [];
/** What is carried is known in MessagePack. As JSON it may have this part of it: a fraction has nine bytes there, and four as text. */
const LEAST_SHARE = 1 / 4;
const TOO_LARGE = "the result alone is larger than a message";
/** What a byte that is stored takes in memory. */
const BYTES_PER_BYTE = 2;

export class StoredResults {
  readonly #store: JobStore;
  readonly #maxBytes: () => number;
  readonly #host: ResultsHost["host"];
  readonly #commits: ResultsHost["commits"];
  readonly #footprint: ResultsHost["footprint"];
  readonly #plan: Plan;
  /** Some may be: else nothing has to be looked for. */
  #some: boolean;

  constructor({ store, bus }: ResultsContext, { host, commits, footprint }: ResultsHost, plan: Plan, job: Graph) {
    this.#store = store;
    this.#maxBytes = () => bus.maxPayload;
    this.#host = host;
    this.#commits = commits;
    this.#footprint = footprint;
    this.#plan = plan;
    this.#some = false;
    for (const { apart } of job.functions) this.#some ||= apart !== undefined;
  }

  /**
   * Commits `next`, which these events have led to, and tells once what has become of it; large results are stored before it (STORED-1).
   * That it is refused is told when nothing is left in it that could be put besides.
   */
  commit(next: JobState & Graph, mail: readonly Event[], done: (result: CommitResult) => void): void {
    const large = this.#largeIn(next, mail);
    if (large.length > 0) {
      this.#commitWithout(next, large, { type: "refused", why: TOO_LARGE }, done);
      return;
    }
    this.#commits.commit(next, (result) => {
      const largest = typeof result === "object" ? largestInline(next, result.overBytes) : NONE;
      if (largest.length === 0) done(result);
      else this.#commitWithout(next, largest, result, done);
    });
  }

  /** Commits it when these results of it are besides it; `refused` is told if one of them does not fit into a message by itself. */
  #commitWithout(
    next: JobState & Graph,
    indexes: readonly number[],
    refused: CommitResult,
    done: (result: CommitResult) => void,
  ): void {
    const work = async () => {
      const smaller = await this.#putApart(next, indexes);
      if (this.#host.isGone) return;
      // COMMIT-3: a job that has failed ends without its payloads then.
      if (smaller === "refused" && next.state === "failed") this.#commits.commit(withoutPayloads(next), done);
      else if (smaller === "refused") done(refused);
      else if (smaller !== "others") this.commit(smaller, [], done);
      else await this.#tellOthers(next, done);
    };
    work().catch((error) => this.#host.onFault(error));
  }

  /** Somebody else has written the job. */
  async #tellOthers(next: JobState & Graph, done: (result: CommitResult) => void): Promise<void> {
    let found: Found | undefined;
    await this.#host.insist("cannot read the job again", async () => {
      found = await this.#commits.compare();
    });
    if (this.#host.isGone) return;
    if (found) done(found);
    else this.commit(next, [], done); // it is ours after all
  }

  /** The entries that have ended by these events, and whose results are to be stored besides before `next` is (STORED-1). */
  #largeIn(next: JobState & Graph, mail: readonly Event[]): readonly number[] {
    let large: number[] | undefined;
    for (const event of mail) {
      if (event.type === "items" && event.report.end && "apart" in event.report.end) this.#some = true;
      const value = largeValueOf(event);
      if (value === undefined || isEnded(next) || !("index" in event)) continue;
      const fn = next.functions.at(event.index);
      if (fn?.finished_at === undefined || fn.result !== value) continue;
      large ??= [];
      if (!large.includes(event.index)) large.push(event.index);
    }
    return large ?? NONE;
  }

  /**
   * The same state with these results besides, once they are stored. `refused`: one of them does not fit into a message by itself.
   * `others`: the job has another owner.
   */
  async #putApart(
    next: JobState & Graph,
    indexes: readonly number[],
  ): Promise<(JobState & Graph) | "refused" | "others"> {
    let { functions } = next;
    for (const index of indexes) {
      let outcome: StoreOutcome = { type: "others" };
      await this.#host.insist("cannot store a result", async () => {
        outcome = await storeResult(this.#store, next, index, () => this.#commits.isOurs());
      });
      const { type, bytes = 0 } = outcome as StoreOutcome;
      if (type !== "stored") return type;
      const fn = functionAt(next, index);
      this.#some = true;
      this.#plan.loaded.set(index, fn.result);
      functions = functions.with(index, asApart(fn, bytes));
    }
    this.#measure({ ...next, functions });
    return { ...next, functions };
  }

  /** What an attempt that is due needs, or one of them, and has not been read. */
  missing(job: Graph, due: readonly AttemptAddress[]): readonly number[] {
    if (!this.#some) return NONE;
    const missing = new Set<number>();
    for (const address of due) {
      if (this.unfit(job, address)) continue;
      for (const index of missingFor(job, address, this.#plan)) missing.add(index);
    }
    return missing.size === 0 ? NONE : [...missing];
  }

  /** Reads them. One that cannot be had fails what needs it (`LostValue`). Nothing comes of that for the machine to deal with. */
  async load(job: Graph, indexes: readonly number[]): Promise<[]> {
    for (const index of indexes) {
      await this.#host.insist("cannot read a result", async () => {
        const found = await loadAny(this.#store, job, index);
        this.#plan.loaded.set(index, found instanceof LostValue ? found : found.value);
      });
    }
    this.#measure(job);
    return [];
  }

  /** Reads what was missed while a state was worked out that is not stored yet. */
  loadFor(job: Graph, { index, functions }: MissingValue): Promise<[]> {
    return this.load({ ...job, functions }, [index]);
  }

  /** What `call` gives, which reads results, once those are there that it asks for. */
  async withLoaded<T>(job: Graph, call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof MissingValue)) throw error;
        await this.load(job, [error.index]);
      }
    }
  }

  /** Why an attempt cannot be sent, as the results that it would carry do not fit into a message; they are not even read then. */
  unfit(job: Graph, address: AttemptAddress): Event | undefined {
    if (!this.#some) return undefined;
    let bytes = 0;
    for (const index of carriedApart(job, address, this.#plan)) bytes += functionAt(job, index).apart ?? 0;
    const most = this.#maxBytes();
    if (bytes * LEAST_SHARE <= most) return undefined;
    const { index, attempt, undo } = address;
    const message = tooMuch(`the results that it is due have ${bytes} bytes, and a message takes ${most}`);
    const error = { code: "payload_too_large", name: "PayloadTooLarge", message } as const;
    return { type: "failed", index, attempt, error, retryable: false, random: 0, ...(undo && { undo }) };
  }

  /** STORED-2 */
  forget(job: Graph): void {
    const { loaded } = this.#plan;
    if (loaded.size === 0) return;
    const needed = new Set<number>();
    for (const branch of job.live) {
      if (branch.wait !== "none" && branch.wait !== "items") continue;
      for (const index of apartFor(job, branch, this.#plan)) needed.add(index);
    }
    for (const index of loaded.keys()) if (!needed.has(index)) loaded.delete(index);
    this.#measure(job);
  }

  /** The job has ended: what is stored of it goes when its state does (RESULTS-3). What fails is left to the sweep. */
  async ended(job: Graph): Promise<void> {
    if (!this.#some) return;
    this.#plan.loaded.clear();
    try {
      for (let index = 0; index < job.functions.length; index++) {
        const fn = functionAt(job, index);
        if (fn.apart === undefined || hasItems(fn)) continue;
        const key = resultKey(job.job_id, index);
        const part = await this.#store.part(key);
        if (part && isNamed(job, index, part.data)) this.#store.expirePart(key, part.data, part.sequence, job.keep_ms);
      }
    } catch (error) {
      if (!isAsyncError(error)) throw error;
    }
  }

  #measure(job: Graph): void {
    let bytes = 0;
    for (const [index, value] of this.#plan.loaded)
      if (!(value instanceof LostValue)) bytes += job.functions.at(index)?.apart ?? 0;
    this.#footprint.holdBesides(BYTES_PER_BYTE * bytes);
  }
}

/** A result that the event has brought, if it is large. */
function largeValueOf(event: Event): unknown {
  if (event.type === "succeeded") return event.bytes === undefined || event.undo ? undefined : event.result;
  let value: unknown;
  if (event.type === "signalled") value = event.payload;
  else if (event.type === "child_ended" && event.outcome.state === "completed") value = event.outcome.result;
  return value !== undefined && sizeOf(value) > APART_BYTES ? value : undefined;
}
