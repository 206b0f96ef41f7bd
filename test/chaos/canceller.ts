/** Cancels the planned jobs by hand, and keeps a record of what came of it. */
import { setTimeout as delay } from "node:timers/promises";
import { cancelSubject } from "../../src/api/subjects.ts";
import type { Bus } from "../../src/bus/connection.ts";
import { Background } from "./background.ts";
import { isSagaPlan, type JobPlan } from "./plan.ts";
import type { CancelPlan } from "./saga-plan.ts";

/** What was asked for, and the answer: a state of the job, the code of an error, or nothing. */
export interface CancelRecord {
  skip: boolean;
  sentAt: number;
  answer: string | undefined;
}

const ANSWER_LIMIT_MS = 5_000;

export class Canceller {
  /** By job id. */
  readonly records = new Map<string, CancelRecord[]>();
  readonly #bus: Bus;
  readonly #signal: AbortSignal;
  readonly #background = new Background();

  constructor(bus: Bus, signal: AbortSignal) {
    this.#bus = bus;
    this.#signal = signal;
  }

  /** The job was submitted, as far as is known. */
  begin(plan: JobPlan): void {
    if (isSagaPlan(plan) && plan.saga.cancel) this.#background.track(this.#cancel(plan.id, plan.saga.cancel));
  }

  /** Waits until all are through. */
  settle(): Promise<void> {
    return this.#background.settle();
  }

  async #cancel(id: string, { afterMs, skip, skipAfterMs }: CancelPlan): Promise<void> {
    await delay(afterMs, undefined, { signal: this.#signal });
    await this.#ask(id, skip);
    if (skipAfterMs === undefined) return;
    await delay(skipAfterMs, undefined, { signal: this.#signal });
    await this.#ask(id, true);
  }

  /** Once: what is not answered may have been done, or not. */
  async #ask(id: string, skip: boolean): Promise<void> {
    const record: CancelRecord = { skip, sentAt: Date.now(), answer: undefined };
    const list = this.records.get(id);
    if (list) list.push(record);
    else this.records.set(id, [record]);
    const body = JSON.stringify(skip ? { undo: "skip" } : {});
    const reply = await this.#bus.mux.request(cancelSubject(id), body, ANSWER_LIMIT_MS).catch(() => undefined);
    const answer = reply?.json<{ state?: string; code?: string }>();
    record.answer = answer?.code ?? answer?.state;
  }
}
