/**
 * Why a job waits: a line for each entry that has not ended. It follows from the state, and from what supervisors and workers
 * say of the functions that are due (`Facts`). It shows names, times and errors, never data, args or results.
 *
 * Example: function `charge` has failed twice, and `send` follows it. There are two lines: `backoff until
 * 2026-11-29T12:00:00.000Z, attempt 3 of 5, last error function_failed: card declined`, and `needs entry 0`.
 */
import { childIdOf, childOrigin } from "./children.ts";
import {
  attemptDetail,
  attemptText,
  backoff,
  errorText,
  inShort,
  ofItems,
  type Said,
  waitForWorker,
} from "./explain-words.ts";
import type { ExplainDetail, ExplainedEnd, ExplainedEntry, Explanation, Facts, OpenItems } from "./explanation.ts";
import { type FunctionState, kindOf } from "./function-state.ts";
import type { ItemsState } from "./items-state.ts";
import { type Plan, planOf } from "./plan.ts";
import { type FunctionSettings, withSettings } from "./settings.ts";
import { type EndedJob, isEnded, isGraph, type JobState, type StateName, unreachable } from "./state.ts";
import { iso } from "./time.ts";
import { calledBy, type OpenEntry, openEntries, type Wait } from "./waits.ts";

/** Most entries that are shown. */
export const MAX_EXPLAINED = 100;
/** Most functions of which it is asked who serves them. */
export const MAX_ASKED = 20;
/** Most entries that are named of what one needs. */
const MAX_NEEDS_NAMED = 10;

/**
 * @param facts of a function by its name; undefined if nothing is known of it. Asked for {@link functionsToAsk}
 * @param now ms since 1970
 * @param plan of a graph, if it is at hand
 * @param isTaken a supervisor has the job, although nothing may be stored of it but its submission
 * @param settings what is set at functions
 * @param childState of a child; undefined if it is not known. Asked for {@link childrenToAsk}
 * @param openItems what is known of the items of an entry that are under way; undefined if nothing is. Asked for {@link itemsToAsk}
 */
export function explain(
  state: JobState,
  facts: (functionName: string) => Facts | undefined,
  now: number,
  plan?: Plan,
  isTaken = state.version > 0,
  settings?: { of(functionName: string): FunctionSettings | undefined },
  childState?: (childId: string) => StateName | undefined,
  openItems?: (index: number) => OpenItems | undefined,
): Explanation {
  const { job_id } = state;
  const at = iso(now);
  if (isEnded(state)) return { job_id, state: state.state, at, entries: [], ended: endOf(state) };
  const wholePlan = isGraph(state) ? (plan ?? planOf(state.functions)) : undefined;
  const open = openEntries(state, now, wholePlan, isTaken);
  const shown = shownFirst(open);
  const needsOf = needsIn(state, open, wholePlan);
  const known = { facts, needsOf, job: state, childState, openItems };
  const entries = shown.map((entry) => explainEntry(asExecuted(entry, settings), known));
  const explanation: Explanation = { job_id, state: stateShown(state.state, open, isTaken), at, entries };
  if (open.length > shown.length) explanation.omitted = open.length - shown.length;
  return explanation;
}

/** With what is set at its function, where the job does not say it: so many attempts there are. */
function asExecuted(
  entry: OpenEntry,
  settings?: { of(functionName: string): FunctionSettings | undefined },
): OpenEntry {
  const set = settings?.of(calledBy(entry.fn));
  return set ? { ...entry, fn: withSettings(entry.fn, set), set } : entry;
}

/** The functions whose facts make the explanation better: those of entries that wait for a worker, `MAX_ASKED` at most. */
export function functionsToAsk(state: JobState, now: number, isTaken = state.version > 0): string[] {
  if (isEnded(state)) return [];
  const names = new Set<string>();
  for (const { fn, wait } of shownFirst(openEntries(state, now, undefined, isTaken))) {
    if (names.size === MAX_ASKED) break;
    if (wait.type === "worker" || (wait.type === "items" && calledBy(fn) !== "")) names.add(calledBy(fn));
  }
  return [...names];
}

