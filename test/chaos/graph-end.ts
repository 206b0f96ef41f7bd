/**
 * How each entry of a planned graph must end: what it is handed, and what it gives. It follows from the document and its data, and of
 * signals from what has come. Workers work out the same from what they are handed; nobody else does.
 */
import type { FailureCode } from "../../src/job/failure.ts";
import { type Entry, type Graph, type GraphData, type Input, neededBy, type Work } from "./graph-plan.ts";

const MODULUS = 1_000_003;

/** One number of all that an execution is handed. */
export function inputOf(inputs: readonly unknown[], results: readonly unknown[]): number {
  return [...inputs, ...results].reduce((sum: number, value) => (sum * 31 + numberOf(value)) % MODULUS, 7);
}

export function resultFrom(salt: number, input: number): number {
  return (input * 31 + salt) % MODULUS;
}

function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 11 : 13;
  if (typeof value === "string")
    return [...value].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % MODULUS, 1);
  if (Array.isArray(value)) return value.reduce((sum: number, one) => (sum * 31 + numberOf(one)) % MODULUS, 19);
  if (typeof value === "object" && value !== null && "n" in value) return 17 + Number(value.n);
  return 0; // of what was skipped, slept, or failed and was passed over
}

/** Of an entry that waits for a signal: what came of it, as far as that is known. */
export type Seen = { payload: unknown } | "timed out" | "unknown";

export interface EntryEnd {
  /** `unreached`: it follows what fails, or what is not known to have ended. */
  how: "returned" | "skipped" | "passed over" | "mended" | "failed" | "slept" | "signalled" | "unreached";
  /** What others find as its result. */
  value: unknown;
  /** Of the execution of its own function, if it is executed. */
  input?: number;
  /** Of the one in its place. */
  mendInput?: number;
  /** Why it fails, whether something deals with that or not. */
  code?: FailureCode;
}

const UNREACHED: EntryEnd = { how: "unreached", value: null };

/**
 * How all of them end.
 *
 * @param dataOf the data that an entry reads: a retry by hand may have changed it
 */
export function endsOf(
  graph: Pick<Graph, "entries">,
  dataOf: (index: number) => GraphData,
  seen: (index: number) => Seen,
): EntryEnd[] {
  const ends: EntryEnd[] = [];
  for (const [index, entry] of graph.entries.entries()) {
    const before = neededBy(graph, index).map((one) => ends[one] ?? UNREACHED);
    const isReached = before.every(({ how }) => how !== "unreached" && how !== "failed");
    ends.push(isReached ? endOf(entry, index, before, ends, dataOf(index), seen) : UNREACHED);
  }
  return ends;
}

function endOf(
  entry: Entry,
  index: number,
  before: EntryEnd[],
  ends: EntryEnd[],
  data: GraphData,
  seen: (index: number) => Seen,
): EntryEnd {
  const { when, action } = entry;
  if (when && !(Number(readBy(when.of, ends, data)) > when.above)) return { how: "skipped", value: null };
  switch (action.type) {
    case "sleep":
      return { how: "slept", value: null };
    case "wait": {
      const what = seen(index);
      if (what === "unknown") return UNREACHED;
      if (what !== "timed out") return { how: "signalled", value: what.payload };
      return afterError(entry, "signal_timeout", before, undefined);
    }
    case "work": {
      const values = action.inputs.map((input) => readBy(input, ends, data));
      const input = inputOf(
        values,
        before.map(({ value }) => value),
      );
      const code = failureOf(action, data);
      return code
        ? afterError(entry, code, before, input)
        : { how: "returned", value: resultFrom(action.salt, input), input };
    }
  }
}

/** Why an entry fails whatever is lost meanwhile; undefined if it does not. */
function failureOf(work: Work, data: GraphData): FailureCode | undefined {
  if (failuresOf(work, data) >= work.retryLimit) return "function_failed";
  return work.unexpected ? "expectation_failed" : undefined;
}

/** How many attempts throw at most. */
export function failuresOf({ failures }: Work, data: GraphData): number {
  return failures === "data" ? data.failures : failures;
}

function afterError({ onError }: Entry, code: FailureCode, before: EntryEnd[], input: number | undefined): EntryEnd {
  const known = { code, ...(input !== undefined && { input }) };
  if (onError === "continue") return { how: "passed over", value: null, ...known };
  if (onError === undefined || onError === "fail") return { how: "failed", value: null, ...known };
  const mendInput = inputOf(
    [code],
    before.map(({ value }) => value),
  );
  if (onError.fails) return { how: "failed", value: null, ...known, mendInput };
  return { how: "mended", value: resultFrom(onError.salt, mendInput), ...known, mendInput };
}

function readBy(input: Input, ends: EntryEnd[], { n }: GraphData): unknown {
  if (input.of === "data") return n;
  const end = ends[input.index] ?? UNREACHED;
  return input.of === "skipped" ? end.how === "skipped" : end.value;
}
