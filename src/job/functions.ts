/**
 * The list of a job's functions. A state is never changed: each step makes a new one, with another function in its list. With
 * a plain array, a job of a thousand functions would copy all of them at each step, and the garbage collector would be busy
 * with these copies. So long lists are kept in chunks, and a step copies one chunk.
 */
import type { FunctionState } from "./function-state.ts";

/** As much of an array as is used of them: that of a short job is one. */
export interface Functions extends Iterable<FunctionState> {
  readonly length: number;
  at(index: number): FunctionState | undefined;
  /** The same with another function at `index`. */
  with(index: number, fn: FunctionState): Functions;
  map<T>(callback: (fn: FunctionState, index: number) => T): T[];
  slice(begin: number, end: number): FunctionState[];
}

/** The indexes at which two lists of the same job differ, in order. What they share is not looked at one by one. */
export function changedIndexes(now: Functions, before: Functions): number[] {
  if (now === before) return [];
  if (now instanceof ChunkedFunctions && before instanceof ChunkedFunctions) return now.changedSince(before);
  const changed: number[] = [];
  for (let index = 0; index < now.length; index++) if (now.at(index) !== before.at(index)) changed.push(index);
  return changed;
}

const CHUNK_BITS = 5;
const CHUNK = 1 << CHUNK_BITS;
/** To copy fewer costs less than to find one in a list of arrays. */
const MANY = 64;

export function functionList(functions: FunctionState[]): Functions {
  return functions.length <= MANY ? functions : ChunkedFunctions.of(functions);
}

/** Arrays of `CHUNK` functions, of which a change copies one, and the list of them. */
class ChunkedFunctions implements Functions {
  readonly length: number;
  readonly #chunks: FunctionState[][];

  private constructor(chunks: FunctionState[][], length: number) {
    this.#chunks = chunks;
    this.length = length;
  }

  static of(functions: FunctionState[]): ChunkedFunctions {
    const chunks: FunctionState[][] = [];
    for (let begin = 0; begin < functions.length; begin += CHUNK) chunks.push(functions.slice(begin, begin + CHUNK));
    return new ChunkedFunctions(chunks, functions.length);
  }

  at(index: number): FunctionState | undefined {
    return this.#chunks[index >> CHUNK_BITS]?.[index & (CHUNK - 1)];
  }

  with(index: number, fn: FunctionState): ChunkedFunctions {
    const number = index >> CHUNK_BITS;
    const chunk = this.#chunks[number];
    if (!chunk) throw new RangeError(`there is no function ${index}`);
    return new ChunkedFunctions(this.#chunks.with(number, chunk.with(index & (CHUNK - 1), fn)), this.length);
  }

  changedSince(before: ChunkedFunctions): number[] {
    const changed: number[] = [];
    for (const [number, chunk] of this.#chunks.entries()) {
      const other = before.#chunks[number];
      if (chunk === other) continue;
      for (const [at, fn] of chunk.entries()) if (fn !== other?.[at]) changed.push(number * CHUNK + at);
    }
    return changed;
  }

  map<T>(callback: (fn: FunctionState, index: number) => T): T[] {
    return this.#chunks.flat().map(callback);
  }

  slice(begin: number, end: number): FunctionState[] {
    return this.#chunks.flat().slice(begin, end);
  }

  [Symbol.iterator](): Iterator<FunctionState> {
    return this.#chunks.flat().values();
  }
}
