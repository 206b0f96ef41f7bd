/**
 * Durable timers: one per job, kept by the server (ADR-51 message schedules), fired into `job.wake.<id>` up to 250 ms
 * late, also after a restart of the server.
 *
 * T1  A job has at most one timer; a new one replaces the old.
 * T2  A timer has a number, which the wake carries. Scheduling the same number again within the stream's duplicate
 *     window (two minutes) changes nothing, even if it has fired: so it is safe to repeat after a crash.
 */
import { AsyncError } from "../job/errors.ts";
import type { Bus } from "./connection.ts";
import { headersOf } from "./raw-headers.ts";
import { timerSubject, wakeSubject } from "./subjects.ts";

export class Timers {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * Fires timer `number` of the job at `at` (ms since 1970; the past is "now").
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async schedule(jobId: string, at: number, number: number): Promise<void> {
    await this.#set(jobId, at, number, `${jobId}:${number}`);
  }

  /** Fires a timer that is set at once. @throws AsyncError of the bus */
  async hurry(jobId: string, number: number): Promise<void> {
    await this.#set(jobId, Date.now(), number, `${jobId}:${number}:now`);
  }

  async #set(jobId: string, at: number, number: number, messageId: string): Promise<void> {
    const headers = headersOf({
      "Nats-Schedule": `@at ${new Date(at).toISOString()}`,
      "Nats-Schedule-Target": wakeSubject(jobId),
      "Nats-Msg-Id": messageId,
    });
    await this.#bus.mux.publish(timerSubject(jobId), String(number), headers);
  }
}

/** The number of the timer that fired. */
export function timerNumberOf(body: Uint8Array): number {
  const number = Number(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
  if (!Number.isSafeInteger(number) || number < 1)
    throw new AsyncError("undecodable", "a wake carries no timer number");
  return number;
}
