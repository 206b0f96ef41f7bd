/**
 * What the shape of a graph's entries cannot say: that each does one thing, with options that mean something for it; that ids
 * are there once, needs exist and make no circle; that dates exist, and expressions name what has ended by then.
 *
 * It is also asked about documents whose shape is wrong somewhere, without the parts that are: an entry may be missing, as may
 * any of its fields.
 */
import { nearest } from "../util/nearest.ts";
import { dateProblem } from "./dates.ts";
import type { Reason } from "./errors.ts";
import { conditionProblem, expressionProblem, type Scope } from "./expressions.ts";
import { Order } from "./order.ts";
import { endless, type Plan, planOf } from "./plan.ts";
import { type FunctionSpec, KINDS } from "./schema.ts";
import { expressionsIn, hasExpressions, templateProblem } from "./templates.ts";

/** Of a whole job: each takes some ten microseconds to check, and a message has room for many times more. */
export const MAX_JOB_EXPRESSIONS = 5_000;
/** How many times it is looked for what was meant by an id: each takes up to 60 ms where there are a thousand long ones. */
const MAX_SUGGESTIONS = 3;
/** Most entries of a circle that are named. */
const MAX_NAMED = 8;

/** An entry as far as its shape is right. */
type Entry = FunctionSpec | undefined;

/**
 * @param now ms since 1970, to refuse a date that is too far ahead; not given for what has been stored
 * @param spoilt indexes of entries whose needs cannot be known, as their shape is wrong
 */
export function* graphProblems(
  entries: readonly Entry[],
  now: number | undefined,
  spoilt: Iterable<number> = [],
): Generator<Reason> {
  if (areSimple(entries)) return;
  for (const [index, entry] of entries.entries()) {
    if (entry) yield* entryProblems(entry, `/functions/${index}`, now);
  }
  const plan = planOf(Array.from(entries, (entry) => entry ?? {})); // `map` would leave out what a list leaves out
  yield* repeatedIds(entries);
  /** Entries whose needs are not what was meant: of these it cannot be said what they follow. */
  const unclear = new Set(spoilt);
  for (const { index, ...reason } of needProblems(entries, plan)) {
    unclear.add(index);
    yield reason;
  }
  const inCircles = endless(plan);
  if (inCircles.length > 0 && unclear.size === 0) yield* circleProblems(entries, plan, new Set(inCircles));
  const order = inCircles.length > 0 ? undefined : new Order(plan);
  const hasEnded = (index: number, other: number) => !order || unclear.has(index) || order.follows(index, other);
  yield* expressionProblems(entries, plan, hasEnded);
}

/**
 * Whether nothing can be wrong with what they say of each other: they do nothing but call functions, without expressions, and need what
 * stands before them. Most graphs are such, and are found to be right by one look at each entry.
 */
function areSimple(entries: readonly Entry[]): boolean {
  const ids = new Set<string>();
  for (let index = 0; index < entries.length; index++) {
    const entry = entries[index];
    if (!entry?.name || NOT_SIMPLE.some((option) => entry[option] !== undefined)) return false;
    const { id, needs, args } = entry;
    if (args !== undefined && hasExpressions(args)) return false;
    if (needs && (!needs.every((need) => ids.has(need)) || new Set(needs).size < needs.length)) return false;
    if (id === undefined) continue;
    if (ids.has(id)) return false;
    ids.add(id);
  }
  return true;
}

const NOT_SIMPLE = ["wait_for", "sleep_ms", "sleep_until", "when", "expect", "on_error"] as const;

// --- an entry by itself

/** Whether it does one thing, and with what goes with it. */
function* entryProblems(entry: FunctionSpec, path: string, now: number | undefined): Generator<Reason> {
  const kinds = KINDS.filter((kind) => isGiven(entry[kind]));
  const [kind, other] = kinds;
  if (kind === undefined) {
    yield { path, message: "must have one of name, wait_for, sleep_ms, sleep_until and job" };
  } else if (other !== undefined) {
    const all = kinds.length === 2 ? `both ${kind} and ${other}` : kinds.join(", ");
    yield { path, message: `has ${all}: an entry does one thing, so make an entry of each` };
  } else {
    for (const [option, message] of Object.entries(MEANINGLESS[kind])) {
      if (isGiven(entry[option as keyof FunctionSpec])) yield { path: `${path}/${option}`, message };
    }
  }
  for (const [field, args] of [
    ["args", entry.args],
    ["on_error/args", argsOnError(entry)],
  ] as const) {
    const tooMany = isGiven(args) ? templateProblem(args) : undefined;
    if (tooMany !== undefined) yield { path: `${path}/${field}`, message: tooMany };
  }
  if (typeof entry.sleep_until !== "string") return;
  const badDate = dateProblem(entry.sleep_until, now);
  if (badDate !== undefined) yield { path: `${path}/sleep_until`, message: badDate };
}

function argsOnError({ on_error }: FunctionSpec): unknown {
  return typeof on_error === "object" ? on_error.args : undefined;
}

/** Null is "not given". */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

const OF_A_SLEEP = {
  args: "is for functions: a sleep calls none",
  retry_options: "is for functions: a sleep is not tried again",
  timeout_ms: "is for functions and signals: a sleep ends by itself",
};

/** Options that say nothing, by the field that says what the entry does. */
export const MEANINGLESS: Record<(typeof KINDS)[number], Partial<Record<keyof FunctionSpec, string>>> = {
  name: {},
  wait_for: {
    args: "is for functions: who waits for a signal calls none",
    retry_options: "is for functions: a signal is not tried again; timeout_ms says how long it is waited for",
  },
  sleep_ms: OF_A_SLEEP,
  sleep_until: OF_A_SLEEP,
  job: {
    args: "is for functions: a child job is given data",
    retry_options: "is for functions: give those of the child's functions",
    timeout_ms: "is for functions: give the child a timeout_ms of its own",
  },
};

