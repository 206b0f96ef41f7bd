import type { JobState } from "../job/state.ts";
import { footprintOf, type Memory } from "./memory.ts";

/** What one live job takes of the memory of the process, in bytes as `memory.ts` counts them. */
export class Footprint {
  readonly #memory: Memory;
  #bytes: number;
  #mode: "staying" | "passing" | "gone" = "staying";

  constructor(memory: Memory, bytes: number) {
    this.#memory = memory;
    this.#bytes = bytes;
    memory.hold(bytes);
  }

  /** It is too large for what is left: it waits outside of memory until there is room. */
  get mustWait(): boolean {
    return this.#memory.mustWait(this.#bytes, this.#memory.used - this.#bytes);
  }

  /** It is being stored, to wait outside of memory. */
  pass(): void {
    if (this.#mode !== "staying") return;
    this.#mode = "passing";
    this.#memory.pass(this.#bytes);
  }

  /** Its state has grown to so many bytes as it is stored. */
  measure(state: JobState, storedBytes: number): void {
    if (this.#mode !== "staying") return;
    const bytes = footprintOf(state, storedBytes);
    this.#memory.hold(bytes - this.#bytes);
    this.#bytes = bytes;
  }

  release(): void {
    if (this.#mode === "passing") this.#memory.releasePassing(this.#bytes);
    else if (this.#mode === "staying") this.#memory.release(this.#bytes);
    this.#mode = "gone";
  }
}
