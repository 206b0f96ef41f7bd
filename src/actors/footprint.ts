import type { JobState } from "../job/state.ts";
import { footprintOf, type Memory } from "./memory.ts";

/** What one live job takes of the memory of the process, in bytes as `memory.ts` counts them. */
export class Footprint {
  readonly #memory: Memory;
  #bytes: number;
  /** Of what is held besides its state. */
  #besides = 0;
  #mode: "staying" | "passing" | "gone" = "staying";

  constructor(memory: Memory, bytes: number) {
    this.#memory = memory;
    this.#bytes = bytes;
    memory.hold(bytes);
  }

  /** It is too large for what is left: it waits outside of memory until there is room. */
  get mustWait(): boolean {
    return this.#memory.mustWait(this.#all, this.#memory.used - this.#all);
  }

  /** It is being stored, to wait outside of memory. */
  pass(): void {
    if (this.#mode !== "staying") return;
    this.#mode = "passing";
    this.#memory.pass(this.#all);
  }

  get #all(): number {
    return this.#bytes + this.#besides;
  }

  /** So much is held besides its state: results that were read. */
  holdBesides(bytes: number): void {
    if (this.#mode !== "staying") return;
    this.#memory.hold(bytes - this.#besides);
    this.#besides = bytes;
  }

  /** Its state has grown to so many bytes as it is stored. */
  measure(state: JobState, storedBytes: number): void {
    if (this.#mode !== "staying") return;
    const bytes = footprintOf(state, storedBytes);
    this.#memory.hold(bytes - this.#bytes);
    this.#bytes = bytes;
  }

  release(): void {
    if (this.#mode === "passing") this.#memory.releasePassing(this.#all);
    else if (this.#mode === "staying") this.#memory.release(this.#all);
    this.#mode = "gone";
  }
}