/** The children whose states make the explanation better, `MAX_ASKED` at most. */
export function childrenToAsk(state: JobState, now: number, isTaken = state.version > 0): string[] {
  if (isEnded(state)) return [];
  const open = shownFirst(openEntries(state, now, undefined, isTaken));
  return open
    .filter((entry) => isOfChild(state, entry))
    .slice(0, MAX_ASKED)
    .map(({ index }) => childOf(state, index));
}

/** The entries of which it makes the explanation better to know of their items, `MAX_ASKED` at most. */
export function itemsToAsk(state: JobState, now: number, isTaken = state.version > 0): number[] {
  if (isEnded(state)) return [];
  const open = shownFirst(openEntries(state, now, undefined, isTaken)).filter((entry) => itemsOf(state, entry));
  return open.slice(0, MAX_ASKED).map(({ index }) => index);
}

/** Whether it waits for one child: not for those of items, nor for what runs in its place. */
function isOfChild({ functions }: JobState, { index, wait }: OpenEntry): boolean {
  const fn = functions.at(index);
  if (!fn || (wait.type !== "child" && wait.type !== "stopping")) return false;
  return kindOf(fn) === "job" && !fn.items && !fn.handling;
}

function childOf(job: JobState, index: number): string {
  return childIdOf(childOrigin(job, index));
}

function shownFirst(open: OpenEntry[]): OpenEntry[] {
  const begun = open.filter(({ wait }) => wait.type !== "needs");
  if (begun.length >= MAX_EXPLAINED) return begun.slice(0, MAX_EXPLAINED);
  const later = open.filter(({ wait }) => wait.type === "needs");
  return [...begun, ...later.slice(0, MAX_EXPLAINED - begun.length)];
}

function stateShown(stored: StateName, open: OpenEntry[], isTaken: boolean): StateName {
  if (stored === "undoing") return stored;
  if (open.some(({ wait }) => wait.type === "scheduled")) return "scheduled";
  if (!isTaken || open.length === 0) return stored;
  return open.some(({ wait }) => wait.type === "running") ? "running" : "waiting";
}

/** What is known besides an entry. */
interface Known {
  facts: (functionName: string) => Facts | undefined;
  needsOf: NeedsOf;
  job: JobState;
  childState: ((childId: string) => StateName | undefined) | undefined;
  openItems: ((index: number) => OpenItems | undefined) | undefined;
}

function explainEntry(entry: OpenEntry, known: Known): ExplainedEntry {
  const { index, fn, wait, undo } = entry;
  const { reason, text, detail } = said(entry, known);
  const { functions } = known.job;
  const of = functions.at(index) ?? fn;
  const line: ExplainedEntry = {
    index,
    ...(undo && { undo }),
    ...(of.id !== undefined && { id: of.id }),
    kind: kindOf(of),
    name: fn.name === "" ? null : fn.name,
    reason,
    text: `${text}${insteadOf(entry, functions.length, detail)}`,
  };
  if ("since" in wait && wait.since !== undefined) line.since = iso(wait.since);
  if ("until" in wait && wait.until !== undefined) line.until = iso(wait.until);
  if (detail !== undefined)
    line.detail = entry.set && detail.function !== undefined ? { ...detail, settings: entry.set } : detail;
  return line;
}

/** What the text says besides, where it is not the function of the entry that is called. */
function insteadOf({ index, fn, undo }: OpenEntry, count: number, detail: ExplainDetail | undefined): string {
  if (undo) return " (its undo)";
  if (index === count) return " (on_failure of the job)";
  return fn.handling && detail?.function !== undefined ? " (its on_error)" : "";
}

