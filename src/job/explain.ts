/**
 * Why a job waits: a line for each entry that has not ended. It follows from the state, and from what supervisors and workers
 * say of the functions that are due (`Facts`). It shows names, times and errors, never data, args or results.
 *
 * Example: function `charge` has failed twice, and `send` follows it. There are two lines: `backoff until
 * 2026-11-29T12:00:00.000Z, attempt 3 of 5, last error function_failed: card declined`, and `needs entry 0`.
 */
import { childIdOf, childOrigin } from "./children.ts";
import type {
  ExplainDetail,
  ExplainedEnd,
  ExplainedEntry,
  ExplainedError,
  Explanation,
  Facts,
  ItemWaits,
} from "./explanation.ts";
import { callOf, type FunctionState, kindOf } from "./function-state.ts";
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
/** Of the message of an error. */
const MAX_MESSAGE_LENGTH = 200;

/**
 * @param facts of a function by its name; undefined if nothing is known of it. Asked for {@link functionsToAsk}
 * @param now ms since 1970
 * @param plan of a graph, if it is at hand
 * @param isTaken a supervisor has the job, although nothing may be stored of it but its submission
 * @param settings what is set at functions
 * @param childState of a child; undefined if it is not known. Asked for {@link childrenToAsk}
 * @param itemWaits what the items of an entry wait for; undefined if it is not known. Asked for {@link itemsToAsk}
 */
