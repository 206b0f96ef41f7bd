import type { Logger } from "pino";
import { inWords, Spells } from "../util/spells.ts";

/** Writes to a log that requests are refused although nothing is wrong with them: the first of a spell, and then how many there were. */
export class Refusals {
  readonly #spells = new Spells();
  readonly #log: Pick<Logger, "warn" | "info"> | undefined;

  constructor(log: Pick<Logger, "warn" | "info"> | undefined) {
    this.#log = log;
  }

  /** Answered with 503. */
  note(code: string, message: string): void {
    const first = () => this.#log?.warn({ code }, `requests are refused: ${message}`);
    const over = (end: { times: number; forMs: number }) =>
      this.#log?.info({ code, ...end }, `requests were refused (${code}): ${inWords(end)}`);
    this.#spells.note(code, { first, over });
  }

  close(): void {
    this.#spells.close();
  }
}
