/**
 * What the shape of a graph's entries cannot say: that each does one thing (`entry-check.ts`); that ids are there once, needs exist and
 * make no circle; that expressions name what has ended by then.
 *
 * It is also asked about documents whose shape is wrong somewhere, without the parts that are: an entry may be missing, as may
 * any of its fields. A document that is in another one is checked as it is by itself: it knows nothing of those around it.
 */
import { nearest } from "../util/nearest.ts";
import { argsOf, entryProblems, OPTIONS_OF_ITEMS } from "./entry-check.ts";
import type { Reason } from "./errors.ts";
import { expressionsOf, expressionsOnFailure, mayHaveExpressions, type PlacedExpression } from "./expression-places.ts";
import { expressionProblem, type Scope } from "./expressions.ts";
import { Order } from "./order.ts";
import { endless, type Plan, planOf } from "./plan.ts";
import type { FunctionSpec, Submission } from "./schema.ts";
import { hasExpressions, templateProblem } from "./templates.ts";

/** Of a whole job, children included: each takes some ten microseconds to check, and a message has room for many times more. */
export const MAX_JOB_EXPRESSIONS = 5_000;
/** How many times it is looked for what was meant by an id: each takes up to 60 ms where there are a thousand long ones. */
const MAX_SUGGESTIONS = 6;
/** Most entries of a circle that are named. */
const MAX_NAMED = 8;

/** An entry as far as its shape is right. */
type Entry = FunctionSpec | undefined;

/** What the checks of a document and of all that are in it have in common. */
export class Checking {
  /** ms since 1970, to refuse a date that is too far ahead; not given for what has been stored. */
  readonly now: number | undefined;
  expressions = 0;
  suggestions = 0;

  constructor(now: number | undefined) {
    this.now = now;
  }
}

/** Where a document stands, and what has been found out about it. */
export interface GraphPlace {
  /** JSON pointer from the outermost document. */
  path: string;
  /** In how many others it is. */
  depth: number;
  /** Indexes of entries whose needs cannot be known, as their shape is wrong. */
  badNeeds: ReadonlySet<number>;
  /** The same of `for_each`. */
  badItems: ReadonlySet<number>;
}

const NONE: ReadonlySet<number> = new Set();

/** What is wrong with entries whose shape is right, and which may have been stored long ago. */
export function entriesProblems(entries: readonly FunctionSpec[]): Generator<Reason> {
  const place = { path: "", depth: 0, badNeeds: NONE, badItems: NONE };
  return graphProblems(entries, undefined, place, new Checking(undefined));
}

/** Without those of the documents in it. */
export function* graphProblems(
  entries: readonly Entry[],
  onFailure: Submission["on_failure"],
  place: GraphPlace,
  checking: Checking,
): Generator<Reason> {
  if (typeof onFailure === "object") yield* problemsOnFailure(onFailure, `${place.path}/on_failure`, entries, checking);
  if (areSimple(entries)) return;
  const { path, depth, badNeeds, badItems } = place;
  const { now } = checking;
  for (const [index, entry] of entries.entries()) {
    const hasBadItems = badItems.has(index);
    if (entry) yield* entryProblems(entry, { path: `${path}/functions/${index}`, depth, hasBadItems, now });
  }
  const plan = planOf(Array.from(entries, (entry) => entry ?? {})); // `map` would leave out what a list leaves out
  yield* repeatedIds(entries, path);
  /** Entries whose needs are not what was meant: of these it cannot be said what they follow. */
  const unclear = new Set(badNeeds);
  for (const { index, ...reason } of needProblems(entries, plan, path, checking)) {
    unclear.add(index);
    yield reason;
  }
  const inCircles = endless(plan);
  if (inCircles.length > 0 && unclear.size === 0) yield* circleProblems(entries, plan, new Set(inCircles), path);
  const order = inCircles.length > 0 ? undefined : new Order(plan);
  const hasEnded = (index: number, other: number) => !order || unclear.has(index) || order.follows(index, other);
  yield* expressionProblems(entries, plan, hasEnded, place, checking);
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
    const { id, needs, args, undo } = entry;
    if ((args !== undefined && hasExpressions(args)) || typeof undo === "object") return false;
    if (needs && (!needs.every((need) => ids.has(need)) || new Set(needs).size < needs.length)) return false;
    if (id === undefined) continue;
    if (ids.has(id)) return false;
    ids.add(id);
  }
  return true;
}

const NOT_SIMPLE = [
  ...(["wait_for", "sleep_ms", "sleep_until", "when", "expect", "on_error", "job", "for_each"] as const),
  ...OPTIONS_OF_ITEMS,
];

// --- ids and needs

function* repeatedIds(entries: readonly Entry[], at: string): Generator<Reason> {
  const firstWith = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const id = entry?.id;
    if (id === undefined) continue;
    const first = firstWith.get(id);
    if (first === undefined) firstWith.set(id, index);
    else yield { path: `${at}/functions/${index}/id`, message: `is the id of ${at}/functions/${first} already` };
  }
}