// --- ids and needs

function* repeatedIds(entries: readonly Entry[]): Generator<Reason> {
  const firstWith = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const id = entry?.id;
    if (id === undefined) continue;
    const first = firstWith.get(id);
    if (first === undefined) firstWith.set(id, index);
    else yield { path: `/functions/${index}/id`, message: `is the id of /functions/${first} already` };
  }
}

function* needProblems(entries: readonly Entry[], plan: Plan): Generator<Reason & { index: number }> {
  const candidates = someTimes([...plan.indexOf.keys()]);
  for (const [index, entry] of entries.entries()) {
    if (!entry?.needs) continue;
    const seen = new Set<string>();
    for (const [place, id] of entry.needs.entries()) {
      if (id === undefined) continue; // its shape is wrong, and is told of
      const path = `/functions/${index}/needs/${place}`;
      const isRepeated = seen.has(id);
      seen.add(id);
      if (!plan.indexOf.has(id)) {
        const meant = nearest(id, candidates());
        const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
        yield { index, path, message: `names ${id}, and no entry has that id${hint}` };
      } else if (id === entry.id) {
        yield { index, path, message: "names the entry itself" };
      } else if (isRepeated) {
        yield { index, path, message: `names ${id} a second time` };
      }
    }
  }
}

/** The ids, as often as suggestions are made; then none. */
function someTimes(ids: string[]): () => string[] {
  let times = 0;
  return () => {
    times += 1;
    return times > MAX_SUGGESTIONS ? [] : ids;
  };
}

/** Each circle once. One entry after the other is followed to one that it waits for, so each step leads into a circle. */
function* circleProblems(entries: readonly Entry[], plan: Plan, stuck: ReadonlySet<number>): Generator<Reason> {
  const lowestStuck = Math.min(...stuck);
  // What has no needs waits for all before it, so for the lowest that is stuck as well.
  const waitsFor = (index: number) => plan.needsOf(index)?.find((need) => stuck.has(need)) ?? lowestStuck;
  const seen = new Set<number>();
  for (const start of stuck) {
    const way: number[] = [];
    let at = start;
    while (!seen.has(at)) {
      seen.add(at);
      way.push(at);
      at = waitsFor(at);
    }
    const begin = way.indexOf(at);
    if (begin < 0) continue; // it leads to one that has been told
    const circle = way.slice(begin);
    const told = circle.find((index) => plan.needsOf(index)) ?? at;
    const from = circle.indexOf(told);
    const names = [...circle.slice(from), ...circle.slice(0, from)].map((index) => labelOf(entries[index], index));
    const named = names.length > MAX_NAMED ? [...names.slice(0, MAX_NAMED), `… (${names.length} in all)`] : names;
    const message = `makes a circle: ${[...named, names[0]].join(" → ")} (each waits for the next, so none could begin)`;
    yield { path: `/functions/${told}/needs`, message };
  }
}

function labelOf(entry: Entry, index: number): string {
  return entry?.id ?? `/functions/${index}`;
}

// --- expressions

type Names = Scope["names"];
const NAMES: Names = new Set(["data", "results", "errors", "skipped", "job"]);
const WITH_RESULT: Names = new Set([...NAMES, "result"]);
const WITH_ERROR: Names = new Set([...NAMES, "error"]);

interface Placed {
  path: string;
  text: string;
  names: Names;
  /** It must give true or false. */
  isCondition?: true;
}

function* expressionProblems(
  entries: readonly Entry[],
  plan: Plan,
  hasEnded: (index: number, other: number) => boolean,
): Generator<Reason> {
  const ids = someTimes([...plan.indexOf.keys()]);
  let count = 0;
  for (const [index, entry] of entries.entries()) {
    if (!entry || !mayHaveExpressions(entry)) continue;
    const scopeOf = (names: Names): Scope => ({
      names,
      entries: (id) => {
        const other = plan.indexOf.get(id);
        if (other === undefined) return "unknown";
        return hasEnded(index, other) ? "ended" : "not ended";
      },
      ids,
    });
    for (const { path, text, names, isCondition } of expressionsOf(entry, `/functions/${index}`)) {
      count += 1;
      if (count > MAX_JOB_EXPRESSIONS) {
        yield { path: "/functions", message: `must have at most ${MAX_JOB_EXPRESSIONS} expressions in all` };
        return;
      }
      const problem = isCondition ? conditionProblem : expressionProblem;
      const message = problem(text, scopeOf(names));
      if (message !== undefined) yield { path, message };
    }
  }
}

/** Most entries have none: to find that out costs less than to look for each. */
function mayHaveExpressions(entry: FunctionSpec): boolean {
  const { when, expect, args, sleep_until } = entry;
  if ((when ?? expect ?? sleep_until) !== undefined) return true;
  return hasExpressions(args) || hasExpressions(argsOnError(entry));
}

function* expressionsOf(entry: FunctionSpec, path: string): Generator<Placed> {
  const { when, expect, args, sleep_until } = entry;
  if (when !== undefined) yield { path: `${path}/when`, text: when, names: NAMES, isCondition: true };
  if (args !== undefined) yield* within(args, `${path}/args`, NAMES);
  yield* within(sleep_until, `${path}/sleep_until`, NAMES);
  if (expect !== undefined) yield { path: `${path}/expect`, text: expect, names: WITH_RESULT, isCondition: true };
  yield* within(argsOnError(entry), `${path}/on_error/args`, WITH_ERROR);
}

function* within(value: unknown, at: string, names: Names): Generator<Placed> {
  for (const { path, text } of expressionsIn(value)) yield { path: at + path, text, names };
}
