/** What can be wrong with an entry by itself: that it does one thing, with options that mean something for it, and dates that exist. */
import { dateProblem } from "./dates.ts";
import { inlineJob } from "./document.ts";
import type { Reason } from "./errors.ts";
import { type FunctionSpec, KINDS, MAX_DEPTH } from "./schema.ts";
import { templateProblem } from "./templates.ts";

type Option = keyof FunctionSpec;
type Kind = (typeof KINDS)[number];

const OF_A_SLEEP = {
  args: "is for functions: a sleep calls none",
  retry_options: "is for functions: a sleep is not tried again",
  timeout_ms: "is for functions and signals: a sleep ends by itself",
  for_each: "is for functions and jobs: a sleep has no items",
  undo: "is for what does something: there is nothing to undo in a sleep",
};

/** Options that say nothing, by the field that says what the entry does. */
export const MEANINGLESS: Record<Kind, Partial<Record<Option, string>>> = {
  name: {},
  wait_for: {
    args: "is for functions: who waits for a signal calls none",
    retry_options: "is for functions: a signal is not tried again; timeout_ms says how long it is waited for",
    for_each: "is for functions and jobs: a signal is waited for once",
  },
  sleep_ms: OF_A_SLEEP,
  sleep_until: OF_A_SLEEP,
  job: {
    args: "is for functions: a child job is given data",
    retry_options: "is for functions: give those of the child's functions",
    timeout_ms: "is for functions: give the child a timeout_ms of its own",
    context: "is for functions: a child job is given data",
  },
};

/** Options that say how items are done. */
export const OPTIONS_OF_ITEMS = ["concurrency", "tolerate", "slice", "results", "context"] as const satisfies Option[];

/** Null is "not given". */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

export interface EntryPlace {
  /** JSON pointer to the entry. */
  path: string;
  /** In how many others its document is. */
  depth: number;
  /** Its `for_each` is there, and has been found to be wrong. */
  hasBadItems: boolean;
  /** ms since 1970, to refuse a date that is too far ahead; not given for what has been stored. */
  now: number | undefined;
}

/** Any of its fields may be missing, as its shape may be wrong. */
export function* entryProblems(entry: FunctionSpec, place: EntryPlace): Generator<Reason> {
  const { path, depth, now } = place;
  const [kind, other, ...more] = KINDS.filter((one) => isGiven(entry[one]));
  if (kind === undefined) {
    yield { path, message: "must have one of name, wait_for, sleep_ms, sleep_until and job" };
  } else if (other !== undefined) {
    const all = more.length === 0 ? `both ${kind} and ${other}` : [kind, other, ...more].join(", ");
    yield { path, message: `has ${all}: an entry does one thing, so make an entry of each` };
  } else yield* optionProblems(entry, kind, place);
  for (const [field, value] of templatesOf(entry)) {
    const tooMany = isGiven(value) ? templateProblem(value) : undefined;
    if (tooMany !== undefined) yield { path: `${path}/${field}`, message: tooMany };
  }
  if (depth === MAX_DEPTH && isGiven(entry.job)) {
    const message = `would be in ${MAX_DEPTH + 1} jobs: at most ${MAX_DEPTH} are taken; let the jobs around it do more themselves`;
    yield { path: `${path}/job`, message };
  }
  if (typeof entry.sleep_until !== "string") return;
  const badDate = dateProblem(entry.sleep_until, now);
  if (badDate !== undefined) yield { path: `${path}/sleep_until`, message: badDate };
}

function* optionProblems(entry: FunctionSpec, kind: Kind, { path, hasBadItems }: EntryPlace): Generator<Reason> {
  const meaningless = MEANINGLESS[kind];
  for (const [option, message] of Object.entries(meaningless)) {
    if (isGiven(entry[option as Option])) yield { path: `${path}/${option}`, message };
  }
  if (hasBadItems || isGiven(entry.for_each)) return;
  for (const option of OPTIONS_OF_ITEMS) {
    if (!isGiven(entry[option]) || option in meaningless) continue;
    yield { path: `${path}/${option}`, message: "says how items are done: it goes with for_each" };
  }
}

/** The values in which expressions are marked, by their paths from the entry. */
export function* templatesOf(entry: FunctionSpec): Generator<[path: string, value: unknown]> {
  yield ["args", entry.args];
  for (const call of ["on_error", "undo", "for_each"] as const) yield [`${call}/args`, argsOf(entry[call])];
  yield ["job/data", inlineJob(entry)?.data];
}

/** What a function that is called besides those of the list is called with; undefined if it is named alone, or none. */
export function argsOf(call: unknown): unknown {
  return typeof call === "object" && call !== null && "args" in call ? call.args : undefined;
}
