/**
 * Tells once per spell of what happens again and again. A spell begins with the first time, which is told at once. What comes
 * until it is over is counted only, and that is told at its end.
 *
 * Example: NATS has no leader for 40 s, and 1,600 jobs cannot record their end. That is two lines in the log: one for the first of
 * them, and one at the end, "after 41 s, 1,600 times".
 *
 * SPELL-1  It is over when nothing has come for `quietMs`, and all that has come says that it is over itself (`isOver`).
 * SPELL-2  At most `MAX_OPEN` spells are open. What is beyond counts for one that is.
 */

/** How a spell was, when it is over. */
export interface SpellEnd {
  times: number;
  /** From its first time to its last one, or until all was seen to be over. */
  forMs: number;
}

export interface SpellTold {
  /** Told of the first time, at once. */
  first: () => void;
  /** Told of the end, unless it came once only and says nothing of its end. */
  over: (end: SpellEnd) => void;
}

interface Spell {
  told: SpellTold;
  begunAt: number;
  lastAt: number;
  times: number;
  /** It has been told when something is over. */
  knowsEnd: boolean;
  /** What is not over yet, as far as was seen. */
  open: (() => boolean)[];
}

const LOOK_MS = 1_000;
const MAX_OPEN = 100;

export class Spells {
  readonly #quietMs: number;
  readonly #spells = new Map<string, Spell>();
  #timer: NodeJS.Timeout | undefined;

  /** @param quietMs when nothing has come for so long, it is over */
  constructor(quietMs = 10_000) {
    this.#quietMs = quietMs;
  }

  /**
   * It has happened. What has the same `key` is of one spell.
   *
   * @param isOver says later whether what has happened is over, such as an outage for whom it concerns
   */
  note(key: string, told: SpellTold, isOver?: () => boolean): void {
    const now = performance.now();
    const spell = this.#spells.get(key) ?? this.#begin(key, told, now);
    spell.times += 1;
    spell.lastAt = now;
    if (!isOver) return;
    spell.knowsEnd = true;
    spell.open.push(isOver);
  }

  /** Ends all spells. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const [key, spell] of this.#spells) this.#end(key, spell, performance.now());
  }

  /** SPELL-2 */
  #begin(key: string, told: SpellTold, now: number): Spell {
    if (this.#spells.size >= MAX_OPEN) for (const any of this.#spells.values()) return any;
    const spell: Spell = { told, begunAt: now, lastAt: now, times: 0, knowsEnd: false, open: [] };
    this.#spells.set(key, spell);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
    told.first();
    return spell;
  }

  /** SPELL-1 */
  #look(): void {
    const now = performance.now();
    for (const [key, spell] of this.#spells) {
      if (spell.open.length > 0) {
        spell.open = spell.open.filter((isOver) => !isOver());
        spell.lastAt = now;
      } else if (now - spell.lastAt >= (spell.knowsEnd ? LOOK_MS : this.#quietMs)) this.#end(key, spell, spell.lastAt);
    }
    if (this.#spells.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #end(key: string, { told, times, begunAt, knowsEnd }: Spell, at: number): void {
    this.#spells.delete(key);
    if (times > 1 || knowsEnd) told.over({ times, forMs: Math.round(at - begunAt) });
  }
}

/** @example inWords({ times: 1600, forMs: 41_000 }) // "over after 41 s, 1600 times" */
export function inWords({ times, forMs }: SpellEnd): string {
  return `over after ${Math.ceil(forMs / 1_000)} s, ${times === 1 ? "once" : `${times} times`}`;
}
