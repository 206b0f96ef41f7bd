import type { Receipt } from "../bus/tokens/delivery.ts";
import type { Mux } from "../bus/wire/mux.ts";

/** A lease is extended three times while it lasts: so this is three times as long. */
const MOST_MISSED_ROUNDS = 9;

/**
 * The durable token of a live job, held by one actor: an un-acked submission (number 0) or an un-acked wake of timer
 * `number`. While it is held it is extended; when its holder dies, the server gives it to another supervisor.
 */
export class Lease {
  readonly number: number;
  #receipt: Receipt;
  readonly #ackWaitMs: number;
  #extendedAt = performance.now();
  #extendedAtWall = Date.now();
  #missedRounds = 0;

  /** `ackWaitMs` is how long it lasts without being extended. */
  constructor(number: number, receipt: Receipt, ackWaitMs: number) {
    this.number = number;
    this.#receipt = receipt;
    this.#ackWaitMs = ackWaitMs;
  }

  /**
   * True while nobody else can have it; nothing is begun on a lease that is not valid. One that has run out is not extended any
   * more, as that would extend the lease of whoever got the message next; but the message may be delivered again.
   *
   * The monotonic clock of a suspended machine stands still, and the wall clock may be set; so it has run out when it has by
   * either of them. One that has not, but was taken to have, costs a redelivery.
   */
  get valid(): boolean {
    return (
      performance.now() - this.#extendedAt < this.#ackWaitMs && Date.now() - this.#extendedAtWall < this.#ackWaitMs
    );
  }

  /** Counts the rounds since it ran out. Returns whether its message should have come again by now, if it ever will. */
  missRound(): boolean {
    this.#missedRounds += 1;
    return this.#missedRounds > MOST_MISSED_ROUNDS;
  }

  /**
   * Takes over from a delivery: of the same message again, the receipt of the newest being the one that is kept; or, where
   * this one has run out, of another message that is the same token. A timer or place can be two messages, if it was made
   * once more by who did not know that it was there; and the message of a lease that has run out may be gone.
   *
   * @returns false if it is neither: this lease is good without it
   */
  adopt(number: number, receipt: Receipt): boolean {
    const same = receipt.stream === this.#receipt.stream && receipt.sequence === this.#receipt.sequence;
    if (!same && (number === 0 || number !== this.number || this.valid)) return false;
    this.#receipt = receipt;
    this.#extendedAt = performance.now();
    this.#extendedAtWall = Date.now();
    this.#missedRounds = 0;
    return true;
  }

  /**
   * Extends it, as far as the server confirms: while it has no leader, what is sent to it is lost.
   *
   * The server confirms to whoever asks, also when the message is another's by now, or acknowledged. So a confirmation counts only if
   * it comes while the lease is valid without it: the server has then dealt with it in time.
   *
   * @throws AsyncError of the bus: it may be extended or not
   */
  async extend(mux: Mux): Promise<void> {
    const at = performance.now();
    const atWall = Date.now();
    await this.#receipt.working(mux, this.#ackWaitMs / 2);
    // It may have been delivered again meanwhile, which is later.
    if (!this.valid || at < this.#extendedAt) return;
    this.#extendedAt = at;
    this.#extendedAtWall = atWall;
    this.#missedRounds = 0;
  }

  /** Ends the token. Only after the next token or the end of the job is stored. */
  release(): void {
    this.#receipt.ack();
  }

  /** Gives the token to another supervisor, at once or after a time. */
  handOver(delayMs?: number): void {
    this.#receipt.nak(delayMs);
  }
}
