/**
 * Sends the planned signals, each with a key of its own, and keeps a record of what was answered.
 *
 * SIGNALLER-1  A signal is `answered` only when the client said so: from then on it must not be lost.
 * SIGNALLER-2  One whose answer does not come is sent again with the same key, until it is answered or its job is known to have ended.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "../../src/client/client.ts";
import { type ErrorCode, isAsyncError } from "../../src/job/errors.ts";
import { Background } from "./background.ts";
import type { SignalPlan } from "./graph-plan.ts";
import { type GraphPlan, isGraphPlan, type JobPlan } from "./plan.ts";

export interface SignalRecord {
  name: string;
  /** Its payload is `{n}`. */
  n: number;
  /** When it was sent first, ms since 1970. */
  sentAt: number;
  /** When its answer came, and the number that was in it. */
  answer?: { at: number; number: number };
  /** The numbers in the answers to the same signal once more. */
  again: number[];
  /** Why it was refused for good. */
  refusal?: ErrorCode;
}

const PAUSE_MS = 300;
/** So long a job may be unknown: longer than an outage, after which its submission may be stored that was on its way. */
const UNKNOWN_LIMIT_MS = 10_000;
const AGAIN_AFTER_MS = 1_000;

export class Signaller {
  /** By job id. */
  readonly records = new Map<string, SignalRecord[]>();
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #background = new Background();

  constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /** The job was submitted, as far as is known. */
  begin(plan: JobPlan): void {
    if (!isGraphPlan(plan)) return;
    for (const signal of plan.graph.signals) this.#background.track(this.#send(plan, signal));
  }

  /** Waits until all are through. @throws what failed first, if that was no fault of the bus */
  settle(): Promise<void> {
    return this.#background.settle();
  }

  async #send({ id }: GraphPlan, { name, n, afterMs, again }: SignalPlan): Promise<void> {
    await delay(afterMs, undefined, { signal: this.#signal });
    const record: SignalRecord = { name, n, sentAt: Date.now(), again: [] };
    const list = this.records.get(id);
    if (list) list.push(record);
    else this.records.set(id, [record]);
    const number = await this.#untilAnswered(id, record);
    if (number === undefined) return;
    record.answer = { at: Date.now(), number };
    if (!again) return;
    await delay(AGAIN_AFTER_MS, undefined, { signal: this.#signal });
    const repeated = await this.#untilAnswered(id, record);
    if (repeated !== undefined) record.again.push(repeated);
  }

  /** The number that it got; undefined if it was refused. */
  async #untilAnswered(id: string, record: SignalRecord): Promise<number | undefined> {
    const { name, n } = record;
    for (const limit = performance.now() + UNKNOWN_LIMIT_MS; ; ) {
      try {
        return (await this.#client.signal(id, name, { n }, { key: `key-${n}` })).number;
      } catch (error) {
        if (!isAsyncError(error)) throw error;
        const isUnknown = error.code === "job_not_found" && performance.now() < limit;
        if (!isUnknown && isRefusal(error.code)) {
          if (!record.answer) record.refusal = error.code;
          return undefined;
        }
      }
      await delay(PAUSE_MS, undefined, { signal: this.#signal });
    }
  }
}

const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  "job_ended",
  "job_not_found",
  "unknown_signal",
  "signals_full",
  "invalid_request",
]);

function isRefusal(code: ErrorCode): boolean {
  return REFUSALS.has(code);
}
