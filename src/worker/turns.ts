/**
 * Whose turn it is when a worker of several functions, which was full, has a slot again. Without turns the slot would go to
 * whoever sends first, which is the function with the most waiting: a slow one, and a quick one would starve beside it.
 *
 * A function for which something was sent of late is *wanted*. Each wanted function has turns of its own, the others have one
 * together: so who serves fifty functions of which two are busy waits for these two. A turn is for one slot. If nothing comes
 * within `turnMs`, the functions that had it are wanted no more, and the next join them; if there are none left, everybody
 * may. A worker that is not full is open: everybody may, and there are no turns.
 *
 * Example: `charge` is slow and has many waiting, `receipt` is quick. A slot is free: `receipt` may, and nobody else. If one
 * comes, the next slot is for `charge`. If none comes, `charge` may as well, 10 ms later; and at the next slots
 * `receipt` is asked first again, but no more often than each 20 turns.
 *
 * It decides and keeps the time of turns. It knows nothing of queue groups and executions.
 *
 * TURNS-1  Of two wanted functions the one whose last turn is longer ago comes first.
 * TURNS-2  A turn admits one attempt.
 */

/** What is remembered of a function. */
export interface TurnTaker {
  /** Something was sent for it since its last turn. */
  wanted: boolean;
  /** Number of its last turn. */
  turn: number;
}

/** One slot, and who may take it. */
interface Turn<F> {
  takers: F[];
  timer: NodeJS.Timeout | undefined;
}

/**
 * How long a function may take a slot before others may as well, where the way to the server is short; else it is a few times
 * as long as that. It has to suffice for an announcement and the invocation that answers it.
 */
const TURN_MS = 10;
const TURN_ROUND_TRIPS = 4;
const MAX_TURN_MS = 100;
/** How many turns it is between two that nobody may want: each costs a slot `turnMs`, so 5 % of one slot at most. */
const QUIET_TURNS = 20;

export class Turns<F extends TurnTaker> {
  readonly #takers: readonly F[];
  readonly #turnMs: number;
  readonly #onAdmitted: (takers: readonly F[]) => void;
  /** Undefined while open; empty while full. */
  #open: Turn<F>[] | undefined;
  #count = 0;
  /** When those that are not wanted had their last turn: its number, and its time. */
  #quietTurn = 0;
  #quietAt = Number.NEGATIVE_INFINITY;

  /** `onAdmitted` is told who may take a slot as well, because a turn has passed. */
  constructor(takers: readonly F[], turnMs: number, onAdmitted: (takers: readonly F[]) => void) {
    this.#takers = takers;
    this.#turnMs = turnMs;
    this.#onAdmitted = onAdmitted;
  }

  get open(): boolean {
    return this.#open === undefined;
  }

  admits(taker: F): boolean {
    return this.#open === undefined || this.#open.some(({ takers }) => takers.includes(taker));
  }

  /** Those that may take a slot now. */
  get admitted(): readonly F[] {
    return this.#open === undefined ? this.#takers : this.#open.flatMap(({ takers }) => takers);
  }

  /** All slots are taken, and that lasts. */
  full(): void {
    this.#end();
    this.#open = [];
  }

  /** One slot more is free. Returns who may take it besides those who may already. */
  slotFreed(): readonly F[] {
    if (this.#open === undefined) return [];
    const takers = this.#next();
    if (takers === undefined) return this.#openToAll();
    const turn: Turn<F> = { takers, timer: undefined };
    turn.timer = setTimeout(() => this.#pass(turn), this.#turnMs);
    this.#open.push(turn);
    return takers;
  }

  /** An attempt of the function, which was admitted, begins (TURNS-2). Returns who may not any more. */
  taken(taker: F): readonly F[] {
    taker.wanted = true;
    if (this.#open === undefined) return [];
    taker.turn = ++this.#count;
    const index = this.#open.findIndex(({ takers }) => takers.includes(taker));
    const [turn] = index < 0 ? [] : this.#open.splice(index, 1);
    clearTimeout(turn?.timer);
    return turn?.takers.filter((one) => !this.admits(one)) ?? [];
  }

  close(): void {
    this.#end();
    this.#open = undefined;
  }

  #end(): void {
    for (const { timer } of this.#open ?? []) clearTimeout(timer);
  }

  /** Nobody took it. */
  #pass(turn: Turn<F>): void {
    for (const taker of turn.takers) taker.wanted = false;
    const next = this.#next();
    if (next === undefined) {
      this.#onAdmitted(this.#openToAll());
      return;
    }
    turn.takers.push(...next);
    turn.timer = setTimeout(() => this.#pass(turn), this.#turnMs);
    this.#onAdmitted(next);
  }

  #openToAll(): readonly F[] {
    const more = this.#takers.filter((taker) => !this.admits(taker));
    this.#end();
    this.#open = undefined;
    return more;
  }

  /** TURNS-1. Undefined if nobody competes: then all may. */
  #next(): F[] | undefined {
    const others = this.#takers.filter((taker) => !this.admits(taker));
    const quiet = others.filter((taker) => !taker.wanted);
    const wanted = others.filter((taker) => taker.wanted).sort((a, b) => a.turn - b.turn);
    const [first] = wanted;
    const alone = this.#open?.length === 0;
    const now = performance.now();
    const due = quiet.length > 0 && now - this.#quietAt >= QUIET_TURNS * this.#turnMs;
    if (due && (first ? this.#quietTurn <= first.turn : !alone)) {
      this.#quietAt = now;
      this.#quietTurn = ++this.#count;
      return quiet;
    }
    if (!first || (alone && wanted.length === 1)) return undefined;
    first.turn = ++this.#count;
    return [first];
  }
}

/** How long a turn lasts where an answer of the server takes that long. */
export function turnMsFor(roundTripMs: number): number {
  return Math.min(MAX_TURN_MS, Math.max(TURN_MS, TURN_ROUND_TRIPS * roundTripMs));
}
