/**
 * What an explanation says of attempts, of who could execute them, and of the items of a `for_each`: in words, and as data. Why a job waits
 * is for `explain.ts` to find out.
 */
import type { ExplainDetail, ExplainedEntry, ExplainedError, Facts, OpenItems } from "./explanation.ts";
import { callOf, type FunctionState } from "./function-state.ts";
import type { ItemsState } from "./items-state.ts";
import { iso } from "./time.ts";
import { calledBy, type OpenEntry, type Wait } from "./waits.ts";

/** Of the message of an error. */
const MAX_MESSAGE_LENGTH = 200;

export type Said = Pick<ExplainedEntry, "reason" | "text" | "detail">;

/** What is done of them, and what those wait for that are under way. */
export function ofItems(
  entry: OpenEntry,
  items: ItemsState,
  jobId: string,
  facts: (functionName: string) => Facts | undefined,
  under: OpenItems | undefined,
): Said {
  const { fn, wait, undo } = entry;
  const { count, listed = 0 } = items;
  const done = items.done + (under?.done ?? 0);
  const failed = items.failed + (under?.failed ?? 0);
  const detail: ExplainDetail = {
    items: { count: count ?? null, ...(count === undefined && { listed }), done, failed },
  };
  const counts = undo
    ? "its items are being undone"
    : `${done} of ${count ?? `${listed} or more`} items are done${failed > 0 ? `, ${failed} have failed` : ""}`;
  if (wait.type === "backoff") {
    const text = `${counts}; those that are under way are tried again, the first at ${iso(wait.until)}`;
    return { reason: "backoff", text, detail };
  }
  if (wait.type === "stopping")
    return { reason: "stopping", text: `its items were told to stop, and not all have; ${counts}`, detail };
  if (wait.type === "child" || calledBy(fn) === "") {
    return { reason: "child", text: `${counts}; waits for child jobs (parent ${jobId})`, detail };
  }
  const name = calledBy(fn);
  const found = facts(name);
  const who = waitForWorker(fn, found);
  const { workers, slots, waiting, in_flight } = found ?? {};
  Object.assign(detail, { function: name }, found && { workers, slots, waiting, in_flight });
  if (wait.type === "worker") return { reason: who.reason, text: `${counts}; ${who.text}`, detail };
  const again =
    under && under.backoff > 0 ? `; ${under.backoff} are tried again, the first at ${iso(under.until)}` : "";
  // That workers have room, or are not asked, says nothing of items which run.
  const isShort = found !== undefined && (who.reason === "no_worker" || who.reason === "workers_full");
  return { reason: "items", text: `${counts}${again}${isShort ? `; ${who.text}` : ""}`, detail };
}

export function waitForWorker(fn: FunctionState, facts: Facts | undefined): Said {
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

export function backoff(fn: FunctionState, { until }: Extract<Wait, { type: "backoff" }>): Said {
  const detail = attemptDetail(fn);
  const last = detail.error ? `, last error ${errorText(detail.error)}` : "";
  return { reason: "backoff", text: `backoff until ${iso(until)}${attemptText(fn, true)}${last}`, detail };
}

export function attemptDetail(fn: FunctionState): ExplainDetail {
  const { retry_options } = callOf(fn);
  const isLimitedByTimeOnly = retry_options?.retry_for_ms !== undefined && retry_options.retry_limit === undefined;
  const detail: ExplainDetail = { function: calledBy(fn), attempt: (fn.failures ?? 0) + 1 };
  if (!isLimitedByTimeOnly) detail.of = retry_options?.retry_limit ?? 1;
  if (fn.error) detail.error = inShort(fn.error);
  return detail;
}

/** Not of an only attempt, unless `always`. */
export function attemptText(fn: FunctionState, always = false): string {
  const { attempt, of } = attemptDetail(fn);
  if (of === 1 && !always) return "";
  return `, attempt ${attempt}${of === undefined ? "" : ` of ${of}`}`;
}

/** Without its stack, which would say where something is installed. Anything may be stored. */
export function inShort({ code, message }: { code: unknown; message: unknown }): ExplainedError {
  const words = String(message ?? "").replaceAll(/[\s\p{Cc}]+/gu, " ");
  const cut = words.slice(0, MAX_MESSAGE_LENGTH).replace(/[\uD800-\uDBFF]$/, "");
  return { code: String(code ?? ""), message: words.length > MAX_MESSAGE_LENGTH ? `${cut}…` : cut };
}

export function errorText({ code, message }: ExplainedError): string {
  return message === "" ? code : `${code}: ${message}`;
}
