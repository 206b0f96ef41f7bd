import type { Delivery } from "../bus/delivery.ts";

/**
 * The durable token of a live job, held by one actor: an un-acked submission (number 0) or an un-acked wake of timer
 * `number`. While it is held it is extended; when its holder dies, the server gives it to another supervisor.
 */
export class Lease {
  readonly number: number;
  #delivery: Delivery;
  readonly #ackWaitMs: number;
  #extendedAt = performance.now();

  /** `ackWaitMs` is how long it lasts without being extended. */
  constructor(number: number, delivery: Delivery, ackWaitMs: number) {
    this.number = number;
    this.#delivery = delivery;
    this.#ackWaitMs = ackWaitMs;
  }

  /** Nobody else can have it: nothing is begun on one of which that cannot be said. */
  get valid(): boolean {
    return performance.now() - this.#extendedAt < this.#ackWaitMs;
  }

  /** It cannot be told whether the server has heard of the last extensions. */
  doubt(): void {
    this.#extendedAt = Number.NEGATIVE_INFINITY;
  }

  /** The same message, delivered again: the newest delivery is the one whose acknowledgement subject is kept. */
  adopt(delivery: Delivery): boolean {
    const same = delivery.stream === this.#delivery.stream && delivery.sequence === this.#delivery.sequence;
    if (same) this.#delivery = delivery;
    return same;
  }

  extend(): void {
    this.#extendedAt = performance.now();
    this.#delivery.working();
  }

  /** Ends the token. Only after the next token or the end of the job is stored. */
  release(): void {
    this.#delivery.ack();
  }

  /** Gives the token to another supervisor, at once. */
  handOver(): void {
    this.#delivery.nak();
  }
}