export function explain(
  state: JobState,
  facts: (functionName: string) => Facts | undefined,
  now: number,
  plan?: Plan,
  isTaken = state.version > 0,
  settings?: { of(functionName: string): FunctionSettings | undefined },
  childState?: (childId: string) => StateName | undefined,
  itemWaits?: (index: number) => ItemWaits | undefined,
): Explanation {
  const { job_id } = state;
  const at = iso(now);
  if (isEnded(state)) return { job_id, state: state.state, at, entries: [], ended: endOf(state) };
  const wholePlan = isGraph(state) ? (plan ?? planOf(state.functions)) : undefined;
  const open = openEntries(state, now, wholePlan, isTaken);
  const shown = shownFirst(open);
  const needsOf = needsIn(state, open, wholePlan);
  const known = { facts, needsOf, job: state, childState, itemWaits };
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

/** The entries of which it makes the explanation better to know what their items wait for, `MAX_ASKED` at most. */
export function itemsToAsk(state: JobState, now: number, isTaken = state.version > 0): number[] {
  if (isEnded(state)) return [];
  const open = shownFirst(openEntries(state, now, undefined, isTaken)).filter(({ wait }) => wait.type === "items");
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
  itemWaits: ((index: number) => ItemWaits | undefined) | undefined;
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

type Said = Pick<ExplainedEntry, "reason" | "text" | "detail">;

function said(entry: OpenEntry, known: Known): Said {
  const { facts, needsOf, job, childState } = known;
  const { index, fn, wait } = entry;
  if (isOfChild(job, entry)) return ofChild(childOf(job, index), wait.type, childState);
  const items = itemsOf(job, entry);
  if (items) return ofItems(entry, items, known);
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

/** What is done of them, and what those wait for that are under way. */
function ofItems(entry: OpenEntry, items: ItemsState, { facts, job, itemWaits }: Known): Said {
  const { index, fn, wait, undo } = entry;
  const { count, listed = 0, done, failed } = items;
  const detail: ExplainDetail = {
    items: { count: count ?? null, ...(count === undefined && { listed }), done, failed },
  };
  const counts = undo
    ? "its items are undone"
    : `${done} of ${count ?? `${listed} or more`} items are done${failed > 0 ? `, ${failed} have failed` : ""}`;
  if (wait.type === "backoff") {
    const text = `${counts}; those that are under way are tried again, the first at ${iso(wait.until)}`;
    return { reason: "backoff", text, detail };
  }
  if (wait.type === "stopping")
    return { reason: "stopping", text: `were told to stop, and have not all; ${counts}`, detail };
  if (wait.type === "child" || calledBy(fn) === "") {
    return { reason: "child", text: `${counts}; waits for child jobs (parent ${job.job_id})`, detail };
  }
  const name = calledBy(fn);
  const found = facts(name);
  const who = waitForWorker(fn, found);
  const { workers, slots, waiting, in_flight } = found ?? {};
  Object.assign(detail, { function: name }, found && { workers, slots, waiting, in_flight });
  if (wait.type === "worker") return { reason: who.reason, text: `${counts}; ${who.text}`, detail };
  const waits = itemWaits?.(index);
  const again =
    waits && waits.backoff > 0 ? `; ${waits.backoff} are tried again, the first at ${iso(waits.until)}` : "";
  // That workers have room, or are not asked, says nothing of items which run.
  const isShort = found !== undefined && (who.reason === "no_worker" || who.reason === "workers_full");
  return { reason: "items", text: `${counts}${again}${isShort ? `; ${who.text}` : ""}`, detail };
}

function waitForWorker(fn: FunctionState, facts: Facts | undefined): Said {
  const name = `fn.${calledBy(fn)}`;
  if (facts === undefined) {
    return {
      reason: "worker",
      text: `waits for a worker of ${name}; not asked who serves it`,
      detail: attemptDetail(fn),
    };
  }
  const { workers, slots, waiting, in_flight } = facts;
  const detail = { ...attemptDetail(fn), workers, slots, waiting, in_flight };
  // Services that do not say what they serve are seen by what they have in flight.
  if (facts.unserved || workers + in_flight + waiting === 0) {
    return { reason: "no_worker", text: `no worker serves ${name}`, detail };
  }
  if (waiting === 0) return { reason: "starting", text: `an attempt of ${name} begins; its workers have room`, detail };
  // Which of those that wait comes when is not known, nor whether all who could tell of some have been heard.
  const others = `at least ${waiting} ${waiting === 1 ? "waits" : "wait"} for it`;
  const who = workers === 0 ? `those who serve ${name} are full` : `${served(workers, name)} full`;
  return { reason: "workers_full", text: `${who}, ${others}`, detail };
}

function served(workers: number, name: string): string {
  return workers === 1 ? `1 worker serves ${name},` : `${workers} workers serve ${name}, all`;
}

function backoff(fn: FunctionState, { until }: Extract<Wait, { type: "backoff" }>): Said {
  const detail = attemptDetail(fn);
  const last = detail.error ? `, last error ${errorText(detail.error)}` : "";
  return { reason: "backoff", text: `backoff until ${iso(until)}${attemptText(fn, true)}${last}`, detail };
}

function waitForSignal({ wait_for = "" }: FunctionState, until: number | undefined): Said {
  const limit = until === undefined ? ", for as long as it takes" : ` until ${iso(until)}`;
  return { reason: "signal", text: `waits for signal ${wait_for}${limit}`, detail: { signal: wait_for } };
}

function attemptDetail(fn: FunctionState): ExplainDetail {
  const { retry_options } = callOf(fn);
  const isLimitedByTimeOnly = retry_options?.retry_for_ms !== undefined && retry_options.retry_limit === undefined;
  const detail: ExplainDetail = { function: calledBy(fn), attempt: (fn.failures ?? 0) + 1 };
  if (!isLimitedByTimeOnly) detail.of = retry_options?.retry_limit ?? 1;
  if (fn.error) detail.error = inShort(fn.error);
  return detail;
}

/** Not of an only attempt, unless `always`. */
function attemptText(fn: FunctionState, always = false): string {
  const { attempt, of } = attemptDetail(fn);
  if (of === 1 && !always) return "";
  return `, attempt ${attempt}${of === undefined ? "" : ` of ${of}`}`;
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

/** Without its stack, which would say where something is installed. Anything may be stored. */
function inShort({ code, message }: { code: unknown; message: unknown }): ExplainedError {
  const words = String(message ?? "").replaceAll(/[\s\p{Cc}]+/gu, " ");
  const cut = words.slice(0, MAX_MESSAGE_LENGTH).replace(/[\uD800-\uDBFF]$/, "");
  return { code: String(code ?? ""), message: words.length > MAX_MESSAGE_LENGTH ? `${cut}…` : cut };
}

function errorText({ code, message }: ExplainedError): string {
  return message === "" ? code : `${code}: ${message}`;
}