function* needProblems(
  entries: readonly Entry[],
  plan: Plan,
  at: string,
  checking: Checking,
): Generator<Reason & { index: number }> {
  for (const [index, entry] of entries.entries()) {
    if (!entry?.needs) continue;
    const seen = new Set<string>();
    for (const [place, id] of entry.needs.entries()) {
      if (id === undefined) continue; // its shape is wrong, and is told of
      const path = `${at}/functions/${index}/needs/${place}`;
      const isRepeated = seen.has(id);
      seen.add(id);
      if (!plan.indexOf.has(id)) {
        const meant = nearest(id, candidatesOf(plan.indexOf, checking));
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

/** Each circle once. One entry after the other is followed to one that it waits for, so each step leads into a circle. */
function* circleProblems(
  entries: readonly Entry[],
  plan: Plan,
  stuck: ReadonlySet<number>,
  at: string,
): Generator<Reason> {
  const lowestStuck = Math.min(...stuck);
  // What has no needs waits for all before it, so for the lowest that is stuck as well.
  const waitsFor = (index: number) => plan.needsOf(index)?.find((need) => stuck.has(need)) ?? lowestStuck;
  const seen = new Set<number>();
  for (const start of stuck) {
    const way: number[] = [];
    let next = start;
    while (!seen.has(next)) {
      seen.add(next);
      way.push(next);
      next = waitsFor(next);
    }
    const begin = way.indexOf(next);
    if (begin < 0) continue; // it leads to one that has been told
    const circle = way.slice(begin);
    const told = circle.find((index) => plan.needsOf(index)) ?? next;
    const from = circle.indexOf(told);
    const names = [...circle.slice(from), ...circle.slice(0, from)].map((index) => labelOf(entries[index], index));
    const named = names.length > MAX_NAMED ? [...names.slice(0, MAX_NAMED), `… (${names.length} in all)`] : names;
    const message = `makes a circle: ${[...named, names[0]].join(" → ")} (each waits for the next, so none could begin)`;
    yield { path: `${at}/functions/${told}/needs`, message };
  }
}

function labelOf(entry: Entry, index: number): string {
  return entry?.id ?? `/functions/${index}`;
}

// --- expressions

function* expressionProblems(
  entries: readonly Entry[],
  plan: Plan,
  hasEnded: (index: number, other: number) => boolean,
  { path, depth, badItems }: GraphPlace,
  checking: Checking,
): Generator<Reason> {
  const note = depth === 0 ? {} : { note: "a child knows only its own entries, hand it what it needs as data" };
  const ids = () => candidatesOf(plan.indexOf, checking);
  for (const [index, entry] of entries.entries()) {
    if (!entry || !mayHaveExpressions(entry)) continue;
    const about: Omit<Scope, "names"> = {
      entries: (id) => {
        const other = plan.indexOf.get(id);
        if (other === undefined) return "unknown";
        return hasEnded(index, other) ? "ended" : "not ended";
      },
      ids,
      ...note,
      advice: (id) =>
        id === entry.id ? "it is the entry itself (`result` is what it gives, in expect and undo)" : undefined,
    };
    const hasItems = (entry.for_each ?? undefined) !== undefined || badItems.has(index);
    for (const placed of expressionsOf(entry, `${path}/functions/${index}`, hasItems)) {
      yield* problemOf(placed, about, checking);
    }
  }
}

/** What is called when the job has failed is called whatever has ended. */
function* problemsOnFailure(
  call: Exclude<Submission["on_failure"], string>,
  path: string,
  entries: readonly Entry[],
  checking: Checking,
): Generator<Reason> {
  const args = argsOf(call);
  if (args === undefined || !hasExpressions(args)) return;
  const tooMany = templateProblem(args);
  if (tooMany !== undefined) yield { path: `${path}/args`, message: tooMany };
  const known = new Set(entries.map((entry) => entry?.id));
  const about: Omit<Scope, "names"> = {
    entries: (id) => (known.has(id) ? "not ended" : "unknown"),
    ids: () => candidatesOf(known, checking),
    advice: () => "on_failure is handed the results of all that have, let it look there",
  };
  for (const placed of expressionsOnFailure(call, path)) yield* problemOf(placed, about, checking);
}

function* problemOf(
  { path, text, names, kind }: PlacedExpression,
  about: Omit<Scope, "names">,
  checking: Checking,
): Generator<Reason> {
  checking.expressions += 1;
  if (checking.expressions > MAX_JOB_EXPRESSIONS) {
    const message = `must have at most ${MAX_JOB_EXPRESSIONS} expressions in all`;
    if (checking.expressions === MAX_JOB_EXPRESSIONS + 1) yield { path: "/functions", message };
    return;
  }
  const message = expressionProblem(text, { ...about, names }, kind);
  if (message !== undefined) yield { path, message };
}

/** The ids among which is looked for what was meant, as often as suggestions are made; then none. */
function candidatesOf(
  ids: ReadonlyMap<string, unknown> | ReadonlySet<string | undefined>,
  checking: Checking,
): string[] {
  checking.suggestions += 1;
  return checking.suggestions > MAX_SUGGESTIONS ? [] : [...ids.keys()].filter((id) => id !== undefined);
}
