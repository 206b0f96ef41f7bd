import type { Logger } from "pino";
import { inWords, Spells } from "../util/spells.ts";

/** Writes to a log what may happen in each attempt: the first time in full, then, when it is over, how often it was. */
export class LogSpells {
  readonly #spells = new Spells();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** What has the same `what` is told once per spell; `about` and `message` are those of the first time. */
  error(what: string, about: Record<string, unknown>, message = what): void {
    const first = () => this.#log.error(about, message);
    this.#spells.note(what, { first, over: (end) => this.#log.info(end, `${what}: ${inWords(end)}`) });
  }

  close(): void {
    this.#spells.close();
  }
}