function said(entry: OpenEntry, known: Known): Said {
  const { facts, needsOf, job, childState } = known;
  const { index, fn, wait } = entry;
  if (isOfChild(job, entry)) return ofChild(childOf(job, index), wait.type, childState);
  const items = itemsOf(job, entry);
  if (items) return ofItems(entry, items, job.job_id, facts, known.openItems?.(index));
  switch (wait.type) {
    case "scheduled":
      return { reason: "scheduled", text: `the job starts at ${iso(wait.until)}` };
    case "not_taken":
      return {
        reason: "not_taken",
        text: "no supervisor has taken the job: they are full, or have no room in storage",
      };
    case "starting":
      return { reason: "starting", text: "begins now" };
    case "running":
      return { reason: "running", text: `fn.${calledBy(fn)} runs${attemptText(fn)}`, detail: attemptDetail(fn) };
    case "worker":
      return waitForWorker(fn, facts(calledBy(fn)));
    case "backoff":
      return backoff(fn, wait);
    case "sleep":
      return { reason: "sleep", text: wait.until === undefined ? "sleeps" : `sleeps until ${iso(wait.until)}` };
    case "signal":
      return waitForSignal(fn, wait.until);
    case "items":
      return { reason: "items", text: "its items are at it" };
    case "child":
      return { reason: "child", text: "waits for child jobs" };
    case "stopping":
      return { reason: "stopping", text: "was told to stop, and has not answered yet" };
    case "needs":
      return needs(needsOf(index));
    default:
      return unreachable(wait);
  }
}

function ofChild(child: string, wait: Wait["type"], childState: Known["childState"]): Said {
  const state = childState?.(child);
  const text = state === undefined ? `waits for child job ${child}` : `child job ${child} is ${state}`;
  const detail: ExplainDetail = { child, ...(state !== undefined && { child_state: state }) };
  if (wait === "stopping") return { reason: "stopping", text: `was told to stop; ${text}`, detail };
  return { reason: "child", text, detail };
}

/** Of an entry with a `for_each` that has begun: its items, unless a function is called in its place. */
function itemsOf({ functions }: JobState, { index, wait }: OpenEntry): ItemsState | undefined {
  const { items, handling } = functions.at(index) ?? {};
  return handling || wait.type === "needs" || wait.type === "not_taken" ? undefined : items;
}

function waitForSignal({ wait_for = "" }: FunctionState, until: number | undefined): Said {
  const limit = until === undefined ? ", for as long as it takes" : ` until ${iso(until)}`;
  return { reason: "signal", text: `waits for signal ${wait_for}${limit}`, detail: { signal: wait_for } };
}

/** Ids or indexes of the first of what an entry still needs, and how many there are besides. */
type NeedsOf = (index: number) => { named: (string | number)[]; omitted: number };

function needsIn(job: JobState, open: OpenEntry[], plan: Plan | undefined): NeedsOf {
  const nameOf = (index: number) => job.functions.at(index)?.id ?? index;
  const isOpen = (index: number) => job.functions.at(index)?.finished_at === undefined;
  const first = open.slice(0, MAX_NEEDS_NAMED);
  const placeOf = new Map(open.map(({ index }, place) => [index, place]));
  return (index) => {
    if (!plan) return { named: [nameOf(index - 1)], omitted: 0 };
    const needed = plan.needsOf(index)?.filter(isOpen);
    if (needed)
      return {
        named: needed.slice(0, MAX_NEEDS_NAMED).map(nameOf),
        omitted: Math.max(0, needed.length - MAX_NEEDS_NAMED),
      };
    const before = placeOf.get(index) ?? 0;
    return {
      named: first.slice(0, before).map((entry) => nameOf(entry.index)),
      omitted: Math.max(0, before - MAX_NEEDS_NAMED),
    };
  };
}

function needs({ named, omitted }: ReturnType<NeedsOf>): Said {
  const names = named.map((one) => (typeof one === "number" ? `entry ${one}` : one)).join(", ");
  const detail: ExplainDetail = { needs: named };
  if (omitted > 0) detail.needs_omitted = omitted;
  return { reason: "needs", text: `needs ${names}${omitted > 0 ? ` and ${omitted} more` : ""}`, detail };
}

function endOf(job: EndedJob): ExplainedEnd {
  const at = iso(job.finished_at);
  if (job.state !== "failed") return { at, text: `${job.state} at ${at}` };
  const error = inShort(job.error);
  let index = 0;
  for (const { id, error: own, finished_at } of job.functions) {
    // The end of a job says the error of the entry that has failed in the same words.
    if (own && finished_at === undefined && own.code === job.error.code && own.message === job.error.message) {
      const where = id ?? `entry ${index}`;
      return {
        at,
        text: `failed at ${at} with ${where}: ${errorText(error)}`,
        index,
        ...(id !== undefined && { id }),
        error,
      };
    }
    index += 1;
  }
  return { at, text: `failed at ${at}: ${errorText(error)}`, error };
}
