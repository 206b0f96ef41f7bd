/**
 * How much work an evaluation may be. The library limits the text of an expression, not what it does:
 * `data.a.filter(x, x in data.b)` looks into one list for each element of another. So whatever takes longer for larger values is
 * counted in steps before it is done. A step is an element that is looked at, a node that is evaluated for one, or a few
 * characters of text, and takes 10 to 100 ns.
 */
import { EvaluationProblem } from "./expression-error.ts";

/** Of one evaluation. So many take 0.1 to 0.7 s; filtering 100,000 small objects takes less. */
export const MAX_STEPS = 4_000_000;
/** Characters that are a step where text is copied or counted. Searching is a step for each. */
const CHARACTERS_PER_STEP = 4;
/** A day or hour in a time zone: the host formats a date for it. */
const STEPS_OF_TIME_ZONE = 2_000;
/** Longest text to look for, or to join with, in characters: a search may compare all of it at each place of the other text. */
const MAX_NEEDLE_LENGTH = 256;
/** Longest duration, in characters: the library's pattern for it takes the square of that and more. */
const MAX_DURATION_LENGTH = 40;

export class Work {
  #left = MAX_STEPS;
  // One error for all: where an expression catches it (`a || b`, `exists`), thousands would be made.
  readonly #tooMuch = new EvaluationProblem(
    `takes more than ${MAX_STEPS} steps: its lists or texts are too large for what it does with them; let a worker do it`,
  );

  begin(): void {
    this.#left = MAX_STEPS;
  }

  get spent(): number {
    return MAX_STEPS - this.#left;
  }

  /** @throws EvaluationProblem if that is too much */
  step(steps = 1): void {
    this.#left -= steps;
    this.require();
  }

  /** An expression can catch what `step` throws, so this is asked at the end too. @throws EvaluationProblem */
  require(): void {
    if (this.#left < 0) throw this.#tooMuch;
  }

  /** Text that is copied or counted. */
  text(value: unknown): unknown {
    if (typeof value === "string" || value instanceof Uint8Array) this.step(1 + value.length / CHARACTERS_PER_STEP);
    return value;
  }

  /** Text that is searched or cut in pieces. */
  search(value: unknown): unknown {
    if (typeof value === "string") this.step(1 + value.length);
    return value;
  }

  /** Text that is looked for. */
  needle(value: unknown): unknown {
    if (typeof value !== "string" || value.length <= MAX_NEEDLE_LENGTH) return value;
    throw new EvaluationProblem(`looks for, or joins with, a text of more than ${MAX_NEEDLE_LENGTH} characters`);
  }

  duration(value: unknown): unknown {
    if (typeof value !== "string" || value.length <= MAX_DURATION_LENGTH) return value;
    throw new EvaluationProblem(`takes a text of more than ${MAX_DURATION_LENGTH} characters for a duration`);
  }

  timeZone(value: unknown): unknown {
    this.step(STEPS_OF_TIME_ZONE);
    return value;
  }

  /** A list that is copied, but not what is in it. */
  flat(value: unknown): unknown {
    if (Array.isArray(value)) this.step(1 + value.length);
    return this.text(value);
  }

  /** What is compared. */
  deep(value: unknown): unknown {
    if (value instanceof Map) {
      this.step(1 + value.size);
      for (const one of value.values()) this.deep(one);
    } else if (Array.isArray(value)) {
      this.step(1 + value.length);
      for (const one of value) this.deep(one);
    } else if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      for (const one of Object.values(value)) this.deep(one);
    }
    return this.text(value);
  }

  /** What is looked into for an element or a key. */
  within(value: unknown): unknown {
    return Array.isArray(value) ? this.deep(value) : value;
  }

  /** What is gone through, with the steps of one turn. */
  each(value: unknown, steps: bigint): unknown {
    const size = Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0;
    this.step(1 + size * Number(steps));
    return value;
  }

  /** What joining makes, before it is made. The separator is a needle. */
  joined(list: unknown): unknown {
    if (!Array.isArray(list)) return list;
    for (const one of list) this.step(1 + (typeof one === "string" ? one.length : 0) / CHARACTERS_PER_STEP);
    return list;
  }
}
